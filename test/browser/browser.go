// Package browser looks at otpost's pages with a real Chromium.
//
// A Browser is one Chromium for a whole test program, a Page one tab of it with cookies of its own, a Site a running otpost
// with users, a token and a mail server. The tests of the pages stand beside them, in package browser_test. What a page wrote
// to its console as an error, and each violation of its Content-Security-Policy, fails the test that opened it.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"otpost/test/e2e"
)

// Patience is how long a Page waits for what must happen before it fails the test.
const Patience = time.Minute

// Browser is a Chromium that starts with its first Page. It is safe for concurrent use.
type Browser struct {
	once  sync.Once
	ctx   context.Context
	stop  func()
	err   error
	axe   func() (string, error)
	shots string // the folder of screenshots, empty: none are written
}

// New returns a browser, to be closed at the end of the test program.
func New() *Browser {
	return &Browser{axe: sync.OnceValues(readAxe), shots: os.Getenv("OTPOST_IMAGES"), stop: func() {}}
}

// Close ends Chromium and waits until it is gone.
func (b *Browser) Close() { b.stop() }

// start starts Chromium once.
func (b *Browser) start() {
	path, err := chromium()
	if err != nil {
		b.err = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WindowSize(desktopWidth, desktopHeight),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("lang", "en-US"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // its sandbox refuses root
	}
	allocated, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	b.ctx, b.stop = ctx, func() { cancel(); end() }
	if err := chromedp.Do(ctx); err != nil {
		b.err = fmt.Errorf("start %s: %w", path, err)
	}
}

// errMissing says that a program of scripts/deps is not there.
var errMissing = errors.New("missing")

func chromium() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"chromium-headless-shell", "chromium"} { // the first has no window to draw
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// ready starts Chromium if it does not run yet, and skips or fails the test when there is none.
func (b *Browser) ready(t testing.TB) {
	t.Helper()
	b.once.Do(b.start)
	if errors.Is(b.err, errMissing) || errors.Is(b.err, exec.ErrNotFound) {
		e2e.Missing(t, "chromium (scripts/deps chromium)")
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
}

// readAxe returns axe-core's source.
func readAxe() (string, error) {
	path := os.Getenv("OTPOST_AXE")
	if path == "" {
		deps := os.Getenv("OTPOST_DEPS")
		if deps == "" {
			cache, err := os.UserCacheDir()
			if err != nil {
				return "", err
			}
			deps = filepath.Join(cache, "otpost-deps")
		}
		path = filepath.Join(deps, "axe", "axe.min.js")
	}
	source, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", errMissing
	}
	return string(source), err
}
