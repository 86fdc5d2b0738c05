package test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// reader asks for lists and pages of a server, as an administrator.
type reader struct {
	*world
	cookie, session string
	db              *sql.DB
}

// column is a column of a table.
type column struct{ table, name, kind string }

// newReader starts a server that has at least two rows in each table that lists and pages read.
func newReader(t *testing.T) *reader {
	t.Helper()
	w := newWorldOn(t, embedded)
	l := &reader{world: w}
	users := w.Write(t, "users", "alice:x:1000:1000:Alice,,,,alice@example.com:/:\n"+
		"bob:x:1001:1001:Bob,,,,bob@example.com:/:\n")
	for _, one := range []string{"first", "second"} {
		w.server.Must(t, http.MethodPost, "/resolver/"+one, map[string]any{"type": "passwdresolver", "fileName": users})
		w.server.Must(t, http.MethodPost, "/realm/"+one, map[string]any{"resolvers": one, "priority." + one: "1"})
	}
	w.server.Set(t, "one", "1", "two", "2")
	w.server.Must(t, http.MethodPost, "/system/setConfig",
		map[string]any{"secret": "hidden", "secret.type": "password"})
	w.server.SMTPServer(t, "sealed", w.sink.Port, map[string]any{"username": "user", "password": "hidden"})
	for n, user := range []string{"alice", "bob"} {
		serial := fmt.Sprint("T", n)
		w.server.Enrol(t, serial, "pin", user+"@example.com", "user", user, "realm", "second")
		w.server.Must(t, http.MethodPost, "/token/info/"+serial+"/colour", map[string]any{"value": "blue"})
		w.server.MustCheck(t, "CHALLENGE", serial, "pin")
	}
	for _, user := range []string{"alice", "bob"} {
		e2e.Eventually(t, "a mail", func() bool { return len(w.sink.Mails(user+"@example.com")) > 0 })
	}
	in := pageOf(t, w.server.Client, "/ui/signin", "", url.Values{"username": {"admin"},
		"password": {e2e.AdminPassword}})
	var signedIn struct{ Token string }
	a := w.server.Anonymous().Must(t, http.MethodPost, "/auth",
		map[string]any{"username": "admin", "password": e2e.AdminPassword})
	if err := json.Unmarshal(a.Result.Value, &signedIn); err != nil {
		t.Fatal(err)
	}
	l.session = signedIn.Token
	l.cookie, _, _ = strings.Cut(in.Header.Get("Set-Cookie"), ";")
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.Dir, "state", "otpost.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	l.db = db
	// Another administrator: a damaged row of another account must not end the reader's session.
	l.exec(t, `INSERT INTO administrator
		SELECT 'another', email, password_hash, password_changed_ms, created_ms FROM administrator`)
	return l
}

func (l *reader) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := l.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// columns returns the columns of all tables, except those that are read only at the start.
func (l *reader) columns(t *testing.T) []column {
	t.Helper()
	rows, err := l.db.QueryContext(t.Context(),
		`SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version' ORDER BY m.name, c.cid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.table, &c.name, &c.kind); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil || len(all) < 100 {
		t.Fatalf("%d columns, %v", len(all), err)
	}
	return all
}

// key identifies a row of a table: by its rowid, or by the columns of its primary key.
type key struct {
	names  []string
	values []any
}

// row returns the key of the row of a table to damage: the first, or that of another administrator; no names: none.
func (l *reader) row(t *testing.T, table string) (k key) {
	t.Helper()
	other := ""
	if table == "administrator" {
		other = ` WHERE name <> 'admin'`
	}
	var names string
	err := l.db.QueryRowContext(t.Context(), `SELECT CASE wr WHEN 0 THEN 'rowid' ELSE
		(SELECT group_concat(name) FROM pragma_table_info($1) WHERE pk > 0) END
		FROM pragma_table_list WHERE name = $1 AND schema = 'main'`, table).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	k.names = strings.Split(names, ",")
	k.values = make([]any, len(k.names))
	places := make([]any, len(k.names))
	for i := range places {
		places[i] = &k.values[i]
	}
	err = l.db.QueryRowContext(t.Context(), fmt.Sprintf(`SELECT %s FROM "%s"%s ORDER BY %s LIMIT 1`, names, table,
		other, names)).Scan(places...)
	if errors.Is(err, sql.ErrNoRows) {
		return key{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// where returns the condition that identifies the row.
func (k key) where() string { return strings.Join(k.names, " IS ? AND ") + " IS ?" }

// wrong returns wrong values for a column of a kind: one, or with all every value of a damaged
// file.
func (c column) wrong(all bool) []any {
	var values []any
	switch c.kind {
	case "TEXT":
		values = []any{[]byte{0xff, 0x00, 0xfe}, "", "garbage\x00\x01", 17, strings.Repeat("x", 100_000)}
	case "BLOB":
		values = []any{[]byte("short"), "garbage", []byte{}, 17}
	default:
		values = []any{"garbage", []byte{0xff}, -1, int64(1)<<62 + 1, 1.5}
	}
	if !all {
		return values[:1]
	}
	return append(values, nil) // refused where the column is NOT NULL
}

// lists are the addresses that show more than one object. Those of one object show that of a row that is not damaged.
func (l *reader) lists(t *testing.T) []string {
	t.Helper()
	var id []byte
	if err := l.db.QueryRowContext(t.Context(),
		`SELECT id FROM delivery ORDER BY rowid DESC LIMIT 1`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	delivery := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return []string{
		"/delivery/", "/delivery/?state=accepted", "/delivery/statistics", "/delivery/" + delivery, "/queue/",
		"/smtpserver/", "/smtpserver/sealed",
		"/system/", "/system/two", "/system/nodes", "/token/", "/token/?serial=T1", "/token/?user=bob&realm=second",
		"/token/challenges/",
		"/token/challenges/T1", "/user/", "/user/?realm=second", "/realm/", "/realm/superuser", "/defaultrealm",
		"/resolver/", "/resolver/second",
		"/healthz/readyz", "/auth/rights",
		"/ui/overview", "/ui/servers", "/ui/newserver", "/ui/servers/sealed", "/ui/users", "/ui/users?realm=second",
		"/ui/user?user=bob&realm=second",
		"/ui/tokens/T1", "/ui/enrol?user=bob&realm=second", "/ui/deliveries", "/ui/deliveries/" + delivery, "/ui/try",
		"/ui/login",
	}
}

// ask returns the fault of the answer to a GET, and its body.
func (l *reader) ask(t *testing.T, path string) (wrong, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", l.session)
	r.Header.Set("Cookie", l.cookie)
	response, err := l.server.HTTP.Do(r)
	if err != nil {
		return err.Error(), ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s %.300s (%v)", response.Status, text, err), string(text)
	}
	return "", string(text)
}

// damage is a value that is written into a row, and the value before.
type damage struct {
	column
	row           key
	value, before any
}

// write writes a value into the row and reports whether the database accepted it.
func (l *reader) write(t *testing.T, d damage, value any) bool {
	t.Helper()
	_, err := l.db.ExecContext(t.Context(), fmt.Sprintf(`UPDATE "%s" SET "%s" = ? WHERE %s`, d.table, d.name,
		d.row.where()), append([]any{value}, d.row.values...)...)
	if i := slices.Index(d.row.names, d.name); err == nil && i >= 0 {
		d.row.values[i] = value
	}
	if err == nil && d.table != "instance" { // so that caches read again
		l.exec(t, `UPDATE instance SET generation = CAST(generation AS BIGINT) + 1`)
	}
	return err == nil
}

// rounds returns the damages of each round: with OTPOST_SOAK each value of each column by itself,
// else the n-th column of every table.
func (l *reader) rounds(t *testing.T) [][]damage {
	t.Helper()
	var all [][]damage
	places := make(map[string]int)
	for _, c := range l.columns(t) {
		d := damage{column: c, row: l.row(t, c.table)}
		if d.row.names == nil {
			continue
		}
		query := fmt.Sprintf(`SELECT "%s" FROM "%s" WHERE %s`, c.name, c.table, d.row.where())
		if err := l.db.QueryRowContext(t.Context(), query, d.row.values...).Scan(&d.before); err != nil {
			t.Fatal(err)
		}
		if soak() > 0 {
			for _, d.value = range c.wrong(true) {
				all = append(all, []damage{d})
			}
			continue
		}
		d.value = c.wrong(false)[0]
		n := places[c.table]
		if places[c.table]++; n == len(all) {
			all = append(all, nil)
		}
		all[n] = append(all[n], d)
	}
	return all
}

// TestDamagedRowsTakeNoListDown writes a value of a wrong type into each column of each table, and
// requests every list and page.
func TestDamagedRowsTakeNoListDown(t *testing.T) {
	t.Parallel()
	l := newReader(t)
	lists := l.lists(t)
	damages := 0
	for _, round := range l.rounds(t) {
		var done []damage
		var what []string
		for _, d := range round {
			if l.write(t, d, d.value) { // otherwise the schema refuses it
				done = append(done, d)
				what = append(what, fmt.Sprintf("%s.%s = %.20q", d.table, d.name, fmt.Sprint(d.value)))
			}
		}
		for _, path := range lists {
			if wrong, _ := l.ask(t, path); wrong != "" {
				t.Errorf("GET %s: %s\nwith %s", path, wrong, strings.Join(what, ", "))
			}
		}
		for _, d := range done {
			if !l.write(t, d, d.before) { // the server has written the row anew meanwhile, as that of its lease
				l.exec(t, fmt.Sprintf(`DELETE FROM "%s" WHERE %s`, d.table, d.row.where()), d.row.values...)
			}
		}
		damages += len(done)
	}
	if damages < 100 {
		t.Errorf("%d columns were damaged", damages)
	}
	if n := strings.Count(l.server.Err.String(), "a row of the database cannot be read"); n == 0 || n > damages {
		t.Errorf("the log tells of damage %d times for %d damages", n, damages)
	}
}

// TestReplacedKeyFileTakesNoListDown starts a server with the database of another key file. Every list and page
// answers and says what must be entered again, and a login of such a token is answered as one that cannot be sent.
func TestReplacedKeyFileTakesNoListDown(t *testing.T) {
	t.Parallel()
	l := newReader(t)
	l.server.Stop(t)
	keys := filepath.Join(l.Dir, "enckey")
	if err := os.Chmod(keys, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, []byte(strings.Repeat("another key file", 6)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(keys, 0o400); err != nil {
		t.Fatal(err)
	}
	l.server = l.Serve(t)
	for _, path := range l.lists(t) {
		wrong, body := l.ask(t, path)
		if wrong != "" {
			t.Errorf("GET %s: %s", path, wrong)
		}
		if strings.HasPrefix(path, "/token/?serial=") && !strings.Contains(body, `"unreadable_info_keys": ["email"]`) {
			t.Errorf("GET %s does not say that the address cannot be read: %s", path, body)
		}
		if strings.HasPrefix(path, "/ui/tokens/") && !strings.Contains(body, "cannot be read") {
			t.Errorf("GET %s does not say that the address cannot be read", path)
		}
	}
	for range 2 {
		a := l.server.MustCheck(t, "REJECT", "T1", "pin")
		if !strings.Contains(a.Raw, "could not be sent") {
			t.Errorf("login: %s", a.Raw)
		}
	}
	log := l.server.Err.String()
	if n := strings.Count(log, "the key file "+keys+" is not the one this database was made with"); n != 1 ||
		!strings.Contains(log, "put the old key file back") {
		t.Errorf("%d lines about the key file, want 1 with what to do:\n%s", n, log)
	}
	if a := l.server.Must(t, http.MethodGet, "/healthz/readyz", nil); !strings.Contains(a.Raw, `"hsm": "fail"`) {
		t.Errorf("readiness does not show the other key file: %s", a)
	}
	if wrong, body := l.ask(t, "/ui/overview"); wrong != "" || !strings.Contains(body, "Put the old key file back") {
		t.Errorf("the overview does not say what to do: %s", wrong)
	}
	if n := strings.Count(log, "does not open with this key file"); n == 0 || n > 6 {
		t.Errorf("the log tells %d times that addresses cannot be read:\n%s", n, log)
	}
	l.server.Must(t, http.MethodPost, "/token/init", map[string]any{
		"type": "email", "serial": "T1", "pin": "pin", "email": "bob@example.com", "user": "bob", "realm": "second",
	})
	if wrong, body := l.ask(t, "/token/?serial=T1"); wrong != "" || strings.Contains(body, "unreadable") {
		t.Errorf("an address that was entered again: %s %s", wrong, body)
	}
}

// TestDamagedRowRefusesOnlyItsOwnRequests damages rows that single requests read. Each is answered with its documented
// refusal, the log names the row and what to do, and the repair that the log names works.
func TestDamagedRowRefusesOnlyItsOwnRequests(t *testing.T) {
	t.Parallel()
	l := newReader(t)
	changed := func(query string, args ...any) {
		l.exec(t, query, args...)
		l.exec(t, `UPDATE instance SET generation = generation + 1`)
	}
	auth := func(name, password string) (status int) {
		body := map[string]any{"username": name, "password": password}
		return l.server.Anonymous().Call(t, http.MethodPost, "/auth", body).HTTPStatus
	}

	for _, column := range []string{"port", "tls", "timeout_s", "enqueue_job"} {
		changed(`UPDATE smtp_server SET ` + column + ` = 'junk' WHERE identifier = 'queued'`)
		if a := l.server.MustCheck(t, "REJECT", "T1", "pin"); !strings.Contains(a.Raw, "could not be sent") {
			t.Errorf("smtp_server.%s: %s", column, a.Raw)
		}
		if wrong, _ := l.ask(t, "/smtpserver/queued"); wrong != "" {
			t.Errorf("smtp_server.%s: %s", column, wrong)
		}
		l.server.SMTPServer(t, "queued", l.sink.Port, map[string]any{"enqueue_job": true})
		l.server.MustCheck(t, "CHALLENGE", "T1", "pin")
	}
	for _, hash := range []any{5, "", strings.Repeat("x", 100_000), []byte{0xff}, "$argon2id$junk"} {
		changed(`UPDATE administrator SET password_hash = ? WHERE name = 'another'`, hash)
		if status := auth("another", e2e.AdminPassword); status < 400 || status >= 500 { // 429 after some
			t.Errorf("administrator.password_hash %.20v: /auth %d", hash, status)
		}
		if status := auth("admin", e2e.AdminPassword); status != http.StatusOK {
			t.Errorf("administrator.password_hash %.20v: /auth of another administrator %d", hash, status)
		}
	}
	for column, value := range map[string]any{"data": "{", "type": "unknown"} {
		changed(`UPDATE resolver SET `+column+` = ? WHERE name = 'second'`, value)
		body := map[string]any{"user": "bob", "realm": "second", "pass": "pin"}
		a := l.server.Anonymous().Call(t, http.MethodPost, "/validate/check", body)
		if a.HTTPStatus >= http.StatusInternalServerError {
			t.Errorf("resolver.%s: %s", column, a.Raw)
		}
	}
	log := l.server.Err.String()
	for _, want := range []string{
		"save the SMTP server again", "set the password of this administrator again", "define it again",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if strings.Contains(log, "request failed") {
		t.Errorf("a request failed:\n%s", log)
	}
}
