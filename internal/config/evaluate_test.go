package config

import (
	"go/build"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.starlark.net/starlark"
	"pgregory.net/rapid"
)

// python writes a text as a Python literal in one of the forms that mean it.
func python(t *rapid.T, s string) string {
	var b strings.Builder
	for _, c := range s {
		switch form := rapid.IntRange(0, 2).Draw(t, "form"); {
		case c == '\\' || c == '\'' || c == '"' || c == '\n' || c == '\r' || c == 0 || form == 1:
			b.WriteString(`\U` + hex8(c))
		case form == 2 && c < 0x100:
			b.WriteString(`\x` + hex8(c)[6:])
		default:
			b.WriteRune(c)
		}
	}
	q := rapid.SampledFrom([]string{"'", `"`, "'''", `"""`}).Draw(t, "quote")
	return rapid.SampledFrom([]string{"", "u", "U"}).Draw(t, "prefix") + q + b.String() + q
}

func hex8(c rune) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 8)
	for i := range out {
		out[7-i] = digits[c>>(4*i)&15]
	}
	return string(out)
}

func TestEveryTextSurvivesItsLiteral(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "parts")
		var literals []string
		for _, p := range parts {
			literals = append(literals, python(t, p))
		}
		gap := rapid.SampledFrom([]string{" ", "\n\t", " # comment 'here\n"}).Draw(t, "gap")
		found, err := evaluate("pi.cfg", []byte("A = ("+strings.Join(literals, gap)+")"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if found["A"].value != strings.Join(parts, "") {
			t.Errorf("got %q, want %q", found["A"].value, strings.Join(parts, ""))
		}
	})
}

// TestValuesAreThoseOfPython lists expressions with their values by Python's manual.
func TestValuesAreThoseOfPython(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source string
		want   any
	}{
		{`'\d\q'`, `\d\q`},
		{`r'a\'b'`, `a\'b`},
		{"'a\\\nb'", "ab"},
		{`'\101\x41\N'`, nil}, // \N without a name is an error
		{`'%s-%d' % ('a', 7)`, "a-7"},
		{`'a' 'b' % ()`, "ab"},
		{`'A' 'b'.upper()`, "AB"},
		{`{'a': 1, 'b': 2, 'a': 3}['a']`, int64(3)},
		{`os.path.join('/a', 'b', '/c', 'd/', 'e')`, "/c/d/e"},
		{`os.path.join('a', '')`, "a/"},
		{`os.path.dirname('/a/b/')`, "/a/b"},
		{`os.path.dirname('/a')`, "/"},
		{`os.path.dirname('a')`, ""},
		{`os.path.dirname('//a')`, "//"},
		{`os.path.basename('/a/b')`, "b"},
		{`os.path.basename('/a/')`, ""},
		{`os.path.abspath('/a/../b/./c')`, "/b/c"},
		{`os.environ.get('HERE')`, "there"},
		{`os.environ.get('NOWHERE')`, nil},
		{`os.getenv('NOWHERE', 3)`, int64(3)},
		{`'HERE' in os.environ and 'NOWHERE' not in os.environ`, true},
		{`logging.CRITICAL`, int64(50)},
		{`logging.getLevelName('WARNING')`, int64(30)},
		{`logging.getLevelName(os.environ.get('NOWHERE', 20))`, "INFO"},
		{`logging.getLevelName(7)`, "Level 7"},
		{`logging.getLevelName(getattr(logging, 'DEBUG'))`, "DEBUG"},
		{`getattr(logging, 'LOUD', logging.INFO)`, int64(20)},
		{`1 if os.environ.get('NOWHERE') is None else 2`, int64(1)},
		{`1 if os.environ.get('HERE') is not None and not True is False else 2`, int64(1)},
		{`1 if 1 is True else 2`, int64(2)},
		{`os.path.exists('/') and os.path.isdir('/') and not os.path.isfile('/')`, true},
		{`os.path.exists('/nowhere')`, false},
		{`os.path.isfile('/proc/self/exe')`, true},
		{`urllib.parse.quote_plus('a b/ü+%~')`, "a+b%2F%C3%BC%2B%25~"},
		{`urllib.parse.quote('a b/ü')`, "a%20b/%C3%BC"},
		{`urllib.parse.quote('a/b', safe='')`, "a%2Fb"},
		{`socket.gethostname() != ''`, true},
		{`[v for k, v in os.environ.items() if k == 'HERE'][0]`, "there"},
		{`[k for k in os.environ if k.startswith('HE')][0] + os.environ.keys()[0]`, "HEREHERE"},
		{`'a-b-c'.replace('-', '_')`, "a_b_c"},
		{`None if print('x') else 'y'`, "y"},
		{`'x' if True else open('/etc/passwd').read().rstrip('\n')`, "x"},
		{`datetime.timedelta(days=1) == timedelta(hours=24)`, true},
		{`0x1F + 0o17 + 1`, int64(47)},
		{`1.5e-3 * 2`, 0.003},
		{`dict(a=1, **{'b': 2})['b']`, int64(2)},
		{`','.join([str(x) for x in range(3)])`, "0,1,2"},
		{`'{0}{b}'.format('x', b='y')`, "xy"},
	}
	for _, tt := range tests {
		found, err := evaluate("pi.cfg", []byte("A = "+tt.source), map[string]string{"HERE": "there"})
		if strings.Contains(tt.source, `\N`) {
			if err == nil {
				t.Errorf("%s: no error", tt.source)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.source, err)
			continue
		}
		if found["A"].value != tt.want {
			t.Errorf("%s = %#v, want %#v", tt.source, found["A"].value, tt.want)
		}
	}
}

// TestEvaluationErrorsShowNoValue runs what fails on a secret.
func TestEvaluationErrorsShowNoValue(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"A = int(S)", "A = float(S)", "A = '%d' % S", "A = S % 1", "A = S + 1", "A = {}[S]", "A = [1][S]",
		"A = (S + '{}{}').format()",
		"A = dict([S])", "A = dict(a=1)[S]", "A = S.get", "A = S[100]", "A = S()", "A = timedelta(S)",
		"A = os.environ[S]", "A = range(S)",
		"A, B = S", "A = -S", "A = min(S, 1)", "A = {S: 1, S: 2}", "A = '{a}'.format(S)", "A = 'x'.split(S, S)",
		"A = int(S, 36 + 1)",
		"A = os.environ.get(S, x=1)", "A = os.getenv()", "A = os.path.join(S, 1)", "A = float('1' + S)",
		"A = '%(x)s' % {S: 1}",
	} {
		_, err := evaluate("pi.cfg", []byte("S = 'MARKED' + ' secret'\n"+source), nil)
		if err == nil {
			t.Errorf("%s: no error", source)
		} else if strings.Contains(err.Error(), "MARKED") {
			t.Errorf("%s shows the value", source)
		}
	}
}

func TestOnlyUpperCaseNamesAreSettings(t *testing.T) {
	t.Parallel()
	found, err := evaluate("pi.cfg", []byte("A = 1\nB_2 = 1\na = 1\nAa = 1\n_ = 1\n_X = 1\nfor I in [1]: J = 2\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for n := range found {
		names = append(names, n)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "A B_2 I J _X" {
		t.Error(got)
	}
}

// TestNothingGrowsWithoutEnd runs sources that would fill the memory, or run for ever, without the bounds.
func TestNothingGrowsWithoutEnd(t *testing.T) {
	t.Parallel()
	double := "A = ['0123456789']\n" + strings.Repeat("A = [A, A]\n", 60)
	for _, source := range []string{
		"A = 'x' * 10000000000", "A = 10000000000 * 'x'", "A = [1] * 100000000000000000000000",
		"A = list(range(1000000000))",
		"A = 7\n" + strings.Repeat("A = A * A\n", 100), "A = 'ab'\n" + strings.Repeat("A += A\n", 100),
		"A = 'ab'\n" + strings.Repeat("A = '%s%s' % (A, A)\n", 100),
		"A = 'ab'\n" + strings.Repeat("A = '{0}{0}'.format(A)\n", 100),
		"A = 'ab'\n" + strings.Repeat("A = '%(a)s%(a)s' % {'a': A}\n", 100),
		"A = 'ab'\n" + strings.Repeat("A = A.join([A, A, A])\n", 100),
		"A = 'ab'\n" + strings.Repeat("A = A.replace('', A)\n", 100),
		"A = [1]\n" + strings.Repeat("A = A + A\n", 100),
		"A = '/a'\n" + strings.Repeat("A = os.path.join(A, A[1:])\n", 100),
		double + "B = str(A)", double + "B = '%s' % A", double + "B = '{}'.format(A)",
		double + "B = '%(a)s' % {'a': A}",
		strings.Repeat("for i in range(10000):\n ", 1) + "A = [1 for j in range(10000)]",
		"A = " + strings.Repeat("(", 1000) + strings.Repeat(")", 1000),
	} {
		start := time.Now()
		if _, err := evaluate("pi.cfg", []byte(source), nil); err == nil {
			t.Errorf("%.60q was not refused", source)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%.60q took %v", source, took)
		}
	}
	// Without its text the value that holds itself is harmless.
	if _, err := evaluate("pi.cfg", []byte(double), nil); err != nil {
		t.Error(err)
	}
	for _, deep := range []string{"not ", "-", "1 if 1 else "} {
		_, _ = evaluate("pi.cfg", []byte("A = "+strings.Repeat(deep, maxFile/len(deep)-10)+"1"), nil)
	}
}

// TestSharedValuesAreNotWalkedWithoutEnd runs sources of a few hundred bytes whose values hold each other many
// times over. A hash, a comparison or a text would walk each of them for hours.
func TestSharedValuesAreNotWalkedWithoutEnd(t *testing.T) {
	t.Parallel()
	tuples := "A = (1,)\n" + strings.Repeat("A = (A, A)\n", 40)
	wide := "A = [1] * 1000\nfor i in range(8): A = [A] * 1000\nC = [1] * 1000\nfor i in range(8): C = [C] * 1000\n"
	dicts := "A = dict(a=1)\n" + strings.Repeat("A = dict(a=A, b=A)\n", 40)
	assigned := "A = [1, 1]\n" + strings.Repeat("B = [0, 0]\nB[0] = A\nB[1] = A\nA = B\n", 40)
	keys := "K = 'k' * 60000\nA = [{K: 1}] * 30000\n"
	for _, source := range []string{
		tuples + "B = {A: 1}", tuples + "B = {}[A]", tuples + "B = A in {}", tuples + "B = {}.get(A)",
		tuples + "B = dict([(A, 1)])",
		tuples + "B = {x: 1 for x in [A]}", tuples + "B = {}\nB[A] = 1", tuples + "B = not (A not in {'a': 1})",
		tuples + "B = {(1, A): 1}",
		tuples + "B = {}\nfor B[A] in [1]: pass", tuples + "B = {}\nB[A], C = 1, 2",
		wide + "B = A == C", wide + "B = A != C", wide + "B = A < C", wide + "B = A in [C]",
		wide + "B = sorted([A, C])",
		wide + "B = max(A, C)",
		wide + "B = min([A, C])", dicts + "B = str(A)", dicts + "B = '%s' % A", dicts + "B = '%r' % (A,)",
		dicts + "B = '{x}'.format(x=A)",
		assigned + "B = str(A)", assigned + "B = '{0}'.format(A)", keys + "B = str(A)", keys + "B = '%s' % A",
		tuples + "B = '%(x)s' % {'x': A}",
		tuples + "B = 'x'.join([A])", tuples + "B = int(A)", tuples + "B = float(A)", tuples + "B = os.environ[A]",
		tuples + "B = range(A)",
		tuples + "B = A()", tuples + "B = timedelta(A)", tuples + "B = ''.startswith(A)",
		tuples + "B = os.path.join(A)",
	} {
		done := make(chan error, 1)
		go func() { _, err := evaluate("pi.cfg", []byte(source), nil); done <- err }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%q was not refused", source[max(0, len(source)-40):])
			} else if strings.Contains(err.Error(), "seconds") {
				t.Errorf("%q was refused by the time limit alone", source[max(0, len(source)-40):])
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q does not end", source[max(0, len(source)-40):])
		}
	}
}

// TestOneFileMakesABoundedAmount runs sources each of whose values is small enough. All
// together they would fill the memory.
func TestOneFileMakesABoundedAmount(t *testing.T) {
	t.Parallel()
	for _, grow := range []string{"L[:]", "list(L)", "tuple(L)", "sorted(L)", "T.split('x')", "T.upper()", "L * 2",
		"list(range(10000))", "T + T"} {
		source := "L = [1] * 20000\nT = 'x' * 20000\nA = []\nfor i in range(500): A = A + [" + grow + "]\n"
		if _, err := evaluate("pi.cfg", []byte(source), nil); err == nil ||
			!strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %v", grow, err)
		}
	}
	settings := "L = [1] * 1000\nM = [L] * 1000\n"
	for i := range 100 {
		settings += "A" + strconv.Itoa(i) + " = M\n"
	}
	if _, err := evaluate("pi.cfg", []byte(settings), nil); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("settings: %v", err)
	}
}

// TestEvaluationThatDoesNotEndIsRefused holds the last net.
func TestEvaluationThatDoesNotEndIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		_, err := within("pi.cfg", func(*starlark.Thread) (layer, error) { <-never; return nil, nil })
		close(never)
		if err == nil || !strings.Contains(err.Error(), "30 seconds") {
			t.Error(err)
		}
	})
}

// TestNothingOutsideIsReachable holds that the source finds only what the manual lists, and that
// the package cannot open a connection or start a process at all.
func TestNothingOutsideIsReachable(t *testing.T) {
	t.Parallel()
	want := "!= % * + .format .get .join .made .replace .walked < <= == > >= __absent__ __end__ __file__ datetime " +
		"dict exit getattr globals in locals logging max min not in open os print quit range socket sorted str sys " +
		"timedelta urllib vars |"
	offered := predeclared("pi.cfg", nil, scope{})
	if got := strings.Join(offered.Keys(), " "); got != want {
		t.Errorf("predeclared: %s", got)
	}
	for name := range starlark.Universe {
		_, err := evaluate("pi.cfg", []byte("A = "+name), nil)
		if (err == nil) != isOffered(name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, source := range []string{
		"A = open('/etc/passwd')", "A = __import__('os')", "A = exec('1')", "A = eval('1')", "A = os.popen('true')",
		"A = os.listdir('/')",
		"A = os.path.getsize('/')", "A = ''.__class__", "A = logging.FileHandler('/tmp/x')", "A = os.environ.putenv",
		"load('x.star', 'y')",
		"import socket; A = socket.create_connection(('h', 1))", "import os.x",
		"import subprocess; A = subprocess.run('true')",
		"from subprocess import run; A = run('true')", "from subprocess import run as r; A = r.x", "A = locals()['B']",
		"A = locals().get('B')",
		"A = open('/etc/passwd').read()", "A = urllib.request.urlopen('http://h')", "A = sys.modules",
		"A = getattr(logging, 'FileHandler')", "A = logging.os", "os.environ['X'] = 'y'", "A = getattr(os, 'environ')",
	} {
		if _, err := evaluate("pi.cfg", []byte(source), nil); err == nil {
			t.Errorf("%s was not refused", source)
		}
	}
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, imported := range pkg.Imports {
		if imported == "net" || imported == "os/exec" || imported == "syscall" || imported == "plugin" ||
			strings.HasPrefix(imported, "net/") {
			t.Errorf("the package imports %s", imported)
		}
	}
}
