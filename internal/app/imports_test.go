package app_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A row: one package, the packages of otpost that it may import, and the reason for the border. The
// rows are ordered from the top down, and a row names only rows below it. A row may exist before
// its package. A change of a row has its reason into docs/decisions in the same commit.
type row struct {
	name   string
	may    string // package names, or everything below
	reason string
}

const everything = "*"

var house = []row{
	{"cli", "app config inbox worker queue delivery",
		"commands talk to the composition root, never to a service behind its back"},
	{"app", everything, "the composition root"},
	{"webui", "", "pages are rendered from REST, so that they can do nothing that REST cannot"},
	{"httpapi", "login token webhook delivery access stats queue policy user sms mail challenge audit " +
		"system secret fault",
		"the edge decodes and answers; records are reached through their packages, never through store"},
	{"login", "token delivery challenge policy user audit system store fault",
		"a decision knows no HTTP, no mail server and no configuration"},
	{"token", "delivery challenge policy user system otp pinhash secret store fault",
		"a token drafts and checks; who may log in is login's to say"},
	{"webhook", "queue secret store fault", "events leave as jobs and know no login"},
	{"delivery", "queue sms mail audit secret store",
		"the master of a message's state pulls in no token, user, policy or challenge"},
	{"worker", "queue", "it knows no kind by name"},
	{"access", "policy pinhash secret store fault", "who may call does not depend on users' tokens"},
	{"stats", "queue store", "the counting modules are handed in"},
	{"sms", "mail smpp secret store fault", "a gateway says what happened and decides nothing"},
	{"mail", "smtp secret store fault", "it says what happened and decides nothing"},
	{"user", "pinhash secret store fault", "resolvers read foreign stores and know no token"},
	{"policy", "store fault", "policies are evaluated on values that are handed in"},
	{"challenge", "secret store", "an open challenge knows its code's HMAC and nothing of tokens"},
	{"audit", "secret store", "everything writes the journal, so it knows nobody"},
	{"system", "secret store fault", "settings are read by everybody; values of type password are sealed"},
	{"queue", "store", "the contract knows no kind of job; store only for the driver inside the database"},
	{"store", "fault", "it knows no record; fault for the sentence of a database that is busy"},
	{"secret", "", "values that never print, for everybody"},
	{"fault", "", "errors with a public sentence, for everybody"},
	{"otp", "", "an algorithm: bytes in, values out"},
	{"pinhash", "", "an algorithm: bytes in, values out"},
	{"smtp", "", "a protocol, written without a word of otpost"},
	{"smpp", "", "a protocol, written without a word of otpost"},
	{"dial", "", "the one door out; it is handed down as a function"},
	{"fileroot", "", "the one opener of files that REST can name; it is handed down as a function"},
	{"config", "", "pi.cfg and environment become one value"},
	{"inbox", "", "an SMTP server for demo and tests"},
}

// handedDown are packages that only app may import, although they stand below everybody: their
// values are passed as functions.
var handedDown = map[string]string{
	"dial":     "app hands the dialer down as a function in Options, so that there is one",
	"fileroot": "app hands the opener down as a function in Options, so that there is one",
	"config":   "only app and cli read configuration; each package has its own Options",
	"inbox":    "the inbox is for demo (cli) and for tests",
}

// rooms say where a module of other people may be imported outside tests; a nested package is named with its parent.
var rooms = map[string]string{
	"github.com/alecthomas/kong":          "cli",
	"github.com/coreos/go-systemd":        "app cli",
	"github.com/emersion/go-smtp":         "inbox",
	"github.com/emersion/go-sasl":         "inbox",
	"github.com/fsnotify/fsnotify":        "store",
	"github.com/go-crypt/":                "pinhash",
	"github.com/golang-jwt/jwt":           "access",
	"github.com/google/uuid":              everything,
	"github.com/hashicorp/golang-lru":     "pinhash",
	"github.com/pressly/goose":            "store",
	"github.com/smallstep/pkcs7":          "mail",
	"github.com/youmark/pkcs8":            "mail",
	"go.starlark.net":                     "config",
	"golang.org/x/net":                    "mail",
	"golang.org/x/sync":                   "httpapi pinhash",
	"golang.org/x/sys":                    "app cli config fileroot queue store worker",
	"modernc.org/sqlite":                  "store",
	"github.com/redis/rueidis":            "queue/redisq",
	"github.com/go-ldap/ldap":             "user/ldapuser",
	"github.com/jackc/pgx":                "store user/sqluser",
	"github.com/go-sql-driver/mysql":      "user/sqluser",
	"github.com/prometheus/client_golang": everything,
}

// testLibraries may be imported by tests and by suites (packages that end in "test") anywhere.
var testLibraries = []string{
	"github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/emersion/go-smtp",
	"github.com/emersion/go-sasl",
	"github.com/chromedp/",
}

// listed is what `go list -json` says about a package, as far as we read it.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestPackagesImportOnlyWhatTheirRowNames(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, "otpost/")
		switch {
		case strings.HasPrefix(name, "cmd/"):
			for _, i := range p.Imports {
				if ours(i) && i != "otpost/internal/cli" || foreign(i) {
					t.Errorf("%s imports %s: a main hands its arguments to cli and exits with its code", name, i)
				}
			}
		case strings.HasPrefix(name, "test/"), name == "test", strings.HasPrefix(name, "bench"): // outside the table
		case strings.HasPrefix(name, "internal/"):
			checkPackage(t, p, strings.TrimPrefix(name, "internal/"))
		default:
			t.Errorf("%s: packages live in internal, mains in cmd, end-to-end tests in test, measurements in bench",
				name)
		}
	}
}

func checkPackage(t *testing.T, p listed, name string) {
	t.Helper()
	parent, nested, isNested := strings.Cut(name, "/")
	r, at := find(parent)
	if at < 0 || strings.Contains(nested, "/") {
		t.Errorf("internal/%s is missing from the table of packages (internal/app/imports_test.go)", name)
		return
	}
	suite := isNested && strings.HasSuffix(nested, "test")
	for _, i := range p.Imports {
		if reason := refused(i, name, r, at, suite); reason != "" {
			t.Errorf("internal/%s imports %s: %s", name, i, reason)
		}
	}
	for _, i := range append(slices.Clone(p.TestImports), p.XTestImports...) {
		if i == p.ImportPath {
			continue
		}
		if reason := refusedInTest(i, name, at); reason != "" {
			t.Errorf("tests of internal/%s import %s: %s", name, i, reason)
		}
	}
}

// refused returns why package name, standing in row r at place at, must not import i; empty when it may.
func refused(i, name string, r row, at int, suite bool) string {
	switch {
	case foreign(i):
		return refusedForeign(i, name, suite)
	case !ours(i):
		return ""
	}
	target, nested, isNested := strings.Cut(strings.TrimPrefix(i, "otpost/internal/"), "/")
	_, below := find(target)
	switch {
	case below < 0:
		return "it is missing from the table of packages"
	case r.name == target && strings.Contains(name, "/") && !isNested:
		return "" // a nested package may import its parent
	case isNested && r.name != "app":
		return "a nested package is imported by app alone, a suite by tests: " + nested +
			" is one implementation of a contract"
	case r.name == "app":
		return ""
	case handedDown[target] != "" && !slices.Contains(strings.Fields(r.may), target):
		return handedDown[target]
	case below <= at:
		return "imports point down; the row of " + target + " stands above"
	case !slices.Contains(strings.Fields(r.may), target):
		return r.reason + " (its row allows: " + r.may + ")"
	}
	return ""
}

// refusedInTest is looser: a test may use every package below its own, nested ones and suites too.
func refusedInTest(i, name string, at int) string {
	parent, _, _ := strings.Cut(name, "/")
	if foreign(i) {
		if prefixed(i, testLibraries) {
			return ""
		}
		return refusedForeign(i, name, true)
	}
	if !ours(i) || parent == "app" || parent == "cli" {
		return ""
	}
	target, _, _ := strings.Cut(strings.TrimPrefix(i, "otpost/internal/"), "/")
	if _, below := find(target); below < at {
		return "a test, too, imports only what stands below its package"
	}
	return ""
}

func refusedForeign(i, name string, suite bool) string {
	if suite && prefixed(i, testLibraries) {
		return ""
	}
	for module, room := range rooms {
		if !strings.HasPrefix(i, module) {
			continue
		}
		if room == everything || slices.Contains(strings.Fields(room), name) {
			return ""
		}
		return "this module has its room in " + room + ", so that it can be replaced in one place"
	}
	return "this module has no room yet: name one in internal/app/imports_test.go"
}

func prefixed(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func ours(path string) bool { return strings.HasPrefix(path, "otpost/") }

// foreign reports whether a path belongs to a module of other people: its first element has a dot.
func foreign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

func find(name string) (row, int) {
	i := slices.IndexFunc(house, func(r row) bool { return r.name == name })
	if i < 0 {
		return row{}, -1
	}
	return house[i], i
}

func list(t *testing.T) []listed {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports",
		"otpost/...")
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, p)
	}
}

func TestRowsNameOnlyRowsBelowThem(t *testing.T) {
	t.Parallel()
	for at, r := range house {
		if r.may == everything {
			continue
		}
		for _, name := range strings.Fields(r.may) {
			if _, below := find(name); below <= at {
				t.Errorf("row %s names %s, which does not stand below it", r.name, name)
			}
		}
	}
}

func TestForbiddenImportsAreRefusedWithTheirReason(t *testing.T) {
	t.Parallel()
	cases := []struct{ from, to, want string }{
		{"httpapi", "otpost/internal/store", "never through store"},
		{"delivery", "otpost/internal/token", "imports point down"},
		{"delivery", "otpost/internal/challenge", "pulls in no token"},
		{"login", "otpost/internal/dial", "there is one"},
		{"login", "otpost/internal/config", "Options"},
		{"worker", "otpost/internal/queue/sqliteq", "imported by app alone"},
		{"store", "otpost/internal/nosuch", "missing from the table"},
		{"login", "golang.org/x/net/idna", "its room in mail"},
		{"login", "github.com/nobody/nothing", "no room yet"},
		{"queue/sqliteq", "otpost/internal/queue", ""},
		{"queue/sqliteq", "otpost/internal/store", ""},
		{"app", "otpost/internal/queue/sqliteq", ""},
		{"cli", "otpost/internal/config", ""},
		{"cli", "otpost/internal/inbox", ""},
		{"login", "net/http", ""},
	}
	for _, c := range cases {
		parent, _, _ := strings.Cut(c.from, "/")
		r, at := find(parent)
		got := refused(c.to, c.from, r, at, false)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s -> %s: refused with %q, want %q", c.from, c.to, got, c.want)
		}
	}
}
