package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/http"
	netmail "net/mail"
	"net/url"
	"regexp"
	"strings"

	"otpost/internal/app"
	"otpost/internal/inbox"
)

// restClient calls the REST API as any client does.
type restClient struct {
	base    string // http://host:port
	session string // the administrator's
	http    *http.Client
}

func newRestClient(base string) *restClient {
	return &restClient{base: base, http: &http.Client{Transport: &http.Transport{}}} // without the environment's proxy
}

// answer is the part of privacyIDEA's envelope that the demo reads.
type answer struct {
	Result struct {
		Status         bool
		Value          json.RawMessage
		Authentication string
		Error          struct {
			Code    int
			Message string
		}
	}
	Detail struct {
		Message       string
		TransactionID string `json:"transaction_id"`
	}
}

// post sends a form. An answer whose status is false is an error.
func (r *restClient) post(ctx context.Context, path string, form url.Values) (answer, error) {
	var a answer
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return a, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.session != "" {
		request.Header.Set("Authorization", r.session)
	}
	response, err := r.http.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return a, fmt.Errorf("POST %s: status %d: %w", path, response.StatusCode, err)
	}
	if !a.Result.Status {
		return a, fmt.Errorf("POST %s: status %d: %s", path, response.StatusCode, a.Result.Error.Message)
	}
	return a, nil
}

// logIn fetches the administrator's session for the following calls.
func (r *restClient) logIn(ctx context.Context, name, password string) error {
	a, err := r.post(ctx, "/auth", url.Values{"username": {name}, "password": {password}})
	if err != nil {
		return err
	}
	var value struct{ Token string }
	if err := json.Unmarshal(a.Result.Value, &value); err != nil {
		return fmt.Errorf("read the answer of /auth: %w", err)
	}
	r.session = value.Token
	return nil
}

var onlyDigits = regexp.MustCompile(`\b[0-9]{6}\b`)

// printMail shows a mail and returns the code in it. The code is printed, because the mail is the
// demo's own.
func (d *demo) printMail(m inbox.Message) (string, error) {
	mail, err := netmail.ReadMessage(strings.NewReader(string(m.Raw)))
	if err != nil {
		return "", fmt.Errorf("read the mail: %w", err)
	}
	for _, name := range []string{"From", "To", "Subject"} {
		value, err := new(mime.WordDecoder).DecodeHeader(mail.Header.Get(name))
		if err != nil {
			return "", fmt.Errorf("read the mail's %s: %w", name, err)
		}
		fmt.Fprintf(d.out, "             | %s: %s\n", name, value)
	}
	var body io.Reader = mail.Body
	switch strings.ToLower(mail.Header.Get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return "", fmt.Errorf("read the mail's text: %w", err)
	}
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		fmt.Fprintf(d.out, "             | %s\n", strings.TrimRight(line, "\r\n"))
	}
	code := onlyDigits.Find(text)
	if code == nil {
		return "", errors.New("there is no code in the mail")
	}
	return string(code), nil
}

// randomPassword returns a password for one demo.
func randomPassword() app.Password { return app.Password(rand.Text()) }
