package app

import (
	"bytes"
	"crypto/rand"
	_ "embed" // the template of pi.cfg
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"otpost/internal/config"
)

//go:embed pi.cfg.template
var piCfgTemplate string

// sideFiles is the pattern of the files that store and queue make beside a database.
const sideFiles = "-*"

// made is a file or folder that a run of Setup has made.
type made struct {
	path     string
	info     fs.FileInfo // its identity, because the name may belong to another file by now
	database bool
	beside   []string // the database's side files that existed before
}

// piCfg returns the text of a new configuration, with fresh secrets.
func (s *setup) piCfg() ([]byte, error) {
	for _, path := range []string{s.database, s.keyFile} {
		if !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) || strings.Contains(path, "?") {
			return nil, fmt.Errorf("%q cannot stand in a pi.cfg: choose a folder whose name is plain text without "+
				"a question mark", path)
		}
	}
	form, err := template.New("pi.cfg").Parse(piCfgTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the template of pi.cfg: %w", err)
	}
	var text bytes.Buffer
	err = form.Execute(&text, map[string]any{
		"Database": python("sqlite:///" + s.database), "EncFile": python(s.keyFile),
		"SecretKey": python(randomText()), "Pepper": python(randomText()), "Class": queueLine(s.Queue),
		"URL": s.urlLine(),
	})
	if err != nil {
		return nil, fmt.Errorf("fill the template of pi.cfg: %w", err)
	}
	return text.Bytes(), nil
}

// queueLine returns the line that turns the queue on, commented out while the queue is off.
func queueLine(class config.QueueClass) string {
	switch class {
	case config.RedisQueue:
		return "PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'"
	case config.EmbeddedQueue:
		return "PI_JOB_QUEUE_CLASS = 'embedded'"
	}
	return "# PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'"
}

// urlLine returns the line with the URL of Redis, commented out for the default.
func (s *setup) urlLine() string {
	if s.QueueURL == "" {
		return "# PI_JOB_QUEUE_URL = 'redis://localhost:6379/0'"
	}
	return "PI_JOB_QUEUE_URL = " + python(s.QueueURL.Reveal())
}

// python returns a text as a literal of Python.
func python(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// randomText returns 32 random bytes as 43 characters.
func randomText() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// folder makes a folder for its owner only, with its parents; an existing folder stays unchanged.
func (s *setup) folder(path string) error {
	var missing []string
	for p := path; !exists(p); p = filepath.Dir(p) {
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		err := os.Mkdir(p, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue // another process was faster and owns it
		}
		if err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		info, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		s.made = append(s.made, made{path: p, info: info})
	}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("folder: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	return nil
}

// write makes a file of this mode, complete or not at all, and never replaces a file. check, when
// given, checks it under a temporary name first.
func (s *setup) write(path string, content []byte, mode fs.FileMode, check func(file string) error) error {
	temporary := fmt.Sprintf("%s.%s.new", path, rand.Text())
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer os.Remove(temporary) //nolint:errcheck // the linked name stays
	_, err = file.Write(content)
	info, failed := file.Stat()
	err = errors.Join(err, failed, file.Chmod(mode), file.Sync(), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if check != nil {
		if err := check(temporary); err != nil {
			return err
		}
	}
	if err := os.Link(temporary, path); err != nil { // fails if the name exists, where a rename would replace
		return fmt.Errorf("write %s: %w", path, err)
	}
	s.made = append(s.made, made{path: path, info: info})
	return nil
}

// emptyDatabase makes the file that the store then fills, so that undo can recognize it.
func (s *setup) emptyDatabase() error {
	beside, _ := filepath.Glob(globbed(s.database) + sideFiles)
	file, err := os.OpenFile(s.database, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	info, err := file.Stat()
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	s.made = append(s.made, made{path: s.database, info: info, database: true, beside: beside})
	return nil
}

// undo removes everything that this run has made, the last first. A folder with other files stays.
func (s *setup) undo() {
	for _, m := range slices.Backward(s.made) {
		if now, err := os.Lstat(m.path); err != nil || !os.SameFile(now, m.info) {
			continue // another process has put its file there
		}
		if m.database {
			beside, _ := filepath.Glob(globbed(m.path) + sideFiles)
			for _, b := range beside {
				if !slices.Contains(m.beside, b) {
					os.Remove(b) //nolint:errcheck // the error that led here is returned
				}
			}
		}
		os.Remove(m.path) //nolint:errcheck // likewise
	}
}

// globbed returns a path as a pattern of filepath.Glob that matches only the path.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
