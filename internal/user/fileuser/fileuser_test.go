package fileuser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/user"
	"otpost/internal/user/fileuser"
	"otpost/internal/user/usertest"
)

// files reads any file.
type files struct{}

func (files) ReadFile(name string) ([]byte, error)  { return os.ReadFile(name) }
func (files) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func cheap() pinhash.Params { return pinhash.Params{Passes: 1, MemoryKiB: 8} }

// place is a users' file and its resolver.
type place struct {
	t    *testing.T
	path string
	log  *bytes.Buffer
	user.Resolver
}

// newPlace writes the lines into a file that is old enough to be believed, and opens it.
func newPlace(t *testing.T, lines ...string) *place {
	t.Helper()
	p := &place{t: t, path: filepath.Join(t.TempDir(), "users.passwd"), log: &bytes.Buffer{}}
	p.write(lines...)
	r, err := fileuser.New(fileuser.Options{
		Files: files{}, Verifier: pinhash.New(pinhash.Options{Params: cheap()}),
		Log: slog.New(slog.NewTextHandler(p.log, nil)),
		Now: func() time.Time { return time.Now().Add(time.Hour) },
	})("pw", map[string]string{"fileName": p.path})
	if err != nil {
		t.Fatal(err)
	}
	p.Resolver = r
	return p
}

func (p *place) write(lines ...string) {
	p.t.Helper()
	content := ""
	for _, line := range lines {
		content += line + "\n"
	}
	if err := os.WriteFile(p.path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) logins() string {
	p.t.Helper()
	users, _, err := p.List(p.t.Context(), nil, user.All)
	if err != nil {
		p.t.Fatal(err)
	}
	var logins []string
	for _, u := range users {
		logins = append(logins, u.Login)
	}
	return strings.Join(logins, " ")
}

func (p *place) right(uid, plain string) bool {
	p.t.Helper()
	right, err := p.CheckPassword(p.t.Context(), uid, user.Password{Plain: secret.Text(plain), Client: "192.0.2.1"})
	if err != nil {
		p.t.Fatal(err)
	}
	return right
}

func TestKeepsTheContract(t *testing.T) {
	t.Parallel()
	usertest.Run(t, func(t *testing.T, persons []usertest.Person) user.Resolver {
		t.Helper()
		v := pinhash.New(pinhash.Options{Params: cheap()})
		var lines []string
		for _, person := range persons {
			hash := "*"
			if person.Password != "" {
				var err error
				if hash, err = v.Hash(t.Context(), "", person.Password.Reveal()); err != nil {
					t.Fatal(err)
				}
			}
			lines = append(lines, fmt.Sprintf("%s:%s:%s:100:%s %s,,%s,%s,%s:/home:/bin/sh",
				person.Login, hash, person.UID, person.Givenname, person.Surname, person.Mobile, person.Phone,
				person.Email))
		}
		return newPlace(t, lines...)
	})
}

// TestReadsTheRecordedUsers compares with testdata/rest/user.json, "list realm1".
func TestReadsTheRecordedUsers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "alice:x:1000:1000:Alice Liddell,,+49 561 1,+49 151 1,alice@example.com:/home/alice:/bin/bash",
		"bob:x:1001:1001:Bob Builder,,,0151222,bob@example.com:/home/bob:/bin/bash",
		"nomail:x:1002:1002:No Mail,,,,:/home/nomail:/bin/bash")
	want := []user.User{
		{
			Login:       "alice",
			UID:         "1000",
			Description: "Alice Liddell,,+49 561 1,+49 151 1,alice@example.com",
			Email:       "alice@example.com",
			Givenname:   "Alice",
			Surname:     "Liddell",
			Mobile:      "+49 561 1",
			Phone:       "+49 151 1",
		},
		{
			Login:       "bob",
			UID:         "1001",
			Description: "Bob Builder,,,0151222,bob@example.com",
			Email:       "bob@example.com",
			Givenname:   "Bob",
			Surname:     "Builder",
			Phone:       "0151222",
		},
		{
			Login:       "nomail",
			UID:         "1002",
			Description: "No Mail,,,,",
			Givenname:   "No",
			Surname:     "Mail",
		},
	}
	got, _, err := p.List(t.Context(), nil, user.All)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	got, _, err = p.List(t.Context(), user.Filter{"email": "bob@*"}, user.All) // "list by email"
	if err != nil || len(got) != 0 {
		t.Errorf("list by email: %v, %v", got, err)
	}
}

func TestChangedFileCountsAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "a:x:1:1:A")
	if got := p.logins(); got != "a" {
		t.Fatalf("got %q", got)
	}
	p.write("b:x:1:1:B", "c:x:2:1:C")
	if got := p.logins(); got != "b c" {
		t.Errorf("written again: %q", got)
	}
	other := filepath.Join(t.TempDir(), "new")
	if err := os.WriteFile(other, []byte("d:x:1:1:D\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, p.path); err != nil {
		t.Fatal(err)
	}
	if got := p.logins(); got != "d" {
		t.Errorf("replaced: %q", got)
	}
}

func TestYoungFileIsReadAgainThoughItLooksTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	when := time.Now().Add(-time.Hour)
	write := func(login string) {
		if err := os.WriteFile(path, []byte(login+":x:1:1:A\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	r, err := fileuser.New(fileuser.Options{Files: frozen{when}, Verifier: pinhash.New(pinhash.Options{}),
		Now: func() time.Time { return when.Add(time.Second) }})("pw", map[string]string{"fileName": path})
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"a", "b"} {
		write(login)
		if _, err := r.Find(t.Context(), login); err != nil {
			t.Errorf("%s: %v", login, err)
		}
	}
}

// frozen is a file system with a stopped clock.
type frozen struct{ when time.Time }

func (frozen) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

func (f frozen) Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	return frozenInfo{info, f.when}, err
}

type frozenInfo struct {
	fs.FileInfo
	when time.Time
}

func (i frozenInfo) ModTime() time.Time { return i.when }
func (frozenInfo) Sys() any             { return nil }

func TestMalformedLinesAreSkippedWithOneWarning(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "# users", "", "a:x:1:1:A\r", "b", "b:x:1", ":x:2:2:nobody", "c:x::2:no uid", "a:x:9:9:a again",
		"d\xff:x:3:3:D",
		"e:secret-in-clear:5:5:E:/home:/bin/sh:more")
	for range 2 {
		if got := p.logins(); got != "a e" {
			t.Errorf("got %q", got)
		}
	}
	log := p.log.String()
	if strings.Count(log, "malformed") != 1 || !strings.Contains(log, "lines=6") ||
		!strings.Contains(log, `first="line 4: `) {
		t.Errorf("log: %s", log)
	}
	if strings.Count(log, "cannot be checked") != 1 || strings.Contains(log, "secret-in-clear") {
		t.Errorf("log: %s", log)
	}
	if p.right("5", "secret-in-clear") {
		t.Error("a password in clear was taken")
	}
}

// TestFieldsAreReadAsAdministratorsWriteThem reads what editors, exports and getent leave behind.
func TestFieldsAreReadAsAdministratorsWriteThem(t *testing.T) {
	t.Parallel()
	p := newPlace(t,
		"\ufefffirst:x:1:1:Fir St,,,,first@example.com:/:\r",
		" trail : x : 2 : 2 : Tr Ail ,,  0151 1 , 069 2 , trail@example.com :/:/bin/sh ",
		"\ttabs:x:3:3:Ta Bs,,,,\ttabs@example.com\u00a0:/:",
		"later:x:4:4:La Ter,room,,,pager,later@example.com:/:",
		"name:x:5:5:Only Name:/:/bin/sh:one:two:",
		"junk:x:6:6:Ju Nk,,,,none:/:",
		"  # a remark",
		"+@ngtest:x:::::", "+::::::", "-gone:x:::::", "latin\xfc:x:7:7:L",
	)
	for login, want := range map[string]string{
		"first": "first@example.com",
		"trail": "trail@example.com",
		"tabs":  "tabs@example.com",
		"later": "later@example.com",
		"name":  "",
		"junk":  "",
	} {
		u, err := p.Find(t.Context(), login)
		if err != nil || u.Email != want {
			t.Errorf("%s: address %q, want %q, %v", login, u.Email, want, err)
		}
	}
	u, err := p.Find(t.Context(), "trail")
	if err != nil || u.UID != "2" || u.Givenname != "Tr" || u.Surname != "Ail" || u.Mobile != "0151 1" ||
		u.Phone != "069 2" {
		t.Errorf("%+v, %v", u, err)
	}
	if log := p.log.String(); strings.Count(log, "level=WARN") != 1 ||
		!strings.Contains(log, `lines=4 first="line 8: `) {
		t.Errorf("log: %s", log)
	}
}

func TestFileThatCannotBeReadIsNoUnknownUser(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "a:x:1:1:A")
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Find(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, user.ErrNotFound) {
		t.Errorf("%v", err)
	}
	r, err := fileuser.New(fileuser.Options{Files: files{}})("bad", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(t.Context(), "a"); err == nil || errors.Is(err, user.ErrNotFound) {
		t.Errorf("no file name: %v", err)
	}
}

// guarded is an opener that refuses the name "secret".
type guarded struct{ files }

var errRefused = errors.New("may not be read")

func (g guarded) ReadFile(name string) ([]byte, error) {
	if name == "secret" {
		return []byte("content"), errRefused
	}
	return g.files.ReadFile(name)
}

func (g guarded) Stat(name string) (fs.FileInfo, error) {
	if name == "secret" {
		return nil, errRefused
	}
	return g.files.Stat(name)
}

// TestFileThatIsRefused: naming the file is a fault of the request, a login with it is a fault of
// the server.
func TestFileThatIsRefused(t *testing.T) {
	t.Parallel()
	open := func(name string) user.Resolver {
		r, err := fileuser.New(fileuser.Options{Files: guarded{}})("pw", map[string]string{"fileName": name})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, want := range map[string]string{
		"secret": "ERR905: Parameter fileName: this file cannot be read here.", "": "",
		filepath.Join(t.TempDir(), "later"): "",
	} {
		checked, ok := open(name).(user.Checked)
		if !ok {
			t.Fatal("it cannot be checked")
		}
		err := checked.Check(t.Context())
		var f *fault.Error
		if want == "" && err != nil || want != "" &&
			(!errors.As(err, &f) || f.Code != fault.Parameter || f.Message != want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, err := open("secret").Find(t.Context(), "a")
	if !errors.Is(err, errRefused) || fault.CodeOf(err) != fault.Internal {
		t.Errorf("find: %v", err)
	}
}

func TestSampleFileWorks(t *testing.T) {
	t.Parallel()
	sample, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "passwd.sample"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, strings.TrimSuffix(string(sample), "\n"))
	if got := p.logins(); got != "alice bob nomail" {
		t.Errorf("got %q", got)
	}
	if !p.right("1000", "userpw") || p.right("1000", "userpx") || p.log.Len() > 0 {
		t.Errorf("password of alice; log: %s", p.log)
	}
}

func TestUnknownUsersTakeTheCostliestHashOfTheFile(t *testing.T) {
	t.Parallel()
	v := pinhash.New(pinhash.Options{Params: cheap()})
	hash, err := v.Hash(t.Context(), "", "userpw")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, "a:"+hash+":1:1:A", "b:x:2:2:B")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, uid := range []string{"1", "2", "nosuch"} { // a computation needs a slot, and none is free
		if _, err := p.CheckPassword(ended, uid, user.Password{Plain: "userpw"}); !errors.Is(err, context.Canceled) {
			t.Errorf("uid %s: %v", uid, err)
		}
	}
	if p.right("nosuch", "userpw") || p.right("2", "userpw") || !p.right("1", "userpw") {
		t.Error("the wrong ones may in")
	}
}

func TestPasswordMarkFollowsThePassword(t *testing.T) {
	t.Parallel()
	v := pinhash.New(pinhash.Options{Params: cheap()})
	line := func(uid, plain string) string {
		hash, err := v.Hash(t.Context(), "", plain)
		if err != nil {
			t.Fatal(err)
		}
		return "alice:" + hash + ":" + uid + ":100:Alice:/:"
	}
	first := line("1000", "one")
	p := newPlace(t, first)
	mark := func(uid string) secret.Text {
		m, err := p.Resolver.(user.Marked).PasswordMark(t.Context(), uid) //nolint:forcetypeassert // a test
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	before := mark("1000")
	if before == "" || mark("1000") != before || mark("nosuch") != "" {
		t.Error("the mark must be there, stay while the password does, and be empty for nobody")
	}
	p.write(line("1000", "two"))
	if after := mark("1000"); after == before || after == "" {
		t.Error("another password has the same mark, or none")
	}
	p.write("alice:x:1000:100:Alice:/:")
	if mark("1000") != "" {
		t.Error("a user without a password has a mark")
	}
}

// The warning names the file and says why lines were skipped, without what they hold; users who share a UID are named.
func TestWarningsNameTheFileTheLinesAndTheUsersOfAUID(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "alice:x:1001:1001:Alice:/:/", "j\xfcrgen:x:1002:1002:J:/:/", "alice:x:1003:1003:Again:/:/",
		"hunter22", "dave::::x",
		"bob:x:1001:1001:Bob:/:/")
	for range 2 {
		if _, err := p.Find(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
	log := p.log.String()
	for _, text := range []string{
		`lines=4 first="line 2: not UTF-8 (save the file as UTF-8); line 3: the name occurs twice; line 4: 1 of 7 fields"`,
		`users=1 first="alice and bob"`,
	} {
		if strings.Count(log, text) != 1 {
			t.Errorf("want once: %s", text)
		}
	}
	if strings.Count(log, "file="+p.path) != 2 || strings.Contains(log, "hunter22") || t.Failed() {
		t.Error(log)
	}
}
