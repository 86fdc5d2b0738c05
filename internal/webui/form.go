package webui

import (
	"errors"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// field is one input of a form; the component "field" of parts.html draws it. Texts come from the language file by
// Text, such as server.port: <Text> is the label, <Text>.help what stands below it. It has a member for each thing
// that inputs differ in.
type field struct {
	Name     string // the parameter of REST
	Text     string
	Type     string // text, number, email, password, checkbox, select, textarea
	Value    string
	Checked  bool
	Options  []option // of a select
	Required bool
	Fixed    bool   // shown, not changed
	Focus    bool   // the cursor stands in it when the page is opened
	Bare     bool   // without help: in a filter the label says all
	Max      int    // characters; 0: no limit
	Hint     string // placeholder: an example
	Complete string // autocomplete, HTML's word for what it is (WCAG 1.3.5)
	Note     string // stands beside it, as a warning
	Error    string // what is wrong with the value
}

// option is a choice of a select.
type option struct {
	Value, Text string
	Chosen      bool
}

// each returns the fields as pointers, as the functions below take them.
func each(all []field) []*field {
	out := make([]*field, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

// fill puts what was typed into the fields, as it was typed.
func fill(fields []*field, typed url.Values) {
	for _, f := range fields {
		switch {
		case f.Type == "checkbox":
			f.Checked = typed.Get(f.Name) != ""
		case typed.Has(f.Name):
			f.Value = typed.Get(f.Name)
		}
		for j := range f.Options {
			f.Options[j].Chosen = f.Options[j].Value == f.Value
		}
	}
}

// blame puts a refusal of the API beside the field that it is about and returns "", or returns it for the top of
// the form when it is about none. An error that is no refusal is returned.
func (v *visit) blame(fields []*field, err error) (above string, other error) {
	var e *refusal
	if !errors.As(err, &e) || e.Status == http.StatusUnauthorized {
		return "", err
	}
	for _, f := range fields {
		if e.Field != "" && f.Name == e.Field {
			f.Error = v.ruleOf(*f, e)
			return "", nil
		}
	}
	return e.Message, nil
}

// ruleOf returns the sentence beside a field: that of the refusal, or what a letter takes where the value is too
// long in bytes only.
func (v *visit) ruleOf(f field, e *refusal) string {
	if f.Max > 0 && len(f.Value) > f.Max && utf8.RuneCountInString(f.Value) <= f.Max { // the input counts letters, the API bytes
		return v.text.say("field.bytes", f.Max, len(f.Value))
	}
	return e.Message
}

// params returns the parameters that REST gets for what was typed: a box that is not ticked is sent as 0, so that
// it counts.
func params(fields []*field, typed url.Values) url.Values {
	out := make(url.Values)
	for _, f := range fields {
		switch {
		case f.Type == "checkbox" && typed.Get(f.Name) == "":
			out.Set(f.Name, "0")
		case f.Type == "checkbox":
			out.Set(f.Name, "1")
		default:
			out.Set(f.Name, typed.Get(f.Name))
		}
	}
	return out
}
