package config

import "strings"

// QueueClass is the queue for messages.
type QueueClass string

// The classes. NoQueue is the zero value.
const (
	NoQueue       QueueClass = ""         // every message is sent inside its request
	EmbeddedQueue QueueClass = "embedded" // in the state database
	RedisQueue    QueueClass = "redis"    // in Redis at QueueURL
)

// QueueFallback is what a login does while the queue is out of reach.
type QueueFallback string

// The fallbacks.
const (
	FallbackOutbox QueueFallback = "outbox" // the message waits in the database
	FallbackInline QueueFallback = "inline" // the request sends it
	FallbackError  QueueFallback = "error"  // the login is refused
)

// hueyClass is the class of privacyIDEA's manual ("Job Queue"). It means RedisQueue.
const hueyClass = "privacyidea.lib.queues.huey_queue.HueyQueue"

func readQueueClass(c *Config, v value) error {
	class, err := v.text()
	if err != nil {
		return err
	}
	switch class {
	case string(EmbeddedQueue):
		c.QueueClass = EmbeddedQueue
	case string(RedisQueue), hueyClass:
		c.QueueClass = RedisQueue
	default:
		// The original sends inline here, without a warning.
		return v.fail(problem{"names no queue that otpost knows",
			"write 'embedded' or '" + hueyClass + "', or remove the line to send inline"})
	}
	return nil
}

// readQueueURL checks only the scheme: the driver reads the rest as redis-py does, and a raw % or ^
// in a password is allowed.
func readQueueURL(c *Config, v value) error {
	url, err := v.text()
	if err != nil {
		return err
	}
	scheme, _, ok := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss", "unix":
	case "redis+sentinel", "rediss+sentinel", "sentinel", "redis+cluster", "rediss+cluster":
		// the driver refuses them
	default:
		ok = false
	}
	if !ok {
		return v.fail(problem{"is not a URL of a Redis",
			"write 'redis://host:6379/0', 'rediss://...' or 'unix:///path'"})
	}
	if misplacedAt(url) {
		return v.fail(problem{"has an @ after the first /, ? or #",
			"write / as %2F, ? as %3F and # as %23 before the @"})
	}
	c.QueueURL = NewSecret([]byte(url))
	return nil
}

// misplacedAt reports whether user or password of a URL contain a character that ends them, so that
// a wrong host would be read: redis://:a/b@host. An @ is allowed in the path of a socket and in the
// value of an option.
func misplacedAt(url string) bool {
	scheme, rest, _ := strings.Cut(url, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 || strings.Contains(rest[:end], "@") || scheme == "unix" && end == 0 {
		return false
	}
	before, fragment, _ := strings.Cut(rest[end:], "#")
	path, query, _ := strings.Cut(before, "?")
	option, _, _ := strings.Cut(query, "=")
	_, port, _ := strings.Cut(rest[:end], ":")
	digits := strings.Trim(port[strings.LastIndexByte(port, ':')+1:], "0123456789]") == ""
	return strings.Contains(path+fragment+option, "@") || !digits && strings.Contains(query, "@")
}

func readQueueName(c *Config, v value) error {
	name, err := v.text()
	if err != nil {
		return err
	}
	if len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return v.fail(problem{"is not a name of a queue", "write 1 to 64 of a-z, 0-9, _ and -"})
	}
	c.QueueName = name
	return nil
}

func readQueueFallback(c *Config, v value) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	switch f := QueueFallback(text); f {
	case FallbackOutbox, FallbackInline, FallbackError:
		c.QueueFallback = f
		return nil
	}
	return v.fail(problem{"is not a fallback", "write 'outbox', 'inline' or 'error'"})
}
