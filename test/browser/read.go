package browser

import "fmt"

// WaitText waits until the page shows a text: what can be seen, with one space between words.
func (p *Page) WaitText(text string) {
	p.t.Helper()
	p.until("wait for the text "+text, fmt.Sprintf("page.words(document.body.innerText).includes(%s) ? {} : {why: 'it is not shown'}", quote(text)))
}

// WaitNoText waits until the page does not show a text.
func (p *Page) WaitNoText(text string) {
	p.t.Helper()
	p.until("wait until it is gone: "+text, fmt.Sprintf("page.words(document.body.innerText).includes(%s) ? {why: 'it is shown'} : {}", quote(text)))
}

// Wait waits until a selector's first element can be seen.
func (p *Page) Wait(selector string) {
	p.t.Helper()
	p.until("wait for "+selector, fmt.Sprintf("page.only([...document.querySelectorAll(%s)].slice(0, 1), %[1]s).why ? {why: 'it is not shown'} : {}", quote(selector)))
}

// WaitFor waits until an expression is true.
func (p *Page) WaitFor(expression string) {
	p.t.Helper()
	p.until("wait for "+expression, "("+expression+") ? {} : {why: 'it is not so'}")
}

// Text returns what can be read in a selector's first element, with one space between words. It waits for the element.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return p.ask(selector, "page.words(e.innerText)")
}

// Value returns the content of a field, by selector.
func (p *Page) Value(selector string) string { p.t.Helper(); return p.ask(selector, "e.value") }

// Attribute returns an attribute of a selector's first element, empty when it has none. It waits for the element.
func (p *Page) Attribute(selector, name string) string {
	p.t.Helper()
	return p.ask(selector, "e.getAttribute("+quote(name)+") || ''")
}

// ask waits for an element and returns the text that an expression makes of it, e.
func (p *Page) ask(selector, expression string) string {
	p.t.Helper()
	p.until("find "+selector, fmt.Sprintf("document.querySelector(%s) ? {} : {why: 'it is not there'}", quote(selector)))
	return Eval[string](p, fmt.Sprintf("(() => { const page = %s; const e = document.querySelector(%s); return %s })()", finders, quote(selector), expression))
}

// Visible reports whether a selector's first element can be seen now.
func (p *Page) Visible(selector string) bool {
	p.t.Helper()
	return Eval[bool](p, fmt.Sprintf("(() => { const page = %s; const e = document.querySelector(%s); return !!e && page.seen(e) })()", finders, quote(selector)))
}

// Count returns how many elements a selector has now.
func (p *Page) Count(selector string) int {
	p.t.Helper()
	return Eval[int](p, "document.querySelectorAll("+quote(selector)+").length")
}

// Focused returns which element has the focus, as a path such as form.card > input#f-username.
func (p *Page) Focused() string {
	p.t.Helper()
	return Eval[string](p, "(() => { const page = "+finders+"; return page.path(document.activeElement) })()")
}
