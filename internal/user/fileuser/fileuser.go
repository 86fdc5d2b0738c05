// Package fileuser reads users from a file like /etc/passwd.
//
// It is privacyIDEA's passwdresolver: a line is login:hash:uid:gid:GECOS:home:shell, and the GECOS
// text is "Given Surname,office,mobile,phone,email" (in this order by testdata/rest/user.json,
// "list realm1"). A changed file counts at once, without a restart. Lines that cannot be read are
// skipped with one warning. Password hashes are those of crypt(3), passlib or otpost (package
// pinhash); a user without a hash cannot log in with a password. The file is never written.
package fileuser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"otpost/internal/fault"
	"otpost/internal/pinhash"
	"otpost/internal/secret"
	"otpost/internal/user"
)

// Name is the type's name in the REST API.
const Name = "passwdresolver"

// parameter names the file; a relative name is under the folder of pi.cfg.
const parameter = "fileName"

// settled is the age below which a file is read again even if it looks the same: two changes within
// one tick of the file system's clock look the same, and some clocks tick in seconds.
const settled = 2 * time.Second

// Files opens the files that administrators may name (fileroot.Opener).
type Files interface {
	ReadFile(name string) ([]byte, error)
	Stat(name string) (fs.FileInfo, error)
}

// Options of the resolvers. Files and Verifier are required.
type Options struct {
	Files    Files
	Verifier *pinhash.Verifier
	Now      func() time.Time // time.Now
	Log      *slog.Logger     // discards
}

// resolver reads one file.
type resolver struct {
	Options
	file string

	mu      sync.Mutex
	content *content
}

// New returns the type. A resolver without a file name is made, as recorded
// (testdata/rest/resolver.json, "create missing filename"), and fails when it is used.
func New(o Options) user.Type {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return func(name string, parameters map[string]string) (user.Resolver, error) {
		r := &resolver{Options: o, file: parameters[parameter]}
		r.Log = o.Log.With("component", "fileuser", "resolver", name)
		return r, nil
	}
}

// Check implements user.Checked: a file that may not be read is refused; a missing file is
// accepted, because it may be created later.
func (r *resolver) Check(context.Context) error {
	if r.file == "" {
		return nil
	}
	if _, err := r.Files.ReadFile(r.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrong(parameter, "users_file", "this file cannot be read here.").Because(err)
	}
	return nil
}

// Find implements user.Resolver.
func (r *resolver) Find(_ context.Context, login string) (user.User, error) {
	c, err := r.load()
	if err != nil {
		return user.User{}, err
	}
	return c.pick(c.byLogin, login)
}

// ByUID implements user.Resolver. Of several users with one UID it returns the first.
func (r *resolver) ByUID(_ context.Context, uid string) (user.User, error) {
	c, err := r.load()
	if err != nil {
		return user.User{}, err
	}
	return c.pick(c.byUID, uid)
}

// List implements user.Resolver. A pattern for email is compared with the whole GECOS text: in the
// recording ("list by email") bob@* does not find bob@example.com.
func (r *resolver) List(_ context.Context, f user.Filter, most int) (list []user.User, count int, err error) {
	c, err := r.load()
	if err != nil {
		return nil, 0, err
	}
	list = []user.User{}
	for _, entry := range c.entries {
		seen := entry.user
		seen.Email = seen.Description
		if !f.Match(seen) {
			continue
		}
		if count++; count <= most {
			list = append(list, entry.user)
		}
	}
	return list, count, nil
}

// CheckPassword implements user.Resolver. Users with a hash of unknown form count as users without
// a password; these users and unknown UIDs take as long as the costliest hash of the file.
func (r *resolver) CheckPassword(ctx context.Context, uid string, p user.Password) (bool, error) {
	c, err := r.load()
	if err != nil {
		return false, err
	}
	hash := ""
	if i, ok := c.byUID[uid]; ok {
		hash = c.entries[i].hash
	}
	if hash == "" || p.Plain == "" {
		return false, r.Verifier.Dummy(ctx, p.Client, c.costliest, p.Plain.Reveal())
	}
	return r.Verifier.Verify(ctx, p.Client, hash, p.Plain.Reveal())
}

// PasswordMark implements user.Marked: it is the stored hash.
func (r *resolver) PasswordMark(_ context.Context, uid string) (secret.Text, error) {
	c, err := r.load()
	if err != nil {
		return "", err
	}
	if i, ok := c.byUID[uid]; ok {
		return secret.Text(c.entries[i].hash), nil
	}
	return "", nil
}

// load returns the current content of the file.
func (r *resolver) load() (*content, error) {
	if r.file == "" {
		return nil, errors.New("the resolver has no parameter " + parameter)
	}
	info, err := r.Files.Stat(r.file)
	if err != nil {
		return nil, fmt.Errorf("stat the users' file: %w", err)
	}
	now := stampOf(info)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.content != nil && r.content.stamp == now && r.content.settled {
		return r.content, nil
	}
	read := r.Now()
	raw, err := r.Files.ReadFile(r.file)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	before := r.content
	r.content = parse(raw)
	r.content.stamp = now
	r.content.settled = read.Sub(now.newest()) > settled
	if before == nil || before.stamp != now {
		r.warn(r.content)
	}
	return r.content, nil
}

func (r *resolver) warn(c *content) {
	if c.malformed > 0 {
		r.Log.Warn("lines of the users' file are malformed and were skipped", "file", r.file, "lines", c.malformed,
			"first", strings.Join(c.problems, "; "))
	}
	if c.sharedUIDs > 0 {
		r.Log.Warn("users have the uid of another user and share the tokens: give each a uid of its own",
			"file", r.file,
			"users", c.sharedUIDs, "first", strings.Join(c.sharing, "; "))
	}
	if c.unknownHashes > 0 {
		r.Log.Warn("users have a password hash that cannot be checked", "file", r.file, "users", c.unknownHashes)
	}
}

// stamp identifies one state of a file.
type stamp struct {
	device, inode    uint64
	size             int64
	modified, change time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(system.Dev), system.Ino //nolint:unconvert // other widths on other machines
		s.change = time.Unix(system.Ctim.Unix())
	}
	return s
}

func (s stamp) newest() time.Time {
	if s.change.After(s.modified) {
		return s.change
	}
	return s.modified
}
