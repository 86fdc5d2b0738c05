package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

//go:embed page.js
var finders string

// Page is a tab with cookies of its own. Its methods fail the test when what they want does not come within Patience. It is
// for one goroutine.
//
// Where a method takes "what", it is a CSS selector when it starts with #, . or [ or is like input[name=x]; else the text that
// somebody reads: of a link or button for Click, the name or the label of a field for Type, Choose and Check.
type Page struct {
	t       testing.TB
	browser *Browser
	ctx     context.Context
	base    string
	look    look
	scripts bool
	trouble *trouble
	traffic *traffic
}

// Page opens an empty tab that lives until the end of the test. base is put before the paths that Open is given.
func (b *Browser) Page(t testing.TB, base string) *Page {
	t.Helper()
	b.ready(t)
	p := &Page{t: t, browser: b, base: base, scripts: true, trouble: &trouble{}, traffic: newTraffic()}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(),
		chromedp.WithListener(p.trouble.hear), chromedp.WithListener(p.traffic.hear))
	p.ctx = ctx
	t.Cleanup(cancel)
	t.Cleanup(p.report)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	p.apply(look{language: "en"})
	return p
}

// do runs steps within Patience.
func (p *Page) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// Open loads a path, or a whole URL, and waits for the load event. The status of the answer does not matter to it. A page that would
// ask before it is left does not.
func (p *Page) Open(path string) {
	p.t.Helper()
	p.Unguard()
	if strings.HasPrefix(path, "/") {
		path = p.base + path
	}
	p.do("open "+path, chromedp.Navigate(path))
}

// Reload loads the page again.
func (p *Page) Reload() { p.t.Helper(); p.Unguard(); p.do("reload", chromedp.Reload()) }

// Path returns the address without scheme and host.
func (p *Page) Path() string {
	p.t.Helper()
	return Eval[string](p, "location.pathname + location.search")
}

// Eval runs an expression in a page and returns its value, a promise's when it has come.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluate %.80s: %v", expression, err)
	}
	return v
}

// found is what a function of page.js says.
type found struct {
	Why  string  `json:"why"`
	X, Y float64 // of the viewport
}

// until asks an expression, with the functions of page.js as "page", until it gives no reason to wait. It asks again and again,
// for the page itself may be another one by now, and may run no scripts that could tell.
func (p *Page) until(doing, expression string) found {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	pause := 10 * time.Millisecond
	whole := fmt.Sprintf("(() => { const page = %s; return %s })()", strings.TrimSpace(finders), expression)
	last := "the page does not answer"
	for {
		f, err := chromedp.Run(ctx, chromedp.Evaluate[found](whole))
		switch {
		case err == nil && f.Why == "":
			return f
		case err == nil:
			last = f.Why
		case ctx.Err() == nil:
			last = err.Error() // a page on its way to the next one
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 80*time.Millisecond) // each question takes processor time from the page
		case <-ctx.Done():
			p.t.Fatalf("%s: waited %s: %s\n%s", doing, Patience, last, p.state())
		}
	}
}

// state describes the page for a failure.
func (p *Page) state() string {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 1500)`))
	if err != nil {
		return err.Error()
	}
	return "the page is " + text
}

// quote returns a text as JavaScript's.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(b)
}

// Click presses the pointer on an element once it is visible, enabled and covered by nothing. It does not wait for a next page.
func (p *Page) Click(what string) {
	p.t.Helper()
	f := p.until("click "+what, "page.point(page.control("+quote(what)+"))")
	p.do("click "+what, chromedp.MouseClickXY(f.X, f.Y))
}

// Follow is Click that waits until the next page is loaded: for links, and for buttons that send a form.
func (p *Page) Follow(what string) {
	p.t.Helper()
	before := p.traffic.loads()
	p.Click(what)
	p.waitLoad("follow "+what, before)
}

func (p *Page) waitLoad(doing string, before int) {
	p.t.Helper()
	if !p.traffic.await(func() bool { return p.traffic.loaded > before }) {
		p.t.Fatalf("%s: no page was loaded within %s\n%s", doing, Patience, p.state())
	}
}

// Type replaces the text of a field.
func (p *Page) Type(what, text string) {
	p.t.Helper()
	p.until("type into "+what, fmt.Sprintf("page.take(page.field(%s), %t)", quote(what), text == ""))
	if text == "" {
		return
	}
	p.do("type into "+what, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// Press sends keys, such as kb.Tab or kb.Enter of chromedp's package kb.
func (p *Page) Press(keys string) { p.t.Helper(); p.do("press a key", chromedp.KeyEvent(keys)) }

// Choose selects an option, by its text or its value, of a select.
func (p *Page) Choose(what, option string) {
	p.t.Helper()
	p.until("choose "+option, fmt.Sprintf("page.choose(page.field(%s), %s)", quote(what), quote(option)))
}

// Check ticks a box, or unticks it, by the pointer.
func (p *Page) Check(what string, on bool) {
	p.t.Helper()
	at := "page.field(" + quote(what) + ")"
	is := fmt.Sprintf("(f => f.why ? f : f.e.checked === %t ? {} : {why: 'it is not so'})(%s)", on, at)
	f := p.until("find the box "+what, fmt.Sprintf("(f => f.why ? f : f.e.checked === %t ? {x: -1} : page.point(f))(%s)", on, at))
	if f.X >= 0 {
		p.do("click "+what, chromedp.MouseClickXY(f.X, f.Y))
	}
	p.until("tick "+what, is)
}
