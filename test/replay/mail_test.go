package replay

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

// message is a mail as an SMTP server got it.
type message struct {
	from string
	to   []string
	tls  bool
	auth []string // user, password; nil without AUTH
	raw  string
}

// ownHeaders are what otpost adds to the recorded headers: a stable Message-ID, and the mark of an
// automatic mail (RFC 3834).
var ownHeaders = []string{"Message-Id", "Auto-Submitted"}

// compareMails compares the mails of one exchange, each with its envelope, headers and decoded
// body. SMS (port 0) count as mails that never come. Mails of one exchange may arrive in any order.
func compareMails(recorded []recordedMail, got []message) []difference {
	if len(recorded) != len(got) {
		return []difference{{"mails", len(recorded), len(got)}}
	}
	var want []message
	for _, r := range recorded {
		want = append(want, message{
			from: r.From,
			to:   r.To,
			tls:  r.TLS,
			auth: r.Auth,
			raw:  r.Raw,
		})
	}
	byRecipient := func(a, b message) int { return slices.Compare(a.to, b.to) }
	got = slices.Clone(got)
	slices.SortStableFunc(want, byRecipient)
	slices.SortStableFunc(got, byRecipient)
	var found []difference
	for i := range want {
		at := fmt.Sprintf("mails[%d]", i)
		w, errW := read(want[i])
		g, errG := read(got[i])
		if errW != nil || errG != nil {
			found = append(found, difference{at, errW, errG})
			continue
		}
		for _, key := range slices.Sorted(keysOf(w, g)) {
			if w[key] != g[key] {
				found = append(found, difference{at + "." + key, w[key], g[key]})
			}
		}
	}
	return found
}

// read makes what is compared of a mail: the envelope, the headers (Date: only whether it can be
// read), the decoded body with its codes replaced.
func read(m message) (map[string]string, error) {
	parsed, err := mail.ReadMessage(strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(m.raw, "\r\n", "\n"), "\n",
		"\r\n")))
	if err != nil {
		return nil, fmt.Errorf("read mail: %w", err)
	}
	body, err := decodeBody(parsed)
	if err != nil {
		return nil, err
	}
	seen := map[string]string{
		"envelope": m.from + " -> " + strings.Join(m.to, " "), "tls": fmt.Sprint(m.tls),
		"auth": strings.Join(m.auth, ":"),
		"body": codes.ReplaceAllString(body, "######"),
	}
	for name := range parsed.Header {
		value, err := new(mime.WordDecoder).DecodeHeader(strings.Join(parsed.Header[name], " | "))
		if err != nil {
			return nil, fmt.Errorf("decode header %s: %w", name, err)
		}
		switch {
		case slices.Contains(ownHeaders, name) || name == "Content-Transfer-Encoding":
			continue
		case name == "Date":
			_, err := parsed.Header.Date()
			value = fmt.Sprintf("readable: %t", err == nil)
		case name == "Content-Type":
			value = contentType(value)
		}
		seen["header "+name] = codes.ReplaceAllString(value, "######")
	}
	return seen, nil
}

var codes = regexp.MustCompile(`\b\d{6}\b`)

// codeIn returns the one-time password of a mail's body or an SMS; empty: none.
func codeIn(raw string) string {
	parsed, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return codes.FindString(raw)
	}
	body, err := decodeBody(parsed)
	if err != nil {
		return ""
	}
	if code := codes.FindString(body); code != "" {
		return code
	}
	return codes.FindString(parsed.Header.Get("Subject"))
}

func decodeBody(m *mail.Message) (string, error) {
	var from io.Reader = m.Body
	switch strings.ToLower(m.Header.Get("Content-Transfer-Encoding")) {
	case "base64":
		from = base64.NewDecoder(base64.StdEncoding, m.Body)
	case "quoted-printable":
		from = quotedprintable.NewReader(m.Body)
	}
	raw, err := io.ReadAll(from)
	if err != nil {
		return "", fmt.Errorf("decode body: %w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

func contentType(value string) string {
	t, params, err := mime.ParseMediaType(value)
	if err != nil {
		return value
	}
	return t + " " + strings.ToLower(params["charset"])
}

func keysOf(maps ...map[string]string) func(yield func(string) bool) {
	all := map[string]bool{}
	for _, m := range maps {
		for k := range m {
			all[k] = true
		}
	}
	return func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}
}
