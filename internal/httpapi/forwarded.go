package httpapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// claim is where a request says that it comes from: the hops behind the TCP peer, nearest first. unread is the
// first hop that is no address, with the name of its header or parameter; both are empty when every hop was read.
type claim struct {
	hops           []netip.Addr
	source, unread string
}

// claimed reads the hops of a request: X-Forwarded-For from its end, else Forwarded (RFC 7239) from its end, then
// the parameter client. The first hop that is no address ends the list. Only one of the two headers counts, for a
// proxy that writes one of them may pass on the other as its client wrote it.
func claimed(r *http.Request, client string) claim {
	var c claim
	if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
		c.read("X-Forwarded-For", strings.Split(strings.Join(values, ","), ","))
	} else {
		for _, line := range slices.Backward(r.Header.Values("Forwarded")) {
			if c.unread != "" {
				break
			}
			list, ok := forwardedFor(line)
			if !ok {
				c.source, c.unread = "Forwarded", line
				break
			}
			c.read("Forwarded", list)
		}
	}
	if c.unread == "" {
		c.read("client", []string{client})
	}
	return c
}

// read adds the hops of a list whose last element is the nearest one.
func (c *claim) read(source string, list []string) {
	for _, text := range slices.Backward(list) {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		hop, ok := parseHop(text)
		if !ok {
			c.source, c.unread = source, text
			return
		}
		c.hops = append(c.hops, hop)
	}
}

// parseHop reads an address as proxies write it: alone, with a port (203.0.113.7:50011), in brackets ([2001:db8::7],
// [2001:db8::7]:443), in quotes. A zone is cut off: it means something on the proxy alone. False: "unknown", an
// obfuscated identifier (RFC 7239 section 6.3), or no address at all.
func parseHop(text string) (netip.Addr, bool) {
	if n := len(text); n > 1 && text[0] == '"' && text[n-1] == '"' {
		text = strings.TrimSpace(text[1 : n-1])
	}
	if inside, port, ok := strings.Cut(text, "]"); ok && strings.HasPrefix(inside, "[") {
		if port != "" && !isPort(port) {
			return netip.Addr{}, false
		}
		text = inside[1:]
	} else if strings.Count(text, ":") == 1 { // an IPv6 address has two at least
		at := strings.IndexByte(text, ':')
		if !isPort(text[at:]) {
			return netip.Addr{}, false
		}
		text = text[:at]
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap().WithZone(""), err == nil
}

// isPort reports a colon with a number of five digits at most, or with an obfuscated port (RFC 7239 section 6.2).
func isPort(text string) bool {
	port, ok := strings.CutPrefix(text, ":")
	if !ok || port == "" {
		return false
	}
	if port[0] == '_' {
		return true
	}
	return len(port) <= 5 && strings.Trim(port, "0123456789") == ""
}

// forwardedFor returns the parameter "for" of each element of a Forwarded header (RFC 7239 section 4). An element
// without one gives "unknown", for no proxy vouches for what stands before it. False: the line breaks the grammar.
// None of it counts then, for a client can open a quote that swallows what the proxy adds.
func forwardedFor(line string) (list []string, ok bool) {
	for rest := line; ; {
		hop, after, ok := cutElement(rest)
		if !ok {
			return nil, false
		}
		list = append(list, hop)
		if after == "" {
			return list, true
		}
		rest = after[1:]
	}
}

// cutElement reads pairs that are separated by semicolons. What it leaves is empty or begins with a comma.
func cutElement(text string) (hop, rest string, ok bool) {
	for {
		name, value, rest, ok := cutPair(text)
		if !ok || strings.EqualFold(name, "for") && hop != "" && hop != "unknown" {
			return "", "", false
		}
		switch {
		case strings.EqualFold(name, "for"):
			hop = value
		case name != "" && hop == "":
			hop = "unknown"
		}
		if rest == "" || rest[0] == ',' {
			return hop, rest, true
		}
		if rest[0] != ';' {
			return "", "", false
		}
		text = rest[1:]
	}
}

// cutPair reads name=value with white space around it; the value may be quoted. A pair may be
// missing: its name is empty then.
func cutPair(text string) (name, value, rest string, ok bool) {
	text = strings.TrimLeft(text, " \t")
	if text == "" || text[0] == ';' || text[0] == ',' {
		return "", "", text, true
	}
	name, after, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.ContainsAny(name, "\",; \t") {
		return "", "", "", false
	}
	if strings.HasPrefix(after, `"`) {
		value, rest, ok = cutQuoted(after[1:])
	} else {
		end := strings.IndexAny(after, "\",; \t")
		if end < 0 {
			end = len(after)
		}
		value, rest = after[:end], after[end:]
	}
	return name, value, strings.TrimLeft(rest, " \t"), ok && value != ""
}

// cutQuoted reads a quoted-string (RFC 9110 section 5.6.4) from behind its first quote on.
func cutQuoted(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return "", "", false
			}
		}
		b.WriteByte(text[i])
	}
	return "", "", false
}

// mostUnreadable bounds the proxies of which it is logged that their claims cannot be read.
const mostUnreadable = 100

// unreadable logs once for each proxy that it names its client in a form that cannot be read. It is safe for
// concurrent use.
type unreadable struct {
	mu   sync.Mutex
	told map[netip.Addr]struct{}
}

// tell logs a claim that a trusted proxy makes and that cannot be read.
func (u *unreadable) tell(log *slog.Logger, proxy netip.Addr, c claim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.told[proxy]; ok || len(u.told) >= mostUnreadable {
		return
	}
	if u.told == nil {
		u.told = make(map[netip.Addr]struct{})
	}
	u.told[proxy] = struct{}{}
	log.Warn("a proxy names a client that is no address, so its own address counts as the client's (docs/install.md, 4)",
		"proxy", proxy, "source", c.source, "value", c.unread[:min(len(c.unread), 64)])
}
