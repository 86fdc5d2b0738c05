package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The two screens that pages are looked at on, in CSS pixels.
const (
	desktopWidth, desktopHeight = 1280, 800
	phoneWidth, phoneHeight     = 390, 844
)

// mostBytes is how large a screenshot may be: they are kept in docs/images.
const mostBytes = 400 << 10

// look is how a page is shown.
type look struct {
	dark, phone bool
	language    string // what the browser asks for: en, de
}

// String returns the part of a screenshot's name, such as light-phone-de.
func (l look) String() string {
	return map[bool]string{false: "light", true: "dark"}[l.dark] + "-" + map[bool]string{false: "desktop", true: "phone"}[l.phone] + "-" + l.language
}

func (l look) width() int64 {
	if l.phone {
		return phoneWidth
	}
	return desktopWidth
}

// Phone shows the page on a phone of 390 x 844 with touch; Desktop takes it back.
func (p *Page) Phone() { p.t.Helper(); l := p.look; l.phone = true; p.apply(l) }

// Desktop shows the page in a window of 1280 x 800, as at the start.
func (p *Page) Desktop() { p.t.Helper(); l := p.look; l.phone = false; p.apply(l) }

// Dark sets whether dark colours are preferred.
func (p *Page) Dark(on bool) { p.t.Helper(); l := p.look; l.dark = on; p.apply(l) }

// Language sets what the browser asks for, "en" at the start; pages that are opened later have it.
func (p *Page) Language(language string) {
	p.t.Helper()
	l := p.look
	l.language = language
	p.apply(l)
}

// Scripts sets whether the pages that are opened later may run JavaScript. The harness itself still can.
func (p *Page) Scripts(on bool) {
	p.t.Helper()
	p.scripts = on
	p.run(on)
}

func (p *Page) run(scripts bool) {
	p.t.Helper()
	p.do("switch scripts", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		return err
	}))
}

// apply sets the look. It sends only what differs from the look before: each command has Chromium lay out the page again.
func (p *Page) apply(l look) {
	p.t.Helper()
	was := p.look
	p.look = l
	var steps []chromedp.Action[chromedp.Void]
	if was.language == "" || was.phone != l.phone { // no language: a new tab
		steps = append(steps, viewport(l.phone))
	}
	if was.language == "" || was.dark != l.dark {
		steps = append(steps, media(l.dark))
	}
	if was.language != l.language {
		agent := Eval[string](p, "navigator.userAgent")
		steps = append(steps, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetUserAgentOverride,
				emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: l.language})
			return err
		}))
	}
	p.do("show "+l.String(), steps...)
}

func viewport(phone bool) chromedp.Action[chromedp.Void] {
	if phone {
		return chromedp.EmulateViewport(phoneWidth, phoneHeight, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait)
	}
	return chromedp.EmulateViewport(desktopWidth, desktopHeight)
}

func media(dark bool) chromedp.Action[chromedp.Void] {
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	})
}

// Screenshot fails the test when the page does not fit, and writes a picture of the full page as NAME-LIGHT-DESKTOP-EN.png (or
// dark, phone, de) into the folder that OTPOST_IMAGES names. Without a folder it takes no picture: pictures need a third of the
// tests' time. It does not replace a picture; make images deletes all of them first.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	p.Fits()
	if p.browser.shots == "" {
		return
	}
	file := name + "-" + p.look.String() + ".png"
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Fatalf("take %s: %v", file, err)
	}
	image, err := png.DecodeConfig(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatalf("read %s: %v", file, err)
	}
	if int64(image.Width) != p.look.width() || len(shot) > mostBytes {
		p.t.Errorf("%s is %d pixels wide and %d bytes long, want %d pixels and at most %d bytes", file, image.Width, len(shot), p.look.width(), mostBytes)
	}
	if err := os.MkdirAll(p.browser.shots, 0o755); err != nil {
		p.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(p.browser.shots, file), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = f.Write(shot)
	if err := errors.Join(err, f.Close()); err != nil {
		p.t.Fatalf("write %s: %v", file, err)
	}
}

// Overflowing returns the elements that reach beyond the screen's edge, as paths such as main > table.list; those in a box of
// their own that scrolls are none.
func (p *Page) Overflowing() []string {
	p.t.Helper()
	return Eval[[]string](p, fmt.Sprintf("(() => { const page = %s; return page.beyond(%d) })()", finders, p.look.width()))
}

// Fits fails the test when the page is wider than its screen.
func (p *Page) Fits() {
	p.t.Helper()
	if wide := Eval[int64](p, "document.documentElement.scrollWidth"); wide > p.look.width() {
		p.t.Errorf("%s (%s) is %d pixels wide on a screen of %d: %s", p.Path(), p.look, wide, p.look.width(), strings.Join(p.Overflowing(), ", "))
	}
}

// Looks looks at the page as it stands, light and dark, on a desktop and on a phone: it fits, axe finds nothing serious, and
// Screenshot may take a picture. It loads nothing again, so that what was typed and an error that is shown stay.
func (p *Page) Looks(name string) {
	p.t.Helper()
	was := p.look
	defer p.apply(was)
	for _, l := range []look{{false, false, was.language}, {true, false, was.language}, {true, true, was.language}, {false, true, was.language}} {
		p.apply(l)
		p.Screenshot(name)
		if l.dark == l.phone { // each colour and each width once
			p.Axe()
		}
	}
}

// Inspect is Looks in English and in German: it loads the page again in both, and once more in the language that it had.
func (p *Page) Inspect(name string) {
	p.t.Helper()
	was := p.look.language
	for _, language := range []string{"en", "de"} {
		p.Language(language)
		p.Reload()
		p.Looks(name)
	}
	p.Language(was)
	p.Reload()
}
