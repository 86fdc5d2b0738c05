package browser

import (
	"errors"
	"fmt"
	"strings"

	"otpost/test/e2e"
)

// violation is one of axe-core's, as far as it is read here.
type violation struct {
	ID, Impact, Help, HelpURL string
	Nodes                     []struct {
		Target []any // selectors
		HTML   string
	}
}

// Axe fails the test for each rule of accessibility that the page breaks seriously or critically, by axe-core.
func (p *Page) Axe() {
	p.t.Helper()
	source, err := p.browser.axe()
	if errors.Is(err, errMissing) {
		e2e.Missing(p.t, "axe-core (scripts/deps chromium)")
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if !p.scripts { // axe needs timers; the page's own scripts were never read
		p.run(true)
		defer p.run(false)
	}
	// By the debugger's protocol, so that the page's Content-Security-Policy does not stop it.
	Eval[struct{}](p, "window.axe ? undefined : void (() => {"+source+"\n})()")
	found := Eval[[]violation](p, `axe.run({resultTypes: ["violations"]}).then(r => r.violations.filter(v => v.impact === "serious" || v.impact === "critical")
		.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, HelpURL: v.helpUrl, Nodes: v.nodes.map(n => ({Target: n.target, HTML: n.html}))})))`)
	for _, v := range found {
		var where []string
		for _, n := range v.Nodes {
			where = append(where, fmt.Sprintf("\n\t%v %.200s", n.Target, n.HTML))
		}
		p.t.Errorf("axe: %s (%s): %s: %s, %s%s", p.Path(), p.look, v.Impact, v.ID, v.Help, strings.Join(where, ""))
	}
}
