package mail_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"mime"
	"mime/multipart"
	stdmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
	"github.com/youmark/pkcs8"

	"otpost/internal/inbox"
	"otpost/internal/mail"
	"otpost/internal/secret"
)

// authority issues certificates; it signs itself.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Test authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	return authority{key, must(x509.ParseCertificate(der))(t)}
}

// must returns a value, or fails the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// issue makes a certificate for pi@example.com that holds for a year, with what change makes of it.
func (a authority) issue(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:   big.NewInt(2),
		Subject:        pkix.Name{CommonName: "Example IT"},
		EmailAddresses: []string{"pi@example.com"},
		NotBefore:      time.Now().Add(-time.Hour),
		NotAfter:       time.Now().AddDate(1, 0, 0),
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if change != nil {
		change(template)
	}
	return must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))(t)
}

func certificatePEM(ders ...[]byte) []byte {
	var all []byte
	for _, der := range ders {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return all
}

func pkcs8PEM(t *testing.T, key any) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)})
}

// files replaces the opener.
type files map[string][]byte

func (f files) read(name string) ([]byte, error) {
	if content, ok := f[name]; ok {
		return content, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// signing is a server that signs, with its files.
func signing(t *testing.T, in *inbox.Inbox) (mail.Server, files, authority) {
	t.Helper()
	a := newAuthority(t)
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	server := serverAt(in)
	server.SMIME, server.Certificate, server.PrivateKey = true, "smime.pem", "smime.key"
	return server, files{"smime.pem": certificatePEM(a.cert.Raw, a.issue(t, key, nil)), "smime.key": pkcs8PEM(t, key)},
		a
}

// openssl returns where the program is; without it the test is skipped, and failed where nothing may be skipped.
func openssl(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("OTPOST_TEST_REQUIRE") == "all" {
			t.Fatal("missing: openssl (OTPOST_TEST_REQUIRE=all: nothing may be skipped)")
		}
		t.Skip("missing: openssl")
	}
	return path
}

func TestOpensslVerifiesSignedMails(t *testing.T) {
	t.Parallel()
	program := openssl(t)
	in := newInbox(t, inbox.Options{})
	server, f, a := signing(t, in)
	server.Sender = "Jürgen <pi@example.com>"
	dir := t.TempDir()
	roots := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(roots, certificatePEM(a.cert.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	ec := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	f["ec.pem"], f["ec.key"] = certificatePEM(a.issue(t, ec, nil), a.cert.Raw), pkcs8PEM(t, ec)
	sender := newSender(mail.SenderOptions{ReadFile: f.read})
	for n, body := range []string{"Your code is 482913.", "ü: 482913\n\n.\n-- \n", "",
		strings.Repeat("a long text ", 900)} {
		m := message()
		m.Subject, m.Body, m.MIMEType = "Ihr Schlüssel", body, []string{"plain", "html"}[n%2]
		server.Certificate, server.PrivateKey = []string{"smime.pem", "ec.pem"}[n%2], []string{"smime.key",
			"ec.key"}[n%2]
		if r := sender.Send(t.Context(), server, m); r.Class != mail.Accepted || r.Diagnosis != "" {
			t.Fatalf("%+v", r)
		}
		got := in.Messages()[n]
		raw := filepath.Join(dir, "mail")
		if err := os.WriteFile(raw, got.Raw, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"cms", "smime"} {
			out, err := exec.CommandContext(t.Context(), program, command, "-verify", "-in", raw, "-CAfile", roots,
				"-signer", filepath.Join(dir, "signer")).Output()
			if err != nil || !strings.Contains(string(out), base64.StdEncoding.EncodeToString([]byte(body))[:min(8,
				len(body))]) {
				t.Errorf("openssl %s, body %d: %v\n%s", command, n, err, out)
			}
		}
		tampered := bytes.Replace(got.Raw, []byte("charset=\"utf-8\""), []byte("charset=\"utf-7\""), 1)
		if err := os.WriteFile(raw, tampered, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := exec.CommandContext(t.Context(), program, "cms", "-verify", "-in", raw, "-CAfile",
			roots).Run(); err == nil {
			t.Error("openssl takes a mail that was changed")
		}
	}
}

func TestSignedMailHoldsTextAndSignatureWithTheChain(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	server, f, a := signing(t, in)
	m := message()
	m.Body = strings.Repeat("Your code is 482913. ", 20)
	if r := newSender(mail.SenderOptions{ReadFile: f.read}).Send(t.Context(), server, m); r.Class != mail.Accepted {
		t.Fatalf("%+v", r)
	}
	got := in.Messages()[0]
	for line := range strings.SplitSeq(string(got.Raw), "\r\n") {
		if len(line) > 78 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
	kind, params, err := mime.ParseMediaType(got.Header("Content-Type"))
	if err != nil || kind != "multipart/signed" || params["protocol"] != "application/pkcs7-signature" ||
		params["micalg"] != "sha-256" {
		t.Fatalf("%s %v, %v", kind, params, err)
	}
	if got.Header("Subject") != m.Subject || got.Header("From") != "pi@example.com" ||
		got.Header("Message-Id") != "<abc@example.com>" || got.Header("Mime-Version") != "1.0" {
		t.Errorf("header:\n%s", got.Raw)
	}
	_, signed, _ := bytes.Cut(got.Raw, []byte("--"+params["boundary"]+"\r\n"))
	signed, _, _ = bytes.Cut(signed, []byte("\r\n--"+params["boundary"]))
	parts := multipart.NewReader(must(stdmail.ReadMessage(bytes.NewReader(got.Raw)))(t).Body, params["boundary"])
	text := must(parts.NextPart())(t)
	if body := must(io.ReadAll(base64.NewDecoder(base64.StdEncoding, text)))(t); string(body) != m.Body ||
		text.Header.Get("Content-Type") != `text/plain; charset="utf-8"` {
		t.Errorf("text %q, %v", body, text.Header)
	}
	p7 := must(pkcs7.Parse(must(io.ReadAll(base64.NewDecoder(base64.StdEncoding, must(parts.NextPart())(t))))(t)))(t)
	p7.Content = signed
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if err := p7.VerifyWithChain(roots); err != nil {
		t.Error(err)
	}
	if signer := p7.GetOnlySigner(); signer == nil || signer.EmailAddresses[0] != "pi@example.com" ||
		len(p7.Certificates) != 2 {
		t.Errorf("%d certificates, signer %v", len(p7.Certificates), signer)
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("more than two parts: %v", err)
	}
}

func TestWhatCannotBeSignedIsSentAsTheServerSays(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	server, f, _ := signing(t, in)
	server.PrivateKey = "nosuch.key"
	var log strings.Builder
	sender := newSender(mail.SenderOptions{ReadFile: f.read, Log: slog.New(slog.NewTextHandler(&log, nil))})
	r := sender.Send(t.Context(), server, message())
	if r.Class != mail.Accepted || r.Diagnosis != mail.SMIME ||
		!strings.HasPrefix(r.Text, "sent unsigned: S/MIME: private_key: ") || !strings.Contains(r.Text, "nosuch.key") {
		t.Errorf("%+v", r)
	}
	if all := in.Messages(); len(all) != 1 || all[0].Text() != "482913" ||
		all[0].Header("Content-Type") != `text/plain; charset="utf-8"` {
		t.Errorf("%d mails", len(all))
	}
	if lines := strings.Split(strings.TrimSpace(log.String()),
		"\n"); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || strings.Contains(lines[0], "482913") {
		t.Errorf("log %q", lines)
	}
	server.DontSendOnError = true
	r = sender.Send(t.Context(), server, message())
	if r.Class != mail.Permanent || r.Diagnosis != mail.SMIME || r.DotWritten ||
		!strings.Contains(r.Text, "private_key: ") || len(in.Messages()) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestRenewedKeyCountsAtOnce(t *testing.T) {
	t.Parallel()
	in := newInbox(t, inbox.Options{})
	server, f, a := signing(t, in)
	server.DontSendOnError = true
	sender := newSender(mail.SenderOptions{ReadFile: f.read})
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	certificate := a.issue(t, key, nil)
	for n, step := range []struct {
		change func()
		want   mail.Class
	}{
		{func() {}, mail.Accepted},
		{func() { f["smime.key"] = pkcs8PEM(t, key) }, mail.Permanent},
		{func() { f["smime.pem"] = certificatePEM(certificate) }, mail.Accepted},
		{func() { delete(f, "smime.pem") }, mail.Permanent},
	} {
		step.change()
		if r := sender.Send(t.Context(), server, message()); r.Class != step.want {
			t.Errorf("step %d: %+v, want %s", n, r, step.want)
		}
	}
}

// keyForms are the forms that private keys come in; each is read with the password keypw.
func keyForms(t *testing.T, rsaKey *rsa.PrivateKey, ec *ecdsa.PrivateKey) map[string][]byte {
	t.Helper()
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	ecDER := must(x509.MarshalECPrivateKey(ec))(t)
	//nolint:staticcheck // it is what is tested
	legacy := must(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey),
		[]byte("keypw"), x509.PEMCipherAES256))(t)
	scrypt := &pkcs8.Opts{Cipher: pkcs8.AES256CBC, KDFOpts: pkcs8.ScryptOpts{SaltSize: 8, CostParameter: 1024,
		BlockSize: 8, ParallelizationParameter: 1}}
	return map[string][]byte{
		"PKCS #8 RSA": pkcs8PEM(t, rsaKey), "PKCS #1": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)),
		"PKCS #8 EC": pkcs8PEM(t, ec),
		"SEC 1": append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}),
			block("EC PRIVATE KEY", ecDER)...),
		"legacy encrypted": pem.EncodeToMemory(legacy),
		"PBES2 encrypted": block("ENCRYPTED PRIVATE KEY",
			must(pkcs8.MarshalPrivateKey(rsaKey, []byte("keypw"), nil))(t)),
		"scrypt encrypted": block("ENCRYPTED PRIVATE KEY",
			must(pkcs8.MarshalPrivateKey(ec, []byte("keypw"), scrypt))(t)),
		"behind other text": append([]byte("Bag Attributes\n"), pkcs8PEM(t, rsaKey)...),
	}
}

func TestKeysInEveryForm(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	rsaKey, ec := must(rsa.GenerateKey(rand.Reader, 2048))(t), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	f := files{"both.pem": certificatePEM(a.issue(t, rsaKey, nil), a.issue(t, ec, nil))}
	s := serversWith(t, f.read)
	for form, content := range keyForms(t, rsaKey, ec) {
		f["key"] = content
		check := func(password secret.Text) error {
			server := mail.Server{
				Identifier:         "s",
				Server:             "h",
				Sender:             "pi@example.com",
				SMIME:              true,
				Certificate:        "both.pem",
				PrivateKey:         "key",
				PrivateKeyPassword: password,
			}
			saved, err := s.Change(t.Context(), mail.Change{Server: server, Strict: true})
			if len(saved.Warnings) > 0 {
				t.Errorf("%s: %v", form, saved.Warnings)
			}
			return err
		}
		if err := check("keypw"); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		if !strings.HasSuffix(form, "encrypted") {
			continue
		}
		for _, password := range []secret.Text{"", "wrong", "keypw "} {
			if err := check(password); err == nil || !strings.HasPrefix(err.Error(),
				"ERR905: Parameter private_key_password: ") {
				t.Errorf("%s, password %q: %v", form, password.Reveal(), err)
			}
		}
	}
}

func TestWhatCannotSignIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := certificatePEM(a.issue(t, key, nil)), pkcs8PEM(t, key)
	issued := func(change func(*x509.Certificate)) []byte { return certificatePEM(a.issue(t, key, change)) }
	for name, c := range map[string]struct {
		certificate, key []byte
		field, message   string
	}{
		"no certificate file": {nil, goodKey, "certificate", "no file of this name"},
		"no key file":         {good, nil, "private_key", "no file of this name"},
		"not PEM":             {[]byte("hello"), goodKey, "certificate", "no certificate in the file"},
		"key as certificate":  {goodKey, goodKey, "certificate", "no certificate in the file"},
		"broken certificate":  {certificatePEM([]byte("x")), goodKey, "certificate", "certificate 1"},
		"certificate as key":  {good, good, "private_key", "no private key"},
		"broken key": {good, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
			"private_key", "cannot be read"},
		"other encryption": {good, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}),
			"private_key", "encryption"},
		"another's key": {good, pkcs8PEM(t, a.key), "private_key", "belong together"},
		"Ed25519":       {good, pkcs8PEM(t, edwards), "private_key", "RSA or ECDSA"},
		"expired": {issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), goodKey,
			"certificate", "expired on"},
		"not yet": {issued(func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
		}), goodKey, "certificate", "valid from"},
		"key usage": {issued(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		}), goodKey, "certificate", "digitalSignature"},
		"for web servers": {issued(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), goodKey,
			"certificate", "emailProtection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := files{}
			if c.certificate != nil {
				f["c"] = c.certificate
			}
			if c.key != nil {
				f["k"] = c.key
			}
			s := serversWith(t, f.read)
			server := mail.Server{
				Identifier:         "s",
				Server:             "h",
				Sender:             "pi@example.com",
				SMIME:              true,
				Certificate:        "c",
				PrivateKey:         "k",
				PrivateKeyPassword: "pw",
			}
			_, err := s.Change(t.Context(), mail.Change{Server: server, Strict: true})
			if err == nil || !strings.Contains(err.Error(), "ERR905: Parameter "+c.field+": ") ||
				!strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v, want %s: ...%s", err, c.field, c.message)
			}
			saved, err := s.Change(t.Context(), mail.Change{Server: server})
			if err != nil || len(saved.Warnings) != 1 || saved.Warnings[0].Field != c.field {
				t.Fatalf("without check: %v, %v", saved.Warnings, err)
			}
			d, err := s.Definition(t.Context(), "s")
			if err != nil || d.Certificate == nil || d.Certificate.Problem == nil ||
				d.Certificate.Problem.Field != c.field || d.Certificate.Emails == nil {
				t.Fatalf("%+v, %v", d.Certificate, err)
			}
		})
	}
}

func TestCertificateIsShownAndWarnedAbout(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	end := time.Now().AddDate(0, 0, 20).UTC().Truncate(time.Second)
	f := files{"k": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY",
		Bytes: must(pkcs8.MarshalPrivateKey(key, []byte("keypw"), nil))(t)})}
	f["c"] = certificatePEM(a.issue(t, key, func(c *x509.Certificate) {
		c.NotAfter = end
		c.EmailAddresses = []string{"other@example.com"}
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1},
			Value: "old@example.com"}}
	}))
	s := serversWith(t, f.read)
	server := mail.Server{
		Identifier:         "s",
		Server:             "h",
		Sender:             "Example IT <PI@Example.com>",
		SMIME:              true,
		Certificate:        "c",
		PrivateKey:         "k",
		PrivateKeyPassword: "keypw",
	}
	for range 2 { // the second time with the stored password
		saved, err := s.Change(t.Context(), mail.Change{Server: server, Strict: true})
		if err != nil || len(saved.Warnings) != 2 || !strings.Contains(saved.Warnings[0].Message,
			end.Format("2006-01-02")) || !strings.Contains(saved.Warnings[1].Message, "PI@Example.com") {
			t.Fatalf("%v, %v", saved.Warnings, err)
		}
		server.PrivateKeyPassword = mail.Censored
	}
	d, err := s.Definition(t.Context(), "s")
	if err != nil || d.Certificate == nil {
		t.Fatal(err)
	}
	c := d.Certificate
	if !strings.Contains(c.Subject, "CN=Example IT") || c.Issuer != "CN=Test authority" || !c.NotAfter.Equal(end) ||
		c.Problem != nil ||
		strings.Join(c.Emails, " ") != "other@example.com old@example.com" {
		t.Errorf("%+v", c)
	}
	if d.PrivateKeyPassword != mail.Censored || d.Password != "" {
		t.Error("a definition holds secrets, or does not tell that one is stored")
	}
	server.Sender = "old@example.com"
	if saved, err := s.Change(t.Context(), mail.Change{Server: server}); err != nil || len(saved.Warnings) != 1 {
		t.Errorf("the address of the subject counts too: %v, %v", saved.Warnings, err)
	}
	server.SMIME = false
	server.Certificate = ""
	if saved, err := s.Change(t.Context(), mail.Change{Server: server, Strict: true}); err != nil ||
		len(saved.Warnings) != 0 {
		t.Errorf("%v, %v", saved.Warnings, err)
	}
	if d, err = s.Definition(t.Context(), "s"); err != nil || d.Certificate != nil {
		t.Errorf("%+v, %v", d.Certificate, err)
	}
}
