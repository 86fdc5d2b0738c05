package mail_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"otpost/internal/mail"
)

func TestOneAddressIsOneAddrSpec(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a@b", "alice@example.com", "a.b+c=d@sub.example.com", "o'neil@example.com",
		"jürgen@example.com", "a@müller.example", strings.Repeat("x", 64) + "@example.com"} {
		if a, err := mail.ParseAddress(s); err != nil || a.String() != s {
			t.Errorf("%q: %q, %v", s, a, err)
		}
	}
	for _, s := range []string{
		"", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@b,c@d", "<a@b>", "Alice <a@b>", "a@b>", "a@b\r\nDATA",
		"a\x00@b", "a@b\nb", "a..b@c", ".a@b",
		"a.@b", "a@b.", "a@.b", "a@-b", "a@b-", `"a b"@c`, "a@[127.0.0.1]", "a@b;c", "a@b(c)", "a@b_c", "a@b\u2028c",
		"a\u0085@b", "a@b\xff", "a@b%", `a\@b`,
		"a:b@c", strings.Repeat("x", 65) + "@example.com", "a@" + strings.Repeat("x", 254), "a@b\u00a0c", "a@\u00ad",
		"a@xn--\u00fc.example",
		strings.Repeat("x", 60) + "@" + strings.Repeat("ü.", 90) + "example",
	} {
		if a, err := mail.ParseAddress(s); !errors.Is(err, mail.ErrAddress) {
			t.Errorf("%q: %q, %v, want ErrAddress", s, a, err)
		}
	}
}

// White space comes from users' files, forms and command lines.
func TestWhiteSpaceAroundAnAddressIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, s := range []string{" a@b.example", "a@b.example ", "\ta@b.example\r\n", "\u00a0a@b.example\u2028"} {
		if a, err := mail.ParseAddress(s); err != nil || a.String() != "a@b.example" || a.Wire() != "a@b.example" {
			t.Errorf("%q: %q, %v", s, a, err)
		}
		if _, a, err := mail.ParseSender("Name < " + strings.TrimSpace(s) + " > "); err != nil ||
			a.String() != "a@b.example" {
			t.Errorf("sender %q: %q, %v", s, a, err)
		}
	}
}

// A domain beyond ASCII leaves as its A-label, so that any mail server takes it; what people see is what was typed.
func TestDomainBeyondASCIIIsWrittenInASCII(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"eva@müller.example":                "eva@xn--mller-kva.example",
		"eva@MÜLLER.example":                "eva@xn--mller-kva.example",
		"otp@köln.example":                  "otp@xn--kln-sna.example",
		"a@straße.example":                  "a@xn--strae-oqa.example",
		"a@例え.テスト":                          "a@xn--r8jz45g.xn--zckzah",
		"jürgen@müller.example":             "jürgen@xn--mller-kva.example",
		"a@xn--mller-kva.example":           "a@xn--mller-kva.example",
		"a@Sub_2.Example.com":               "",
		"Alice@Sub.Example.COM":             "Alice@Sub.Example.COM",
		"a@mu\u0308ller.example":            "a@xn--mller-kva.example",
		"a@b\uff0eexample":                  "a@b.example",
		"a@3--x.example":                    "a@3--x.example",
		"a@sub.müller-lüdenscheidt.example": "a@sub.xn--mller-ldenscheidt-22bg.example",
	} {
		a, err := mail.ParseAddress(s)
		if a.Wire() != want || (want == "") != (err != nil) || err == nil && a.String() != s {
			t.Errorf("%q: %q, %v, want %q", s, a.Wire(), err, want)
		}
		if ascii := !strings.ContainsRune(s[:strings.Index(s, "@")], 'ü'); err == nil && a.ASCII() != ascii {
			t.Errorf("%q needs no SMTPUTF8: %t", s, a.ASCII())
		}
	}
	if got := (mail.Server{Sender: "OTP <otp@köln.example>"}).SenderDomain(); got != "xn--kln-sna.example" {
		t.Errorf("Message-ID of %s", got)
	}
}

func TestAddressHoldsNothingThatEndsACommand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "left") + rapid.SampledFrom([]string{"@", "@example.com", "x@y"}).Draw(t,
			"middle") + rapid.String().Draw(t, "right")
		a, err := mail.ParseAddress(s)
		if err != nil {
			return
		}
		s = strings.TrimSpace(s)
		beyond := func(r rune) bool { return r >= 0x80 }
		_, domain, _ := strings.Cut(a.Wire(), "@")
		if a.String() != s || strings.ContainsFunc(domain, beyond) ||
			strings.ContainsAny(s, " \t\r\n\x00<>(),;:\\\"[]") || strings.Count(s, "@") != 1 {
			t.Fatalf("%q passed", s)
		}
		if masked := a.Masked(); strings.Index(s, "@") > 1 && strings.Contains(masked, a.String()) {
			t.Fatalf("%q masked as %q", s, masked)
		}
	})
}

func TestMaskedAddressTellsOneLetterAndTheDomain(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"alice@example.com": "a***@example.com",
		"ü@example.com": "ü***@example.com"} {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Masked() != want {
			t.Errorf("%q, want %q, %v", a.Masked(), want, err)
		}
	}
	if got := (mail.Address{}).Masked(); got != "" {
		t.Errorf("no address masked as %q", got)
	}
}

func TestSenderIsAnAddressOrNameAndAddress(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][2]string{
		"pi@example.com":                    {"", "pi@example.com"},
		"<pi@example.com>":                  {"", "pi@example.com"},
		"Example IT <pi@example.com>":       {"Example IT", "pi@example.com"},
		`"Say, \"hi\"" <pi@example.com>`:    {`Say, "hi"`, "pi@example.com"},
		"Jürgen Müller <pi@example.com>":    {"Jürgen Müller", "pi@example.com"},
		"=?utf-8?q?J=C3=BC?= <pi@ex.com>":   {"Jü", "pi@ex.com"},
		"Support (Billing) <a@b.example>":   {"Support (Billing)", "a@b.example"},
		"Company, Inc. <a@b.example>":       {"Company, Inc.", "a@b.example"},
		`"Company, Inc." <a@b.example>`:     {"Company, Inc.", "a@b.example"},
		"Team [IT] <a@b.example>":           {"Team [IT]", "a@b.example"},
		"IT: Support <a@b.example>":         {"IT: Support", "a@b.example"},
		"Info @ Shop <a@b.example>":         {"Info @ Shop", "a@b.example"},
		"J. Doe <a@b.example>":              {"J. Doe", "a@b.example"},
		"Zugang Köln 🔐 <a@b.example>":       {"Zugang Köln 🔐", "a@b.example"},
		"Köln, GmbH (IT) <a@b.example>":     {"Köln, GmbH (IT)", "a@b.example"},
		"a@b.example <a@b.example>":         {"a@b.example", "a@b.example"},
		`Joe "Ace" Doe <a@b.example>`:       {`Joe "Ace" Doe`, "a@b.example"},
		`O'Neil \ Sons; 24/7 <a@b.example>`: {`O'Neil \ Sons; 24/7`, "a@b.example"},
		"Name<a@b.example>":                 {"Name", "a@b.example"},
		"<Admin> <a@b.example>":             {"<Admin>", "a@b.example"},
		"a@b.example (Example IT)":          {"Example IT", "a@b.example"},
	} {
		name, a, err := mail.ParseSender(s)
		if err != nil || name != want[0] || a.String() != want[1] {
			t.Errorf("%q: %q %q, %v", s, name, a, err)
		}
	}
	for _, s := range []string{"", "Example IT", "a@b, c@d", "X <a@b>, Y <c@d>", "X <a@b>\r\nBcc: c@d", "X\x00 <a@b>",
		`X <"a b"@c>`, "X <a@[127.0.0.1]>", "=?utf-8?q?a=0D=0ABcc:?= <a@b>"} {
		if name, a, err := mail.ParseSender(s); !errors.Is(err, mail.ErrAddress) {
			t.Errorf("%q: %q %q, %v, want ErrAddress", s, name, a, err)
		}
	}
}

func TestEndpointOfAServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server   string
		port     int
		want     string
		implicit bool
	}{
		{"mail.example.com", 0, "mail.example.com:25", false},
		{"mail.example.com", 587, "mail.example.com:587", false},
		{"2001:db8::1", 25, "[2001:db8::1]:25", false},
		{"smtp://mail.example.com:2525", 1, "mail.example.com:2525", false},
		{"smtp://mail.example.com", 0, "mail.example.com:25", false},
		{"smtp://mail.example.com", 587, "mail.example.com:587", false},
		{"smtps://127.0.0.1", 34115, "127.0.0.1:34115", true},
		{"smtps://mail.example.com/", 465, "mail.example.com:465", true},
		{"smtps://mail.example.com", 0, "mail.example.com:465", true},
		{"smtps://[2001:db8::1]", 4465, "[2001:db8::1]:4465", true},
		{"smtps://mail.example.com", 25, "mail.example.com:465", true},
		{"SMTPS://mail.example.com:4465/", 25, "mail.example.com:4465", true},
		{"smtps://[2001:db8::1]:465", 25, "[2001:db8::1]:465", true},
		{"smtps://[2001:db8::1]", 25, "[2001:db8::1]:465", true},
		{" mail.example.com ", 25, "mail.example.com:25", false},
		{"localhost ", 25, "localhost:25", false},
		{"mail.example.com.", 587, "mail.example.com.:587", false}, // as Kubernetes has it: no search domains
		{"localhost.", 25, "localhost:25", false},
		{"smtps://mail.example.com.:465", 25, "mail.example.com.:465", true},
	} {
		e, err := mail.Server{Server: c.server, Port: c.port}.Endpoint()
		if err != nil || e.Address() != c.want || e.Implicit != c.implicit {
			t.Errorf("%s %d: %v, %v, want %s", c.server, c.port, e, err, c.want)
		}
	}
	for _, c := range []mail.Server{
		{Server: ""}, {Server: "http://x"}, {Server: "smtp://"}, {Server: "smtp://x:abc"},
		{Server: "smtp://x:0", Port: 0}, {Server: "x", Port: -1}, {Server: "x", Port: 70000},
		{Server: "user@x"}, {Server: "x y"}, {Server: "x\r\ny"}, {Server: "smtp://x/y"}, {Server: "x:25"},
		{Server: "-x"},
		{Server: "x.."}, {Server: "."}, {Server: "smtp://x\x00"},
	} {
		if e, err := c.Endpoint(); err == nil {
			t.Errorf("%q %d: %v", c.Server, c.Port, e)
		}
	}
}
