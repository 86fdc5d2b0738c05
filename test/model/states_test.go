package model

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tableRow is a row of the table "Who writes what" of docs/states.md.
type tableRow struct {
	from, to  []uint8 // empty: the state stays
	functions []string
}

// notModelled are the rows of the table, with the state they lead to, that the model has no step for.
var notModelled = map[change]string{
	{event: 7, to: failed}:    "the model has no count of tries: internal/delivery tests \"no try fits\"",
	{event: 10, to: failed}:   "as row 7",
	{event: 13, to: deferred}: "a lease that lapses between the commit of a dot and its write: internal/delivery tests it",
}

// agree compares the changes that the model has met with docs/states.md, both ways.
func agree(t *testing.T, seen map[change]bool) {
	t.Helper()
	table := readTable(t)
	reached := map[change]bool{}
	for c := range seen {
		row := table[c.event]
		if !slices.Contains(row.from, c.from) || !slices.Contains(row.to, c.to) {
			t.Errorf("row %d of docs/states.md does not lead from %s to %s", c.event, stateNames[c.from], stateNames[c.to])
		}
		reached[change{event: c.event, to: c.to}] = true
	}
	for event, row := range table {
		for _, to := range row.to {
			c := change{event: event, to: to}
			if reason, listed := notModelled[c]; reached[c] == listed {
				t.Errorf("row %d of docs/states.md, to %s: the model has met it: %t; it is listed as not modelled: %t %s",
					event, stateNames[to], reached[c], listed, reason)
			}
		}
	}
}

// TestTheDiagramAndTheModelAgree compares the transitions of the diagram in docs/states.md with those that the
// model allows.
func TestTheDiagramAndTheModelAgree(t *testing.T) {
	t.Parallel()
	drawn := map[[2]string]bool{}
	for _, arrow := range regexp.MustCompile(`(?m)^ +(\S+) --> (\w+)`).FindAllStringSubmatch(readStates(t), -1) {
		drawn[[2]string{strings.Replace(arrow[1], "[*]", "none", 1), arrow[2]}] = true
	}
	allowed := map[[2]string]bool{}
	for from, all := range legal {
		for _, to := range all {
			allowed[[2]string{stateNames[from], stateNames[to]}] = true
		}
	}
	for arrow := range drawn {
		if !allowed[arrow] {
			t.Errorf("the diagram has %s --> %s, the model does not", arrow[0], arrow[1])
		}
	}
	for arrow := range allowed {
		if !drawn[arrow] {
			t.Errorf("the model has %s --> %s, the diagram does not", arrow[0], arrow[1])
		}
	}
}

// TestTheTableNamesFunctions looks for each function that the table names in internal/delivery.
func TestTheTableNamesFunctions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../internal/delivery/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of internal/delivery: %v", err)
	}
	var code strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	for event, row := range readTable(t) {
		for _, name := range row.functions {
			if !regexp.MustCompile(`(?m)^func (\([^)]+\) )?` + name + `\(`).MatchString(code.String()) {
				t.Errorf("row %d of docs/states.md names the function %s, which is not in internal/delivery", event, name)
			}
		}
	}
}

func readStates(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readTable reads the table by the number of its rows.
func readTable(t *testing.T) map[uint8]tableRow {
	t.Helper()
	table := map[uint8]tableRow{}
	for _, line := range regexp.MustCompile(`(?m)^\| \d+ \|.*$`).FindAllString(readStates(t), -1) {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		n, err := strconv.Atoi(strings.TrimSpace(cells[0]))
		if err != nil || len(cells) != 7 {
			t.Fatalf("a row of docs/states.md has %d cells: %s", len(cells), line)
		}
		row := tableRow{from: named(cells[1]), to: named(cells[3])}
		if as := regexp.MustCompile(`^ as (\d+)`).FindStringSubmatch(cells[3]); as != nil {
			other, err := strconv.Atoi(as[1])
			if err != nil {
				t.Fatal(err)
			}
			row.to = table[uint8(other)].to
		}
		for _, f := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cells[6], -1) {
			row.functions = append(row.functions, f[1])
		}
		table[uint8(n)] = row
	}
	if len(table) != 18 {
		t.Fatalf("the table of docs/states.md has %d rows", len(table))
	}
	return table
}

// named returns the states that a cell names: "-" before the first, a word for each other.
func named(cell string) []uint8 {
	if strings.TrimSpace(cell) == "-" {
		return []uint8{none}
	}
	var all []uint8
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(cell, -1) {
		if at := slices.Index(stateNames[:], word); at >= 0 {
			all = append(all, uint8(at))
		}
	}
	return all
}
