package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/rueidis"
)

// Redis is a redis-server on 127.0.0.1 with data of its own, which keeps an append-only file, synced each second.
type Redis struct {
	Port   int
	Dir    string // its data
	Socket string // its Unix socket, a short path

	args    []string
	env     []string
	process *Process
	earlier *Text // output of earlier runs
}

// NewRedis starts a redis-server that lives until the end of the test; args are added to its own.
// It skips the test when the program is missing.
func NewRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return NewRedisAt(t, quietPort(t), args...)
}

// NewRedisAt is NewRedis on a port that is known to be free.
func NewRedisAt(t testing.TB, port int, args ...string) *Redis {
	t.Helper()
	return newRedis(t, port, nil, args...)
}

// newRedis is NewRedisAt with variables of the server's environment.
func newRedis(t testing.TB, port int, env []string, args ...string) *Redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		Missing(t, "redis-server (scripts/deps redis)")
	}
	dir, err := os.MkdirTemp("", "redis") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary folder
	r := &Redis{
		Port:    port,
		Dir:     dir,
		Socket:  filepath.Join(dir, "socket"),
		args:    args,
		env:     env,
		earlier: &Text{},
	}
	r.Start(t)
	return r
}

// quietPort returns a free port below those that the kernel gives to outgoing connections: while
// the server is down, no other program gets it.
func quietPort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12_000 + rand.N(18_000)
		if Free(port) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// Free reports whether a port of 127.0.0.1 is free.
func Free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close() //nolint:errcheck // it was only tried
	return true
}

// Start starts the server, again after it has ended, and waits until it answers.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	args := []string{
		"--port", strconv.Itoa(r.Port), "--bind", "127.0.0.1", "--unixsocket", r.Socket, "--dir", r.Dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--rdbcompression", "no",
		"--maxmemory-policy", "noeviction",
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	r.process = Start(t, Command{Path: path, Args: append(args, r.args...), Dir: r.Dir, Env: r.env})
	r.process.Line(t, "Ready to accept connections")
}

// end keeps the output of the process and ends it by a signal.
func (r *Redis) end(t testing.TB, how syscall.Signal) {
	t.Helper()
	r.process.Signal(t, how)
	r.process.Wait(t)
	io.WriteString(r.earlier, r.process.Out.String()) //nolint:errcheck // into memory
}

// Kill ends the server as kill -9 does.
func (r *Redis) Kill(t testing.TB) { t.Helper(); r.end(t, syscall.SIGKILL) }

// Stop ends the server in order.
func (r *Redis) Stop(t testing.TB) { t.Helper(); r.end(t, syscall.SIGTERM) }

// Pause stops the server's answers until Resume; its connections stay open.
func (r *Redis) Pause(t testing.TB) { t.Helper(); r.process.Signal(t, syscall.SIGSTOP) }

// Resume continues a paused server.
func (r *Redis) Resume(t testing.TB) { t.Helper(); r.process.Signal(t, syscall.SIGCONT) }

// Address returns "127.0.0.1:PORT".
func (r *Redis) Address() string { return fmt.Sprintf("127.0.0.1:%d", r.Port) }

// URL returns the URL of database 0.
func (r *Redis) URL() string { return "redis://" + r.Address() + "/0" }

// Log returns the output of all runs of the server.
func (r *Redis) Log() string { return r.earlier.String() + r.process.Out.String() }

// Do runs one command in a database and returns its answer; a null is an empty text.
func (r *Redis) Do(t testing.TB, db int, words ...string) rueidis.RedisMessage {
	t.Helper()
	return r.AuthDo(t, "", db, words...)
}

// AuthDo is Do with the password of the default user.
func (r *Redis) AuthDo(t testing.TB, password string, db int, words ...string) rueidis.RedisMessage {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{r.Address()},
		SelectDB:          db,
		Password:          password,
		ForceSingleClient: true,
		DisableCache:      true,
	})
	if err != nil {
		t.Fatalf("redis: %v", err)
	}
	defer c.Close()
	m, err := c.Do(context.Background(), c.B().Arbitrary(words...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("redis: %s: %v", words[0], err)
	}
	return m
}

// Keys returns the keys of a database.
func (r *Redis) Keys(t testing.TB, db int) []string {
	t.Helper()
	answer := r.Do(t, db, "KEYS", "*")
	keys, err := answer.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Files saves the data as an RDB file, uncompressed, and returns the content of all of the server's
// files by their names: RDB and append-only file.
func (r *Redis) Files(t testing.TB) map[string]string {
	t.Helper()
	r.Do(t, 0, "SAVE")
	files := map[string]string{}
	err := filepath.WalkDir(r.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, r.Dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Monitor returns a text that grows by each command that the server runs, as redis-cli monitor shows them.
func (r *Redis) Monitor(t testing.TB) *Text {
	t.Helper()
	c, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	text, ended := &Text{}, make(chan struct{})
	t.Cleanup(func() {
		c.Close() //nolint:errcheck // it was only read
		<-ended
	})
	if _, err := io.WriteString(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		io.Copy(text, c) //nolint:errcheck // it ends when it is closed
	}()
	Eventually(t, "MONITOR", func() bool { return len(text.Lines("OK")) > 0 })
	return text
}

// journal returns the file to which the commands are appended.
func (r *Redis) journal(t testing.TB) string {
	t.Helper()
	for _, form := range []string{"appendonlydir/*.incr.aof", "appendonly.aof"} { // from 7 on, and before
		if found, err := filepath.Glob(filepath.Join(r.Dir, form)); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatalf("no append-only file in %s", r.Dir)
	return ""
}

// Mark returns how long the append-only file is now.
func (r *Redis) Mark(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(r.journal(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// CutTo shortens the append-only file of an ended server to a mark, as if the later bytes had not
// reached the disk, and returns how many bytes were lost.
func (r *Redis) CutTo(t testing.TB, mark int64) int64 {
	t.Helper()
	if !r.process.Ended() {
		t.Fatal("redis still runs")
	}
	lost := r.Mark(t) - mark
	if lost <= 0 {
		return 0
	}
	if err := os.Truncate(r.journal(t), mark); err != nil {
		t.Fatal(err)
	}
	return lost
}
