package cli

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// hueyFlags are the options of the command line, but for those that huey's consumer does not have.
func hueyFlags(t *testing.T, grammar any) []*kong.Flag {
	t.Helper()
	parser, err := newParser(hueyName, grammar)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(slices.Clone(parser.Model.Flags), func(f *kong.Flag) bool {
		return f.Name == "help" || f.Name == "config"
	})
}

// consumer are the options of huey 3.5.4's consumer (huey/consumer_options.py), with a value that it takes.
func consumer() map[string]struct{ short, value string } {
	return map[string]struct{ short, value string }{
		"logfile": {"l", "q.log"}, "verbose": {"v", ""}, "quiet": {"q", ""}, "simple": {"S", ""},
		"workers": {"w", "4"}, "worker-type": {"k", "greenlet"}, "delay": {"d", ".05"}, "max-delay": {"m", "2.5"},
		"backoff": {"b", "1.3"}, "health-check-interval": {"c", "0.5"}, "disable-health-check": {"C", ""},
		"flush-locks": {"f", ""}, "extra-locks": {"L", "a,b"}, "max-tasks": {"M", "100"},
		"shutdown-timeout": {"t", "1.5"},
		"graceful-signal":  {"g", "TERM"}, "scheduler-interval": {"s", "5"}, "no-periodic": {"n", ""},
	}
}

func TestEveryOptionOfTheConsumerIsTaken(t *testing.T) {
	t.Parallel()
	flags := hueyFlags(t, &hueyCommand{})
	if len(flags) != len(consumer()) {
		t.Errorf("%d options, huey's consumer has %d", len(flags), len(consumer()))
	}
	var short, long, joined []string
	for _, f := range flags {
		want, ok := consumer()[f.Name]
		if !ok || want.short != string(f.Short) {
			t.Errorf("-%c, --%s is no option of huey's consumer", f.Short, f.Name)
		}
		short, long = append(short, "-"+want.short), append(long, "--"+f.Name)
		if want.value == "" {
			joined = append(joined, "--"+f.Name)
			continue
		}
		short, long = append(short, want.value), append(long, want.value)
		joined = append(joined, "--"+f.Name+"="+want.value)
	}
	for _, args := range [][]string{short, long, joined, {"-w4", "-vS"}} {
		parser, err := newParser(hueyName, &hueyCommand{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestOptionsOfTheManualAreThoseOfTheProgram(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("(?m)^\\| `-(.)`, `--([a-z-]+)` \\| ([^|]+) \\| [^|]+ \\| ([^|]+) \\|$")
	rows := map[string][3]string{}
	for _, m := range line.FindAllStringSubmatch(string(raw), -1) {
		rows[m[2]] = [3]string{m[1], m[3], m[4]}
	}
	for _, f := range hueyFlags(t, &hueyCommand{}) {
		want := [3]string{string(f.Short), "-", "acts"}
		if f.HasDefault && f.Default != "" {
			want[1] = "`" + f.Default + "`"
		}
		if why := reason(f.Value); why != "" {
			want[2] = "no effect. " + why
		}
		if got, ok := rows[f.Name]; !ok || got != want {
			t.Errorf("docs/compatibility.md says %q about --%s, want %q", got, f.Name, want)
		}
		delete(rows, f.Name)
	}
	for flag, sentence := range map[string]string{
		"max-tasks": "The workers of a process count together: -w 4 -M 100 is 400 jobs in all.",
		"shutdown-timeout": "A mail that was handed over and had no reply yet may then be sent twice, with the " +
			"same Message-ID.",
	} {
		for _, f := range hueyFlags(t, &hueyCommand{}) {
			if f.Name == flag && (!strings.Contains(f.Help, sentence) || !strings.Contains(string(raw), sentence)) {
				t.Errorf("help of --%s and docs/compatibility.md do not both say: %s", flag, sentence)
			}
		}
	}
	for name := range rows {
		t.Errorf("docs/compatibility.md has the option --%s, which the program has not", name)
	}
}

func TestOtpostWorkerHasTheOptionsThatAct(t *testing.T) {
	t.Parallel()
	for _, f := range hueyFlags(t, &hueyCommand{}) {
		code, out := huey(t, "otpost", "worker", "--help")
		if has := strings.Contains(out, "--"+f.Name); code != 0 || has != (reason(f.Value) == "") {
			t.Errorf("otpost worker --help shows --%s: %v", f.Name, has)
		}
	}
}

// huey runs the program under a name.
func huey(t *testing.T, name string, args ...string) (code int, text string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), name, args, streams{strings.NewReader(""), &out, &errs})
	return code, out.String() + errs.String()
}

func TestHelpOfTheWorkerFitsEightyColumns(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	for _, name := range []string{hueyName, "otpost"} {
		args := []string{"--help"}
		if name == "otpost" {
			args = []string{"worker", "--help"}
		}
		code, out := huey(t, name, args...)
		if code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		for line := range strings.Lines(out) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 80 {
				t.Errorf("%s: longer than 80 columns: %s", name, line)
			}
		}
	}
}

func TestUnknownOptionsGetTheNearestName(t *testing.T) {
	t.Parallel()
	for option, want := range map[string]string{
		"--worker":   `did you mean one of "--workers", `,
		"--maxdelay": `did you mean "--max-delay"?`,
		"--logfiel":  `did you mean "--logfile"?`,
		"--shutdown": `did you mean "--shutdown-timeout"?`,
		"-W":         `"-w"`,
		"-j":         "did you mean one of ",
	} {
		code, out := huey(t, hueyName, option)
		if code != 2 || !strings.Contains(out, "unknown flag "+option) || !strings.Contains(out, want) ||
			strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want 2 and %q", option, code, out, want)
		}
	}
}

func TestWrongValuesExitWithTwo(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"-w 0", "-w x", "-k fibre", "-d x", "-m x", "-b x", "-c x", "-s 1.5", "-M -1", "-M x", "-t -1", "-t NaN",
		"-t x", "-g HUP", "-g", "more",
	} {
		code, out := huey(t, hueyName, strings.Fields(args)...)
		if code != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", args, code, out)
		}
	}
}

func TestWorkerWhoseLogCannotBeWrittenDoesNotStart(t *testing.T) {
	t.Parallel()
	file := box(t, "--queue", "embedded")
	for _, name := range []string{hueyName, "otpost"} {
		args := []string{"-l", "/dev/full", "--config", file}
		if name == "otpost" {
			args = append([]string{"worker"}, args...)
		}
		code, out := huey(t, name, args...)
		if want := name + ": log /dev/full cannot be written: no space left on device\n"; code != 1 || out != want {
			t.Errorf("%s: exit code %d, %q; want 1 and %q", name, code, out, want)
		}
	}
}

func TestLogNameSaysWhereAWorkerLogs(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"-": "standard output", "/dev/stdout": "standard output", "/dev/fd/2": "standard error",
		"/dev/stderr": "standard error", "a.log": "'a.log'",
	} {
		if got := logName(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}
