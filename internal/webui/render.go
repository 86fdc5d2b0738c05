package webui

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
)

// policy is the Content-Security-Policy of every page: nothing inline, nothing from elsewhere, in no frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers of everything that this package answers.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// templates are the pages by name, each a pool of *template.Template with the layout and the parts: a visit has one
// to itself while it binds its functions to it, and html/template looks through each only once for what is to be
// escaped.
type templates map[string]*sync.Pool

// addresses matches the attributes of a template that hold an address of this server: a
// constant one or one of the data.
//
//nolint:gochecknoglobals // a constant pattern
var addresses = regexp.MustCompile(`((?:href|action|src|data-live)=")(/|\{\{)`)

// parseTemplates reads template/*.html. layout.html frames each page, parts.html has the components. The templates
// and their data know nothing of the base path: it is written before each address here.
func parseTemplates(from fs.FS, base string) (templates, error) {
	parse := func(t *template.Template, names ...string) (*template.Template, error) {
		for _, name := range names {
			text, err := fs.ReadFile(from, name)
			if err != nil {
				return nil, err
			}
			if _, err := t.New(path.Base(name)).Parse(addresses.ReplaceAllString(string(text), "${1}"+base+"${2}")); err != nil {
				return nil, err
			}
		}
		return t, nil
	}
	frame, err := parse(template.New("").Funcs(stubs), "template/layout.html", "template/parts.html")
	if err != nil {
		return nil, fmt.Errorf("read the layout: %w", err)
	}
	names, err := fs.Glob(from, "template/*.html")
	if err != nil {
		return nil, err
	}
	all := make(templates)
	for _, name := range names {
		page := strings.TrimSuffix(strings.TrimPrefix(name, "template/"), ".html")
		if page == "layout" || page == "parts" {
			continue
		}
		parsed, err := parse(template.Must(frame.Clone()), name)
		if err != nil {
			return nil, fmt.Errorf("read page %s: %w", page, err)
		}
		all[page] = &sync.Pool{New: func() any { return template.Must(parsed.Clone()) }} // never executed itself, so it can be cloned
	}
	return all, nil
}

// stubs are the functions of templates while they are parsed; show puts those of the visit in their place.
var stubs = template.FuncMap{ //nolint:gochecknoglobals // a constant table
	"t":    func(string, ...any) string { return "" },
	"when": func(any) template.HTML { return "" },
	"may":  func(string) bool { return false },
	"to":   to,
	"link": func(string, string) template.HTML { return "" },
}

// frame is what layout.html gets.
type frame struct {
	Page     string // name of the template, for its title: title.<page>
	Data     any
	Menu     []menuEntry
	Session  session
	Language string
	Posted   bool   // the page answers a form: what stands in it is not saved
	Choose   string // where the buttons of the languages send what they send
	Keep     bool   // they send the page's form
	Wrong    string // what is wrong with a form before its values are looked at; ''
	Done     string // what was done on the page before; ''
	Version  string
}

// show renders a page. It is written as a whole or, when its template fails, not at all.
func (v *visit) show(status int, page string, data any) {
	f := frame{Page: page, Data: data, Menu: v.menu(), Session: v.session, Language: v.text.Name, Posted: v.r.Method == http.MethodPost, Wrong: v.wrong, Version: v.site.options.Version}
	f.Choose, f.Keep = v.languageForm(data)
	if v.wrong != "" {
		status = http.StatusBadRequest
	}
	for _, key := range v.flashes {
		if strings.HasPrefix(key, "done.") && v.text.has(key) {
			f.Done = v.text.say(key)
		}
	}
	var b bytes.Buffer
	pool := v.site.templates[page]
	t := pool.Get().(*template.Template) //nolint:forcetypeassert // its New makes nothing else
	defer pool.Put(t)
	err := t.Funcs(template.FuncMap{"t": v.text.say, "when": v.when, "may": v.session.may, "link": v.link}).ExecuteTemplate(&b, "layout", f)
	if err != nil {
		v.site.log.Error("page not rendered", "page", page, "err", err)
		http.Error(v.w, v.text.say("fault.internal"), http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Language", v.text.Name)
	v.write(status, b.Bytes())
}

// when renders a time (time.Time, *time.Time or RFC 3339 text): in UTC, which the script turns into the reader's
// own zone.
func (v *visit) when(value any) template.HTML {
	var at time.Time
	switch t := value.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t != nil {
			at = *t
		}
	case string:
		at, _ = time.Parse(time.RFC3339, t) // the zero time is shown as a dash
	}
	if at.IsZero() {
		return "–"
	}
	at = at.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s UTC</time>`, at.Format(time.RFC3339Nano), at.Format("2006-01-02 15:04:05"))) //nolint:gosec // digits only
}

// to returns the address of a page of ours: to "tokens" "a/b" "pin" is /ui/tokens/a%2Fb/pin. A template that writes
// a name into an address itself leads to another object, for html/template keeps what separates the parts of an
// address.
func to(segments ...string) string { return pathTo(append([]string{"ui"}, segments...)...) }

// link renders the name of an object as a link to its page, below /ui/<kind>/; a name that no browser can ask for
// as a text.
func (v *visit) link(kind, name string) template.HTML {
	text := template.HTMLEscapeString(name)
	if dots(name) {
		return template.HTML(fmt.Sprintf(`<span title="%s">%s</span>`, template.HTMLEscapeString(v.text.say("link.dots")), text)) //nolint:gosec // escaped
	}
	address := template.HTMLEscapeString(v.site.options.Base + to(kind, name))
	return template.HTML(fmt.Sprintf(`<a href="%s">%s</a>`, address, text)) //nolint:gosec // escaped
}
