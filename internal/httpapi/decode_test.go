package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"otpost/internal/fault"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// parse decodes a request of its parts.
func parse(target, contentType, body, agent string) (Params, error) {
	r := httptest.NewRequest(http.MethodPost, "/validate/check", strings.NewReader(body))
	r.URL.RawQuery = target
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", agent)
	return decode(httptest.NewRecorder(), r)
}

func TestDecodeTakesEveryFormThatClientsSend(t *testing.T) {
	t.Parallel()
	const java, pam, ldap = "privacyIDEA-Keycloak/1.8.0 Keycloak/26.0", "PAM/2.15.0", "privacyIDEA-LDAP-Proxy"
	for _, one := range []struct {
		name, query, kind, body, agent string
		want                           map[string]string
	}{
		{"form", "", formType, "user=alice&pass=p%2B1", pam, map[string]string{"user": "alice", "pass": "p+1"}},
		{"form with charset", "", formType + "; charset=utf-8", "user=j%C3%BCrgen", pam, map[string]string{"user": "jürgen"}},
		{"form, plus is a space", "", formType, "pass=a+b", pam, map[string]string{"pass": "a b"}},
		{"form encoded twice", "", formType, "user=j%25C3%25BCrgen&pass=a%252Bb", java, map[string]string{"user": "jürgen", "pass": "a+b"}},
		{"second decoding keeps the plus", "", formType, "pass=a%2Bb", java, map[string]string{"pass": "a+b"}},
		{"second decoding eats %41 from PAM", "", formType, "pass=%2541", pam, map[string]string{"pass": "A"}},
		{"no second decoding", "", formType, "pass=%2541", ldap, map[string]string{"pass": "%41"}},
		{"no second decoding, case", "", formType, "pass=%2541", "PRIVACYIDEA-CP/3.5", map[string]string{"pass": "%41"}},
		{"no second decoding, saml", "", formType, "pass=%2541", "simpleSAMLphp/2.0", map[string]string{"pass": "%41"}},
		{"no second decoding, our pages", "", formType, "pass=%2541", "otpost-pages", map[string]string{"pass": "%41"}},
		{"empty realm", "", formType, "user=a&realm=", ldap, map[string]string{"user": "a", "realm": ""}},
		{"query", "user=alice&pass=x", "", "", pam, map[string]string{"user": "alice", "pass": "x"}},
		{"query unencoded with trailing ampersand", "user=alice&pass=100%&", "", "", "simpleSAMLphp/2.0", map[string]string{"user": "alice", "pass": "100%"}},
		{"query and equal form", "user=alice", formType, "user=alice&pass=x", pam, map[string]string{"user": "alice", "pass": "x"}},
		{"json", "", jsonType, `{"user":"alice","otponly":1,"genkey":true,"x":null,"y":1.5}`, "python-requests/2",
			map[string]string{"user": "alice", "otponly": "1", "genkey": "True", "y": "1.5"}},
		{"json is never decoded again", "", jsonType, `{"pass":"%41+"}`, java, map[string]string{"pass": "%41+"}},
		{"json keeps case", "", jsonType, `{"pass":"a","Pass":"b"}`, pam, map[string]string{"pass": "a", "Pass": "b"}},
		{"json as text/plain", "", "text/plain", `{"server":"h"}`, pam, map[string]string{"server": "h"}},
		{"json without content type", "", "", ` {"server":"h"}`, pam, map[string]string{"server": "h"}},
		{"json, empty body", "", jsonType, "", pam, map[string]string{}},
		{"json, doubled with one value", "", jsonType, `{"a":"1","a":1}`, pam, map[string]string{"a": "1"}},
		{"list", "", jsonType, `{"resolvers":["pw","sql"]}`, pam, map[string]string{"resolvers": "pw,sql"}},
		{"no value", "", formType, "a&b=", pam, map[string]string{"a": "", "b": ""}},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			p, err := parse(one.query, one.kind, one.body, one.agent)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(one.want, p.All()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for _, one := range []struct{ name, query, kind, body string }{
		{"contradicting form", "", formType, "user=alice&user=bob"},
		{"contradicting query and form", "user=alice", formType, "user=bob"},
		{"contradicting query and json", "user=alice", jsonType, `{"user":"bob"}`},
		{"contradicting json", "", jsonType, `{"user":"alice","user":"bob"}`},
		{"broken json", "", jsonType, `{bad`},
		{"json list", "", jsonType, `[1,2]`},
		{"json text", "", jsonType, `"a"`},
		{"json with a tail", "", jsonType, `{} {}`},
		{"json without its end", "", jsonType, `{"a":"b"`},
		{"json object in it", "", jsonType, `{"user":{"a":"b"}}`},
		{"json list where none is", "", jsonType, `{"user":["a"]}`},
		{"json list of lists", "", jsonType, `{"resolvers":[["a"]]}`},
		{"NUL", "", formType, "pass=%00"},
		{"NUL by the second decoding", "", formType, "pass=%2500"},
		{"NUL in json", "", jsonType, `{"pass":"\u0000"}`},
		{"NUL in a name", "", formType, "%00=a"},
		{"broken UTF-8", "", formType, "pass=%ff"},
		{"broken UTF-8 in json", "", jsonType, "{\"pass\":\"\xff\"}"},
		{"multipart without boundary", "", "multipart/form-data", "a"},
		{"multipart broken", "", "multipart/form-data; boundary=x", "--y\r\n"},
		{"unknown type", "", "application/xml", "<a/>"},
		{"too many names", "", formType, manyNames()},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(one.query, one.kind, one.body, "PAM/1")
			if fault.CodeOf(err) != fault.Parameter {
				t.Errorf("error = %v, want 905", err)
			}
		})
	}
}

func manyNames() string {
	var b strings.Builder
	for i := range mostParameters + 1 {
		fmt.Fprintf(&b, "&n%d=", i)
	}
	return b.String()
}

func TestDecodeReadsMultipartInMemory(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, text := range map[string]string{"user": "alice", "pass": "p+ %x"} {
		if err := w.WriteField(name, text); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("upload", "file.txt")
	if err != nil {
		t.Fatal(err)
	}
	file.Write([]byte("content")) //nolint:errcheck // a buffer
	w.Close()                     //nolint:errcheck // a buffer
	p, err := parse("", w.FormDataContentType(), body.String(), "simpleSAMLphp/2.0")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"user": "alice", "pass": "p+ %x"}, p.All()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeLimitsTheBody(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{formType, jsonType, "multipart/form-data; boundary=x", ""} {
		_, err := parse("", kind, strings.Repeat("a", MaxBody+1), "PAM/1")
		status, f := public(err)
		if status != http.StatusRequestEntityTooLarge || f.Code != fault.TooLarge {
			t.Errorf("%s: %d, %v", kind, status, err)
		}
	}
	if _, err := parse("", formType, "a="+strings.Repeat("a", MaxBody-2), "PAM/1"); err != nil {
		t.Errorf("a body of the greatest size: %v", err)
	}
}

func TestParamsReadTypes(t *testing.T) {
	t.Parallel()
	p, err := parse("", jsonType, `{"t1":true,"t2":1,"t3":"True","t4":"1","t5":"TRUE","t6":"yes","t7":" On ","f1":"No","f2":"off","f3":0,"f4":false,
		"f5":"False","empty":"","odd1":"2","odd2":"enabled","odd3":"ja","odd4":1.0,"n":"15025","bad":"abc","real":1.5}`, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"t1": true, "t2": true, "t3": true, "t4": true, "t5": true, "t6": true, "t7": true,
		"f1": false, "f2": false, "f3": false, "f4": false, "f5": false} {
		if yes, err := p.Bool(name, !want); yes != want || err != nil {
			t.Errorf("%s reads %v, %v", name, yes, err)
		}
	}
	for _, name := range []string{"absent", "empty"} {
		for _, want := range []bool{true, false} {
			if yes, err := p.Bool(name, want); yes != want || err != nil {
				t.Errorf("%s reads %v, %v", name, yes, err)
			}
		}
	}
	for _, name := range []string{"odd1", "odd2", "odd3", "odd4"} {
		if _, err := p.Bool(name, false); fault.CodeOf(err) != fault.Parameter || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want 905 with its name", name, err)
		}
	}
	if n, err := p.Int("n", 25, 1, 65535); n != 15025 || err != nil {
		t.Errorf("n = %d, %v", n, err)
	}
	if n, err := p.Int("absent", 25, 1, 65535); n != 25 || err != nil {
		t.Errorf("absent = %d, %v", n, err)
	}
	for _, name := range []string{"bad", "real", "n"} {
		if _, err := p.Int(name, 1, 1, 100); fault.CodeOf(err) != fault.Parameter {
			t.Errorf("%s: %v, want 905", name, err)
		}
	}
	if _, err := p.Required("absent"); err == nil || err.(*fault.Error).Message != "ERR905: Missing parameter: absent" { //nolint:errorlint,forcetypeassert // a test
		t.Errorf("Required: %v", err)
	}
}

func TestParamsList(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][]string{
		`{"resolvers":["pw"," sql"]}`: {"pw", "sql"}, `{"resolvers":"pw, sql,"}`: {"pw", "sql"}, `{"resolvers":[]}`: {}, `{}`: {},
	} {
		p, err := parse("", jsonType, body, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.List("resolvers")); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

// What url.QueryEscape wrote once or twice comes back, by a client of either kind.
func TestDecodeIsTheInverseOfEncoding(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return r != 0 && r != utf8.RuneError }))
	rapid.Check(t, func(t *rapid.T) {
		want := text.Draw(t, "text")
		once := percentEncode(want)
		for agent, body := range map[string]string{"privacyidea-cp/1": once, "PAM/1": percentEncode(once)} {
			p, err := parse("", formType, "pass="+body, agent)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Text("pass"); got != want {
				t.Fatalf("%s: %q came back as %q", agent, want, got)
			}
		}
	})
}

func percentEncode(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		b.WriteString("%" + string(digits[text[i]>>4]) + string(digits[text[i]&15]))
	}
	return b.String()
}

// FuzzParams: whatever arrives, the decoder answers with clean texts or with 905 or 413, and never panics.
func FuzzParams(f *testing.F) {
	f.Add("user=alice&pass=%41", formType, []byte("a=b&c=%2"), "PAM/1")
	f.Add("", jsonType, []byte(`{"a":"b","resolvers":["x"],"n":1e9,"t":true,"z":null}`), "simpleSAMLphp/2")
	f.Add("&&=", "multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"), "")
	f.Add("%", "text/plain", []byte("{"), "x/")
	f.Fuzz(func(t *testing.T, query, kind string, body []byte, agent string) {
		p, err := parse(query, kind, string(body), agent)
		if err != nil {
			if _, f := public(err); f.Code != fault.Parameter && f.Code != fault.TooLarge || !utf8.ValidString(f.Message) {
				t.Fatalf("error = %v", err)
			}
			return
		}
		for name, text := range p.All() {
			if name == "" || !acceptable(name) || !acceptable(text) {
				t.Fatalf("parameter %q = %q", name, text)
			}
			for _, element := range p.List(name) {
				if !acceptable(element) {
					t.Fatalf("element %q of %q", element, name)
				}
			}
			var f *fault.Error
			if _, err := p.Int(name, 0, 0, 10); err != nil && !errors.As(err, &f) {
				t.Fatalf("Int: %v", err)
			}
			p.Bool(name, false) //nolint:errcheck // it must not panic
		}
	})
}
