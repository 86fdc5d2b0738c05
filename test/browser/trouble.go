package browser

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
)

// trouble is what a page complained of. It is safe for concurrent use.
type trouble struct {
	mu      sync.Mutex
	said    []string
	allowed []string
}

// hear notes errors of the console, scripts that failed, and violations of the Content-Security-Policy.
func (c *trouble) hear(event any) {
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			c.add(fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, strings.Trim(string(a.Value), `"`)+a.Description)
			}
			c.add("console: " + strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if o := e.ExceptionDetails.Exception; o != nil {
			text += " " + o.Description
		}
		c.add(fmt.Sprintf("script: %s (%s:%d)", text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber+1))
	}
}

func (c *trouble) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, line)
}

// left returns what was not allowed.
func (c *trouble) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []string
	for _, line := range c.said {
		if !slices.ContainsFunc(c.allowed, func(part string) bool { return strings.Contains(line, part) }) {
			left = append(left, line)
		}
	}
	return left
}

// Allow lets errors of the console pass that have part in them, such as "status of 409" where the test wants that answer.
func (p *Page) Allow(part string) {
	p.trouble.mu.Lock()
	defer p.trouble.mu.Unlock()
	p.trouble.allowed = append(p.trouble.allowed, part)
}

// report fails the test for all that the page complained of.
func (p *Page) report() {
	p.t.Helper()
	for _, line := range p.trouble.left() {
		p.t.Errorf("the page complains: %s", line)
	}
}
