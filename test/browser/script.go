package browser

import (
	"context"
	"fmt"
	"net/http"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// This file is what a test does to a page by script, and a hand cannot.

// Forget deletes the tab's cookies: the session ends, as it does by itself after an hour.
func (p *Page) Forget() {
	p.t.Helper()
	p.do("delete the cookies", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.ClearBrowserCookies, cdp.Empty{})
		return err
	}))
}

// SetCookie gives the tab a cookie of the site.
func (p *Page) SetCookie(c *http.Cookie) {
	p.t.Helper()
	set := network.SetCookieParams{Name: c.Name, Value: c.Value, URL: p.base, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HttpOnly,
		SameSite: network.CookieSameSiteStrict}
	p.do("set a cookie", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetCookie, set)
		return err
	}))
}

// Answer answers the questions of the page (confirm) from now on, until another page is loaded. Asked returns the last one.
func (p *Page) Answer(yes bool) {
	p.t.Helper()
	Eval[struct{}](p, fmt.Sprintf("void (window.confirm = (question) => { sessionStorage.asked = question; return %t })", yes))
}

// Asked returns what the page asked last since Answer, empty when nothing.
func (p *Page) Asked() string { p.t.Helper(); return Eval[string](p, "sessionStorage.asked || ''") }

// Unbounded takes the limits of length from the fields, as somebody does who sends a form without a browser.
func (p *Page) Unbounded() {
	p.t.Helper()
	Eval[struct{}](p, "void document.querySelectorAll('[maxlength]').forEach((e) => e.removeAttribute('maxlength'))")
}

// Put puts a value into a field, by its name: whatever it is, and whatever its length. Typing leaves out what no keyboard has.
func (p *Page) Put(name, value string) {
	p.t.Helper()
	Eval[struct{}](p, fmt.Sprintf("void (document.querySelector('[name=%s]').value = %s)", name, quote(value)))
}

// Unguard has the page be left without a question, whatever was typed into it.
func (p *Page) Unguard() {
	p.t.Helper()
	Eval[struct{}](p, `void (typeof typed === "undefined" || (typed = false))`)
}
