package model

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// limit is how many states a search visits at most.
const limit = 3_000_000

// large reports whether OTPOST_SOAK asks for the large bounds.
func large() bool {
	n, err := strconv.Atoi(os.Getenv("OTPOST_SOAK"))
	return err == nil && n > 0
}

// search explores a configuration and checks all properties. A search that meets its limit checks the invariants alone.
func search(c Config) (*model, *graph[State]) {
	m, start := newModel(c)
	g := explore(start, m.next, limit)
	if g.whole {
		m.alive(g)
	}
	return m, g
}

func searchLine(c lineConfig) *graph[Line] {
	g := explore(Line{}, c.next, limit)
	c.alive(g)
	return g
}

// told renders the broken properties with their traces.
func told(broken map[string][]string) string {
	var b strings.Builder
	for _, property := range slices.Sorted(maps.Keys(broken)) {
		fmt.Fprintf(&b, "\n%s\n    %s", property, strings.Join(broken[property], "\n    "))
	}
	return b.String()
}

// TestTheProtocolHolds searches all orders of steps and faults: within small budgets always, within those of
// configs when OTPOST_SOAK is set (`make model`). What it has met agrees with the table of docs/states.md.
func TestTheProtocolHolds(t *testing.T) {
	t.Parallel()
	seen := map[change]bool{}
	states := 0
	for _, c := range configs() {
		if !large() {
			if c.redis && c.messages > 1 {
				continue // millions of states at the smallest budget
			}
			c = small(c)
		}
		m, g := search(c)
		maps.Copy(seen, m.seen)
		states += len(g.states)
		t.Logf("%-48s %8d states %9d steps, all: %t", c.name, len(g.states), g.steps, g.whole)
		if len(g.broken) > 0 {
			t.Errorf("%s:%s", c.name, told(g.broken))
		}
		if !g.whole && !large() {
			t.Errorf("%s: the small budget has more than %d states", c.name, limit)
		}
	}
	t.Logf("%d states in all", states)
	agree(t, seen)
}

// TestWorkersClaimWhatCanBeInTime searches the second model.
func TestWorkersClaimWhatCanBeInTime(t *testing.T) {
	t.Parallel()
	for _, c := range lineConfigs() {
		if g := searchLine(c); len(g.broken) > 0 || !g.whole {
			t.Errorf("%s: all: %t%s", c.name, g.whole, told(g.broken))
		}
	}
}

// TestEachRuleIsNeeded switches each rule off alone. The property that it protects must break.
func TestEachRuleIsNeeded(t *testing.T) {
	t.Parallel()
	tests := []struct{ rule, config, breaks string }{
		{"Fence", "redis: sent in the request", "I7 the row says dropped, the mail was accepted"},
		{"TakeOver", "redis: sent in the request", "I3"},
		{"Relay", "redis: sent in the request", "L2"},
		{"FinalSQL", "embedded: kills and 4xx", "L3"},
		{"Verdict", "embedded: poison", "L2"},
		{"DotCheck", "embedded: kills and 4xx", "I1"},
		{"Unsure", "embedded: kills and 4xx", "I7"},
		{"DotDurable", "embedded: power cuts, unsure is not retried", "I3"},
		{"FinalDurable", "embedded: power cuts", "I5"},
		{"Reconcile", "redis: answers to claims lost", "L2"},
		{"OwnLease", "embedded: pauses", "I2"},
		{"Differences", "redis: its clock is behind", "L2"},
		{"Differences", "redis: its clock is ahead", "L4"},
		{"Parting", "embedded: clock steps forward", "I3"},
		{"OwnWorker", "embedded: beats stall, one process", "I3"},
		{"Gap", "embedded: clock steps forward", "I3"},
		{"FarLease", "embedded: clock set back", "L1"},
		{"Bound", "embedded: no replies", "I10"},
		{"EndJob", "embedded: kills and 4xx", "I9"},
	}
	needed := map[string]bool{}
	for _, test := range tests {
		needed[test.rule] = true
		t.Run(test.rule+", "+test.config, func(t *testing.T) {
			t.Parallel()
			c := small(configs()[slices.IndexFunc(configs(), func(c Config) bool { return c.name == test.config })])
			without(t, &c.rules, test.rule)
			_, g := search(c)
			mustBreak(t, g.broken, test.breaks)
		})
	}
	mustName(t, Rules{}, needed)
}

// TestEachRuleOfTheLineIsNeeded is the same for the second model.
func TestEachRuleOfTheLineIsNeeded(t *testing.T) {
	t.Parallel()
	tests := []struct{ rule, config, breaks string }{
		{"Share", "a silent mail server", "O3"},
		{"Later", "a silent mail server", "L4"},
		{"Alone", "suspects", "O2"},
		{"Short", "suspects", "O3"},
		{"PassOver", "stale jobs", "O1"},
	}
	needed := map[string]bool{}
	for _, test := range tests {
		needed[test.rule] = true
		t.Run(test.rule, func(t *testing.T) {
			t.Parallel()
			all := lineConfigs()
			c := all[slices.IndexFunc(all, func(c lineConfig) bool { return c.name == test.config })]
			without(t, &c.rules, test.rule)
			mustBreak(t, searchLine(c).broken, test.breaks)
		})
	}
	mustName(t, Order{}, needed)
}

// without switches a rule off, by its name.
func without(t *testing.T, rules any, name string) {
	t.Helper()
	field := reflect.ValueOf(rules).Elem().FieldByName(name)
	if !field.IsValid() || !field.Bool() {
		t.Fatalf("%s is no rule that is on", name)
	}
	field.SetBool(false)
}

// mustBreak fails unless a property that begins with the text is broken. The counterexample goes into the log.
func mustBreak(t *testing.T, broken map[string][]string, begins string) {
	t.Helper()
	for _, property := range slices.Sorted(maps.Keys(broken)) {
		if strings.HasPrefix(property, begins) {
			t.Logf("%s\n    %s", property, strings.Join(broken[property], "\n    "))
			return
		}
	}
	t.Errorf("without this rule %s must break; broken are:%s", begins, told(broken))
}

// mustName fails when a rule stands in no test.
func mustName(t *testing.T, rules any, needed map[string]bool) {
	t.Helper()
	for i := range reflect.TypeOf(rules).NumField() {
		if name := reflect.TypeOf(rules).Field(i).Name; !needed[name] {
			t.Errorf("no test shows that rule %s is needed", name)
		}
	}
}
