package test

import (
	"database/sql"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // makes a database of privacyIDEA, independently of otpost

	"otpost/test/e2e"
)

// database is the file of a Site's database.
func database(s *e2e.Site) string { return filepath.Join(s.Dir, "state", "otpost.db") }

// serve returns the command that starts a Site's server.
func serve(s *e2e.Site, more ...string) e2e.Command {
	return s.Otpost(append([]string{"serve", "--config", s.Config, "--listen", "127.0.0.1:0"}, more...)...)
}

// TestStartThatCannotBeSaysWhy breaks an installation in one way each and expects exit code 1, one
// sentence, and unchanged files.
func TestStartThatCannotBeSaysWhy(t *testing.T) {
	t.Parallel()
	mode := func(name string, mode fs.FileMode) func(*testing.T, *e2e.Site) {
		return func(t *testing.T, s *e2e.Site) {
			if err := os.Chmod(filepath.Join(s.Dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(name, content string) func(*testing.T, *e2e.Site) {
		return func(t *testing.T, s *e2e.Site) {
			os.Remove(filepath.Join(s.Dir, name)) //nolint:errcheck // WriteFile tells
			s.Write(t, name, content)
		}
	}
	lines := func(text string) func(*testing.T, *e2e.Site) {
		return func(t *testing.T, s *e2e.Site) { s.Append(t, text) }
	}
	cases := []struct {
		name, says string
		breakIt    func(*testing.T, *e2e.Site)
	}{
		{"no key file", "enckey", func(t *testing.T, s *e2e.Site) {
			if err := os.Remove(filepath.Join(s.Dir, "enckey")); err != nil {
				t.Fatal(err)
			}
		}},
		{"key file that everybody can read", "enckey", mode("enckey", 0o644)},
		{"key file that is too short", "enckey", file("enckey", strings.Repeat("k", 95))},
		{"key file that is a folder", "not a regular file", func(t *testing.T, s *e2e.Site) {
			s.Append(t, fmt.Sprintf("PI_ENCFILE = '%s'\n", filepath.Join(s.Dir, "state")))
		}},
		{"f-string in pi.cfg", "pi.cfg:", lines("A = f'x'\n")},
		{"unclosed text in pi.cfg", "pi.cfg:", lines("A = 'x\n")},
		{"program in pi.cfg", "pi.cfg:", lines("import subprocess\nsubprocess.run('true')\n")},
		{"endless loop in pi.cfg", "pi.cfg:", lines("while True:\n    pass\n")},
		{"wrong type in pi.cfg", "PI_LOGLEVEL", lines("PI_LOGLEVEL = 'LOUD'\n")},
		{"short SECRET_KEY", "SECRET_KEY", lines("SECRET_KEY = 'short'\n")},
		{"unknown queue class", "PI_JOB_QUEUE_CLASS", lines("PI_JOB_QUEUE_CLASS = 'carrier.pigeon'\n")},
		{"database of another server", "OTPOST_DATABASE_URI",
			lines("OTPOST_DATABASE_URI = 'mysql+pymysql://u:p@h/db'\n")},
		{"database that is not there", "otpost setup", func(t *testing.T, s *e2e.Site) {
			s.Append(t, fmt.Sprintf("OTPOST_DATABASE_URI = 'sqlite:///%s/nosuch.db'\n", s.Dir))
		}},
		{"database in a folder that is not there", "/nosuch-folder/x.db",
			lines("OTPOST_DATABASE_URI = 'sqlite:////nosuch-folder/x.db'\n")},
		{"database that is none", "database", file("state/otpost.db", strings.Repeat("no database ", 1000))},
		{"log in a folder that is not there", "PI_LOGFILE", lines("PI_LOGFILE = '/nosuch-folder/x.log'\n")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := e2e.NewSite(t, programs, true)
			c.breakIt(t, site)
			before := contents(t, site.Dir)
			exits(t, 1, c.says, serve(site))
			same(t, before, contents(t, site.Dir))
		})
	}
}

// contents returns the files below a folder, except those that SQLite makes and removes beside a
// database.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(filepath.Base(path), ".db-") {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, text := range after {
		if old, ok := before[path]; !ok {
			t.Errorf("%s was made", path)
		} else if old != text {
			t.Errorf("%s was changed", path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("%s is gone", path)
		}
	}
}

func TestPrivacyIDEAsDatabaseIsNeverWritten(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	foreign := filepath.Join(site.Dir, "privacyidea.sqlite")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`CREATE TABLE token (id INTEGER PRIMARY KEY, serial VARCHAR(40))`,
		`CREATE TABLE tokenrealm (id INTEGER PRIMARY KEY, token_id INTEGER, realm_id INTEGER)`,
		`CREATE TABLE pidea_audit (id INTEGER PRIMARY KEY, date DATETIME, action VARCHAR(50))`,
		`INSERT INTO token (serial) VALUES ('PIEM0001')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	// As on a site that uses one pi.cfg for both programs and forgets OTPOST_DATABASE_URI.
	site.Append(t, fmt.Sprintf("OTPOST_DATABASE_URI = None\nSQLALCHEMY_DATABASE_URI = 'sqlite:///%s'\n", foreign))
	before := contents(t, site.Dir)
	exits(t, 1, "OTPOST_DATABASE_URI", serve(site))
	exits(t, 1, "OTPOST_DATABASE_URI", serve(site, "--migrate"))
	exits(t, 1, "OTPOST_DATABASE_URI", site.Otpost("worker", "--config", site.Config, "-l",
		filepath.Join(t.TempDir(), "x.log")))
	setup := site.Otpost("setup", "--dir", site.Dir, "--admin", "admin", "--password-stdin")
	setup.Stdin = "x-y-z-1-2-3\n"
	exits(t, 1, "OTPOST_DATABASE_URI", setup)
	exits(t, 1, "OTPOST_DATABASE_URI", site.Otpost("admin", "list", "--config", site.Config))
	same(t, before, contents(t, site.Dir))
	if beside, err := filepath.Glob(foreign + "-*"); err != nil || len(beside) > 0 {
		t.Errorf("files beside privacyIDEA's database: %v (%v)", beside, err)
	}
}

func TestDatabaseOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		e2e.Missing(t, "root, to give a file to another user")
	}
	site := e2e.NewSite(t, programs, true)
	const nobody = 65534
	if err := os.Chown(database(site), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	exits(t, 1, "uid 65534", serve(site))
	exits(t, 1, "uid 65534", site.Otpost("admin", "list", "--config", site.Config))
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exits(t, 1, "another program", site.Otpost("serve", "--config", site.Config, "--listen", l.Addr().String()))
}

func TestWrongCommandLinesExitWithTwo(t *testing.T) {
	t.Parallel()
	site := e2e.NewSite(t, programs, false)
	for _, args := range [][]string{
		{"serve", "--nosuch"},
		{"nosuch"},
		{"serve", "--config", site.Config, "--workers", "many"},
		{"serve", "--config", site.Config, "--workers", "-1"},
		{"serve", "--config", site.Config, "--listen", "nonsense"},
		{"serve", "--config", site.Config, "--listen", "0.0.0.0:0"},
		{"worker", "--config", site.Config, "-w", "0"},
		{"worker", "--nosuch"},
		{"setup", "--dir", site.Dir, "--queue", "nosuch", "--password-stdin"},
		{"admin", "add", "--config", site.Config},
		{"admin", "nosuch"},
	} {
		t.Run(strings.ReplaceAll(strings.Join(args, " "), site.Dir, "DIR"), func(t *testing.T) {
			t.Parallel()
			exits(t, 2, "", site.Otpost(args...))
		})
	}
	exits(t, 2, "", e2e.Command{Path: programs.Path("privacyidea-queue-huey"), Args: []string{"--nosuch"},
		Dir: t.TempDir()})
}

func TestFailedSetupLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, password, says string }{
		{"empty password", "\n", "password"},
		{"no password", "", "password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new")
			exits(t, 1, c.says, e2e.Command{
				Path: programs.Path("otpost"), Args: []string{"setup", "--dir", dir, "--admin", "admin",
					"--password-stdin"}, Stdin: c.password,
			})
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("the folder was made: %v", contents(t, dir))
			}
		})
	}
	t.Run("a file in its way", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "state"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dir)
		exits(t, 1, "state", e2e.Command{
			Path: programs.Path("otpost"), Args: []string{"setup", "--dir", dir, "--admin", "admin",
				"--password-stdin"}, Stdin: "x-y-z-1-2-3\n",
		})
		same(t, before, contents(t, dir))
	})
	t.Run("again", func(t *testing.T) {
		t.Parallel()
		site := e2e.NewSite(t, programs, true)
		before := contents(t, site.Dir)
		again := site.Otpost("setup", "--dir", site.Dir, "--admin", "other", "--password-stdin")
		if code, p := e2e.Run(t, again); code != 0 {
			t.Errorf("setup of what is there exits with %d: %s", code, p.Err)
		}
		same(t, before, contents(t, site.Dir))
	})
}
