package broken

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"otpost/internal/mail"
	"otpost/internal/secret"
)

// Case is a mail server as a file, what is sent by it, and what must come of that.
// testdata/servers/README.md says how a file is written.
type Case struct {
	Name    string   // the file's
	Sources []string // where such a server was reported

	Server    mail.Server // without its port
	Recipient string
	Script    *script

	Expect     string   // accepted, refused, deferred or unknown
	Dots       int      // contents that came with their end, at the first message
	Diagnosis  string   // of the first attempt
	Retry      bool     // the queue's second try is accepted
	Wire       string   // the commands of the first message
	Again      string   // and of a second message by the same process; empty: none is sent
	Has, Hasnt []string // parts of the lines or the content that came
}

// ReadCases reads all files of a folder.
func ReadCases(t testing.TB, folder string) []*Case {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*Case
	for _, path := range paths {
		c, err := readCase(t, path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, c)
	}
	return all
}

// readCase reads one file.
func readCase(t testing.TB, path string) (*Case, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Case{
		Name:      strings.TrimSuffix(filepath.Base(path), ".txt"),
		Recipient: "alice@example.com",
		Script:    &script{},
		Dots:      -1,
		Server: mail.Server{
			Identifier: "s",
			Server:     "127.0.0.1",
			Sender:     "otpost@example.org",
			Timeout:    5 * time.Second,
			TLSVerify:  true,
			EHLOName:   "otp.example.org",
		},
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\r\n")
		source, isSource := strings.CutPrefix(line, "# source: ")
		command, reply, isRule := strings.Cut(line, " -> ")
		key, value, isSetting := strings.Cut(line, ": ")
		switch {
		case isSource:
			c.Sources = append(c.Sources, source)
		case line == "", strings.HasPrefix(line, "#"):
		case isRule:
			c.rule(command, reply)
		case isSetting:
			if err := c.set(t, key, value); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%q is no line of a server", line)
		}
	}
	if c.Dots < 0 {
		c.Dots = map[string]int{"accepted": 1, "unknown": 1}[c.Expect]
	}
	return c, nil
}

func (c *Case) rule(command, reply string) {
	for i, r := range c.Script.rules {
		if r.command == command {
			c.Script.rules[i].replies = append(r.replies, reply)
			return
		}
	}
	c.Script.rules = append(c.Script.rules, rule{command, []string{reply}})
}

// set reads a setting or an expectation.
func (c *Case) set(t testing.TB, key, value string) (err error) {
	texts := map[string]*string{
		"user":      &c.Server.Username,
		"sender":    &c.Server.Sender,
		"recipient": &c.Recipient,
		"host":      &c.Server.Server,
		"read":      &c.Script.read,
		"expect":    &c.Expect,
		"diagnosis": &c.Diagnosis,
		"wire":      &c.Wire,
		"again":     &c.Again,
	}
	switch text := texts[key]; {
	case text != nil:
		*text, err = strconv.Unquote(`"` + strings.ReplaceAll(value, `"`, `\"`) + `"`)
	case key == "password":
		c.Server.Password = secret.Text(value)
	case key == "timeout":
		c.Server.Timeout, err = time.ParseDuration(value)
	case key == "tls":
		c.Script.tls = selfSigned(t)
		c.Server.TLSVerify, c.Server.TLS = false, true
		switch value {
		case "starttls":
		case "1.1":
			c.Script.tls.MinVersion, c.Script.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		case "implicit":
			c.Script.implicit, c.Server.Server = true, "smtps://"+c.Server.Server
		default:
			err = fmt.Errorf("%q is no kind of TLS", value)
		}
	case key == "dots":
		c.Dots, err = strconv.Atoi(value)
	case key == "retry":
		c.Retry = value == "accepted"
	case key == "has":
		c.Has = append(c.Has, value)
	case key == "hasnt":
		c.Hasnt = append(c.Hasnt, value)
	default:
		err = fmt.Errorf("%q is no setting of a server", key)
	}
	return err
}

// unescape returns a reply as it goes over the wire.
func unescape(reply string, raw bool) string {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(reply, `"`, `\"`) + `"`)
	if err != nil {
		text = reply
	}
	if raw {
		return text
	}
	return strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n") + "\r\n"
}

// wire returns the commands that came from the n-th connection on, without their arguments but the mechanism:
// "EHLO, AUTH PLAIN, MAIL"; " / " begins a new connection. QUIT is left out: a client need not wait for it.
func (s *script) wire(from int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var connections []string
	for _, lines := range s.lines[from:] {
		var all []string
		for _, line := range lines {
			words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ':' })
			switch {
			case len(words) == 0 || strings.EqualFold(words[0], "QUIT"):
			case words[0] == "AUTH":
				all = append(all, "AUTH "+words[1])
			default:
				all = append(all, words[0])
			}
		}
		connections = append(connections, strings.Join(all, ", "))
	}
	return strings.Join(connections, " / ")
}

// connections returns how many there were.
func (s *script) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

// fresh returns the script as it was before its first connection.
func (s *script) fresh() *script {
	return &script{rules: s.rules, tls: s.tls, implicit: s.implicit, read: s.read}
}
