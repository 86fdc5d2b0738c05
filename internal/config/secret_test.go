package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	const marked = "MARKED-value-of-a-secret"
	path := write(t, "pi.cfg", strings.ReplaceAll(minimal, "a-key-of-this-test-and-of-no-site", marked)+
		"PI_PEPPER = '"+marked+"'\nPI_JOB_QUEUE_URL = 'redis://:"+marked+"@h'\n")
	c, err := Load(Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.SecretKey.Reveal()) != marked {
		t.Fatal("the secret was not read")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", c, *c, c.SecretKey)
	}
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c, "key", c.SecretKey)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "key", c.SecretKey, "pointer", &c.SecretKey)
	hex := fmt.Sprintf("%x", marked)
	for _, form := range []string{marked, hex, fmt.Sprint([]byte(marked))[1:20]} {
		if strings.Contains(out.String(), form) {
			t.Errorf("a secret was printed as %q", form[:3])
		}
	}
	if !strings.Contains(out.String(), "******") {
		t.Error("no mask was printed")
	}
}

func TestRevealGivesACopy(t *testing.T) {
	t.Parallel()
	s := NewSecret([]byte("abc"))
	s.Reveal()[0] = 'x'
	if string(s.Reveal()) != "abc" {
		t.Error("a caller changed the secret")
	}
}

func TestCheckKeyFileRefusesWhatOthersCanRead(t *testing.T) {
	t.Parallel()
	file := write(t, "enckey", strings.Repeat("k", 96))
	for mode, ok := range map[fs.FileMode]bool{0o400: true, 0o600: true, 0o640: true, 0o644: false, 0o602: false,
		0o604: false} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckKeyFile(file); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if err := CheckKeyFile(filepath.Dir(file)); err == nil {
		t.Error("a folder was taken for a key file")
	}
	if err := CheckKeyFile(file + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestSecretOfAContainerMayBeReadable holds the one exception: no way to make such a file is open to a user of a host.
func TestSecretOfAContainerMayBeReadable(t *testing.T) {
	t.Parallel()
	swarm := keyFile{
		path:     "/run/secrets/x",
		mode:     0o444,
		root:     true,
		memory:   true,
		readOnly: true,
	}
	for name, one := range map[string]struct {
		change func(*keyFile)
		hint   string // empty: it is taken
	}{
		"as Swarm makes it":       {func(*keyFile) {}, ""},
		"as Kubernetes makes it":  {func(k *keyFile) { k.mode = 0o644 }, ""},
		"others can write it":     {func(k *keyFile) { k.mode = 0o446 }, "defaultMode and fsGroup (Kubernetes)"},
		"of another user":         {func(k *keyFile) { k.root = false }, "mode and gid of the secret (Docker)"},
		"on a disk":               {func(k *keyFile) { k.memory = false }, "chmod and chgrp of a file that is mounted"},
		"not read-only":           {func(k *keyFile) { k.readOnly = false }, "chmod o= /run/secrets/x"},
		"for owner and group":     {func(k *keyFile) { *k = keyFile{mode: 0o440} }, ""},
		"in a store of a package": {func(k *keyFile) { k.memory, k.mode = false, 0o444 }, "give it the mode 0440"},
	} {
		k := swarm
		one.change(&k)
		err := k.check()
		if (err == nil) != (one.hint == "") || err != nil && !strings.Contains(err.Error(), one.hint) {
			t.Errorf("%s: %v, want %q", name, err, one.hint)
		}
	}
}

func TestKeyFileThatOthersCanReadStopsTheStart(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"PI_ENCFILE", "PI_PEPPER_FILE"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			file := write(t, "key", "content")
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
			source := strings.ReplaceAll(minimal, "PI_PEPPER = 'p'\n", "") + key + " = '" + file + "'\n"
			_, err := Load(Options{File: write(t, "pi.cfg", source)})
			want := "pi.cfg:4:1: " + key + ": others can read or write " + file + " (mode 0644): chmod o= " + file
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// As for every other setting: its place, its name, and what to do.
func TestKeyFileErrorsNamePlaceAndSetting(t *testing.T) {
	t.Parallel()
	c, err := Load(Options{File: write(t, "pi.cfg", minimal)})
	if err != nil {
		t.Fatal(err)
	}
	_, missing := os.Stat(c.EncFile)
	for _, x := range []struct {
		err  error
		want string
	}{
		{missing, "pi.cfg:3:1: PI_ENCFILE: /nowhere/enckey does not exist: bring it back from your backup; otpost " +
			"setup makes one for a new installation"},
		{&fs.PathError{Op: "open", Path: c.EncFile, Err: fs.ErrPermission},
			"pi.cfg:3:1: PI_ENCFILE: /nowhere/enckey: permission denied: run it as the owner of the file"},
		{errors.New("too short"), "pi.cfg:3:1: PI_ENCFILE: /nowhere/enckey: too short"},
		{problem{"it is a folder", "name a file"}, "pi.cfg:3:1: PI_ENCFILE: it is a folder: name a file"},
	} {
		if got := c.AboutEncFile(x.err); !strings.HasSuffix(got.Error(), x.want) {
			t.Errorf("%v, want %s", got, x.want)
		}
	}
}

func TestTwinFileHoldsTheSecret(t *testing.T) {
	t.Parallel()
	file := write(t, "key", "a-secret-key-from-a-file-of-its-own\r\n")
	source := "OTPOST_DATABASE_URI = 'sqlite:////d'\nPI_ENCFILE = '/nowhere/enckey'\nPI_PEPPER = " +
		"'p'\nSECRET_KEY_FILE = '" + file + "'\n"
	// The file wins over the environment, whichever of the twins it uses.
	c, err := Load(Options{File: write(t, "pi.cfg", source),
		Env: []string{"PRIVACYIDEA_SECRET_KEY=a-key-from-a-variable-of-no-site"}})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.SecretKey.Reveal()) != "a-secret-key-from-a-file-of-its-own" {
		t.Error("the secret is not the file's")
	}
	if len(c.Warnings) != 0 {
		t.Error(c.Warnings)
	}
	found := false
	for _, f := range c.Files {
		found = found || f == file
	}
	if !found {
		t.Error("the key file is not among the files that nobody else may open")
	}
}

func TestLongTwinFileStopsTheStart(t *testing.T) {
	t.Parallel()
	long := write(t, "url", strings.Repeat("x", maxSecretFile+1))
	_, err := Load(Options{File: write(t, "pi.cfg", minimal+"PI_JOB_QUEUE_URL_FILE = '"+long+"'\n")})
	if err == nil || !strings.Contains(err.Error(), "PI_JOB_QUEUE_URL_FILE: ") ||
		!strings.Contains(err.Error(), "larger than 65536 bytes") {
		t.Error(err)
	}
}

func TestEmptyTwinFileStopsTheStart(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{File: write(t, "pi.cfg", minimal+"PI_JOB_QUEUE_URL_FILE = '"+write(t, "url", "\n")+"'\n")})
	if err == nil || !strings.Contains(err.Error(), "pi.cfg:5:1: PI_JOB_QUEUE_URL_FILE: ") ||
		!strings.Contains(err.Error(), "is empty") {
		t.Error(err)
	}
}

func TestSecretsInAFileThatOthersCanReadWarn(t *testing.T) {
	t.Parallel()
	file := write(t, "pi.cfg", minimal)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "other users can read it") {
		t.Error(c.Warnings)
	}
}
