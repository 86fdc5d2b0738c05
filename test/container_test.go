package test

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// containerFile reads a file of packaging/container.
func containerFile(t *testing.T, name string) string {
	t.Helper()
	root, err := e2e.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, "packaging", "container", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// words decodes a list in the form that Dockerfile and compose.yaml share with JSON.
func words(t *testing.T, list string) []string {
	t.Helper()
	var all []string
	if err := json.Unmarshal([]byte(list), &all); err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	return all
}

// composed returns the values of compose.yaml by their path, "services.server.command": only the
// YAML that this file needs.
func composed(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	var path []string
	for i, line := range strings.Split(containerFile(t, "compose.yaml"), "\n") {
		text := strings.TrimLeft(line, " ")
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "- ") {
			continue
		}
		depth := (len(line) - len(text)) / 2
		key, value, ok := strings.Cut(text, ":")
		if !ok || strings.Contains(line, "\t") || (len(line)-len(text))%2 != 0 || depth > len(path) {
			t.Fatalf("compose.yaml:%d: not understood: %q", i+1, line)
		}
		path = append(path[:depth], key)
		values[strings.Join(path, ".")] = strings.TrimSpace(value)
	}
	return values
}

// TestContainerFilesSayWhatWorks starts what compose.yaml starts, with its options and with its
// folders on this machine: the setup of its first lines, Redis, server and worker, until the probes
// say that all is well. No image is built.
func TestContainerFilesSayWhatWorks(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	dir := t.TempDir()
	values := composed(t)
	here := func(args []string) []string {
		changed := make([]string, len(args))
		for i, a := range args {
			changed[i] = strings.NewReplacer("/etc/privacyidea", dir, "/var/log/otpost", dir, "redis:6379",
				redis.Address(),
				"0.0.0.0:8080", fmt.Sprintf("0.0.0.0:%d", redis.Port+1)).Replace(a)
		}
		return changed
	}
	otpost := func(args ...string) e2e.Command {
		return e2e.Command{Path: programs.Path("otpost"), Args: here(args), Dir: dir, Stdin: e2e.AdminPassword + "\n"}
	}
	setup := regexp.MustCompile(`(?m)^# +(setup --dir .*) < password$`).FindStringSubmatch(containerFile(t,
		"compose.yaml"))
	if setup == nil {
		t.Fatal("compose.yaml does not say how to set up")
	}
	if code, p := e2e.Run(t, otpost(strings.Fields(setup[1])...)); code != 0 {
		t.Fatalf("%s: exit code %d: %s", setup[1], code, p.Err)
	}
	for _, service := range []string{"server", "worker"} {
		p := e2e.Start(t, otpost(words(t, values["services."+service+".command"])...))
		test := words(t, values["services."+service+".healthcheck.test"])
		if len(test) < 2 || test[0] != "CMD" || test[1] != "/usr/local/bin/otpost" {
			t.Fatalf("%s: healthcheck %v", service, test)
		}
		e2e.Eventually(t, "a healthy "+service, func() bool {
			if p.Ended() {
				t.Fatalf("the %s ended: %s", service, p.Err)
			}
			code, probe := e2e.Run(t, otpost(test[2:]...))
			if code == 2 {
				t.Fatalf("%v: %s", test, probe.Err)
			}
			return code == 0
		})
		defer p.Stop(t)
	}
	if queue := words(t, values["services.redis.command"]); queue[0] != "redis-server" {
		t.Errorf("redis is started by %v", queue)
	} else {
		other := e2e.QuietPort(t)
		p := e2e.Start(t, e2e.Command{Path: "/bin/sh", Dir: dir, Args: append([]string{"-c", `exec "$@"`, "sh"},
			append(queue, "--port", fmt.Sprint(other), "--bind", "127.0.0.1")...)})
		p.Line(t, "Ready to accept connections")
	}
}

// TestContainerImageHoldsOneStaticProgramAndItsLink runs the Dockerfile's build command and
// compares its start with compose.yaml.
func TestContainerImageHoldsOneStaticProgramAndItsLink(t *testing.T) {
	t.Parallel()
	file, values := containerFile(t, "Dockerfile"), composed(t)
	build := regexp.MustCompile(`(?m)^RUN mkdir .* && (CGO_ENABLED=0 go build -o .*)$`).FindStringSubmatch(file)
	if build == nil {
		t.Fatal("the Dockerfile builds nothing")
	}
	root, err := e2e.Root()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	command := exec.Command("/bin/sh", "-c", strings.ReplaceAll(build[1], "/out/", out+"/"))
	command.Dir = root
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build[0], err, text)
	}
	if target, err := os.Readlink(filepath.Join(out, "privacyidea-queue-huey")); err != nil || target != "otpost" {
		t.Errorf("privacyidea-queue-huey leads to %q, %v", target, err)
	}
	program, err := elf.Open(filepath.Join(out, "otpost"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("otpost needs a loader, which the image does not have")
		}
	}
	program.Close() //nolint:errcheck // it was only read
	for pattern, want := range map[string]string{
		`(?m)^ENTRYPOINT (.*)$`: `["/usr/local/bin/otpost"]`,
		`(?m)^USER (.*)$`:       "65532:65532",
		`(?m)^\tCMD (.*)$`:      strings.Replace(values["services.server.healthcheck.test"], `"CMD", `, "", 1),
		`(?m)^CMD (.*)$`:        strings.Replace(values["services.server.command"], `, "--migrate"`, "", 1),
	} {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(file); found == nil || found[1] != want {
			t.Errorf("%s: %q, want %q", pattern, found, want)
		}
	}
}
