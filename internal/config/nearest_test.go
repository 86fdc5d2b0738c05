package config

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"HOST", "PORT", "PASSWORD", "PATH"}
	for word, want := range map[string]string{
		"HOSTT":   "HOST",
		"PSSWORD": "PASSWORD",
		"PART":    "PORT",
		"":        "HOST",
		"PATH":    "PATH",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q is most like %q, want %q", word, got, want)
		}
	}
	if got := nearest("x", nil); got != "" {
		t.Errorf("without words: %q", got)
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("distance %d, want 3", d)
	}
}
