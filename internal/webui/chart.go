package webui

import (
	"fmt"
	"time"
)

// chart is a drawing of messages per minute: one column a minute, its outcomes on top of each other.
type chart struct {
	Bars       []bar
	Most       int // the highest column; 0: there were none
	Total      map[string]int
	From, Till time.Time
}

// bar is one piece of a column, in the units of the drawing.
type bar struct {
	Outcome string
	X, Y, H string
	Title   string
}

// The drawing's units: a column is 10 wide with a gap of 2, the highest 100 high.
const (
	columnWidth = 10
	chartHeight = 100
)

// draw returns the chart of some minutes.
func draw(minutes []minute) chart {
	c := chart{Total: make(map[string]int)}
	for _, m := range minutes {
		c.Most = max(c.Most, m.Accepted+m.Failed+m.Expired+m.Dropped+m.Unknown)
	}
	if len(minutes) > 0 {
		c.From, c.Till = minutes[0].Minute, minutes[len(minutes)-1].Minute
	}
	for i, m := range minutes {
		y := float64(chartHeight)
		for _, part := range []struct {
			outcome string
			n       int
		}{{"accepted", m.Accepted}, {"dropped", m.Dropped}, {"unknown", m.Unknown}, {"expired", m.Expired}, {"failed", m.Failed}} {
			c.Total[part.outcome] += part.n
			if part.n == 0 {
				continue
			}
			h := float64(part.n) / float64(c.Most) * chartHeight
			y -= h
			c.Bars = append(c.Bars, bar{Outcome: part.outcome, X: fmt.Sprint(i * columnWidth), Y: fmt.Sprintf("%.2f", y), H: fmt.Sprintf("%.2f", h),
				Title: fmt.Sprintf("%s: %d", m.Minute.UTC().Format("15:04 UTC"), part.n)})
		}
	}
	return c
}
