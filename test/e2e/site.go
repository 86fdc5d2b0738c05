package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// AdminPassword is the password of each Site's administrator "admin".
const AdminPassword = "Kiesel-und-Moos-4"

// cheapHashes makes hashing a PIN cheap, because the hash is not tested.
const cheapHashes = "PI_HASH_ALGO_PARAMS = {'argon2__rounds': 1, 'argon2__memory_cost': 8, 'argon2__parallelism': 1}\n"

// Site is an installation in a folder of its own.
type Site struct {
	Dir    string   // pi.cfg, keys and users
	Config string   // the pi.cfg
	Stderr *os.File // the standard error of Otpost's commands; nil: Process.Err

	programs Programs
}

// NewSite makes an installation by `otpost setup`, with cheap hashes and with the embedded queue if wanted.
func NewSite(t testing.TB, programs Programs, queue bool) *Site {
	t.Helper()
	s := &Site{Dir: filepath.Join(t.TempDir(), "site"), programs: programs}
	s.Config = filepath.Join(s.Dir, "pi.cfg")
	args := []string{"setup", "--dir", s.Dir, "--admin", "admin", "--password-stdin"}
	if queue {
		args = append(args, "--queue", "embedded")
	}
	code, p := Run(t, Command{Path: programs.Path("otpost"), Args: args, Stdin: AdminPassword + "\n"})
	if code != 0 {
		t.Fatalf("otpost setup exited with %d\nstdout: %s\nstderr: %s", code, p.Out, p.Err)
	}
	s.Append(t, cheapHashes)
	return s
}

// hueyClass is the line of privacyIDEA's manual that turns the queue on.
const hueyClass = "PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'\n"

// NewRedisSite is NewSite with the two lines of privacyIDEA's manual: the class as in the manual,
// and the URL of a Redis.
func NewRedisSite(t testing.TB, programs Programs, url string) *Site {
	t.Helper()
	s := NewSite(t, programs, false)
	s.Append(t, hueyClass+"PI_JOB_QUEUE_URL = '"+url+"'\n")
	return s
}

// Append adds lines to the pi.cfg.
func (s *Site) Append(t testing.TB, lines string) {
	t.Helper()
	f, err := os.OpenFile(s.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(lines); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Write makes a file in the installation's folder and returns its path.
func (s *Site) Write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Read returns a file's content; a relative name is in the installation's folder. A missing file is
// empty.
func (s *Site) Read(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.Dir, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

// Server is a running server with its administrator's session.
type Server struct {
	*Process
	*Client
}

// Serve starts the server on a free port, waits until it listens, and logs the administrator in.
func (s *Site) Serve(t testing.TB, args ...string) *Server {
	t.Helper()
	p := Start(t, s.Otpost(append([]string{"serve", "--config", s.Config, "--listen", "127.0.0.1:0"}, args...)...))
	line := p.Line(t, "listening on ")
	_, url, _ := strings.Cut(line, "listening on ")
	c := &Client{URL: strings.TrimSpace(url), HTTP: &http.Client{Timeout: time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	c.LogIn(t, "admin", AdminPassword)
	return &Server{p, c}
}

// Otpost returns the command of otpost with these arguments.
func (s *Site) Otpost(args ...string) Command {
	return Command{Path: s.programs.Path("otpost"), Args: args, Dir: s.Dir, Stderr: s.Stderr}
}

// Worker is a running external worker.
type Worker struct {
	*Process
	Log string // its log file
}

// Worker starts an external worker that logs to a file in the installation's folder, and waits until it works.
func (s *Site) Worker(t testing.TB, args ...string) *Worker {
	t.Helper()
	w := &Worker{Log: filepath.Join(s.Dir, "worker.log")}
	w.Process = Start(t, s.Otpost(append([]string{"worker", "--config", s.Config, "-l", w.Log}, args...)...))
	w.Line(t, "Logging to ")
	return w
}
