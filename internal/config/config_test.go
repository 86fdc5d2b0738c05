package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// minimal is what every configuration needs.
const minimal = "OTPOST_DATABASE_URI = 'sqlite:////d'\nSECRET_KEY = 'a-key-of-this-test-and-of-no-site'\nPI_ENCFILE " +
	"= '/nowhere/enckey'\nPI_PEPPER = 'p'\n"

// write makes a file that its owner alone can read.
func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// section returns the text between a line "-- name" and the next such line.
func section(content, name string) string {
	_, after, _ := strings.Cut(content, "-- "+name+"\n")
	body, _, _ := strings.Cut(after, "\n-- ")
	return strings.TrimSuffix(body, "\n")
}

// show prints the fields of a Config that differ from the defaults, secrets too, one "Field = value" a line.
func show(c *Config) map[string]string {
	all := map[string]string{
		"DatabaseURI": string(c.DatabaseURI.Kind) + " " + c.DatabaseURI.Path, "SecretKey": string(c.SecretKey.Reveal()),
		"Pepper": string(c.Pepper.Reveal()), "EncFile": c.EncFile, "SuperuserRealms": fmt.Sprint(c.SuperuserRealms),
		"LogFile": c.LogFile, "LogLevel": c.LogLevel.String(), "LogConfig": c.LogConfig, "Node": c.Node,
		"QueueClass": string(c.QueueClass), "QueueURL": string(c.QueueURL.Reveal()), "QueueName": c.QueueName,
		"HashParams": fmt.Sprint(c.HashParams), "QueueLogFile": c.QueueLogFile, "FileRoots": fmt.Sprint(c.FileRoots),
		"PINCache": fmt.Sprint(c.PINCache), "BasePath": c.BasePath, "AuditKeep": c.AuditKeep.String(),
		"DeliveryKeep": c.DeliveryKeep.String(),
	}
	for field, normal := range map[string]string{
		"Pepper": "", "EncFile": "/nowhere/enckey", "SuperuserRealms": "[]", "LogFile": "", "LogLevel": "INFO",
		"LogConfig": "",
		"Node":      "localnode", "QueueClass": "", "QueueURL": "redis://localhost:6379/0", "QueueName": "huey",
		"HashParams":   "map[]",
		"QueueLogFile": "", "FileRoots": "[]", "PINCache": "true", "BasePath": "", "AuditKeep": "9600h0m0s",
		"DeliveryKeep": "720h0m0s",
	} {
		if all[field] == normal {
			delete(all, field)
		}
	}
	return all
}

// TestLoadReadsWhatUsersWrite runs the files of testdata/good.
func TestLoadReadsWhatUsersWrite(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good/*.cfg")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source, _, _ := strings.Cut(string(content), "-- ")
			path := write(t, filepath.Base(file), source)
			c, err := Load(Options{File: path, Env: strings.Split(section(string(content), "env"), "\n")})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			var warnings []string
			for line := range strings.Lines(section(string(content), "want")) {
				key, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
				if key == "warning" {
					warnings = append(warnings, v)
					continue
				}
				want[key] = strings.ReplaceAll(v, "⏎", "\n")
			}
			if diff := cmp.Diff(want, show(c)); diff != "" {
				t.Error(diff)
			}
			got := strings.ReplaceAll(strings.Join(c.Warnings, "\n"), path, filepath.Base(file))
			if diff := cmp.Diff(strings.Join(warnings, "\n"), got); diff != "" {
				t.Error(diff)
			}
			if c.Source != path {
				t.Errorf("source = %q", c.Source)
			}
		})
	}
}

// TestLoadRefusesWithPlaceAndHint runs the cases of testdata/refused.txt.
func TestLoadRefusesWithPlaceAndHint(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/refused.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(content), "\n== ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		source, want, ok := strings.Cut(rest, "\n--\n")
		if !ok {
			t.Fatal(block)
		}
		want = "pi.cfg:" + strings.TrimSuffix(want, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "pi.cfg", source+"\n")
			_, err := Load(Options{File: path})
			if err == nil {
				t.Fatal("no error")
			}
			var typed *Error
			if !errors.As(err, &typed) {
				t.Fatalf("%T", err)
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(got, "password") {
				t.Error("the error holds a secret")
			}
		})
	}
}

func TestLoadReadsFilesInOrder(t *testing.T) {
	t.Parallel()
	first := write(t, "first.cfg", minimal+"PI_NODE = 'first'\nPI_LOGFILE = '/first'\n")
	second := write(t, "second.cfg", "PI_NODE = 'second'\n")
	named := "PRIVACYIDEA_CONFIGFILE=" + second
	tests := []struct {
		name            string
		options         Options
		node, log, from string
	}{
		{"found", Options{SearchFile: first}, "first", "/first", first},
		{"named variable wins", Options{SearchFile: first, Env: []string{named}}, "second", "/first",
			first + ", " + second},
		{"file alone", Options{File: first, SearchFile: second, Env: []string{named}}, "first", "/first", first},
		{"variables lose", Options{SearchFile: first, Env: []string{"PRIVACYIDEA_PI_NODE=env",
			"PRIVACYIDEA_PI_LOGLEVEL=40"}}, "first", "/first", first},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if c.Node != tt.node || c.LogFile != tt.log || c.Source != tt.from {
				t.Errorf("node %q, log %q, source %q", c.Node, c.LogFile, c.Source)
			}
		})
	}
}

func TestLoadTakesVariablesAlone(t *testing.T) {
	t.Parallel()
	c, err := Load(Options{SearchFile: filepath.Join(t.TempDir(), "none"), Env: []string{
		"PRIVACYIDEA_OTPOST_DATABASE_URI=sqlite:////d", "PRIVACYIDEA_SECRET_KEY=12345678901234567890123456789012",
		"PRIVACYIDEA_PI_ENCFILE=/nowhere/enckey",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Source != "environment" || string(c.SecretKey.Reveal()) != "12345678901234567890123456789012" {
		t.Errorf("source %q", c.Source)
	}
}

func TestLoadWarnsOfAMissingPepper(t *testing.T) {
	t.Parallel()
	c, err := Load(Options{File: write(t, "pi.cfg", strings.ReplaceAll(minimal, "'p'", "''"))})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "pi.cfg: PI_PEPPER is not set, ") {
		t.Error(c.Warnings)
	}
}

func TestLoadSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.cfg")
	secret := "SECRET_KEY = 'a-key-of-this-test-and-of-no-site'\n"
	uri := "OTPOST_DATABASE_URI = 'sqlite:////d'\n"
	tests := []struct {
		options Options
		want    string
	}{
		{Options{File: none}, "none.cfg: no such file or directory: name the file with --config"},
		{Options{SearchFile: none}, "none.cfg: there is no such file: make it with otpost setup"},
		{Options{SearchFile: none, Env: []string{"PRIVACYIDEA_CONFIGFILE=/nowhere/pi.cfg"}},
			"/nowhere/pi.cfg: no such file or directory: name the file with"},
		{Options{File: write(t, "a.cfg", uri+"SECRET_KEY_FILE = '/nowhere/secret'\n")},
			"no such file or directory: write the secret into this file, or correct its name"},
		{Options{File: write(t, "a.cfg", secret)}, "a.cfg: OTPOST_DATABASE_URI: is not set"},
		{Options{File: write(t, "a.cfg", uri)}, "a.cfg: SECRET_KEY: is not set"},
		{Options{File: write(t, "a.cfg", uri+secret)}, "a.cfg: PI_ENCFILE: is not set"},
		{Options{File: write(t, "a.cfg", strings.Repeat("#", maxFile+1))}, "larger than 65536 bytes"},
		{Options{SearchFile: none, Env: []string{"PRIVACYIDEA_PI_LOGLEVEL=loud"}},
			"PRIVACYIDEA_PI_LOGLEVEL: PI_LOGLEVEL: is not a level"},
	}
	for _, tt := range tests {
		if _, err := Load(tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// TestMisplacedAt holds that the sign behind the end of user and password is seen, and that an @ elsewhere is no
// mistake.
func TestMisplacedAt(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"redis://:a/b@h":                    true,
		"redis://:a?b@h":                    true,
		"redis://:a#b@h":                    true,
		"redis://u:1/b@h/0":                 true,
		"redis://u:1?b@h":                   true,
		"redis://u:1#b@h":                   true,
		"redis://a/b:c@h":                   true,
		"unix://u:a/b@/run/r.sock":          true,
		"rediss://:a?b=c@h":                 true,
		"redis://":                          false,
		"redis://h":                         false,
		"redis://:a@b@h":                    false,
		"redis://:a%2Fb@h/0?db=1":           false,
		"redis://h/0?password=a@b":          false,
		"redis://h:6379?password=a@b":       false,
		"unix:///run/r@x.sock":              false,
		"unix://u:p@/run/r@x.sock?db=1":     false,
		"redis://[::1]:7000/2?username=a@b": false,
		"redis://[::1]?username=a@b":        false,
	} {
		if got := misplacedAt(url); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

func TestQueuePasswordMayStandInAFile(t *testing.T) {
	t.Parallel()
	file := write(t, "redis", "from a file\n")
	source := minimal + "PI_JOB_QUEUE_PATH = '/run/redis.sock'\nPI_JOB_QUEUE_PASSWORD_FILE = '" + file + "'\n"
	c, err := Load(Options{File: write(t, "pi.cfg", source)})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.QueueURL.Reveal()); got != "unix://?password=from%20a%20file&path=%2Frun%2Fredis%2Esock" {
		t.Error(got)
	}
	_, err = Load(Options{File: write(t, "pi.cfg", source+"PI_JOB_QUEUE_URL_FILE = '"+file+"'\n")})
	if err == nil || !strings.Contains(err.Error(), "is set twice") &&
		!strings.Contains(err.Error(), "is not a URL of a Redis") {
		t.Error(err)
	}
}
