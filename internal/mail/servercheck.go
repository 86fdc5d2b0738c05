package mail

import (
	"strings"
	"time"
	"unicode"

	"otpost/internal/fault"
)

// longestTimeout bounds a server's time-out: codes live for at most ten minutes.
const longestTimeout = 10 * time.Minute

// testRoute is the path of REST for test mails: a server of this name could not be saved.
const testRoute = "send_test_email"

// check returns the server with its defaults, or a fault with the unusable field.
func check(s Server) (Server, error) {
	s.Server, s.Sender = strings.TrimSpace(s.Server), strings.TrimSpace(s.Sender)
	if s.Port == 0 {
		s.Port = DefaultPort
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"identifier", s.Identifier, 255}, {"server", s.Server, 255}, {"username", s.Username, 255},
		{"password", s.Password.Reveal(), 255},
		{"sender", s.Sender, 500}, {"description", s.Description, 2000}, {"private_key", s.PrivateKey, 1000},
		{"private_key_password", s.PrivateKeyPassword.Reveal(), 255}, {"certificate", s.Certificate, 1000},
		{"ca_file", s.CAFile, 1000},
		{"ehlo_name", s.EHLOName, 255},
	} {
		if len(f.value) > f.most {
			return s, fault.Wrong(f.name, "bytes", "write at most %d bytes", f.most)
		}
		if strings.ContainsFunc(f.value, func(r rune) bool {
			return unseen(r) && (f.name != "description" || !strings.ContainsRune("\t\r\n", r))
		}) {
			return s, fault.Wrong(f.name, "controls", "leave out control characters, line breaks among them")
		}
	}
	return s, checkMeaning(s)
}

func checkMeaning(s Server) error {
	if s.Identifier == "" {
		return fault.Missing("identifier")
	}
	if s.Identifier == testRoute {
		return fault.Wrong("identifier", "identifier_of_tests", "choose another; test mails have this one")
	}
	if s.Server == "" {
		return fault.Missing("server")
	}
	if _, err := s.Endpoint(); err != nil {
		return asFinding(err).fault()
	}
	if s.Sender != "" {
		if _, _, err := ParseSender(s.Sender); err != nil {
			return fault.Wrong("sender", "sender", "write an e-mail address, or Name <address>")
		}
	}
	if s.Timeout < time.Second || s.Timeout > longestTimeout {
		return fault.Wrong("timeout", "seconds", "write 1 to %d seconds", int(longestTimeout/time.Second))
	}
	if s.EHLOName != "" && !isFullName(s.EHLOName) && !isLiteral(s.EHLOName) {
		return fault.Wrong("ehlo_name", "ehlo_name",
			"write a full host name, such as mail.example.com, or an address in brackets")
	}
	return nil
}

// otherPort returns a warning about a port that is ignored, because the server's URL has another
// one; nil: none.
func otherPort(s Server) *Finding {
	e, err := s.Endpoint()
	if err != nil || s.Port == DefaultPort || s.Port == e.Port {
		return nil
	}
	return found("port", "other_port", "this port is not used: the server's name has the port %d in it", e.Port)
}

// unseen reports whether r is a control character, or a mark that breaks a line or reverses the
// text after it, so that one name looks like another.
func unseen(r rune) bool {
	return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e ||
		r >= 0x2066 && r <= 0x2069
}

// checkNewIdentifier checks a new server's identifier against the original's pattern. The
// original's REST accepts any identifier (recorded: smtpserver.json, "create identifier with space
// and slash"); its page does not.
func checkNewIdentifier(identifier string) error {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if strings.Trim(identifier, allowed) != "" || strings.Trim(identifier, ".") == "" {
		return fault.Wrong("identifier", "identifier", "use letters from a to z, digits, dot, hyphen and underscore")
	}
	return nil
}
