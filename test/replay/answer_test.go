package replay

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// answer is what otpost answered, with the mails that arrived.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   any // nil if the body is not JSON
	mails  []message
}

// compareAnswer returns every difference from the recording. want is the recorded JSON with this run's ports and paths.
func compareAnswer(e exchange, want any, a answer) []difference {
	var found []difference
	add := func(path string, want, got any) { found = append(found, difference{path, want, got}) }
	if e.Response.Status != a.status {
		add("status", e.Response.Status, a.status)
	}
	if w, g := mediaType(e.Response.header("Content-Type")), mediaType(a.header.Get("Content-Type")); w != g {
		add("content-type", w, g)
	}
	if w, g := methods(e.Response.header("Allow")), methods(a.header.Get("Allow")); !slices.Equal(w, g) {
		add("allow", w, g)
	}
	if w, g := pathOf(e.Response.header("Location")), pathOf(a.header.Get("Location")); w != g {
		add("location", w, g)
	}
	switch {
	case want != nil && a.json != nil:
		found = append(found, compareJSON(want, a.json, volatileOf(e))...)
		if w := form(e, a.json); w != string(a.body) {
			add("form", w, string(a.body))
		}
	case want != nil:
		add("$", want, absent)
	case a.json != nil:
		add("$", absent, a.json)
	}
	return append(found, compareMails(e.Mails, a.mails)...)
}

// form is how the original would have written the body: "Not found" is compact with a newline, all others are Python's.
func form(e exchange, body any) string {
	if !strings.Contains(e.Response.BodyHead, `": `) {
		return `{"error":"Not found"}` + "\n"
	}
	return pythonJSON(body)
}

// alsoVolatile are paths that the recorder did not mark: random numbers, ids of rows, and values of
// this set-up.
func alsoVolatile(e exchange) []string {
	switch e.id() {
	case "system: random", "resolver: create passwd", "resolver: create missing filename", "realm: delete",
		"realm: default set", "realm: default delete", "realm: default set realm1":
		return []string{"$.result.value"}
	}
	return nil
}

// volatileOf returns the exchange's volatile paths as a test. Serials are compared exactly although
// a recording marks them: the replay names the recorded serial in each request that would draw one.
func volatileOf(e exchange) func(string) bool {
	paths := map[string]bool{}
	for _, p := range append(slices.Clone(e.Volatile), alsoVolatile(e)...) {
		paths[p] = !strings.HasSuffix(p, ".serial")
	}
	return func(path string) bool { return paths[path] }
}

func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		return header
	}
	return t
}

func methods(allow string) []string {
	all := strings.FieldsFunc(allow, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(all)
	return all
}

func pathOf(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	return u.RequestURI()
}
