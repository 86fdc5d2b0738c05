package mail

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	hostNameTime   = 2 * time.Second  // bounds a search for this host's full name
	hostNameKept   = time.Hour        // how long a found name is used
	hostNameMissed = 30 * time.Second // the pause after a search without a result
)

// newHostName returns a function that returns this host's full name for EHLO: the host name if it
// has a domain, else a name with a domain of its addresses (/etc/hosts, DNS), else "", for which
// the session uses its address literal. The result of find is used for hostNameKept. When find
// returns no name, it is called again after hostNameMissed, and the earlier name is used meanwhile.
// localhost is never used: it is wrong for other hosts, and some servers refuse it (RFC 5321
// section 4.1.3).
func newHostName(find func(context.Context) string) func(context.Context) string {
	var mu sync.Mutex // held while find runs: other callers wait for its answer
	var name string
	var until time.Time
	return func(ctx context.Context) string {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(until) {
			return name
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hostNameTime)
		defer cancel()
		found := find(ctx)
		until = time.Now().Add(hostNameMissed)
		if found != "" {
			name, until = found, time.Now().Add(hostNameKept)
		}
		return name
	}
}

func fullName(ctx context.Context) string {
	short, err := os.Hostname()
	if err != nil {
		return ""
	}
	if isFullName(short) {
		return short
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, short)
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		names, err := net.DefaultResolver.LookupAddr(ctx, a)
		if err != nil {
			continue
		}
		for _, n := range names {
			if n = strings.TrimSuffix(n, "."); isFullName(n) {
				return n
			}
		}
	}
	return ""
}

// isFullName reports whether s is a host name with a domain, and not localhost.
func isFullName(s string) bool {
	lower := strings.ToLower(s)
	return isHostName(s) && strings.Contains(s, ".") && !strings.HasPrefix(lower, "localhost.") &&
		!strings.Contains(s, "_") &&
		strings.Trim(s, "0123456789.") != "" // an address is not a name
}

// isHostName reports whether s has the form of a host name: labels of letters, digits, hyphens and
// (as some sites have it) underscores.
func isHostName(s string) bool {
	for label := range strings.SplitSeq(strings.ToLower(s), ".") {
		if label == "" || strings.Trim(label, "-") != label ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 253
}

// isLiteral reports whether s is an address literal (RFC 5321 section 4.1.3), such as [192.0.2.1]
// or [IPv6:2001:db8::1].
func isLiteral(s string) bool {
	inner, ok := strings.CutPrefix(s, "[")
	inner, end := strings.CutSuffix(inner, "]")
	six := strings.TrimPrefix(inner, "IPv6:")
	a, err := netip.ParseAddr(six)
	return ok && end && err == nil && a.Zone() == "" && a.Is6() == (six != inner)
}
