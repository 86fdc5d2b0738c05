package app

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"otpost/internal/httpapi"
	"otpost/internal/system"
)

// readProxiesEvery is the interval between two reads of the setting. It is not read for each
// connection, because a database that hangs must not block accepts.
const readProxiesEvery = 5 * time.Second

// proxies holds the networks of OverrideAuthorizationClient. It is safe for concurrent use.
type proxies struct {
	settings *system.Settings
	log      *slog.Logger
	networks atomic.Pointer[[]netip.Prefix]
}

func newProxies(settings *system.Settings, log *slog.Logger) *proxies {
	return &proxies{settings: settings, log: log}
}

// names reports whether an address is a named proxy's.
func (p *proxies) names(at netip.Addr) bool {
	networks := p.networks.Load()
	if networks == nil {
		return false
	}
	for _, one := range *networks {
		if one.Contains(at) {
			return true
		}
	}
	return false
}

// follow reads the setting until ctx ends. While it cannot be read, the last value counts.
func (p *proxies) follow(ctx context.Context) {
	tick := time.NewTicker(readProxiesEvery)
	defer tick.Stop()
	for {
		values, err := p.settings.Load(ctx)
		switch {
		case err == nil:
			networks := httpapi.Proxies(values.OverrideAuthorizationClient())
			p.networks.Store(&networks)
		case ctx.Err() == nil:
			p.log.Debug("named proxies not read, tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
