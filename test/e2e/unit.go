package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Unit is a unit file of systemd: the values of each key, "Section.Key", in their order.
type Unit map[string][]string

// ReadUnit reads a unit file without continued lines.
func ReadUnit(t testing.TB, path string) Unit {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	u, section := Unit{}, ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		key, value, pair := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		case pair:
			u[section+"."+key] = append(u[section+"."+key], value)
		default:
			t.Fatalf("%s: the line %q is none of a unit", path, line)
		}
	}
	return u
}

// Service returns the value of a key that occurs once in [Service].
func (u Unit) Service(t testing.TB, key string) string {
	t.Helper()
	values := u["Service."+key]
	if len(values) != 1 {
		t.Fatalf("%s stands %d times in the unit, want once", key, len(values))
	}
	return values[0]
}

// Words returns a command line of the unit as systemd makes it: ${NAME} becomes its value, $NAME
// alone as many words as its value has.
func (u Unit) Words(t testing.TB, key string, env []string) []string {
	t.Helper()
	value := func(name string) string {
		for _, pair := range slices.Backward(env) {
			if v, ok := strings.CutPrefix(pair, name+"="); ok {
				return v
			}
		}
		t.Fatalf("%s: nobody sets $%s", key, name)
		return ""
	}
	var words []string
	for _, word := range strings.Fields(u.Service(t, key)) {
		switch name, alone := strings.CutPrefix(word, "$"); {
		case alone && !strings.HasPrefix(name, "{"):
			words = append(words, strings.Fields(value(name))...)
		default:
			words = append(words, os.Expand(word, value))
		}
	}
	return words
}

// Environment returns the variables of the unit's EnvironmentFile.
func (u Unit) Environment(t testing.TB) []string {
	t.Helper()
	name, optional := strings.CutPrefix(u.Service(t, "EnvironmentFile"), "-")
	content, err := os.ReadFile(name)
	if err != nil && (!optional || !os.IsNotExist(err)) {
		t.Fatal(err)
	}
	var env []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			env = append(env, line)
		}
	}
	return env
}

// Service is a program that was started as by a service manager, with its messages to the manager.
type Service struct {
	*Process

	mu   sync.Mutex
	told []string
}

// StartService starts a unit's ExecStart with a socket for notifications and a watchdog; env are
// the variables that the manager sets beside the unit's EnvironmentFile (CONFIGURATION_DIRECTORY,
// LOGS_DIRECTORY).
func StartService(t testing.TB, u Unit, watchdog time.Duration, env ...string) *Service {
	t.Helper()
	env = append(u.Environment(t), env...)
	words := u.Words(t, "ExecStart", env)
	dir, err := os.MkdirTemp("", "notify") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{}
	ended := make(chan struct{})
	go s.listen(l, ended)
	t.Cleanup(func() {
		l.Close()         //nolint:errcheck // the connection is not used any more
		os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		<-ended
	})
	env = append(env, "NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	s.Process = Start(t, Command{Path: words[0], Args: words[1:], Dir: "/", Env: env})
	return s
}

func (s *Service) listen(l *net.UnixConn, ended chan<- struct{}) {
	defer close(ended)
	b := make([]byte, 4096)
	for {
		n, err := l.Read(b)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.told = append(s.told, string(b[:n]))
		s.mu.Unlock()
	}
}

// Messages returns the messages so far that contain part; "": all.
func (s *Service) Messages(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, m := range s.told {
		if strings.Contains(m, part) {
			found = append(found, m)
		}
	}
	return found
}

// Message waits for the n-th message that contains part, from 1, and returns it.
func (s *Service) Message(t testing.TB, part string, n int) string {
	t.Helper()
	var found []string
	Eventually(t, fmt.Sprintf("message %d with %s", n, part), func() bool {
		found = s.Messages(part)
		if len(found) < n && s.Ended() {
			t.Fatalf("the service ended before it told %q\nstdout: %s\nstderr: %s", part, s.Out, s.Err)
		}
		return len(found) >= n
	})
	return found[n-1]
}

// QuietPort returns a free port that no other program gets while its server is down.
func QuietPort(t testing.TB) int {
	t.Helper()
	return quietPort(t)
}
