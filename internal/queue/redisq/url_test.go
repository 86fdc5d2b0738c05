package redisq_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otpost/internal/queue/redisq"
)

// meaning is what redis-py says of a URL (testdata/redispy.py).
type meaning struct {
	URL            string
	Refused        bool
	DB             int
	User, Password string
	Host           string
	Port           int
	Path           string
	Timeout        *float64 `json:"socket_timeout"`
	ConnectTimeout *float64 `json:"socket_connect_timeout"`
	Client         string   `json:"client_name"`
	TLS            bool
	Chain, Name    bool
	MinVersion     uint16 `json:"min_version"`
}

// meanings reads them all.
func meanings(t *testing.T) []meaning {
	t.Helper()
	text, err := os.ReadFile("testdata/redispy.json")
	if err != nil {
		t.Fatal(err)
	}
	var data struct{ URLs []meaning }
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	if len(data.URLs) < 100 {
		t.Fatalf("only %d URLs", len(data.URLs))
	}
	return data.URLs
}

func TestURLsMeanWhatRedisPySays(t *testing.T) {
	t.Parallel()
	for _, m := range meanings(t) {
		got, err := redisq.ParseURL(m.URL)
		if (err != nil) != m.Refused {
			t.Errorf("%s: error %v, redis-py refuses it: %t", m.URL, err, m.Refused)
			continue
		}
		if err == nil {
			compare(t, m, got)
		}
	}
}

func compare(t *testing.T, m meaning, got redisq.Location) {
	t.Helper()
	address := m.Path
	if m.Path == "" {
		address = net.JoinHostPort(m.Host, strconv.Itoa(m.Port))
	}
	if got.Address != address || got.Socket != (m.Path != "") || got.DB != m.DB || got.User != m.User || got.Password != m.Password || got.Client != m.Client {
		t.Errorf("%s: %+v, redis-py means %+v", m.URL, got, m)
	}
	if got.TLS != m.TLS || got.Chain != m.Chain || got.Name != m.Name || m.MinVersion != 0 && got.MinVersion != m.MinVersion || m.TLS && got.ServerName != m.Host {
		t.Errorf("%s: TLS %+v, redis-py means %+v", m.URL, got, m)
	}
	for _, c := range []struct {
		want *float64
		got  time.Duration
	}{{m.Timeout, got.CallTime}, {m.ConnectTimeout, got.DialTime}} {
		if c.want != nil && c.got != min(time.Duration(*c.want*float64(time.Second)), 3*time.Second) {
			t.Errorf("%s: time %s, redis-py means %g s, and 3 s are the most", m.URL, c.got, *c.want)
		}
	}
}

// words are what the manual says of a URL.
func (m meaning) words() string {
	if m.Refused {
		return "refused"
	}
	s := fmt.Sprintf("`%s` port %d", m.Host, m.Port)
	if m.Path != "" {
		s = "socket `" + m.Path + "`"
	}
	s += fmt.Sprintf(", database %d", m.DB)
	for _, part := range []struct {
		given bool
		text  string
	}{
		{m.User != "", "user `" + m.User + "`"},
		{m.Password != "", "password `" + m.Password + "`"},
		{m.Timeout != nil, "an answer within " + seconds(m.Timeout)},
		{m.ConnectTimeout != nil, "a connection within " + seconds(m.ConnectTimeout)},
		{m.TLS && m.Name, "TLS"},
		{m.TLS && m.Chain && !m.Name, "TLS, whatever name the certificate has"},
		{m.TLS && !m.Chain, "TLS without verification"},
		{m.MinVersion > 0, fmt.Sprintf("at least TLS 1.%d", m.MinVersion-0x0301)},
	} {
		if part.given {
			s += ", " + part.text
		}
	}
	return s
}

func seconds(n *float64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("%g s", *n)
}

func TestManualSaysWhatURLsMean(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:rediss?|unix)://[^`]*)` \\| (.*) \\|$").FindAllStringSubmatch(string(manual), -1) {
		rows++
		i := slices.IndexFunc(meanings(t), func(m meaning) bool { return m.URL == row[1] })
		if i < 0 {
			t.Errorf("%s was not asked of redis-py", row[1])
		} else if want := meanings(t)[i].words(); row[2] != want {
			t.Errorf("%s: %q, want %q", row[1], row[2], want)
		}
	}
	if rows < 20 {
		t.Errorf("the manual has %d rows", rows)
	}
}

func TestEmptyURLIsTheLocalRedis(t *testing.T) {
	t.Parallel()
	got, err := redisq.ParseURL("")
	if err != nil || got.Address != "localhost:6379" || got.DB != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestOptionsWithoutEffectAreNamed(t *testing.T) {
	t.Parallel()
	got, err := redisq.ParseURL("rediss://h?max_connections=5&ssl_ciphers=HIGH&db=1&socket_keepalive=1")
	if err != nil || len(got.Warnings) != 3 || !strings.HasPrefix(got.Warnings[0], "max_connections ") {
		t.Fatalf("warnings %q, %v", got.Warnings, err)
	}
}

func TestURLErrorsSayWhatIsWrongAndNoSecret(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis+sentinel://:topsecret@h/m/0":                   "Sentinel comes later",
		"redis+cluster://:topsecret@h":                        "clusters come later",
		"http://:topsecret@h":                                 "none of redis://",
		"redis://:topsecret@h:x":                              "port",
		"redis://:topsecret/x@h":                              "port",
		"redis://:topsecret@h?db=x":                           "option db",
		"redis://:topsecret@h/-1":                             "below 0",
		"redis://:topsecret@h?nosuch=1":                       `"nosuch"`,
		"redis://:topsecret@h?ssl_cert_reqs=none":             "rediss://",
		"rediss://:topsecret@h?ssl_cert_reqs=CERT_NONE":       "none of required",
		"rediss://:topsecret@h?ssl_ca_certs=/nonexistent.pem": "ssl_ca_certs",
		"rediss://:topsecret@h?ssl_ca_path=/nonexistent":      "ssl_ca_path",
		"rediss://:topsecret@h?ssl_ca_data=x":                 "ssl_ca_data",
		"rediss://:topsecret@h?ssl_certfile=/nonexistent.pem": "ssl_certfile",
		"rediss://:topsecret@h?ssl_keyfile=/nonexistent.pem":  "ssl_keyfile",
		"redis://:topsecret@h?socket_timeout=0":               "socket_timeout",
	} {
		_, err := redisq.ParseURL(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("redis://us%er:p^%@[::1]:1/2?db=3&socket_timeout=1#x")
	f.Add("unix://:%@/a b?db=+1")
	f.Fuzz(func(t *testing.T, url string) {
		got, err := redisq.ParseURL(url)
		if err == nil && got.DB < 0 {
			t.Fatalf("%q: database %d", url, got.DB)
		}
	})
}
