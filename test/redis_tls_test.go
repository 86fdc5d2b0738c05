package test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// secureRedis starts a redis-server that also speaks TLS, with a self-signed certificate for
// 127.0.0.1. It returns the server, its address with TLS, and the file of the certificate.
func secureRedis(t *testing.T) (redis *e2e.Redis, address, ca string) {
	t.Helper()
	pair, text := e2e.Certificate(t)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca = writeTemp(t, "ca.pem", text)
	key := writeTemp(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	redis = e2e.NewRedis(t, "--tls-port", port, "--tls-cert-file", ca, "--tls-key-file", key, "--tls-ca-cert-file", ca,
		"--tls-auth-clients", "no")
	return redis, "127.0.0.1:" + port, ca
}

// writeTemp makes a file in a folder of its own and returns its path.
func writeTemp(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestQueueOverTLS logs in with a mail whose job went over TLS, from the server to Redis and from there to a worker.
func TestQueueOverTLS(t *testing.T) {
	t.Parallel()
	redis, address, ca := secureRedis(t)
	w := startWorld(t, e2e.NewRedisSite(t, programs, "rediss://"+address+"/2?ssl_ca_certs="+ca))
	w.redis = redis
	if line := w.server.Line(t, "queue: "); !strings.HasPrefix(line, "queue: Redis at "+address) {
		t.Errorf("the server starts with %q", line)
	}
	w.Worker(t)
	l := w.enrol(t, "OVERTLS")
	l.begin(t, w.server.Client)
	w.delivered(t, l)
	l.finish(t, w.server.Client, w.oneCopy(t, l))

	answer := redis.Do(t, 0, "CLIENT", "LIST")
	clients, err := answer.ToString()
	if err != nil {
		t.Fatal(err)
	}
	secure, plain := len(e2e.LinesWith(clients, "laddr="+address)), len(e2e.LinesWith(clients,
		"laddr="+redis.Address()))
	if secure < 2 || plain != 1 { // at least one of the server and one of the worker; the other is this test
		t.Errorf("%d connections with TLS, %d without:\n%s", secure, plain, clients)
	}
	if keys := redis.Keys(t, 2); len(keys) == 0 {
		t.Error("there is nothing in database 2")
	}
}

// TestRedisWithAnUntrustedCertificateIsRefused starts server and worker with URLs for which the
// certificate of Redis is not trusted: each ends with one sentence, and no data of the queue
// reaches that Redis.
func TestRedisWithAnUntrustedCertificateIsRefused(t *testing.T) {
	t.Parallel()
	redis, address, ca := secureRedis(t)
	_, text := e2e.Certificate(t)
	_, port, _ := strings.Cut(address, ":")
	for _, c := range []struct{ name, url string }{
		{"another authority", "rediss://" + address + "?ssl_ca_certs=" + writeTemp(t, "other.pem", text)},
		{"no authority named", "rediss://" + address},
		{"another name", "rediss://localhost:" + port + "?ssl_ca_certs=" + ca},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := e2e.NewRedisSite(t, programs, c.url)
			for _, command := range []e2e.Command{serve(site), site.Otpost("worker", "--config", site.Config, "-l",
				site.Dir+"/worker.log")} {
				code, p := e2e.Run(t, command)
				said := oneSentence(t, p)
				if code != 1 || !strings.Contains(said, "PI_JOB_QUEUE_URL") || !strings.Contains(said, "certificate") {
					t.Errorf("%v: exit code %d, want 1; stderr: %s", command.Args, code, said)
				}
			}
		})
	}
	if keys := redis.Keys(t, 0); len(keys) > 0 {
		t.Errorf("keys in a Redis that is not trusted: %v", keys)
	}
}
