package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// claiming is a request with headers, "Name: value" each.
func claiming(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/validate/check", nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestClaimedReadsEveryWrittenFormOfAnAddress(t *testing.T) {
	t.Parallel()
	const v4, v6 = "203.0.113.7", "2001:db8::7"
	for _, one := range []struct {
		text, want string // want: the hops, nearest first, then ! and the hop that is no address
	}{
		{"203.0.113.7:50011", v4}, // Azure Application Gateway
		{"[2001:db8::7]:443", v6},
		{"[2001:db8::7]", v6},
		{"2001:db8::7", v6},
		{"2001:DB8:0::7", v6},
		{`"203.0.113.7"`, v4},
		{`"[2001:db8::7]:443"`, v6},
		{"::ffff:203.0.113.7", v4},
		{"[::ffff:203.0.113.7]:80", v4},
		{"fe80::1%eth0", "fe80::1"},
		{"[fe80::1%25eth0]:443", "fe80::1"},
		{"  203.0.113.7\t", v4},
		{"198.51.100.1:1, [2001:db8::7]:2 ,203.0.113.7:3", v4 + " " + v6 + " 198.51.100.1"},
		{",, 203.0.113.7 , ", v4},
		{"203.0.113.7:_port", v4},
		{"unknown", "!unknown"},
		{"_hidden", "!_hidden"},
		{"203.0.113.7, unknown", "!unknown"},
		{"unknown, 203.0.113.7", v4 + " !unknown"},
		{"203.0.113.7:", "!203.0.113.7:"},
		{"203.0.113.7:123456", "!203.0.113.7:123456"},
		{"203.0.113.7:x", "!203.0.113.7:x"},
		{"[2001:db8::7", "![2001:db8::7"},
		{"[2001:db8::7]443", "![2001:db8::7]443"},
		{"203.0.113.007", "!203.0.113.007"},
		{`"`, `!"`},
		{"client.example.com", "!client.example.com"},
		{"", ""},
	} {
		if got := said(claimed(claiming("X-Forwarded-For: "+one.text), "")); got != one.want {
			t.Errorf("X-Forwarded-For: %s: %q, want %q", one.text, got, one.want)
		}
	}
}

// said writes a claim down: hops, nearest first, then ! and what is no address.
func said(c claim) string {
	var parts []string
	for _, hop := range c.hops {
		parts = append(parts, hop.String())
	}
	if c.unread != "" {
		parts = append(parts, "!"+c.unread)
	}
	return strings.Join(parts, " ")
}

// The first rows are the examples of RFC 7239 sections 4 to 7.
func TestClaimedReadsForwarded(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		headers []string
		want    string
	}{
		{[]string{`Forwarded: for="_gazonk"`}, "!_gazonk"},
		{[]string{`Forwarded: For="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		{[]string{`Forwarded: for=192.0.2.60;proto=http;by=203.0.113.43`}, "192.0.2.60"},
		{[]string{`Forwarded: for=192.0.2.43, for=198.51.100.17`}, "198.51.100.17 192.0.2.43"},
		{[]string{`Forwarded: for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown`}, "!unknown"},
		{[]string{`Forwarded: for=_hidden, for=_SEVKISEK`}, "!_SEVKISEK"},
		{[]string{`Forwarded: for=192.0.2.43`, `Forwarded: for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com`},
			"198.51.100.17 192.0.2.43"},
		{[]string{`Forwarded: for="192.0.2.43:47011"`}, "192.0.2.43"},
		{[]string{`Forwarded: by=203.0.113.43 ; FOR = 192.0.2.60`}, "!by=203.0.113.43 ; FOR = 192.0.2.60"},
		{[]string{`Forwarded: proto=https`}, "!unknown"},
		{[]string{`Forwarded: for=192.0.2.43, proto=https`}, "!unknown"},
		{[]string{`Forwarded: for=192.0.2.43;host="a,b;for=6.6.6.6\"",, for=198.51.100.17;`}, "198.51.100.17 192.0.2.43"},
		{[]string{`Forwarded: for=192.0.2.43;for=6.6.6.6`}, "!for=192.0.2.43;for=6.6.6.6"},
		{[]string{`Forwarded: for="192.0.2.43`}, `!for="192.0.2.43`},
		{[]string{`Forwarded: for=6.6.6.6;a=", for=192.0.2.43`}, `!for=6.6.6.6;a=", for=192.0.2.43`},
		{[]string{`Forwarded: for=6.6.6.6;a="`, `Forwarded: for=192.0.2.43`}, `192.0.2.43 !for=6.6.6.6;a="`},
		// A proxy that writes X-Forwarded-For passes on the other one as the client wrote it.
		{[]string{`Forwarded: for=6.6.6.6`, `X-Forwarded-For: 192.0.2.43`}, "192.0.2.43"},
		{[]string{`Forwarded: for=6.6.6.6`, `X-Forwarded-For: unknown`}, "!unknown"},
		{[]string{`X-Forwarded-For: 192.0.2.43`, `X-Forwarded-For: 198.51.100.17:80`}, "198.51.100.17 192.0.2.43"},
	} {
		if got := said(claimed(claiming(one.headers...), "")); got != one.want {
			t.Errorf("%v: %q, want %q", one.headers, got, one.want)
		}
	}
	got := said(claimed(claiming("X-Forwarded-For: 198.51.100.17"), "[2001:db8::7]:443"))
	if got != "198.51.100.17 2001:db8::7" {
		t.Errorf("the parameter client: %q", got)
	}
}

// TestUnreadableClaimIsLoggedOnceForEachProxy holds that an administrator learns of a proxy that the server does
// not understand, and that no other client can write into the log.
func TestUnreadableClaimIsLoggedOnceForEachProxy(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var u unreadable
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		for i := range 3 * mostUnreadable {
			proxy := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			u.tell(logger, proxy, claim{source: "X-Forwarded-For", unread: strings.Repeat("x", 1000)})
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != mostUnreadable {
		t.Errorf("%d lines for 900 claims of 300 proxies, want %d", n, mostUnreadable)
	}
	if log.Len() > 400*mostUnreadable {
		t.Errorf("%d bytes of log", log.Len())
	}
}

func TestUnreadableClaimIsToldOnlyOfAProxyThatIsAsked(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		proxies, forwarded string
		told               bool
	}{
		{"10.0.0.1", "unknown", true},
		{"10.0.0.1", "192.0.2.9:x", true},
		{"10.0.0.1", "unknown, 192.0.2.9", false}, // a stranger wrote the first one
		{"", "unknown", false},
		{"10.0.0.2", "unknown", false},
		{"10.0.0.1 > 10.1.0.0/16 > 0.0.0.0/0", "unknown, 10.1.0.1", true},
		{"10.0.0.1 > 10.1.0.0/16 > 0.0.0.0/0", "unknown, 192.0.2.9", false},
	} {
		r := claiming("X-Forwarded-For: " + one.forwarded)
		r.RemoteAddr = "10.0.0.1:4711"
		paths, err := parseProxies(one.proxies)
		if err != nil {
			t.Fatal(err)
		}
		c := claimed(r, "")
		_, more := clientAddress(paths, append([]netip.Addr{peer(r)}, c.hops...))
		if told := more && c.unread != ""; told != one.told {
			t.Errorf("%q behind %q: told %v, want %v", one.forwarded, one.proxies, told, one.told)
		}
	}
}

// FuzzClaimed holds that whatever a client writes into the headers, the hop that the proxy adds is
// the nearest one, or none is read.
func FuzzClaimed(f *testing.F) {
	for _, seed := range []string{"203.0.113.5:40000", "[2001:db8::7]:443", `for="[::1]:80";by=_x`, "unknown",
		`for=6.6.6.6;a="`, `"\`, "fe80::1%eth0", ",,;=", `for=6.6.6.6;host="h`} {
		f.Add(seed)
	}
	want := netip.MustParseAddr("203.0.113.5")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\r\n\x00") {
			return
		}
		for _, own := range []string{"203.0.113.5", "203.0.113.5:4711"} {
			if c := claimed(claiming("X-Forwarded-For: "+text+", "+own), text); len(c.hops) == 0 || c.hops[0] != want {
				t.Errorf("X-Forwarded-For: %s, %s: %s", text, own, said(c))
			}
		}
		for _, own := range []string{"for=203.0.113.5", `for="203.0.113.5:80";proto=https`,
			`proto=https;host="h";for="203.0.113.5"`} {
			c := claimed(claiming("Forwarded: "+text+", "+own), "")
			if len(c.hops) > 0 && c.hops[0] != want || len(c.hops) == 0 && c.unread == "" {
				t.Errorf("Forwarded: %s, %s: %s", text, own, said(c))
			}
			if c := claimed(claiming("Forwarded: "+text, "Forwarded: "+own), ""); len(c.hops) == 0 || c.hops[0] != want {
				t.Errorf("Forwarded: %s and %s: %s", text, own, said(c))
			}
			for _, hop := range c.hops {
				if !hop.IsValid() || hop.Zone() != "" || hop.Is4In6() {
					t.Errorf("hop %v", hop)
				}
			}
		}
	})
}
