package mail

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"time"
)

// Certificate describes the certificate with which a server's mails are signed, for administrators.
type Certificate struct {
	Subject, Issuer     string    // RFC 2253; empty while the file cannot be read
	NotBefore, NotAfter time.Time // zero while the file cannot be read
	Emails              []string  // its addresses; never nil
	Problem             *Finding  // why mails cannot be signed, or what is wrong with the signature; nil: no problem
}

// renewBefore is how long before its end a certificate causes a warning: most authorities need a
// few days.
const renewBefore = 30 * 24 * time.Hour

// certificate describes the certificate of a server, nil when the server names none.
func (s *signers) certificate(server Server, now time.Time) *Certificate {
	if server.Certificate == "" {
		return nil
	}
	one, err := s.of(server)
	c := Certificate{Emails: []string{}}
	if err != nil {
		c.Problem = asFinding(err)
		content, err := s.file("certificate", server.Certificate)
		if err != nil {
			return &c
		}
		all, err := parseCertificates(content)
		if err != nil {
			return &c
		}
		one = &signer{leaf: all[0]}
	} else if problems, _ := one.check(server.Sender, now); len(problems) > 0 {
		c.Problem = problems[0]
	}
	c.Subject, c.Issuer, c.NotBefore, c.NotAfter = one.leaf.Subject.String(), one.leaf.Issuer.String(),
		one.leaf.NotBefore.UTC(), one.leaf.NotAfter.UTC()
	c.Emails = emailsOf(one.leaf)
	return &c
}

// check returns problems and warnings about the signing of a server; none for a server that does
// not sign.
func (s *signers) check(server Server, now time.Time) (problems, warnings []*Finding) {
	if !server.SMIME {
		return nil, nil
	}
	one, err := s.of(server)
	if err != nil {
		return []*Finding{asFinding(err)}, nil
	}
	return one.check(server.Sender, now)
}

// check checks what mail programs check (RFC 8550 sections 3, 4.4): time, usages and, as a warning,
// the sender's address.
func (s *signer) check(sender string, now time.Time) (problems, warnings []*Finding) {
	c := s.leaf
	const day = "2006-01-02"
	switch {
	case now.After(c.NotAfter):
		problems = append(problems, found("certificate", "certificate_expired", "it expired on %s; renew it",
			c.NotAfter.UTC().Format(day)))
	case now.Before(c.NotBefore):
		problems = append(problems, found("certificate", "certificate_early",
			"it is valid from %s only; until then mail programs show the signature as wrong",
			c.NotBefore.UTC().Format(day)))
	case now.Add(renewBefore).After(c.NotAfter):
		warnings = append(warnings, found("certificate", "certificate_expires", "it expires on %s; renew it in time",
			c.NotAfter.UTC().Format(day)))
	}
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		problems = append(problems, found("certificate", "certificate_usage",
			"it is not made for signing: its key usage lacks digitalSignature"))
	}
	forMail := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !forMail {
		problems = append(problems, found("certificate", "certificate_mail",
			"it is not made for e-mail: its extended key usage lacks emailProtection"))
	}
	_, address, err := ParseSender(sender)
	named := slices.ContainsFunc(emailsOf(c), func(e string) bool {
		return strings.EqualFold(e, address.String()) || strings.EqualFold(e, address.Wire())
	})
	if err == nil && !named {
		warnings = append(warnings, found("certificate", "certificate_sender",
			"it does not name the sender's address %s; mail programs may show the signature as foreign",
			address.String()))
	}
	return problems, warnings
}

// emailsOf returns the addresses of a certificate: those of its alternative names, and of its
// subject, as in old certificates (RFC 8550 section 3). Never nil.
func emailsOf(c *x509.Certificate) []string {
	all := append([]string{}, c.EmailAddresses...)
	emailAddress := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	for _, name := range c.Subject.Names {
		if value, ok := name.Value.(string); ok && name.Type.Equal(emailAddress) && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}

// asFinding returns the Finding of an error of signers.
func asFinding(err error) *Finding {
	var f *Finding
	if errors.As(err, &f) {
		return f
	}
	return found("smime", "signing", "%v", err)
}
