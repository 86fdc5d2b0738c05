package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"otpost/test/browser"
)

// recorder is a test that notes its errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
	after  []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, values ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, values...))
}

func (r *recorder) Cleanup(f func()) { r.after = append(r.after, f) }

// end runs what was left for the test's end and returns all errors.
func (r *recorder) end() string {
	for _, f := range slices.Backward(r.after) {
		f()
	}
	r.after = nil
	return strings.Join(r.errors, "\n")
}

// recorded opens a page whose failures are noted; the test ends it.
func recorded(t *testing.T, html, policy string) (*browser.Page, *recorder) {
	t.Helper()
	r := &recorder{TB: t}
	t.Cleanup(func() { r.end() })
	p := chromium.Page(r, serve(t, html, policy))
	p.Open("/")
	return p, r
}

// serve serves one page, below a path too, and a script that says that it ran.
func serve(t *testing.T, body, policy string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, `<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">`+
				`<title>A page</title></head><body><main><h1>Page for %s</h1>%s</main></body></html>`, r.Header.Get("Accept-Language"), body)
		case "/ran.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, `document.querySelector("main").append("a script ran")`)
		case "/heavy.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, "//"+strings.Repeat("x", 50_000))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const strict = "default-src 'self'; img-src 'self' data:"

func wants(t *testing.T, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("want a failure with %q, got: %s", part, got)
	}
}

func TestAxeFindsAPictureWithoutText(t *testing.T) {
	t.Parallel()
	p, r := recorded(t, `<img src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==" width="9" height="9">`, strict)
	p.Axe()
	wants(t, r.end(), "image-alt")
}

func TestAxeWorksWithoutThePagesScripts(t *testing.T) {
	t.Parallel()
	p, r := recorded(t, `<button></button>`, strict)
	p.Scripts(false)
	p.Open("/")
	p.Axe()
	wants(t, r.end(), "button-name")
}

func TestAViolationOfThePolicyFails(t *testing.T) {
	t.Parallel()
	_, r := recorded(t, `<p style="color: red">red</p>`, strict)
	wants(t, r.end(), "Content Security Policy")
}

func TestAnErrorOfTheConsoleFails(t *testing.T) {
	t.Parallel()
	p, r := recorded(t, "", strict)
	browser.Eval[struct{}](p, `void console.error("it broke")`)
	browser.Eval[struct{}](p, `void setTimeout(() => { document.title = "thrown"; nosuch() }, 0)`)
	p.WaitFor(`document.title === "thrown"`)
	got := r.end()
	wants(t, got, "it broke")
	wants(t, got, "nosuch is not defined")
}

func TestAllowedErrorsPass(t *testing.T) {
	t.Parallel()
	p, r := recorded(t, "", strict)
	p.Allow("status of 404")
	p.Open("/none")
	if got := r.end(); got != "" {
		t.Errorf("want no failure, got: %s", got)
	}
}

func TestOverflowIsFoundOnAPhoneOnly(t *testing.T) {
	t.Parallel()
	p, r := recorded(t, `<pre id="wide">`+strings.Repeat("x", 80)+`</pre>`, strict)
	p.Fits()
	p.Phone()
	p.Fits()
	if got := p.Overflowing(); !slices.Equal(got, []string{"pre#wide"}) {
		t.Errorf("overflowing: %q", got)
	}
	wants(t, r.end(), "light-phone-en")
	if len(r.errors) != 1 {
		t.Errorf("want one failure, got %q", r.errors)
	}
}

func TestABoxThatScrollsIsNoOverflow(t *testing.T) {
	t.Parallel()
	p := chromium.Page(t, serve(t, `<style>div { overflow-x: auto }</style><div tabindex="0"><pre>`+strings.Repeat("x", 300)+`</pre></div>`, strict+"; style-src 'unsafe-inline'"))
	p.Phone()
	p.Open("/")
	p.Fits()
	if got := p.Overflowing(); len(got) != 0 {
		t.Errorf("overflowing: %q", got)
	}
}

func TestScriptsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	p := chromium.Page(t, serve(t, `<script src="/ran.js"></script><noscript>no script</noscript>`, strict))
	p.Open("/")
	p.WaitText("a script ran")
	p.Scripts(false)
	p.Open("/")
	p.WaitText("no script")
	p.WaitNoText("a script ran")
	p.Scripts(true)
	p.Open("/")
	p.WaitText("a script ran")
}

func TestWeightCountsAllAnswers(t *testing.T) {
	t.Parallel()
	p := chromium.Page(t, serve(t, `<script src="/heavy.js"></script>`, strict))
	p.Open("/")
	if got := p.Weight("/"); got < 50_000 || got > 52_000 {
		t.Errorf("weight %d, want the script's 50,002 bytes and a little", got)
	}
}

func TestLooksReachThePage(t *testing.T) {
	t.Parallel()
	p := chromium.Page(t, serve(t, "", strict))
	p.Phone()
	p.Dark(true)
	p.Language("de")
	p.Open("/")
	p.WaitText("Page for de")
	if !browser.Eval[bool](p, `matchMedia("(prefers-color-scheme: dark) and (width: 390px)").matches && navigator.language === "de"`) {
		t.Error("the page is not dark, 390 wide and German")
	}
}

func TestFieldsAndButtonsAreFoundByWhatIsRead(t *testing.T) {
	t.Parallel()
	p := chromium.Page(t, serve(t, `<form action="/" method="get"><p><label>Sender <input name="sender" value="old"></label></p>
		<p><label><input type="checkbox" name="box"> Send mail from job queue</label></p>
		<p><label>TLS <select name="tls"><option value="0">none</option><option value="1">STARTTLS</option></select></label></p>
		<p><button>Save</button> <button name="act" value="2">Save as new</button></p></form>`, strict))
	p.Open("/")
	p.Type("Sender", "Zoë ☃")
	p.Check("Send mail from job queue", true)
	p.Check("box", true)
	p.Choose("tls", "STARTTLS")
	if got := p.Value("[name=sender]"); got != "Zoë ☃" {
		t.Errorf("typed: %q", got)
	}
	p.Follow("Save as new")
	if got, want := p.Path(), "/?sender=Zo%C3%AB+%E2%98%83&box=on&tls=1&act=2"; got != want {
		t.Errorf("sent: %s, want %s", got, want)
	}
	p.Press(kb.Tab)
	if got := p.Focused(); !strings.HasSuffix(got, "input") {
		t.Errorf("the focus is on %s", got)
	}
}

func TestTwoPagesShareNoCookies(t *testing.T) {
	t.Parallel()
	url := serve(t, "", strict)
	a, b := chromium.Page(t, url), chromium.Page(t, url)
	a.Open("/")
	b.Open("/")
	browser.Eval[struct{}](a, `void (document.cookie = "mine=1")`)
	if got := browser.Eval[string](b, "document.cookie"); got != "" {
		t.Errorf("the other page has the cookie %s", got)
	}
}
