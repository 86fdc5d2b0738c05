package mail

import (
	"errors"
	"mime"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Address is one addr-spec (RFC 5322 section 3.4.1) without comments, quoted parts or address literals: local@domain.
type Address struct {
	local, domain string // as typed
	wire          string // the domain for mail servers: a domain beyond ASCII as its A-label (RFC 5890)
}

// ErrAddress says that a text is not a mail address to which otpost sends.
var ErrAddress = errors.New("no valid e-mail address")

const (
	longestLocal   = 64  // octets, RFC 5321 section 4.5.3.1.1
	longestAddress = 254 // octets, RFC 5321 section 4.5.3.1.3 less the brackets
)

// ParseAddress reads exactly one address; white space around it is removed. Characters that could
// end a command or name a second recipient (space, control, comma, bracket, quote) are refused. A
// local part may contain letters beyond ASCII (RFC 6531); then the server must support SMTPUTF8. A
// domain beyond ASCII must have an A-label.
func ParseAddress(s string) (Address, error) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || at > longestLocal || !utf8.ValidString(s) {
		return Address{}, ErrAddress
	}
	a := Address{local: s[:at], domain: s[at+1:]}
	a.wire = a.domain
	var err error
	if !isASCII(a.domain) {
		a.wire, err = idna.Lookup.ToASCII(a.domain)
	}
	if err != nil || max(len(s), len(a.Wire())) > longestAddress {
		return Address{}, ErrAddress
	}
	for _, atom := range append(strings.Split(a.local, "."), strings.Split(a.domain+"."+a.wire, ".")...) {
		if atom == "" || strings.ContainsFunc(atom, forbidden) {
			return Address{}, ErrAddress
		}
	}
	for _, label := range strings.Split(a.wire, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.ContainsAny(label, "!#$%&'*+/=?^_`{|}~") {
			return Address{}, ErrAddress
		}
	}
	return a, nil
}

// forbidden reports whether r is not atext (RFC 5322 section 3.2.3, RFC 6532).
func forbidden(r rune) bool {
	switch {
	case r >= 0x80:
		return r == utf8.RuneError || !unicode.IsPrint(r) // spaces, controls and invisible signs
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// String returns local@domain, as typed.
func (a Address) String() string {
	if a.local == "" {
		return ""
	}
	return a.local + "@" + a.domain
}

// Wire returns local@domain for envelope and headers: the domain is ASCII.
func (a Address) Wire() string {
	if a.local == "" {
		return ""
	}
	return a.local + "@" + a.wire
}

// ASCII reports whether the address needs no SMTPUTF8.
func (a Address) ASCII() bool { return isASCII(a.local) }

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

// Masked returns the address for logs: a***@example.com.
func (a Address) Masked() string {
	if a.local == "" {
		return ""
	}
	_, size := utf8.DecodeRuneInString(a.local)
	return a.local[:size] + "***@" + a.domain
}

// ParseSender reads a sender: an address or `Name <address>`. The name is everything before the
// last <, quoted or not; it must not contain control characters, or another address in brackets or
// beside a comma, which would be a list of addresses.
func ParseSender(s string) (name string, a Address, err error) {
	s = strings.TrimSpace(s)
	if a, err = ParseAddress(s); err == nil {
		return "", a, nil
	}
	if strings.ContainsFunc(s, isControl) {
		return "", Address{}, ErrAddress
	}
	at := strings.LastIndexByte(s, '<')
	if at < 0 || !strings.HasSuffix(s, ">") { // perhaps address (Name)
		parsed, err := mail.ParseAddress(s)
		if err != nil {
			return "", Address{}, ErrAddress
		}
		a, err = ParseAddress(parsed.Address)
		return parsed.Name, a, err
	}
	if a, err = ParseAddress(s[at+1 : len(s)-1]); err != nil {
		return "", Address{}, err
	}
	name, err = displayName(strings.TrimSpace(s[:at]), a)
	return name, a, err
}

// displayName returns the name before an address, without quotes and with decoded encoded words
// (RFC 2047).
func displayName(typed string, a Address) (string, error) {
	name := typed
	switch parsed, err := mail.ParseAddress(typed + " <" + a.Wire() + ">"); {
	case err == nil && strings.HasPrefix(typed, `"`) && strings.HasSuffix(typed, `"`):
		name = parsed.Name
	case namesAddress(typed):
		return "", ErrAddress
	default:
		if decoded, err := new(mime.WordDecoder).DecodeHeader(typed); err == nil {
			name = decoded
		}
	}
	if strings.ContainsFunc(name, isControl) {
		return "", ErrAddress
	}
	return name, nil
}

// namesAddress reports whether an unquoted name contains an address.
func namesAddress(name string) bool {
	parts := strings.Split(name, ",")
	for _, part := range parts {
		_, bracket, found := strings.Cut(part, "<")
		if _, err := ParseAddress(part); err == nil && len(parts) > 1 || found && strings.Contains(bracket, "@") {
			return true
		}
	}
	return false
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
