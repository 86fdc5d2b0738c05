package replay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

const adminPassword = "adminpw"

// program builds otpost once per run and returns its path.
func program(t *testing.T) string {
	t.Helper()
	programs, err := e2e.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return programs.Path("otpost")
}

// passwd has the recorded users (user.json, "list realm1"); each password is userpw.
const passwd = `alice:HASH:1000:1000:Alice Liddell,,+49 561 1,+49 151 1,alice@example.com:/home/alice:/bin/sh
bob:HASH:1001:1001:Bob Builder,,,0151222,bob@example.com:/home/bob:/bin/sh
nomail:HASH:1002:1002:No Mail,,,,:/home/nomail:/bin/sh
jürgen:HASH:1003:1003:Jürgen Müller,,,,juergen@example.com:/home/juergen:/bin/sh
locked:HASH:1004:1004:Loc Ked,,,,locked@example.com:/home/locked:/bin/sh
sms:HASH:1005:1005:S Ms,,,0151333,sms@example.com:/home/sms:/bin/sh
multi:HASH:1006:1006:Mul Ti,,,0151444,multi@example.com:/home/multi:/bin/sh
notoken:HASH:1007:1007:No Token,,,,notoken@example.com:/home/notoken:/bin/sh
`

// userpwHash is `openssl passwd -5 -salt replaysalt userpw`.
const userpwHash = "$5$replaysalt$oA5gYp4uUzVWoYyUyVzvWueQMfyiZeMgvpcfZ/UgtQ3"

// installation is a folder made by `otpost setup`, and the server that runs on it.
type installation struct {
	binary, dir, users, roots, secretKey string
	base                                 string // pi.cfg without a queue
	server                               *exec.Cmd
	exited                               chan struct{} // is closed when the server has ended
	err                                  error         // of its end; after exited
	log                                  *lockedBuffer
	url                                  string
}

// install makes a fresh installation with the administrator admin.
func install(t *testing.T, rootsFile string) *installation {
	t.Helper()
	in := &installation{binary: program(t), dir: filepath.Join(t.TempDir(), "otpost"), roots: rootsFile}
	setup := exec.CommandContext(t.Context(), in.binary, "setup", "--dir", in.dir, "--admin", "admin",
		"--password-stdin")
	setup.Stdin = strings.NewReader(adminPassword + "\n")
	setup.Env = in.environment()
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("otpost setup: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(in.config())
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`(?m)^SECRET_KEY\s*=\s*['"]([^'"]+)['"]`).FindSubmatch(raw)
	if key == nil {
		t.Fatal("pi.cfg has no SECRET_KEY that can be read")
	}
	in.secretKey = string(key[1])
	own := regexp.MustCompile(`(?m)^(SUPERUSER_REALM|PI_NODE|PI_HASH_ALGO_PARAMS|PI_JOB_QUEUE_CLASS)\s*=.*$`)
	// The cheapest hash: what is compared are answers, not times.
	in.base = own.ReplaceAllString(string(raw), "") + `
SUPERUSER_REALM = ['adminrealm']
PI_NODE = 'goldennode'
PI_HASH_ALGO_PARAMS = {'argon2__rounds': 1, 'argon2__memory_cost': 64, 'argon2__parallelism': 1}
`
	in.users = filepath.Join(in.dir, "users.passwd")
	if err := os.WriteFile(in.users, []byte(strings.ReplaceAll(passwd, "HASH", userpwHash)), 0o600); err != nil {
		t.Fatal(err)
	}
	writeSMIME(t, in.dir)
	return in
}

func (in *installation) config() string { return filepath.Join(in.dir, "pi.cfg") }

// environment keeps this machine's settings out and names the sink's certificate as the only root. The server runs each
// closure of a transaction twice (store.Options.Twice).
func (in *installation) environment() []string {
	env := []string{
		"SSL_CERT_FILE=" + in.roots,
		"SSL_CERT_DIR=" + filepath.Dir(in.roots),
		"OTPOST_TEST_TRANSACTIONS_TWICE=1",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}

// start runs the server, with these lines about its queue in pi.cfg, and waits until it listens.
func (in *installation) start(t *testing.T, queue string) {
	t.Helper()
	if err := os.WriteFile(in.config(), []byte(in.base+queue), 0o600); err != nil {
		t.Fatal(err)
	}
	in.server = exec.Command(in.binary, "serve", "--config", in.config(), "--listen", "127.0.0.1:0")
	in.server.Env = in.environment()
	in.server.Dir = in.dir
	in.log = &lockedBuffer{}
	in.server.Stderr = in.log
	out, err := in.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := in.server.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	server, exited := in.server, make(chan struct{})
	in.exited = exited
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
				listening <- strings.TrimSpace(url)
			}
		}
		io.Copy(io.Discard, out) //nolint:errcheck // only so that the server is never held up
		in.err = server.Wait()
		close(exited)
	}()
	select {
	case in.url = <-listening:
	case <-in.exited:
		t.Fatalf("otpost serve ended: %v\n%s", in.err, in.log)
	case <-time.After(30 * time.Second):
		in.server.Process.Kill() //nolint:errcheck // the test fails anyway
		t.Fatalf("otpost serve does not listen after 30 s\n%s", in.log)
	}
}

// stop ends the server as an administrator would; one that does not end is killed and fails the test.
func (in *installation) stop(t *testing.T) {
	t.Helper()
	if in.server == nil {
		return
	}
	in.server.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended: Wait tells
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	select {
	case <-in.exited:
		if in.err != nil {
			t.Errorf("otpost serve: %v\n%s", in.err, in.log)
		}
	case <-ctx.Done():
		in.server.Process.Kill() //nolint:errcheck // reported below
		<-in.exited
		t.Errorf("otpost serve does not stop within 30 s of SIGTERM\n%s", in.log)
	}
	in.server = nil
}

// lockedBuffer is the server's log; it is read while the server writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns the end of the log.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.b.String()
	return fmt.Sprintf("(end of the log)\n%s", text[max(0, len(text)-4000):])
}
