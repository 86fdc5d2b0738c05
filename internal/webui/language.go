package webui

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// languageCookie keeps a visitor's choice.
const languageCookie = "otpost_language"

// language is the texts of the pages in one language: text/<name>.json, a flat object; {0}, {1} ... stand for what
// is put in.
type language struct {
	Name  string // RFC 5646, such as de
	texts map[string]string
}

// say returns a text. A key that is missing is shown as it is: a test keeps the files complete.
func (l *language) say(key string, values ...any) string {
	text, ok := l.texts[key]
	if !ok {
		return key
	}
	pairs := make([]string, 0, 2*len(values))
	for i, value := range values {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", fmt.Sprint(value))
	}
	return strings.NewReplacer(pairs...).Replace(text) // in one pass: a value with {1} in it stays as it is
}

// fault returns the sentence of a key of the API; otherwise, the API's own sentence, for a key without a text.
func (l *language) fault(key string, args []any, otherwise string) string {
	if key == "" || !l.has("fault."+key) {
		return otherwise
	}
	return l.say("fault."+key, args...)
}

// has reports whether there is a text.
func (l *language) has(key string) bool { return l.texts[key] != "" }

// languages are those that there are a file for; English is the one for everybody else.
type languages map[string]*language

const fallback = "en"

func readLanguages(from fs.FS) (languages, error) {
	names, err := fs.Glob(from, "text/*.json")
	if err != nil {
		return nil, err
	}
	all := make(languages)
	for _, name := range names {
		raw, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, err
		}
		l := &language{Name: strings.TrimSuffix(path.Base(name), ".json")}
		if err := json.Unmarshal(raw, &l.texts); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all[l.Name] = l
	}
	if all[fallback] == nil {
		return nil, fmt.Errorf("there are no texts in %s", fallback)
	}
	return all, nil
}

// of returns the language of a request: what was chosen, else the first of Accept-Language that we have (the
// browser sends them in the order of preference).
func (all languages) of(r *http.Request) *language {
	if cookie, err := r.Cookie(languageCookie); err == nil && all[cookie.Value] != nil {
		return all[cookie.Value]
	}
	for one := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(one), ";")
		tag, _, _ = strings.Cut(tag, "-")
		if l := all[strings.ToLower(tag)]; l != nil {
			return l
		}
	}
	return all[fallback]
}
