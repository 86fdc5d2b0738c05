package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// fileSuffix makes a secret's name the name of its twin, the path of a file with the secret.
const fileSuffix = "_FILE"

// Key is a row of the table of settings. Tests compare the manual (docs/configuration.md) and the
// sample (packaging/pi.cfg.sample) with it.
type Key struct {
	Name     string
	Type     string
	Default  string // as it is written in pi.cfg; empty: not set
	Unit     string // of a number; empty: none
	Secret   bool   // never printed; Name_FILE may name a file with it
	Sentence string // the meaning

	read func(*Config, value) error
}

// Keys returns the table of settings, in the order of the manual.
func Keys() []Key {
	return []Key{
		{"OTPOST_DATABASE_URI", "text", "", "", true,
			"Database of otpost, `sqlite:///PATH`. When it is not set, `SQLALCHEMY_DATABASE_URI` is used.",
			readDatabaseURI},
		{"SQLALCHEMY_DATABASE_URI", "text", "", "", true,
			"Database as privacyIDEA names it. Ignored when `OTPOST_DATABASE_URI` is set, so that one file can " +
				"serve both programs.", readDatabaseURI},
		{"SECRET_KEY", "text", "", "bytes", true,
			"Signs session tokens. Required; at least 16 bytes, 32 are recommended.", readSecretKey},
		{"PI_PEPPER", "text", "", "", true,
			"Put before the passwords of administrators when they are hashed.", readPepper},
		{"PI_ENCFILE", "path", "", "", false,
			"File of 96 random bytes that seals the secrets in the database. Required; other users must not be " +
				"able to read it.", readEncFile},
		{"SUPERUSER_REALM", "list of texts", "[]", "", false,
			"Realms whose users are administrators.", readSuperuserRealms},
		{"PI_LOGFILE", "path", "", "", false,
			"Log of the server: a file, or `-` for standard output. Standard error when it is not set.", readLogFile},
		{"PI_LOGLEVEL", "level", "logging.INFO", "", false,
			"What is logged: `logging.DEBUG`, `INFO`, `WARNING`, `ERROR`, or its number in Python.", readLogLevel},
		{"PI_LOGCONFIG", "path", "", "", false,
			"Python's logging configuration. Ignored, and a warning says so.", readLogConfig},
		{"PI_NODE", "text", "'localnode'", "", false,
			"Name of this server in the audit.", readNode},
		{"PI_JOB_QUEUE_CLASS", "text", "", "", false,
			"Turns the queue on: `'embedded'`, or `'redis'`, which may be written " +
				"`'privacyidea.lib.queues.huey_queue.HueyQueue'`. Without it every mail is sent inside its request.",
			readQueueClass},
		{"PI_JOB_QUEUE_URL", "text", "'redis://localhost:6379/0'", "", true,
			"Redis of the queue: `redis://`, `rediss://` or `unix://`, as redis-py reads it.", readQueueURL},
		{"PI_JOB_QUEUE_HOST", "text", "", "", false,
			"Host of that Redis, in parts instead of a URL. `localhost` when only other parts are set.",
			readQueuePart("host", queueHost)},
		{"PI_JOB_QUEUE_PORT", "integer", "", "", false,
			"Its port, 1 to 65535; 6379 when it is not set.", readQueuePart("port", queueNumber(1, 65535))},
		{"PI_JOB_QUEUE_DB", "integer", "", "", false,
			"Number of its database; 0 when it is not set.", readQueuePart("db", queueNumber(0, 1<<31-1))},
		{"PI_JOB_QUEUE_USERNAME", "text", "", "", false,
			"User at that Redis.", readQueuePart("username", value.text)},
		{"PI_JOB_QUEUE_PASSWORD", "text", "", "", true,
			"Password at that Redis, without escapes.", readQueuePart("password", value.text)},
		{"PI_JOB_QUEUE_PATH", "path", "", "", false,
			"Unix socket of that Redis, instead of host and port.", readQueuePart("path", value.text)},
		{"PI_JOB_QUEUE_SSL", "boolean", "", "", false,
			"TLS to that Redis.", readQueuePart("ssl", queueTLS)},
		{"PI_JOB_QUEUE_NAME", "text", "'huey'", "", false,
			"Name of the queue: 1 to 64 of a-z, 0-9, `_` and `-`.", readQueueName},
		{"PI_HASH_ALGO_PARAMS", "dict of integers", "{}", "passes, KiB, threads, rounds", false,
			"Cost of new hashes: `argon2__rounds` (1 to 16), `argon2__memory_cost` (8 to 262144), " +
				"`argon2__parallelism` (1 to 16), `pbkdf2_sha512__rounds` (1 to 1000000).", readHashParams},
		{"OTPOST_QUEUE_FALLBACK", "text", "'outbox'", "", false,
			"What a login does while Redis is out of reach: `'outbox'` (answer at once; the message waits until " +
				"Redis is back, or until half of its lifetime is over and the server sends it itself), `'inline'` " +
				"(send it inside the request) or `'error'` (refuse, as privacyIDEA does).", readQueueFallback},
		{"OTPOST_BASE_PATH", "text", "", "", false,
			"Path below which a proxy shows this server, such as `'/pi'`; `serve --base-path` overrides it. " +
				"Not set: the root of a host.", readBasePath},
		{"OTPOST_QUEUE_LOGFILE", "path", "", "", false,
			"Log of the workers inside the server: a file, or `-` for standard output. The server's log " +
				"when it is not set.",
			readQueueLogFile},
		{"OTPOST_FILE_ROOTS", "list of paths", "[]", "", false,
			"Folders below which REST may name files (users' passwd files, keys for signing). Empty: all folders, " +
				"except otpost's own files.", readFileRoots},
		{"OTPOST_PIN_CACHE", "boolean", "True", "", false,
			"Cache right PINs in memory, so that a login does not compute the slow hash each time.", readPINCache},
		{"OTPOST_DELIVERY_KEEP", "integer", "30", "days", false,
			"How long final deliveries are kept, with their attempts, 0 to 36500. Older ones are deleted while " +
				"a server or worker runs. 0: for ever.", readDeliveryKeep},
		{"OTPOST_AUDIT_KEEP", "integer", "400", "days", false,
			"How long rows of the audit are kept, 0 to 36500. Older ones are deleted each minute while a server " +
				"runs. 0: for ever.", readAuditKeep},
	}
}

// defaults returns the lowest layer. The table has the defaults in Python, so that the manual shows
// the same ones.
func defaults() (layer, error) {
	var source strings.Builder
	for _, k := range Keys() {
		if k.Default != "" {
			fmt.Fprintf(&source, "%s = %s\n", k.Name, k.Default)
		}
	}
	return evaluate("default", []byte(source.String()), nil)
}

func readDatabaseURI(c *Config, v value) error {
	if c.DatabaseURI.Kind != "" {
		return nil // OTPOST_DATABASE_URI, the row before
	}
	raw, err := v.text()
	if err != nil {
		return err
	}
	u, err := parseDatabaseURI(raw)
	var p problem
	if errors.As(err, &p) {
		return v.fail(p)
	}
	c.DatabaseURI = u
	return err
}

// readSecretKey checks the key as docs/security.md promises: a key under 16 bytes or a published
// one stops the start, one under 32 bytes warns.
func readSecretKey(c *Config, v value) error {
	key, err := v.bytes()
	if err != nil {
		return err
	}
	const hint = "write 32 random characters, as otpost setup does"
	n := len(key.value)
	switch {
	case published(key):
		return v.fail(problem{"is a published sample", hint})
	case len(bytes.Trim(key.value, string(key.value[:1]))) == 0:
		return v.fail(problem{"repeats one character", hint})
	case n < 16:
		return v.fail(problem{fmt.Sprintf("has %d bytes, fewer than 16", n), hint})
	case n < 32:
		c.warn("%s: SECRET_KEY has %d bytes: write 32 random characters or more; sessions then end once", v.at, n)
	}
	c.SecretKey = key
	return nil
}

// published reports whether a manual or a sample shows the key, such as privacyIDEA's ("The Config
// File" in its manual) or otpost's.
func published(s Secret) bool {
	plain := strings.ToLower(string(s.value))
	for _, sample := range []string{"t0p s3cr3t", "never know...", "change-me", "change_me", "change me", "changeme"} {
		if strings.Contains(plain, sample) {
			return true
		}
	}
	return false
}

// readPepper only warns about a published pepper, because a change makes the hashed passwords void.
func readPepper(c *Config, v value) (err error) {
	if c.Pepper, err = v.bytes(); err == nil && published(c.Pepper) {
		c.warn("%s: PI_PEPPER is a published sample: write 32 random characters, then set each administrator's "+
			"password anew with otpost admin password", v.at)
	}
	return err
}

func readEncFile(c *Config, v value) (err error) {
	if c.EncFile, err = v.text(); err != nil {
		return err
	}
	c.encFileAt = v.at
	c.keepPrivate(c.EncFile)
	// A missing file is not an error here: otpost setup is about to make it, and opening it reports
	// it.
	if err := CheckKeyFile(c.EncFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.AboutEncFile(err)
	}
	return nil
}

// AboutEncFile turns an error of reading the key file into *Error with the place where the file is
// named.
func (c *Config) AboutEncFile(err error) error {
	e := &Error{Position: c.encFileAt, Key: "PI_ENCFILE"}
	var p problem
	var path *fs.PathError
	switch {
	case errors.As(err, &p):
		e.Message, e.Hint = p.message, p.hint
	case errors.Is(err, fs.ErrNotExist):
		e.Message = c.EncFile + " does not exist"
		e.Hint = "bring it back from your backup; otpost setup makes one for a new installation"
	case errors.As(err, &path):
		e.Message = fmt.Sprintf("%s: %v", c.EncFile, path.Err)
		if errors.Is(err, fs.ErrPermission) {
			e.Hint = "run it as the owner of the file"
		}
	default:
		e.Message = fmt.Sprintf("%s: %v", c.EncFile, err)
	}
	return e
}

func readSuperuserRealms(c *Config, v value) error {
	realms, err := v.texts()
	for _, r := range realms {
		c.SuperuserRealms = append(c.SuperuserRealms, strings.ToLower(r))
	}
	return err
}

func readLogFile(c *Config, v value) (err error) {
	c.LogFile, err = v.text()
	return err
}

func readLogLevel(c *Config, v value) error {
	level := v.value
	if word, ok := level.(string); ok {
		if n, ok := pythonLevel(strings.ToUpper(word)); ok {
			level = int64(n)
		}
	}
	n, ok := level.(int64)
	if !ok || n < 0 || n > 50 {
		return v.fail(problem{"is not a level",
			"write logging.DEBUG, INFO, WARNING or ERROR, or a number from 0 to 50"})
	}
	c.LogLevel = slogLevel(n)
	return nil
}

func readLogConfig(c *Config, v value) (err error) {
	if c.LogConfig, err = v.text(); err == nil {
		c.warn("%s: PI_LOGCONFIG is ignored: PI_LOGFILE and PI_LOGLEVEL say where and what is logged", v.at)
	}
	return err
}

func readNode(c *Config, v value) (err error) {
	c.Node, err = v.text()
	return err
}

func readQueueLogFile(c *Config, v value) (err error) {
	c.QueueLogFile, err = v.text()
	return err
}

func readFileRoots(c *Config, v value) error {
	roots, err := v.texts()
	if err != nil || len(roots) == 0 {
		return err
	}
	for _, r := range roots {
		if !filepath.IsAbs(r) {
			return v.fail(problem{"holds a path that does not begin with /", "write ['/etc/privacyidea/users']"})
		}
	}
	c.FileRoots = roots
	return nil
}

func readPINCache(c *Config, v value) (err error) {
	c.PINCache, err = v.boolean()
	return err
}

func readDeliveryKeep(c *Config, v value) (err error) {
	c.DeliveryKeep, err = v.days()
	return err
}

func readAuditKeep(c *Config, v value) (err error) {
	c.AuditKeep, err = v.days()
	return err
}

// days returns a number of days; 0: for ever.
func (v value) days() (time.Duration, error) {
	const most = 36500 // a century
	n, ok := v.value.(int64)
	if !ok || n < 0 || n > most {
		return 0, v.fail(problem{"is not a number of days", fmt.Sprintf("write an integer from 0 (for ever) to %d",
			most)})
	}
	return time.Duration(n) * 24 * time.Hour, nil
}
