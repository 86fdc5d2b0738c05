package browser

import (
	"context"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// traffic counts what a tab loads. It is safe for concurrent use.
type traffic struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	loaded  int           // load events
	bytes   map[network.RequestID]float64
	open    map[network.RequestID]bool // requests without an end, event streams left out
}

func newTraffic() *traffic {
	return &traffic{changed: make(chan struct{}), bytes: map[network.RequestID]float64{}, open: map[network.RequestID]bool{}}
}

func (c *traffic) hear(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *page.EventLoadEventFired:
		c.loaded++
	case *network.EventRequestWillBeSent:
		c.open[e.RequestID] = true
	case *network.EventResponseReceived:
		c.bytes[e.RequestID] += e.Response.EncodedDataLength // the headers, and what has come with them
		if e.Type == network.ResourceTypeEventSource {
			delete(c.open, e.RequestID)
		}
	case *network.EventDataReceived:
		c.bytes[e.RequestID] += float64(e.EncodedDataLength)
	case *network.EventLoadingFinished:
		c.bytes[e.RequestID] = e.EncodedDataLength // of all of it
		delete(c.open, e.RequestID)
	case *network.EventLoadingFailed:
		delete(c.open, e.RequestID)
	default:
		return
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *traffic) loads() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded
}

// await waits until ready, which is called with the lock, returns true, and reports whether it did within Patience.
func (c *traffic) await(ready func() bool) bool {
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		c.mu.Lock()
		done, changed := ready(), c.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		}
	}
}

// Weight opens a path with an empty cache and returns how many bytes all answers had on the wire, headers and redirections
// included, when the page was loaded and no request was open any more (event streams may be).
func (p *Page) Weight(path string) int {
	p.t.Helper()
	p.cache(false)
	defer p.cache(true)
	p.Open("about:blank") // ends what the page before still loads, such as its icon
	p.traffic.mu.Lock()
	clear(p.traffic.bytes)
	clear(p.traffic.open)
	before := p.traffic.loaded
	p.traffic.mu.Unlock()
	p.Open(path)
	if !p.traffic.await(func() bool { return p.traffic.loaded > before && len(p.traffic.open) == 0 }) {
		p.t.Fatalf("weigh %s: requests are open after %s", path, Patience)
	}
	p.traffic.mu.Lock()
	defer p.traffic.mu.Unlock()
	sum := 0.0
	for _, n := range p.traffic.bytes {
		sum += n
	}
	return int(sum)
}

func (p *Page) cache(on bool) {
	p.t.Helper()
	p.do("set the cache", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: !on})
		return err
	}))
}
