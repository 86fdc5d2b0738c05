package replay

import (
	"net/http"
	"strings"
	"testing"
)

func value(t *testing.T, raw string) any {
	t.Helper()
	var v any
	if err := decode([]byte(raw), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestComparerFindsEachDifferenceAtItsPath(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, want, got string
		volatile        string
		paths           string
	}{
		{"equal", `{"a": [1, "x", null, true]}`, `{"a": [1, "x", null, true]}`, "", ""},
		{"numbers by value", `{"a": 1.0}`, `{"a": 1}`, "", ""},
		{"type of number", `{"a": 1}`, `{"a": "1"}`, "", "$.a"},
		{"null is not false", `{"a": null}`, `{"a": false}`, "", "$.a"},
		{"missing key", `{"a": 1, "b": 2}`, `{"a": 1}`, "", "$.b"},
		{"extra key", `{"a": 1}`, `{"a": 1, "b": null}`, "", "$.b"},
		{"shorter array", `{"a": [1, 2]}`, `{"a": [1]}`, "", "$.a[1]"},
		{"longer array", `{"a": [1]}`, `{"a": [1, 2]}`, "", "$.a[1]"},
		{"object for array", `{"a": [1]}`, `{"a": {"0": 1}}`, "", "$.a"},
		{"nested", `{"a": [{"b": {"c": "x"}}]}`, `{"a": [{"b": {"c": "y"}}]}`, "", "$.a[0].b.c"},
		{"volatile by type", `{"a": "x"}`, `{"a": "y"}`, "$.a", ""},
		{"volatile of another type", `{"a": "x"}`, `{"a": 5}`, "$.a", "$.a"},
		{"volatile digits", `{"a": "12"}`, `{"a": "34"}`, "$.a", ""},
		{"volatile digits, other length", `{"a": "12"}`, `{"a": "345"}`, "$.a", "$.a"},
		{"volatile array, other length", `{"a": ["12"]}`, `{"a": []}`, "$.a", "$.a"},
		{"attributes of a challenge may be absent",
			`{"detail": {"attributes": {}, "multi_challenge": [{"attributes": {}}]}}`,
			`{"detail": {"multi_challenge": [{}]}}`, "", ""},
		{"other attributes may not", `{"attributes": {}}`, `{}`, "", "$.attributes"},
		{"joined texts in any order", `{"detail": {"message": "a, b"}}`, `{"detail": {"message": "b, a"}}`, "", ""},
		{"other texts", `{"detail": {"message": "a, b"}}`, `{"detail": {"message": "a, c"}}`, "", "$.detail.message"},
		{"fewer rights", `{"result": {"value": {"rights": ["x", "y"]}}}`, `{"result": {"value": {"rights": ["y"]}}}`,
			"", "$.result.value.rights"},
		{"rights in any order", `{"result": {"value": {"rights": ["x", "y"]}}}`,
			`{"result": {"value": {"rights": ["y", "x"]}}}`, "", ""},
		{"unknown right", `{"result": {"value": {"rights": ["x"]}}}`, `{"result": {"value": {"rights": ["x", "z"]}}}`,
			"",
			"$.result.value.rights(unknown)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var paths []string
			for _, d := range compareJSON(value(t, c.want), value(t, c.got), func(p string) bool {
				return p == c.volatile
			}) {
				paths = append(paths, d.path)
			}
			if got := strings.Join(paths, " "); got != c.paths {
				t.Errorf("differences at %q, want %q", got, c.paths)
			}
		})
	}
}

func TestAllowedPathsEndAtABorder(t *testing.T) {
	t.Parallel()
	cases := []struct {
		path, allowed string
		want          bool
	}{
		{"$.detail", "$.detail", true},
		{"$.detail.story[0]", "$.detail", true},
		{"$.details", "$.detail", false},
		{"$.a.tokens[3].count", "$.a.tokens[*].count", true},
		{"$.a.tokens[3].failcount", "$.a.tokens[*].count", false},
		{"$.a[1]", "$.a", true},
		{"status", "$", false},
	}
	for _, c := range cases {
		if got := within(c.path, []string{c.allowed}); got != c.want {
			t.Errorf("within(%q, %q) = %t", c.path, c.allowed, got)
		}
	}
}

func TestPythonFormIsWhatTheRecordingsBeginWith(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, area := range areas() {
		for _, e := range loadArea(t, area) {
			if e.Response.JSON == nil || form(e, e.Response.JSON) == `{"error":"Not found"}`+"\n" {
				continue
			}
			seen++
			got := pythonJSON(e.Response.JSON)
			head := e.Response.BodyHead
			for _, stripped := range []string{`"token": "`, `base64,`, `"signature": "`} {
				head, _, _ = strings.Cut(head, stripped)
			}
			if !strings.HasPrefix(got, head) {
				t.Errorf("%s: written as %.120s, recorded %s", e.id(), got, head)
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d bodies were looked at", seen)
	}
}

func TestPythonFormEscapesWhatIsNotASCII(t *testing.T) {
	t.Parallel()
	got := pythonJSON(value(t, `{"b": "ü\n\u0001\u007f\"\\/", "a": ["😀", 1.50, null, false, {}]}`))
	want := `{"a": ["\ud83d\ude00", 1.50, null, false, {}], "b": "\u00fc\n\u0001` + "\x7f" + `\"\\/"}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

const mailHead = "Subject: Your OTP\r\nFrom: pi@example.com\r\nTo: a@example.com\r\nDate: Tue, 24 Nov 2026 03:48:22 " +
	"+0000\r\nContent-Type: "

func TestMailsAreComparedByMeaning(t *testing.T) {
	t.Parallel()
	recorded := recordedMail{From: "pi@example.com", To: []string{"a@example.com"},
		Raw: mailHead + "text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\nNTMxNTUx\r\n"}
	same := message{from: "pi@example.com", to: []string{"a@example.com"},
		raw: mailHead + "text/plain; charset=UTF-8\r\nMessage-ID: <x@y>\r\nContent-Transfer-Encoding: " +
			"quoted-printable\r\n\r\n123456\r\n"}
	if found := compareMails([]recordedMail{recorded}, []message{same}); len(found) > 0 {
		t.Errorf("equal mails differ: %v", found)
	}
	if got := codeIn(same.raw); got != "123456" {
		t.Errorf("code in the mail = %q", got)
	}
	cases := map[string]func(*message){
		"mails[0].body":           func(m *message) { m.raw = strings.Replace(m.raw, "123456", "12345", 1) },
		"mails[0].envelope":       func(m *message) { m.to = []string{"b@example.com"} },
		"mails[0].tls":            func(m *message) { m.tls = true },
		"mails[0].auth":           func(m *message) { m.auth = []string{"u", "p"} },
		"mails[0].header Subject": func(m *message) { m.raw = strings.Replace(m.raw, "Your OTP", "Your code", 1) },
		"mails[0].header Date":    func(m *message) { m.raw = strings.Replace(m.raw, "Tue, 24 Nov", "soon", 1) },
		"mails[0].header X-Extra": func(m *message) { m.raw = "X-Extra: 1\r\n" + m.raw },
	}
	for path, change := range cases {
		other := same
		change(&other)
		found := compareMails([]recordedMail{recorded}, []message{other})
		if len(found) != 1 || found[0].path != path {
			t.Errorf("%s: found %v", path, found)
		}
	}
	if found := compareMails([]recordedMail{recorded}, nil); len(found) != 1 || found[0].path != "mails" {
		t.Errorf("a mail that is missing: %v", found)
	}
}

func TestAnswersAreComparedBeyondTheBody(t *testing.T) {
	t.Parallel()
	e := exchange{area: "x", Name: "y", Response: response{Status: 405,
		Headers: [][2]string{{"Content-Type", "text/html; charset=utf-8"},
			{"Allow", "GET, OPTIONS, HEAD, POST"}, {"Location", "http://127.0.0.1:15000/token/"}}}}
	same := answer{status: 405, header: http.Header{"Content-Type": {"text/html"},
		"Allow":    {"POST, GET, HEAD, OPTIONS"},
		"Location": {"http://127.0.0.1:1/token/"}}}
	if found := compareAnswer(e, nil, same); len(found) > 0 {
		t.Errorf("equal answers differ: %v", found)
	}
	other := answer{status: 404, header: http.Header{"Content-Type": {"application/json"}}, json: map[string]any{},
		body: []byte("{}")}
	var paths []string
	for _, d := range compareAnswer(e, nil, other) {
		paths = append(paths, d.path)
	}
	if got := strings.Join(paths, " "); got != "status content-type allow location $" {
		t.Errorf("differences at %q", got)
	}
}
