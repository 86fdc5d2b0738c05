package config

import "strings"

// QueueClass says which queue takes the messages.
type QueueClass string

// The classes. NoQueue is the zero value.
const (
	NoQueue       QueueClass = ""         // every message is sent inside its request
	EmbeddedQueue QueueClass = "embedded" // in the state database
	RedisQueue    QueueClass = "redis"    // in Redis at QueueURL
)

// QueueFallback says what a login does while the queue is out of reach.
type QueueFallback string

// The fallbacks.
const (
	FallbackOutbox QueueFallback = "outbox" // the message waits in the database
	FallbackInline QueueFallback = "inline" // the request sends it
	FallbackError  QueueFallback = "error"  // the login is refused
)

// hueyClass is the class that privacyIDEA's manual tells to write ("Job Queue"). It means RedisQueue.
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
		// The original goes on inline here and says nothing.
		return v.fail(problem{"names no queue that otpost knows", "write 'embedded' or '" + hueyClass + "', or remove the line to send inline"})
	}
	return nil
}

// readQueueURL checks the scheme only: the driver reads the rest as redis-py does, and a raw % or ^ in a password is no mistake.
func readQueueURL(c *Config, v value) error {
	url, err := v.text()
	if err != nil {
		return err
	}
	scheme, _, ok := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss", "unix":
	case "redis+sentinel", "rediss+sentinel", "sentinel", "redis+cluster", "rediss+cluster": // the driver says that they come later
	default:
		ok = false
	}
	if !ok {
		return v.fail(problem{"is no URL of a Redis", "write 'redis://host:6379/0', 'rediss://...' or 'unix:///path'"})
	}
	c.QueueURL = NewSecret([]byte(url))
	return nil
}

func readQueueName(c *Config, v value) error {
	name, err := v.text()
	if err != nil {
		return err
	}
	if len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return v.fail(problem{"is no name of a queue", "write 1 to 64 of a-z, 0-9, _ and -"})
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
	return v.fail(problem{"is no fallback", "write 'outbox', 'inline' or 'error'"})
}
