package webui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// answer is what a call of the REST API gave: the envelope's value and detail, undecoded.
type answer struct {
	Value          json.RawMessage
	Detail         json.RawMessage
	Authentication string // ACCEPT, REJECT, CHALLENGE or ''
	About          []about
}

// about says what a sentence of an answer is about. The API tells it beside the envelope, to writers with the
// method About.
type about struct {
	field string // the parameter; empty for none
	key   string // names the sentence: its text is fault.<key>
	args  []any
}

// about returns what the sentence number i of the answer is about; zero when the API did not tell.
func (a answer) about(i int) about {
	if i < len(a.About) {
		return a.About[i]
	}
	return about{}
}

// call asks the REST API in this process, with the visitor's session and from his address. GET and DELETE carry the
// parameters in the query, POST as a form. The error of a refusal is a *refusal.
func (v *visit) call(method, path string, params url.Values) (answer, error) {
	target, body := path, ""
	if method == http.MethodPost {
		body = params.Encode()
	} else if len(params) > 0 {
		target += "?" + params.Encode()
	}
	r, err := http.NewRequestWithContext(v.r.Context(), method, target, strings.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", path, err)
	}
	r.RemoteAddr = v.r.RemoteAddr
	r.Header.Set("User-Agent", "otpost-pages")                                   // what is typed is sent as it is: not to be decoded once more
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} { // whether they count is the API's to say
		r.Header[name] = v.r.Header[name]
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if v.session.In() {
		r.Header.Set("Authorization", v.session.token)
	}
	if v.aged {
		r.Header.Set("Cache-Control", "max-age=1")
	}
	out := &recorder{header: make(http.Header), status: http.StatusOK}
	v.site.api.ServeHTTP(out, r)
	return out.answer(v.text)
}

// get asks for path and decodes the value into what to points to.
func (v *visit) get(path string, params url.Values, to any) error {
	a, err := v.call(http.MethodGet, path, params)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.Value, to); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// recorder keeps the API's answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	about  []about
}

// About takes what the next sentence of the answer is about (httpapi/edge.go).
func (o *recorder) About(field, key string, args []any) {
	o.about = append(o.about, about{field, key, args})
}

// Header implements http.ResponseWriter.
func (o *recorder) Header() http.Header { return o.header }

// WriteHeader implements http.ResponseWriter.
func (o *recorder) WriteHeader(status int) { o.status = status }

// Write implements http.ResponseWriter.
func (o *recorder) Write(p []byte) (int, error) { return o.body.Write(p) }

// answer opens the envelope. The error of a refusal is a *refusal, in the visitor's language.
func (o *recorder) answer(text *language) (answer, error) {
	var envelope struct {
		Detail json.RawMessage
		Result struct {
			Status         bool
			Value          json.RawMessage
			Authentication string
			Error          struct {
				Code    int
				Message string
			}
		}
	}
	if err := json.Unmarshal(o.body.Bytes(), &envelope); err != nil {
		if o.status >= http.StatusMultipleChoices && o.status < http.StatusInternalServerError { // a name such as .. leads elsewhere
			return answer{}, &refusal{Status: http.StatusNotFound, Key: unusable, Message: text.fault(unusable, nil, "")}
		}
		return answer{}, fmt.Errorf("the API answered %d without an envelope: %w", o.status, err)
	}
	a := answer{
		Value:          envelope.Result.Value,
		Detail:         envelope.Detail,
		Authentication: envelope.Result.Authentication,
		About:          o.about,
	}
	if envelope.Result.Status {
		return a, nil
	}
	is := a.about(0)
	return answer{}, &refusal{
		Status:  o.status,
		Code:    envelope.Result.Error.Code,
		Key:     is.key,
		Field:   is.field,
		Message: text.fault(is.key, is.args, envelope.Result.Error.Message),
	}
}

// pathTo joins segments of a path, each escaped: pathTo("smtpserver", "a/b") is /smtpserver/a%2Fb. Dots alone are
// escaped too: the API takes %2E%2E for a name, although no browser does (dots).
func pathTo(segments ...string) string {
	var b strings.Builder
	for _, one := range segments {
		if one = url.PathEscape(one); dots(one) {
			one = strings.ReplaceAll(one, ".", "%2E")
		}
		b.WriteString("/" + one)
	}
	return b.String()
}

// dots reports whether a name is a dot segment, which browsers take out of an address, escaped or not (URL
// Standard, "double-dot URL path segment").
func dots(name string) bool { return name == "." || name == ".." }

// unusable is the key of the refusal of a name of dots for what is made on a page: no browser could open it.
const unusable = "name_unusable"
