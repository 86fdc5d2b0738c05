package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// queuePrefix begins the settings that privacyIDEA passes to huey, each as the option after the
// prefix, in lower case ("Job Queue" in privacyIDEA's manual; huey's RedisStorage passes unknown
// options to redis-py's connection).
const queuePrefix = "PI_JOB_QUEUE_"

// redisOptions are the options of redis-py's connection without a row in Keys. The query of
// PI_JOB_QUEUE_URL has them under the same names; package redisq says which of them have an effect.
func redisOptions() []string {
	return []string{
		"socket_timeout", "socket_connect_timeout", "client_name",
		"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data",
		"ssl_certfile", "ssl_keyfile", "ssl_min_version",
		"socket_keepalive", "health_check_interval", "retry_on_timeout", "socket_read_size", "max_connections",
		"protocol", "encoding", "encoding_errors", "decode_responses", "lib_name", "lib_version",
		"ssl_ciphers", "ssl_password",
	}
}

// hueyOptions are huey's own options. They have no effect here, except immediate.
func hueyOptions() []string {
	return []string{
		"results", "store_none", "utc", "serializer", "compression", "use_zlib", "immediate_use_memory",
		"blocking", "read_timeout", "notify_result", "notify_result_ttl",
	}
}

// queuePart is one option of the connection to Redis and its value as a text.
type queuePart struct {
	v    value
	text string
}

// readQueuePart returns the reader of an option with a row in Keys. check returns the value as a
// URL's query has it.
func readQueuePart(option string, check func(value) (string, error)) func(*Config, value) error {
	return func(c *Config, v value) error {
		text, err := check(v)
		if err == nil {
			c.addQueuePart(option, v, text)
		}
		return err
	}
}

func (c *Config) addQueuePart(option string, v value, text string) {
	if c.queueParts == nil {
		c.queueParts = map[string]queuePart{}
	}
	c.queueParts[option] = queuePart{v, text}
}

func queueHost(v value) (string, error) {
	host, err := v.text()
	if err != nil {
		return "", err
	}
	host = strings.TrimSpace(host)
	if inside, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inside, "]")
	}
	if strings.ContainsAny(host, "/@ []") || strings.Count(host, ":") == 1 {
		return "", v.fail(problem{"is not a host",
			"write only the host name or address; PI_JOB_QUEUE_PORT is for the port, PI_JOB_QUEUE_URL for a URL"})
	}
	return host, nil
}

// queueNumber reads an integer, or a text of digits as os.environ has it.
func queueNumber(least, most int64) func(value) (string, error) {
	return func(v value) (string, error) {
		n, ok := v.value.(int64)
		if text, isText := v.value.(string); isText {
			var err error
			n, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			ok = err == nil
		}
		if !ok || n < least || n > most {
			return "", v.fail(problem{"is not a number in range", fmt.Sprintf("write an integer from %d to %d", least,
				most)})
		}
		return strconv.FormatInt(n, 10), nil
	}
}

func queueTLS(v value) (string, error) {
	on, err := v.boolean()
	return strconv.FormatBool(on), err
}

// scalar returns a text, a number or a boolean as a URL's query has it.
func scalar(v value) (string, error) {
	switch x := v.value.(type) {
	case bool, int64, float64:
		return fmt.Sprint(x), nil
	}
	return v.text()
}

// joinQueue makes a URL of the parts that are set. It refuses unknown options, and parts that
// contradict the URL or each other: otherwise a wrong Redis would take the mails without an error.
func (c *Config) joinQueue(settings layer) error {
	if err := c.queueOptions(settings); err != nil {
		return err
	}
	if len(c.queueParts) == 0 {
		return nil
	}
	first := c.queueParts[slices.Sorted(maps.Keys(c.queueParts))[0]].v
	for _, name := range []string{"PI_JOB_QUEUE_URL", "PI_JOB_QUEUE_URL" + fileSuffix} {
		if s := settings[name]; s.set() {
			return first.fail(problem{fmt.Sprintf("is set beside %s (%s), so the Redis is set twice", name, s.at),
				"keep the URL with everything in it, or the parts HOST, PORT, DB, USERNAME, PASSWORD and the " +
					"like without a URL"})
		}
	}
	scheme := "redis"
	if c.queueParts["ssl"].text == "true" {
		scheme = "rediss"
	}
	delete(c.queueParts, "ssl")
	if path, ok := c.queueParts["path"]; ok {
		for _, other := range []string{"host", "port"} {
			if p, both := c.queueParts[other]; both {
				return p.v.fail(problem{"is set beside " + path.v.key,
					"keep the path for a socket, or host and port for a network"})
			}
		}
		if scheme == "rediss" {
			return path.v.fail(problem{"names a socket, which has no TLS", "remove PI_JOB_QUEUE_SSL"})
		}
		scheme = "unix"
	}
	var query []string
	for _, option := range slices.Sorted(maps.Keys(c.queueParts)) {
		query = append(query, option+"="+escapeAll(c.queueParts[option].text))
	}
	c.QueueURL = NewSecret([]byte(scheme + "://?" + strings.Join(query, "&")))
	return nil
}

// queueOptions reads the options without a row in Keys.
func (c *Config) queueOptions(settings layer) error {
	known := map[string]bool{}
	var names []string
	for _, k := range Keys() {
		if strings.HasPrefix(k.Name, queuePrefix) {
			known[k.Name] = true
			known[k.Name+fileSuffix] = k.Secret
			names = append(names, k.Name)
		}
	}
	for _, option := range redisOptions() {
		names = append(names, queuePrefix+strings.ToUpper(option))
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		v := value{settings[name], name}
		option, ok := strings.CutPrefix(name, queuePrefix)
		option = strings.ToLower(option)
		switch {
		case !ok || known[name] || !v.set():
		case slices.Contains(redisOptions(), option):
			text, err := scalar(v)
			if err != nil {
				return err
			}
			c.addQueuePart(option, v, text)
		case slices.Contains(hueyOptions(), option), option == "immediate" && v.value == false:
			c.warn("%s: %s is without effect: it is an option of huey, and otpost runs the queue itself", v.at, name)
		case option == "immediate":
			return v.fail(problem{"would send each mail inside its request",
				"to get this, remove PI_JOB_QUEUE_CLASS; else remove this line"})
		default:
			return v.fail(problem{"is not an option of the queue", "did you mean " + nearest(name, names) + "?"})
		}
	}
	return nil
}

// escapeAll writes each byte except letters and digits as %XX.
func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := rune(s[i]); isLetter(c) || isDigit(c) {
			b.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}
