package config

import (
	"sort"
	"strings"
)

// prepass turns the Python of a pi.cfg into Starlark: imports of known names become assignments,
// string prefixes are removed, adjacent strings are joined, and Python that Starlark does not have
// is refused with a hint. It works on tokens, never on the text.
//
// The result has one line for each logical line of the source. A sourceMap keeps the places of the
// tokens.
func prepass(file string, source []byte) (string, sourceMap, error) {
	lines, err := scan(file, source)
	if err != nil {
		return "", sourceMap{}, err
	}
	var out strings.Builder
	places := sourceMap{file: file}
	for _, l := range lines {
		tokens, err := rewriteLine(l.tokens)
		if err != nil {
			return "", sourceMap{}, err
		}
		out.WriteString(l.indent)
		column := len(l.indent) + 1
		var marks []mark
		for _, t := range tokens {
			word := t.text
			if t.kind == text {
				word = quote(t)
			}
			marks = append(marks, mark{column, t.at})
			out.WriteString(word + " ")
			column += len(word) + 1
		}
		out.WriteByte('\n')
		places.lines = append(places.lines, marks)
	}
	return out.String(), places, nil
}

// mark is the place in the source of the token at a column of a line of the result.
type mark struct {
	column int
	at     Position
}

// sourceMap maps the result of a prepass to its source.
type sourceMap struct {
	file  string
	lines [][]mark
}

// source returns the place in the source of the token at line and column (both from 1) of the
// result.
func (m sourceMap) source(line, column int) Position {
	if len(m.lines) == 0 {
		return Position{File: m.file}
	}
	marks := m.lines[max(0, min(line, len(m.lines))-1)]
	i := sort.Search(len(marks), func(i int) bool { return marks[i].column > column })
	return marks[max(0, i-1)].at
}

// rewriter walks over the tokens of one logical line.
type rewriter struct {
	in, out []token
	first   token // of the current simple statement
	start   bool  // the next token begins a simple statement
	depth   int   // open brackets
	assigns int   // "=" outside brackets in the current simple statement
}

func rewriteLine(tokens []token) ([]token, error) {
	r := rewriter{in: tokens, start: true}
	for i := 0; i < len(r.in); {
		n, err := r.step(i)
		if err != nil {
			return nil, err
		}
		i += n
	}
	return r.out, nil
}

// step rewrites the tokens from i on that belong together and returns their number.
func (r *rewriter) step(i int) (int, error) {
	t := r.in[i]
	if r.start {
		r.first, r.start, r.assigns = t, false, 0
		if t.isName("import", "from") {
			return r.importing(i)
		}
		if t.isName("raise") {
			return r.raising(i), nil
		}
		if t.kind == name && refusedStatement(t.text) {
			return 0, refuse(t, t.text)
		}
	}
	if t.isName("is") {
		return r.identity(i)
	}
	if refusedAnywhere(t) || r.power(t) {
		return 0, refuse(t, t.text)
	}
	if t.kind == text {
		return r.join(i)
	}
	if t.kind == operator {
		if err := r.operator(t); err != nil {
			return 0, err
		}
	}
	r.out = append(r.out, t)
	return 1, nil
}

func (r *rewriter) operator(t token) error {
	switch t.text {
	case "(", "[", "{":
		r.depth++
	case ")", "]", "}":
		r.depth--
	}
	if r.depth > 0 {
		return nil
	}
	switch t.text {
	case ";":
		r.start = true
	case "=":
		if r.assigns++; r.assigns > 1 {
			return refuse(t, "A = B = 1")
		}
	case ":":
		if !r.first.isName("if", "elif", "else", "for") {
			return refuse(t, "A: int = 1")
		}
		r.start = true
	}
	return nil
}

// raising replaces the raise statement at i by a call that ends the file.
func (r *rewriter) raising(i int) int {
	n := 1
	for i+n < len(r.in) && !r.in[i+n].is(";") {
		n++
	}
	at := r.in[i].at
	r.out = append(r.out, token{kind: name, text: endName, at: at}, token{kind: operator, text: "(", at: at},
		token{kind: operator, text: ")", at: at})
	return n
}

// identity writes == for "is" and != for "is not" if one operand is None, True or False, where they
// mean the same.
func (r *rewriter) identity(i int) (int, error) {
	n, op := 1, "=="
	if i+1 < len(r.in) && r.in[i+1].isName("not") {
		n, op = 2, "!="
	}
	single := func(t token) bool { return t.isName("None", "True", "False") }
	if !(i+n < len(r.in) && single(r.in[i+n]) || i > 0 && single(r.in[i-1])) {
		return 0, refuse(r.in[i], "is")
	}
	r.out = append(r.out, token{kind: operator, text: op, at: r.in[i].at})
	return n, nil
}

// power reports whether "**" is the operator, after an operand, and not the **keywords of a call.
func (r *rewriter) power(t token) bool {
	if !t.is("**") || len(r.out) == 0 {
		return false
	}
	last := r.out[len(r.out)-1]
	return last.kind != operator || last.is(")") || last.is("]") || last.is("}")
}

// join makes the adjacent texts from i on one text.
func (r *rewriter) join(i int) (int, error) {
	t, n := r.in[i], 1
	for ; i+n < len(r.in) && r.in[i+n].kind == text; n++ {
		more := r.in[i+n]
		if more.bytes != t.bytes {
			return 0, &Error{Position: more.at, Message: "'...' and b'...' cannot be joined",
				Hint: "write both with or both without b"}
		}
		t.text += more.text
	}
	r.out = append(r.out, t)
	return n, nil
}

func refuse(t token, what string) error {
	r := refusalOf(what)
	return &Error{Position: t.at, Message: r.message, Hint: r.hint}
}
