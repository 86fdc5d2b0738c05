// Package config turns pi.cfg and the environment into one Config value.
//
// pi.cfg is Python, as privacyIDEA's users write it. A pass over its tokens turns it into Starlark,
// which runs in bounded steps and reaches no file, network or process. The package promises: every
// setting has the type of its row in Keys, a wrong value stops the start with its key, file and
// line, and no error or warning holds a secret. It does not read PI_ENCFILE (secret does) or open
// the database (store does). Only cli and app call it.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultFile is read when no file is named.
const DefaultFile = "/etc/privacyidea/pi.cfg"

// Options are the sources of the configuration. The zero value reads DefaultFile and an empty
// environment.
type Options struct {
	// File, when set, is the only file that is read; it must exist. Otherwise SearchFile is read if
	// it exists, and then the file of the variable PRIVACYIDEA_CONFIGFILE, whose settings win.
	File string
	// SearchFile replaces DefaultFile, for tests.
	SearchFile string
	// Env holds NAME=value pairs: os.Environ() in the program.
	Env []string
}

// Config is the whole configuration from pi.cfg and the environment. It has one field for each
// setting (a row of Keys), hence its length. It is immutable after Load.
type Config struct {
	Source string   // the files that were read, joined by ", "; "environment" when there was none
	Files  []string // absolute paths of those files and of the key files that they name; REST must not open them

	DatabaseURI     DatabaseURI // OTPOST_DATABASE_URI, else SQLALCHEMY_DATABASE_URI
	SecretKey       Secret      // SECRET_KEY, at least 16 bytes
	Pepper          Secret      // PI_PEPPER, may be empty
	EncFile         string      // PI_ENCFILE, a path; its existence was not checked
	SuperuserRealms []string    // SUPERUSER_REALM in lower case; nil: none
	LogFile         string      // PI_LOGFILE, a path; empty: standard error
	LogLevel        slog.Level  // PI_LOGLEVEL
	LogConfig       string      // PI_LOGCONFIG, ignored with a warning
	Node            string      // PI_NODE
	QueueClass      QueueClass  // PI_JOB_QUEUE_CLASS
	QueueURL        Secret      // PI_JOB_QUEUE_URL, which may contain a password; its scheme was checked
	QueueName       string      // PI_JOB_QUEUE_NAME, [a-z0-9_-]{1,64}
	// PI_HASH_ALGO_PARAMS: the known names that are set, within their bounds; nil: none
	HashParams    map[string]int
	QueueFallback QueueFallback // OTPOST_QUEUE_FALLBACK
	BasePath      string        // OTPOST_BASE_PATH, as CheckBasePath returns it
	QueueLogFile  string        // OTPOST_QUEUE_LOGFILE, a path; empty: the server's log
	// OTPOST_FILE_ROOTS, absolute paths; nil: every folder, except the files of otpost itself
	FileRoots    []string
	PINCache     bool          // OTPOST_PIN_CACHE
	DeliveryKeep time.Duration // OTPOST_DELIVERY_KEEP, whole days; 0: for ever
	AuditKeep    time.Duration // OTPOST_AUDIT_KEEP, whole days; 0: for ever

	encFileAt  Position             // the place of PI_ENCFILE
	queueParts map[string]queuePart // options of the queue's Redis beside a URL, by huey's name

	Warnings []string // sentences for the log of the start, one line each
}

// Load reads the configuration. An error is one sentence, an *Error if its place is known; it may
// wrap an error of package fs.
func Load(o Options) (*Config, error) {
	env := environment(o.Env)
	files, err := o.files(env)
	if err != nil {
		return nil, err
	}
	fromEnv := environmentLayer(env)
	if len(files) == 0 && len(fromEnv) == 0 {
		return nil, &Error{Position: Position{File: o.searchFile()}, Message: "there is no such file",
			Hint: "make it with otpost setup, or name another with --config"}
	}
	settings := layer{}
	if err := settings.merge(fromEnv); err != nil {
		return nil, err
	}
	c := &Config{Source: "environment"}
	if len(files) > 0 {
		c.Source = strings.Join(files, ", ")
	}
	for _, file := range files {
		if err := c.readFile(file, settings, env); err != nil {
			return nil, err
		}
	}
	if err := c.fill(settings); err != nil {
		return nil, err
	}
	return c, nil
}

func (o Options) searchFile() string {
	if o.SearchFile != "" {
		return o.SearchFile
	}
	return DefaultFile
}

// files returns the files to read, in this order.
func (o Options) files(env map[string]string) ([]string, error) {
	if o.File != "" {
		return []string{o.File}, nil
	}
	var files []string
	_, err := os.Stat(o.searchFile())
	switch {
	case err == nil:
		files = append(files, o.searchFile())
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if named := env[envPrefix+"CONFIGFILE"]; named != "" && !slices.Contains(files, named) {
		files = append(files, named)
	}
	return files, nil
}

// readFile merges the settings of one file over earlier ones.
func (c *Config) readFile(file string, settings layer, env map[string]string) error {
	source, err := readBounded(file, maxFile)
	if err != nil {
		return inFile(Position{File: file}, "", err)
	}
	found, err := evaluate(file, source, env)
	if err != nil {
		return err
	}
	c.keepPrivate(file)
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 &&
		found.holdSecret() {
		c.warn("%s holds secrets and other users can read it: chmod o= %s", file, file)
	}
	return settings.merge(found)
}

// inFile adds the place where a file is named to an error about the file.
func inFile(at Position, key string, err error) error {
	var p problem
	if errors.As(err, &p) {
		return &Error{Position: at, Key: key, Message: p.message, Hint: p.hint}
	}
	var path *fs.PathError
	if !errors.As(err, &path) {
		return fmt.Errorf("%s: %w", at, err)
	}
	if key == "" {
		return fmt.Errorf("%s: %w%s", at, path.Err,
			adviceOn(err, "name the file with --config or PRIVACYIDEA_CONFIGFILE; otpost setup makes one"))
	}
	return fmt.Errorf("%s: %s: %w%s", at, key, err,
		adviceOn(err, "write the secret into this file, or correct its name"))
}

// adviceOn returns ": " and what to do about a file that cannot be opened; missing is the advice
// for a missing file.
func adviceOn(err error, missing string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ": " + missing
	case errors.Is(err, fs.ErrPermission):
		return ": let the user of this process read it, or run it as the owner"
	}
	return ""
}

// merge replaces settings by those of over. A secret and its _FILE twin replace each other, and one
// source may set only one of the two.
func (l layer) merge(over layer) error {
	for name, s := range over {
		l[name] = s
	}
	for _, k := range Keys() {
		if !k.Secret {
			continue
		}
		direct, file := over[k.Name], over[k.Name+fileSuffix]
		switch {
		case direct.set() && file.set():
			return &Error{Position: file.at, Key: k.Name + fileSuffix, Message: "is set beside " + k.Name,
				Hint: "keep one of them"}
		case direct.set():
			delete(l, k.Name+fileSuffix)
		case file.set():
			delete(l, k.Name)
		}
	}
	return nil
}

// holdSecret reports whether the layer itself contains a secret.
func (l layer) holdSecret() bool {
	for _, k := range Keys() {
		if k.Secret && l[k.Name].set() && k.Name != "PI_JOB_QUEUE_URL" && !strings.HasSuffix(k.Name, "_URI") {
			return true
		}
	}
	return false
}

// fill reads each setting into its field.
func (c *Config) fill(settings layer) error {
	normal, err := defaults()
	if err != nil {
		return err
	}
	for _, k := range Keys() {
		s := settings[k.Name]
		if file := settings[k.Name+fileSuffix]; k.Secret && file.set() {
			content, err := c.readTwin(value{file, k.Name + fileSuffix})
			if err != nil {
				return err
			}
			s = setting{value: string(content), at: file.at}
		}
		if !s.set() {
			s = normal[k.Name]
		}
		if !s.set() {
			continue
		}
		if err := k.read(c, value{s, k.Name}); err != nil {
			return err
		}
	}
	if err := c.joinQueue(settings); err != nil {
		return err
	}
	c.warnUnknown(settings)
	return c.complete()
}

func (c *Config) readTwin(v value) ([]byte, error) {
	path, err := v.text()
	if err != nil {
		return nil, err
	}
	c.keepPrivate(path)
	content, err := readSecretFile(path)
	if err != nil {
		return nil, inFile(v.at, v.key, err)
	}
	return content, nil
}

// complete refuses a configuration without the settings that every server needs.
func (c *Config) complete() error {
	missing := func(key, hint string) error {
		return &Error{Position: Position{File: c.Source}, Key: key, Message: "is not set", Hint: hint}
	}
	switch {
	case c.DatabaseURI.Kind == "":
		return missing("OTPOST_DATABASE_URI", "write "+sqliteExample)
	case c.SecretKey.Empty():
		return missing("SECRET_KEY", "write 32 random characters, as otpost setup does")
	case c.EncFile == "":
		return missing("PI_ENCFILE", "name the key file that otpost setup makes")
	}
	if c.Pepper.Empty() {
		c.warn("%s: PI_PEPPER is not set, so the passwords of administrators are hashed without it: write 32 random "+
			"characters, then set each administrator's password anew with otpost admin password", c.Source)
	}
	return nil
}

// warnUnknown names all unknown settings with otpost's prefixes, in one warning.
func (c *Config) warnUnknown(settings layer) {
	known := map[string]bool{}
	for _, k := range Keys() {
		known[k.Name] = true
		known[k.Name+fileSuffix] = k.Secret
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if strings.HasPrefix(name, queuePrefix) { // joinQueue reports these
			continue
		}
		if (strings.HasPrefix(name, "PI_") || strings.HasPrefix(name, "OTPOST_")) && !known[name] {
			unknown = append(unknown, fmt.Sprintf("%s (%s)", name, settings[name].at))
		}
	}
	params, _ := value{settings["PI_HASH_ALGO_PARAMS"], ""}.flat()
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if _, ok := hashParam(name); !ok {
			unknown = append(unknown, fmt.Sprintf("PI_HASH_ALGO_PARAMS[%q]", name))
		}
	}
	if len(unknown) > 0 {
		c.warn("settings that otpost does not use: %s", strings.Join(unknown, ", "))
	}
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

func (c *Config) keepPrivate(path string) {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	c.Files = append(c.Files, path)
}
