package config

import (
	"slices"
	"strings"
)

// importing replaces the import statement at i by assignments; the modules are predeclared. It
// returns the number of tokens of the statement.
func (r *rewriter) importing(i int) (int, error) {
	n := 0
	for i+n < len(r.in) && !r.in[i+n].is(";") {
		n++
	}
	p := importParser{rest: r.in[i : i+n], last: r.in[i]}
	var err error
	if r.in[i].isName("import") {
		err = p.modules()
	} else {
		err = p.names()
	}
	if err != nil {
		return 0, err
	}
	if len(p.out) == 0 {
		p.out = []token{{kind: name, text: "pass", at: r.in[i].at}}
	}
	r.out = append(r.out, p.out...)
	return n, nil
}

// importParser reads one import statement (The Python Language Reference, 7.11).
type importParser struct {
	rest []token
	last token
	bad  bool // a name is missing
	out  []token
}

// modules reads: import os, os.path, logging as log.
func (p *importParser) modules() error {
	p.next()
	for {
		at := p.at()
		module := p.dotted()
		root, _, _ := strings.Cut(module, ".")
		offered := slices.Contains(modules(), module)
		bound := token{kind: name, text: root, at: at.at}
		switch {
		case !offered && slices.Contains(modules(), root):
			return p.unknown(at, module)
		case p.accept("as"):
			bound = p.word()
			if offered {
				p.assign(bound, module, at)
			}
		}
		if !offered && !p.bad {
			p.absent(bound, module)
		}
		if !p.accept(",") {
			return p.end()
		}
	}
}

// names reads: from os.path import join, dirname as d.
func (p *importParser) names() error {
	p.next()
	module := p.dotted()
	if module == "__future__" {
		p.rest = nil // all names are predeclared
		return nil
	}
	offered := slices.Contains(modules(), module)
	if !p.accept("import") {
		return p.end()
	}
	closing := p.accept("(")
	for {
		if p.at().is("*") {
			return refuse(p.at(), "import *")
		}
		t := p.word()
		if p.bad {
			return p.end()
		}
		full := module + "." + t.text
		if offered && !isOffered(full) {
			return p.unknown(t, full)
		}
		bound := t
		if p.accept("as") {
			bound = p.word()
		}
		if offered {
			p.assign(bound, full, t)
		} else {
			p.absent(bound, full)
		}
		if !p.accept(",") || closing && len(p.rest) > 0 && p.rest[0].is(")") {
			break
		}
	}
	if closing {
		p.accept(")")
	}
	return p.end()
}

// assign writes "bound = path", except for a name that is predeclared with this value.
func (p *importParser) assign(bound token, path string, at token) {
	if bound.text == path || bound.text == "timedelta" && path == "datetime.timedelta" {
		return
	}
	p.statement(bound, token{kind: name, text: path, at: at.at})
}

// absent writes "bound = __absent__('path')".
func (p *importParser) absent(bound token, path string) {
	p.statement(bound, token{kind: name, text: absentName, at: bound.at},
		token{kind: operator, text: "(", at: bound.at},
		token{kind: text, text: path, at: bound.at}, token{kind: operator, text: ")", at: bound.at})
}

// statement appends "bound = value" to the output.
func (p *importParser) statement(bound token, value ...token) {
	if len(p.out) > 0 {
		p.out = append(p.out, token{kind: operator, text: ";", at: bound.at})
	}
	p.out = append(append(p.out, bound, token{kind: operator, text: "=", at: bound.at}), value...)
}

func (p *importParser) unknown(at token, what string) error {
	r := refusalOf("import")
	return &Error{Position: at.at, Message: strings.Replace(r.message, "this import", "import of "+what, 1),
		Hint: r.hint}
}

// end refuses an incomplete statement and tokens after its end.
func (p *importParser) end() error {
	if len(p.rest) == 0 && !p.bad && (p.last.kind == name && !p.last.isName("import", "as") || p.last.is(")")) {
		return nil
	}
	return &Error{Position: p.at().at, Message: "the import is not understood",
		Hint: "write import os or from os import path"}
}

func (p *importParser) at() token {
	if len(p.rest) > 0 {
		return p.rest[0]
	}
	return p.last
}

func (p *importParser) next() token {
	if len(p.rest) == 0 {
		return token{kind: operator, at: p.last.at}
	}
	p.last, p.rest = p.rest[0], p.rest[1:]
	return p.last
}

func (p *importParser) accept(word string) bool {
	if len(p.rest) > 0 && p.rest[0].text == word && p.rest[0].kind != text {
		p.next()
		return true
	}
	return false
}

// word reads a name.
func (p *importParser) word() token {
	t := p.next()
	p.bad = p.bad || t.kind != name
	return t
}

func (p *importParser) dotted() string {
	path := p.word().text
	for p.accept(".") {
		path += "." + p.word().text
	}
	return path
}
