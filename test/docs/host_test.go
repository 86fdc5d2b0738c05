package docs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otpost/test/e2e"
)

// A pretended host, for pages whose first line is "<!-- host -->": they speak to the root of a
// machine with systemd. The folders below are those of a temporary tree, into which `make install`
// goes by DESTDIR; the ports are free ones; these programs are stand-ins, everything else is run as
// it stands:
//
//	systemctl         starts the ExecStart of the installed units, waits for READY, runs their ExecReload, stops them by SIGTERM
//	journalctl        shows what a unit has printed
//	install, chown    without the owner
//	runuser           runs the command as who runs the test
//	systemd-sysusers  the real one, on the tree
//	apt-get           does nothing: redis-server is the test's own
//	redis-cli         the real one, on the test's Redis
//
// The database lies below the configuration there, for only /etc/privacyidea itself has its
// database in /var/lib/otpost.
var standIns = []string{"systemctl", "journalctl", "install", "chown", "runuser", "systemd-sysusers", "apt-get",
	"redis-cli"}

// hostFolders lie in the temporary tree.
var hostFolders = []string{"/etc/privacyidea", "/etc/default/otpost", "/etc/logrotate.d/otpost", "/var/lib/otpost",
	"/var/log/otpost", "/usr/local"}

// host is the pretended machine.
type host struct {
	root, bin string
	port      int
	redis     *e2e.Redis
	socket    string

	mu    sync.Mutex
	units map[string]*e2e.Service
}

// newHost makes one that lives until the end of the test.
func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "host") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary folder
	h := &host{
		root:   filepath.Join(dir, "root"),
		bin:    filepath.Join(dir, "bin"),
		socket: filepath.Join(dir, "systemd"),
		port:   e2e.QuietPort(t),
		redis:  e2e.NewRedis(t),
		units:  map[string]*e2e.Service{},
	}
	self, err := os.Executable()
	for _, folder := range []string{h.bin, filepath.Join(h.root, "etc"), filepath.Join(h.root, "var/log/otpost"),
		filepath.Join(h.root, "var/lib")} {
		err = errors.Join(err, os.MkdirAll(folder, 0o755)) //nolint:gosec // a host's folders
	}
	for _, name := range standIns {
		err = errors.Join(err, os.Symlink(self, filepath.Join(h.bin, name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			line, err := l.Accept()
			if err != nil {
				return
			}
			h.answer(t, line)
		}
	}()
	t.Cleanup(func() {
		l.Close() //nolint:errcheck // no client is left
		<-ended
	})
	return h
}

// here puts the host's folders, ports and name into a script.
func (h *host) here(script string) string {
	var pairs []string
	for _, folder := range hostFolders {
		pairs = append(pairs, folder, h.root+folder)
	}
	pairs = append(pairs, "localhost:6379", h.redis.Address(), "https://$HOST", fmt.Sprintf("https://$HOST:%d", h.port),
		":443", fmt.Sprintf(":%d", h.port))
	return strings.NewReplacer(pairs...).Replace(script)
}

// environment is what the reader's shell and the stand-ins see.
func (h *host) environment() []string {
	return []string{
		"PATH=" + h.bin + ":" + programs + ":" + os.Getenv("PATH"), "DESTDIR=" + h.root, "BIN=" + programs,
		"HOST=localhost", "EMAIL=alice@example.com", "STANDIN_ROOT=" + h.root, "STANDIN_BIN=" + h.bin,
		"STANDIN_SYSTEMD=" + h.socket,
		fmt.Sprintf("STANDIN_REDIS=%d", h.redis.Port),
	}
}

// reply is what systemctl and journalctl print and exit with.
type reply struct {
	Text string
	Code int
}

// answer does what a systemctl or a journalctl asks for.
func (h *host) answer(t *testing.T, line net.Conn) {
	t.Helper()
	defer line.Close() //nolint:errcheck // it was answered
	var args []string
	if err := json.NewDecoder(line).Decode(&args); err != nil {
		t.Error(err)
		return
	}
	var r reply
	units := slices.DeleteFunc(slices.Clone(args[min(2, len(args)):]), func(a string) bool {
		return strings.HasPrefix(a, "-")
	})
	switch args[0] + " " + args[1] {
	case "systemctl daemon-reload":
	case "systemctl enable", "systemctl start":
		h.each(units, func(unit string) { h.start(t, unit) })
	case "systemctl restart":
		h.each(units, func(unit string) { h.service(t, unit).Stop(t); h.start(t, unit) })
	case "systemctl reload":
		h.each(units, func(unit string) { h.reload(t, unit) })
	case "systemctl is-active":
		h.each(units, func(unit string) {
			if h.service(t, unit).Ended() {
				r = reply{r.Text + "inactive\n", 3}
			} else {
				r.Text += "active\n"
			}
		})
	case "journalctl -u":
		s := h.service(t, args[2])
		r.Text = s.Out.String() + s.Err.String()
	default:
		t.Errorf("no stand-in for %q", args)
		r.Code = 1
	}
	json.NewEncoder(line).Encode(r) //nolint:errcheck // who asks may be gone
}

func (h *host) each(units []string, f func(unit string)) {
	for _, u := range units {
		f(u)
	}
}

func (h *host) service(t *testing.T, unit string) *e2e.Service {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.units[unit]
	if s == nil {
		t.Fatalf("%s was never started", unit)
	}
	return s
}

// unit reads an installed unit, whose programs and folders are in the tree.
func (h *host) unit(t *testing.T, name string) e2e.Unit {
	t.Helper()
	u := e2e.ReadUnit(t, filepath.Join(h.root, "usr/local/lib/systemd/system", name+".service"))
	u["Service.ExecStart"] = []string{h.root + u.Service(t, "ExecStart")}
	u["Service.EnvironmentFile"] = []string{strings.Replace(u.Service(t, "EnvironmentFile"), "/etc", h.root+"/etc", 1)}
	return u
}

func (h *host) start(t *testing.T, name string) {
	t.Helper()
	s := e2e.StartService(t, h.unit(t, name), 30*time.Second,
		"CONFIGURATION_DIRECTORY="+h.root+"/etc/privacyidea", "LOGS_DIRECTORY="+h.root+"/var/log/otpost")
	s.Message(t, "READY=1", 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.units[name] = s
}

func (h *host) reload(t *testing.T, name string) {
	t.Helper()
	s := h.service(t, name)
	ready := len(s.Messages("READY=1"))
	words := h.unit(t, name).Words(t, "ExecReload", []string{fmt.Sprintf("MAINPID=%d", s.PID())})
	if code, p := e2e.Run(t, e2e.Command{Path: words[0], Args: words[1:]}); code != 0 {
		t.Errorf("%v: %s", words, p.Err)
	}
	s.Message(t, "READY=1", ready+1)
}

// stop ends the services in order, as the host's shutdown does.
func (h *host) stop(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.units {
		s.Stop(t)
	}
}

// standIn is this program under the name of one of the standIns. It returns the exit code.
func standIn(name string, args []string) int {
	path := os.Getenv("PATH")
	// the real ones, from here on
	if err := os.Setenv("PATH", strings.TrimPrefix(path, os.Getenv("STANDIN_BIN")+":")); err != nil {
		return failed(err)
	}
	switch name {
	case "systemctl", "journalctl":
		return askHost(append([]string{name}, args...))
	case "apt-get":
		return 0
	case "chown":
		return 0
	case "install":
		return become("install", withoutOwner(args))
	case "runuser":
		i := slices.Index(args, "--")
		return become(args[i+1], args[i+2:])
	case "systemd-sysusers":
		return become(name, append([]string{"--root=" + os.Getenv("STANDIN_ROOT")}, args...))
	case "redis-cli":
		return become(name, append([]string{"-p", os.Getenv("STANDIN_REDIS")}, args...))
	}
	return failed(fmt.Errorf("no stand-in for %s", name))
}

// withoutOwner leaves -o and -g with their values out.
func withoutOwner(args []string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-o" || args[i] == "-g" {
			i++
			continue
		}
		rest = append(rest, args[i])
	}
	return rest
}

// become goes on as another program.
func become(name string, args []string) int {
	path, err := exec.LookPath(name)
	if err != nil {
		return failed(err)
	}
	return failed(syscall.Exec(path, append([]string{name}, args...), os.Environ()))
}

// askHost lets the test answer, which is the host's systemd.
func askHost(args []string) int {
	line, err := net.Dial("unix", os.Getenv("STANDIN_SYSTEMD"))
	if err != nil {
		return failed(err)
	}
	defer line.Close() //nolint:errcheck // it was answered
	var r reply
	if err := errors.Join(json.NewEncoder(line).Encode(args),
		json.NewDecoder(bufio.NewReader(line)).Decode(&r)); err != nil {
		return failed(err)
	}
	fmt.Print(r.Text)
	return r.Code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
