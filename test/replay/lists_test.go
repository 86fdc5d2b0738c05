package replay

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deviation is a deliberate difference: exactly what may differ in one exchange, and the row of
// docs/compatibility.md that says why. Allow are paths (at or below which anything may differ),
// Expect are paths with the value that otpost must answer there.
type deviation struct {
	Reason   string         `json:"reason"`
	Area     string         `json:"area"`
	Exchange string         `json:"exchange"`
	Allow    []string       `json:"allow"`
	Expect   map[string]any `json:"expect"`
}

func (d deviation) id() string { return d.Area + ": " + d.Exchange }

// unexpected returns those of the differences that the deviation does not explain, and what it expects in vain.
func (d deviation) unexpected(found []difference, a answer) []difference {
	var rest []difference
	for _, f := range found {
		if _, expected := d.Expect[f.path]; !expected && !within(f.path, d.Allow) {
			rest = append(rest, f)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(d.Expect)) {
		if got := a.at(path); !reflect.DeepEqual(got, d.Expect[path]) {
			rest = append(rest, difference{path + " (the deliberate difference)", d.Expect[path], got})
		}
	}
	return rest
}

// at returns what the answer has at a path: status, mails (their number), or a value of the body;
// absent if it is missing.
func (a answer) at(path string) any {
	switch path {
	case "status":
		return number(a.status)
	case "mails":
		return number(len(a.mails))
	}
	value := a.json
	for key := range strings.SplitSeq(strings.TrimPrefix(path, "$."), ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return absent
		}
		if value, ok = object[key]; !ok {
			return absent
		}
	}
	return value
}

// waiting is an exchange that a later issue will answer. One that is held is not sent: what comes
// before it cannot be set up, so that its answer would say nothing, or it would change what later
// exchanges show.
type waiting struct {
	area, exchange, issue string
	held                  bool
}

func (w waiting) id() string { return w.area + ": " + w.exchange }

func loadDifferent(t *testing.T) map[string]deviation {
	t.Helper()
	raw, err := os.ReadFile("testdata/different.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []deviation
	if err := decode(raw, &all); err != nil {
		t.Fatalf("different.json: %v", err)
	}
	list := map[string]deviation{}
	for _, d := range all {
		if _, twice := list[d.id()]; twice {
			t.Errorf("different.json: %s stands there twice", d.id())
		}
		list[d.id()] = d
	}
	return list
}

// loadWaiting reads lines "area | exchange | issue | sent or held"; # begins a comment line.
func loadWaiting(t *testing.T) map[string]waiting {
	t.Helper()
	raw, err := os.ReadFile("testdata/waiting.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]waiting{}
	for n, line := range strings.Split(string(raw), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) != 4 || fields[3] != "sent" && fields[3] != "held" {
			t.Fatalf("waiting.txt:%d: want: area | exchange | issue | sent or held", n+1)
		}
		w := waiting{fields[0], fields[1], fields[2], fields[3] == "held"}
		if _, twice := list[w.id()]; twice {
			t.Errorf("waiting.txt:%d: %s stands there twice", n+1, w.id())
		}
		list[w.id()] = w
	}
	return list
}

var (
	tableRow   = regexp.MustCompile(`^\| (D\d+) \| (\w+) \| (.+?) \| (.+?) \| (.+) \|$`)
	codedNames = regexp.MustCompile("`([^`]+)`")
)

// documented returns the exchanges of the table in docs/compatibility.md with the row that names them.
func documented(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.SplitSeq(string(raw), "\n") {
		m := tableRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for _, name := range codedNames.FindAllStringSubmatch(m[3], -1) {
			rows[m[2]+": "+name[1]] = m[1]
		}
	}
	if len(rows) == 0 {
		t.Fatal("docs/compatibility.md has no rows like | D1 | area | `exchange` | what | why |")
	}
	return rows
}

func TestListsNameExchangesThatExist(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	for _, e := range inOrder(t) {
		exists[e.id()] = true
	}
	different, later := loadDifferent(t), loadWaiting(t)
	for id := range different {
		if !exists[id] {
			t.Errorf("different.json names %q, which was not recorded", id)
		}
		if _, both := later[id]; both {
			t.Errorf("%s stands in both lists", id)
		}
	}
	for id := range later {
		if !exists[id] {
			t.Errorf("waiting.txt names %q, which was not recorded", id)
		}
	}
	for name, hooks := range map[string]map[string]hook{"before": before(), "after": after()} {
		for id := range hooks {
			if !exists[id] {
				t.Errorf("script_test.go has a hook %s %q, which was not recorded", name, id)
			}
		}
	}
}

func TestEachDeliberateDifferenceIsDocumented(t *testing.T) {
	t.Parallel()
	different, rows := loadDifferent(t), documented(t)
	for id, d := range different {
		if row := rows[id]; row != d.Reason {
			t.Errorf("%s: different.json gives the reason %s, docs/compatibility.md has it in row %q", id, d.Reason,
				row)
		}
	}
	for id, row := range rows {
		if _, ok := different[id]; !ok {
			t.Errorf("docs/compatibility.md, row %s, names %s, which is not in different.json", row, id)
		}
	}
}

func TestDeviationExplainsOnlyWhatItNames(t *testing.T) {
	t.Parallel()
	a := answer{status: 200, json: value(t, `{"detail": {"story": []}, "result": {"value": false}}`)}
	found := []difference{{"status", 500, 200}, {"$.detail", nil, map[string]any{}}, {"$.result.value", absent, false}}
	d := deviation{Allow: []string{"$.detail"}, Expect: map[string]any{"status": number(200), "$.result.value": false}}
	if rest := d.unexpected(found, a); len(rest) > 0 {
		t.Errorf("explained differences are left: %v", rest)
	}
	d.Expect["$.result.value"] = true
	if rest := d.unexpected(found, a); len(rest) != 1 {
		t.Errorf("a value that is not the deliberate one: %v", rest)
	}
	if rest := (deviation{}).unexpected(found, a); len(rest) != len(found) {
		t.Errorf("an empty deviation explains %v", rest)
	}
	d = deviation{Expect: map[string]any{"$.detail.nothing": absent}}
	if rest := d.unexpected(nil, a); len(rest) > 0 {
		t.Errorf("a value that must be absent: %v", rest)
	}
}
