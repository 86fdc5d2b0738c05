package webui

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// languageCookie keeps a visitor's choice.
const languageCookie = "otpost_language"

// language is the texts of the pages in one language: text/<name>.json, a flat object; {0}, {1} ... stand for what is put in.
type language struct {
	Name    string // RFC 5646, such as de
	texts   map[string]string
	sayings []saying // none: the language of the API
}

// saying is a sentence of the API in another language: the key of its text is said.<the sentence>, with {0}, {1} ... for what
// differs from time to time.
type saying struct {
	pattern *regexp.Regexp
	key     string
}

// hole stands in a text for what is put in, as regexp.QuoteMeta leaves it.
var hole = regexp.MustCompile(`\\\{\d\\\}`)

// sayingsOf compiles the sentences of a language; the longest first, for it says most.
func sayingsOf(texts map[string]string) []saying {
	var all []saying
	for key := range texts {
		if said, ok := strings.CutPrefix(key, "said."); ok {
			all = append(all, saying{regexp.MustCompile("(?s)^" + hole.ReplaceAllString(regexp.QuoteMeta(said), "(.*)") + "$"), key})
		}
	}
	slices.SortFunc(all, func(a, b saying) int { return cmp.Or(len(b.key)-len(a.key), strings.Compare(a.key, b.key)) })
	return all
}

// translate returns a sentence of the API, which is English, in this language, and whether it is in it: a sentence that is not
// known stays as it is.
func (l *language) translate(sentence string) (string, bool) {
	for _, one := range l.sayings {
		if m := one.pattern.FindStringSubmatch(sentence); m != nil {
			values := make([]any, len(m)-1)
			for i := range values {
				values[i] = m[i+1]
			}
			return l.say(one.key, values...), true
		}
	}
	return sentence, l.Name == fallback
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
		l.sayings = sayingsOf(l.texts)
		all[l.Name] = l
	}
	if all[fallback] == nil {
		return nil, fmt.Errorf("there are no texts in %s", fallback)
	}
	return all, nil
}

// of returns the language of a request: what was chosen, else the first of Accept-Language that we have (the browser sends them in
// the order of preference).
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
