package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode/utf8"

	"otpost/internal/fault"
)

const (
	// MaxBody is the largest body that is read, in bytes.
	MaxBody = 1 << 20
	// mostParameters is how many names a request may have.
	mostParameters = 1000
)

// decoder collects the parameters of one request. It is the only place where foreign bytes become parameters
// (docs/security.md, "On the wire").
type decoder struct {
	twice  bool // decode percent escapes once more
	values map[string]value
}

// decode reads the parameters of a request from query and body. Its faults are 905 and 413.
func decode(w http.ResponseWriter, r *http.Request) (Params, error) {
	d := &decoder{twice: decodesTwice(r.UserAgent()), values: make(map[string]value)}
	if err := d.form(r.URL.RawQuery); err != nil {
		return Params{}, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) || fault.CodeOf(err) == fault.Busy {
			return Params{}, err
		}
		return Params{}, fault.Wrap(err, fault.Parameter, "body_ends", "ERR905: The body could not be read to its end.")
	}
	if err := d.body(r.Header.Get("Content-Type"), body); err != nil {
		return Params{}, err
	}
	return Params{values: d.values}, nil
}

// decodesTwice reports whether form, query and path values of a client are decoded once more: Java's and
// FreeRADIUS's clients encode twice, and the original decodes for all but three (docs/compatibility.md, "Clients").
// The fourth is our own pages.
func decodesTwice(userAgent string) bool {
	product, _, _ := strings.Cut(userAgent, "/")
	switch strings.ToLower(strings.TrimSpace(product)) {
	case "privacyidea-cp", "privacyidea-ldap-proxy", "simplesamlphp", "otpost-pages":
		return false
	}
	return true
}

// body adds the parameters of a body. A body of another type, or of none, may still be a JSON object (recorded:
// errors.json, "json body, no content type").
func (d *decoder) body(contentType string, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	kind, options, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = ""
	}
	switch {
	case kind == "application/x-www-form-urlencoded":
		return d.form(string(body))
	case kind == "multipart/form-data":
		return d.multipart(body, options["boundary"])
	case kind == "application/json", strings.HasSuffix(kind, "+json"), bytes.TrimSpace(body)[0] == '{':
		return d.json(body)
	}
	return fault.New(fault.Parameter, "body_type", "ERR905: The body is of a type that is not understood: send a form or JSON.")
}

// form adds the parameters of a query or of a body with its form. A percent sign that begins no escape stands for
// itself: PHP's client encodes nothing.
func (d *decoder) form(encoded string) error {
	for pair := range strings.SplitSeq(encoded, "&") {
		if pair == "" {
			continue
		}
		name, text, _ := strings.Cut(pair, "=")
		name = unescape(strings.ReplaceAll(name, "+", " "))
		text = unescape(strings.ReplaceAll(text, "+", " "))
		if err := d.add(name, value{text: d.again(text)}); err != nil {
			return err
		}
	}
	return nil
}

// again is the second decoding: percent escapes alone, a plus sign stays.
func (d *decoder) again(text string) string {
	if !d.twice {
		return text
	}
	return unescape(text)
}

// multipart adds the fields of a multipart body (RFC 7578), in memory; files are left out.
func (d *decoder) multipart(body []byte, boundary string) error {
	if boundary == "" {
		return fault.New(fault.Parameter, "body_boundary", "ERR905: The multipart body has no boundary.")
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextPart()
		if err == io.EOF { //nolint:errorlint // a body that ends in its middle wraps it
			return nil
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(part)
		}
		if err != nil {
			return fault.Wrap(err, fault.Parameter, "body_multipart", "ERR905: The multipart body is broken.")
		}
		if part.FileName() != "" {
			continue
		}
		if err := d.add(part.FormName(), value{text: d.again(string(content))}); err != nil {
			return err
		}
	}
}

// json adds the members of a JSON object. It reads token by token, since encoding/json folds case and drops doubles.
func (d *decoder) json(body []byte) error {
	broken := func(err error) error {
		return fault.Wrap(err, fault.Parameter, "body_json", "ERR905: The body is not valid JSON.")
	}
	if !utf8.Valid(body) {
		return fault.New(fault.Parameter, "body_utf8", "ERR905: The body is not valid UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	open, err := dec.Token()
	if err != nil {
		return broken(err)
	}
	if open != json.Delim('{') {
		return fault.New(fault.Parameter, "body_object", "ERR905: The JSON body must be an object.")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return broken(err)
		}
		var member any
		if err := dec.Decode(&member); err != nil {
			return broken(err)
		}
		if err := d.member(fmt.Sprint(name), member); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return broken(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return broken(err)
	}
	return nil
}

// member adds one member of a JSON object. Null counts as absent.
func (d *decoder) member(name string, member any) error {
	if member == nil {
		return nil
	}
	if text, ok := scalar(member); ok {
		return d.add(name, value{text: text})
	}
	list, ok := member.([]any)
	if !ok || !listed[name] {
		return fault.Wrong(printable(name), "scalar", "write a text, a number, true or false")
	}
	v := value{many: true, list: make([]string, len(list))}
	for i, element := range list {
		text, ok := scalar(element)
		if !ok || !acceptable(text) {
			return fault.Wrong(printable(name), "list", "the list must hold texts")
		}
		v.list[i] = text
	}
	v.text = strings.Join(v.list, ",")
	return d.add(name, v)
}

// scalar returns a JSON text, number or boolean as a text; booleans as Python writes them.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	}
	return "", false
}

// add takes one parameter. The same name may come twice with one value, never with two.
func (d *decoder) add(name string, v value) error {
	if name == "" {
		return nil
	}
	if !acceptable(name) || !acceptable(v.text) {
		return fault.Wrong(printable(name), "utf8", "it must be valid UTF-8 without NUL")
	}
	if old, ok := d.values[name]; ok && !old.same(v) {
		return fault.Wrong(printable(name), "twice", "it was given twice with different values")
	}
	if len(d.values) >= mostParameters {
		return fault.Newf(fault.Parameter, "body_parameters", "ERR905: There are more than %d parameters.", mostParameters)
	}
	d.values[name] = v
	return nil
}

func acceptable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// printable returns a foreign name for a sentence: short, valid, without control characters.
func printable(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "")
	}
	return name
}

// unescape decodes the percent escapes of a text; what is none stays.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			high, low := unhex(text[i+1]), unhex(text[i+2])
			if high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
