package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	manual = "../../docs/configuration.md"
	sample = "../../packaging/pi.cfg.sample"
)

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// row is the line of the manual that a key must have.
func row(k Key) string {
	typ, normal := k.Type, "not set"
	if k.Secret {
		typ += ", secret"
	}
	if k.Default != "" {
		normal = "`" + k.Default + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |", k.Name, typ, normal, k.Unit, k.Sentence)
}

func TestManualListsExactlyTheKeys(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, k := range Keys() {
		want = append(want, row(k))
	}
	for line := range strings.Lines(read(t, manual)) {
		if regexp.MustCompile("^\\| `[A-Z_]+` \\|").MatchString(line) {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("no such key: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

func TestManualListsEveryRefusal(t *testing.T) {
	t.Parallel()
	text := read(t, manual)
	for _, r := range refusals() {
		if want := "| `" + r.what + "` | " + r.hint + " |"; !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// TestSampleListsExactlyTheKeys checks that the sample has each key once, in the order of the
// table; that the queue is off; and that the sample, with a key of one's own, is a configuration
// with every line in force.
func TestSampleListsExactlyTheKeys(t *testing.T) {
	t.Parallel()
	text := read(t, sample)
	assignment := regexp.MustCompile(`(?m)^(# )?([A-Z_]+) = .*$`)
	var got, want []string
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		got = append(got, m[2])
		if strings.HasPrefix(m[2], "PI_JOB_QUEUE_") && m[1] == "" {
			t.Errorf("%s is not commented: the queue must be off by default", m[2])
		}
	}
	for _, k := range Keys() {
		want = append(want, k.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, err := Load(Options{File: write(t, "pi.cfg", text)}); err == nil ||
		!strings.Contains(err.Error(), "SECRET_KEY: is a published sample") {
		t.Errorf("the sample's own key: %v", err)
	}
	text = strings.ReplaceAll(text, "CHANGE-ME", "a-key-of-this-test-and-of-no-site")
	inForce := assignment.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "# PI_JOB_QUEUE_URL") || strings.HasPrefix(s, "# PI_JOB_QUEUE_PATH") {
			return s // other ways to name the Redis of the lines beside them
		}
		return strings.TrimPrefix(s, "# ")
	})
	for _, source := range []string{text, inForce} {
		c, err := Load(Options{File: write(t, "pi.cfg", source)})
		if err != nil {
			t.Fatal(err)
		}
		if (source == text) != (c.QueueClass == NoQueue) {
			t.Errorf("queue class %q", c.QueueClass)
		}
		for _, w := range c.Warnings {
			if !strings.Contains(w, "PI_LOGCONFIG") {
				t.Error(w)
			}
		}
	}
}
