package redisq

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// location is a URL as redis-py reads it (redis.connection.parse_url and the connection made from
// it, 8.1; testdata/redispy.json has what it said). Its URLs are no RFC 3986 ones: what is no
// escape stands for itself, and much is forgiven.
type location struct {
	scheme         string // redis, rediss, unix
	host           string
	port           int
	path           string // of the socket
	db             int
	user, password string
	options        map[string]string // of the query; the first value of each
}

const defaultURL = "redis://localhost:6379/0"

// urlError is what is wrong with a URL. It never repeats the URL, which may hold a password.
func urlError(format string, args ...any) error {
	return fmt.Errorf("PI_JOB_QUEUE_URL: "+format, args...)
}

// readURL reads a URL as redis-py does.
func readURL(url string) (*location, error) {
	if url == "" {
		url = defaultURL
	}
	scheme, rest, _ := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss", "unix":
	case "redis+sentinel", "sentinel", "rediss+sentinel":
		return nil, urlError("Sentinel comes later: name the Redis itself")
	case "redis+cluster", "rediss+cluster":
		return nil, urlError("clusters come later: name a Redis of its own")
	default:
		return nil, urlError("begins with none of redis://, rediss:// and unix://")
	}
	rest = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(rest)
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	tail, _, _ = strings.Cut(tail, "#")
	path, query, _ := strings.Cut(tail, "?")
	l := &location{scheme: scheme, host: "localhost", port: 6379, options: readQuery(query)}
	if err := l.fromOptions(); err != nil {
		return nil, err
	}
	if err := l.fromAuthority(authority); err != nil {
		return nil, err
	}
	l.fromPath(path)
	return l, nil
}

// readQuery reads a query: a name without a value counts as not given.
func readQuery(query string) map[string]string {
	options := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(strings.ReplaceAll(name, "+", " ")), unescape(strings.ReplaceAll(value, "+", " "))
		if _, given := options[name]; value != "" && !given {
			options[name] = value
		}
	}
	return options
}

// fromOptions takes what a query may say of the place; the URL's own parts are stronger, but for
// db.
func (l *location) fromOptions() error {
	var err error
	if l.db, err = l.number("db", 0); err != nil {
		return err
	}
	if l.scheme == "unix" {
		l.path = l.options["path"]
	} else {
		if host, given := l.options["host"]; given {
			l.host = host
		}
		if l.port, err = l.number("port", l.port); err != nil {
			return err
		}
	}
	l.user, l.password = l.options["username"], l.options["password"]
	return nil
}

func (l *location) number(name string, otherwise int) (int, error) {
	text, given := l.options[name]
	if !given {
		return otherwise, nil
	}
	n, ok := pyInt(text)
	if !ok {
		return 0, urlError("the value of option %s is no number", name)
	}
	return n, nil
}

// fromAuthority reads USER:PASSWORD@HOST:PORT: the last @ parts, and the first colon of either
// side.
func (l *location) fromAuthority(authority string) error {
	if strings.Contains(authority, "[") != strings.Contains(authority, "]") {
		return urlError("the host has one bracket: an IPv6 address stands in two")
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		if user != "" {
			l.user = unescape(user)
		}
		if password != "" {
			l.password = unescape(password)
		}
		authority = authority[at+1:]
	}
	if l.scheme == "unix" {
		return nil
	}
	host, port, _ := strings.Cut(authority, ":")
	if _, inner, isIP := strings.Cut(authority, "["); isIP {
		host, port, _ = strings.Cut(inner, "]")
		_, port, _ = strings.Cut(port, ":")
	}
	if name, _, _ := strings.Cut(host, "%"); host != "" {
		l.host = unescape(strings.ToLower(name) + strings.TrimPrefix(host, name))
	}
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return urlError("the port is no number from 0 to 65535")
	}
	if n != 0 {
		l.port = int(n)
	}
	return nil
}

// fromPath reads the number of the database, or the path of the socket. The option db is stronger;
// a path that is no number says nothing.
func (l *location) fromPath(path string) {
	path = unescape(path)
	if l.scheme == "unix" {
		if path != "" {
			l.path = path
		}
		return
	}
	if _, given := l.options["db"]; given {
		return
	}
	if n, ok := pyInt(strings.ReplaceAll(path, "/", "")); ok {
		l.db = n
	}
}

// unescape decodes %XX and leaves every other % as it stands.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil && s[i+1] != '+' && s[i+1] != '-' {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), string(utf8.RuneError))
}

// pyInt reads a number as Python's int does: spaces around it, a sign, single underscores between
// digits.
func pyInt(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if strings.Contains(s, "__") || strings.HasSuffix(s, "_") || strings.HasPrefix(strings.TrimLeft(s, "+-"), "_") {
		return 0, false
	}
	n, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
	return n, err == nil
}

// pySeconds reads a positive number of seconds.
func pySeconds(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || f <= 0 || f > 3600 {
		return 0, errors.New("is no number of seconds, above 0 and up to 3600")
	}
	return f, nil
}

// pyBool reads a truth as redis-py does: all is true but these.
func pyBool(s string) bool {
	switch strings.ToUpper(s) {
	case "0", "F", "FALSE", "N", "NO":
		return false
	}
	return true
}
