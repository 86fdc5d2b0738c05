package mail

import (
	"errors"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Address is one addr-spec (RFC 5322 section 3.4.1) without comments, quoted parts or address literals: local@domain.
type Address struct{ local, domain string }

// ErrAddress says that a text is no mail address that we send to.
var ErrAddress = errors.New("no valid e-mail address")

const (
	longestLocal   = 64  // octets, RFC 5321 section 4.5.3.1.1
	longestAddress = 254 // octets, RFC 5321 section 4.5.3.1.3 less the brackets
)

// ParseAddress reads exactly one address. Whatever could end a command or name a second recipient (space, control, comma,
// bracket, quote) is refused. Local part and domain may hold letters beyond ASCII (RFC 6531); then the server must take SMTPUTF8.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > longestAddress || at > longestLocal || !utf8.ValidString(s) {
		return Address{}, ErrAddress
	}
	a := Address{local: s[:at], domain: s[at+1:]}
	for _, atom := range append(strings.Split(a.local, "."), strings.Split(a.domain, ".")...) {
		if atom == "" || strings.ContainsFunc(atom, forbidden) {
			return Address{}, ErrAddress
		}
	}
	for _, label := range strings.Split(a.domain, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || strings.ContainsAny(label, "!#$%&'*+/=?^_`{|}~") {
			return Address{}, ErrAddress
		}
	}
	return a, nil
}

// forbidden reports whether r is no atext (RFC 5322 section 3.2.3, RFC 6532).
func forbidden(r rune) bool {
	switch {
	case r >= 0x80:
		return r == utf8.RuneError || !unicode.IsPrint(r) // no space, control, or sign without a shape
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// String returns local@domain.
func (a Address) String() string {
	if a.local == "" {
		return ""
	}
	return a.local + "@" + a.domain
}

// ASCII reports whether the address needs no SMTPUTF8.
func (a Address) ASCII() bool {
	return !strings.ContainsFunc(a.local+a.domain, func(r rune) bool { return r >= 0x80 })
}

// Masked returns the address for logs: a***@example.com.
func (a Address) Masked() string {
	if a.local == "" {
		return ""
	}
	_, size := utf8.DecodeRuneInString(a.local)
	return a.local[:size] + "***@" + a.domain
}

// ParseSender reads a sender: an address or `Name <address>`. The name may not hold control characters.
func ParseSender(s string) (name string, a Address, err error) {
	if a, err = ParseAddress(s); err == nil {
		return "", a, nil
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", Address{}, ErrAddress
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil {
		return "", Address{}, ErrAddress
	}
	a, err = ParseAddress(parsed.Address)
	return parsed.Name, a, err
}
