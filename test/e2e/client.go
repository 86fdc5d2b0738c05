package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Client speaks privacyIDEA's REST API with one server.
type Client struct {
	URL  string
	HTTP *http.Client

	token string
}

// Answer is the answer of the server. Missing fields are zero.
type Answer struct {
	HTTPStatus int
	Raw        string // the body
	Took       time.Duration

	Result struct {
		Status         bool            `json:"status"`
		Authentication string          `json:"authentication"`
		Value          json.RawMessage `json:"value"`
		Error          struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"result"`
	Detail struct {
		Message         string    `json:"message"`
		Serial          string    `json:"serial"`
		TransactionID   string    `json:"transaction_id"`
		ChallengeStatus string    `json:"challenge_status"`
		Delivery        *Delivery `json:"delivery"`
	} `json:"detail"`
}

// Delivery is polltransaction's part about the messages.
type Delivery struct {
	State       string `json:"state"`
	ValidUntil  string `json:"valid_until"`
	NextTry     string `json:"next_try"`
	ResendAfter string `json:"resend_after"`
}

// String returns a short text for failures: status and body.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.HTTPStatus, a.Raw) }

// Do sends a request and reads the answer. The error is that of the connection; an answer of any
// status is not an error. body: url.Values become a form, nil is no body, anything else becomes
// JSON.
func (c *Client) Do(ctx context.Context, method, path string, body any) (Answer, error) {
	r, kind, err := encode(body)
	if err != nil {
		return Answer{}, err
	}
	return c.Send(ctx, method, path, kind, r)
}

// Send is Do with a raw body and its content type, which may be empty.
func (c *Client) Send(ctx context.Context, method, path, kind string, body io.Reader) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return Answer{}, err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		request.Header.Set("Authorization", c.token)
	}
	began := time.Now()
	response, err := c.HTTP.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{HTTPStatus: response.StatusCode, Raw: string(raw), Took: time.Since(began)}
	json.Unmarshal(raw, &a) //nolint:errcheck // an answer in HTML stays raw
	return a, nil
}

func encode(body any) (io.Reader, string, error) {
	switch b := body.(type) {
	case nil:
		return nil, "", nil
	case url.Values:
		return strings.NewReader(b.Encode()), "application/x-www-form-urlencoded", nil
	}
	text, err := json.Marshal(body)
	return bytes.NewReader(text), "application/json", err
}

// Call is Do; without an answer it fails the test.
func (c *Client) Call(t testing.TB, method, path string, body any) Answer {
	t.Helper()
	a, err := c.Do(t.Context(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Must is Call; it fails the test unless the answer is a success.
func (c *Client) Must(t testing.TB, method, path string, body any) Answer {
	t.Helper()
	a := c.Call(t, method, path, body)
	if a.HTTPStatus != http.StatusOK || !a.Result.Status {
		t.Fatalf("%s %s: %s", method, path, a)
	}
	return a
}

// LogIn starts an administrator's session for the following calls.
func (c *Client) LogIn(t testing.TB, name, password string) {
	t.Helper()
	c.token = ""
	a := c.Must(t, http.MethodPost, "/auth", url.Values{"username": {name}, "password": {password}})
	var value struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.Result.Value, &value); err != nil || value.Token == "" {
		t.Fatalf("POST /auth gives no token: %v", err)
	}
	c.token = value.Token
}

// Anonymous returns a client of the same server without a session, as login plug-ins are.
func (c *Client) Anonymous() *Client { return &Client{URL: c.URL, HTTP: c.HTTP} }

// Check calls /validate/check with a token's serial.
func (c *Client) Check(ctx context.Context, serial, pass string, more ...string) (Answer, error) {
	form := url.Values{"serial": {serial}, "pass": {pass}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return c.Anonymous().Do(ctx, http.MethodPost, "/validate/check", form)
}

// MustCheck is Check; it fails the test unless the answer is a 200 with this authentication.
func (c *Client) MustCheck(t testing.TB, want, serial, pass string, more ...string) Answer {
	t.Helper()
	a, err := c.Check(t.Context(), serial, pass, more...)
	if err != nil {
		t.Fatalf("validate %s: %v", serial, err)
	}
	if a.HTTPStatus != http.StatusOK || a.Result.Authentication != want {
		t.Fatalf("validate %s: want %s, got %s", serial, want, a)
	}
	return a
}

// Poll calls polltransaction.
func (c *Client) Poll(t testing.TB, transaction string) Answer {
	t.Helper()
	return c.Anonymous().Must(t, http.MethodGet, "/validate/polltransaction?transaction_id="+
		url.QueryEscape(transaction), nil)
}

// DeliveryState returns detail.delivery.state of a transaction; empty: none.
func (c *Client) DeliveryState(t testing.TB, transaction string) string {
	t.Helper()
	if d := c.Poll(t, transaction).Detail.Delivery; d != nil {
		return d.State
	}
	return ""
}

// SMTPServer saves the definition of a mail server on 127.0.0.1.
func (c *Client) SMTPServer(t testing.TB, identifier string, port int, more map[string]any) {
	t.Helper()
	form := map[string]any{"server": "127.0.0.1", "port": port, "sender": "otpost@example.org", "timeout": 10}
	for k, v := range more {
		form[k] = v
	}
	c.Must(t, http.MethodPost, "/smtpserver/"+url.PathEscape(identifier), form)
}

// Set sets system settings: pairs of name and value.
func (c *Client) Set(t testing.TB, pairs ...string) {
	t.Helper()
	form := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form[pairs[i]] = pairs[i+1]
	}
	c.Must(t, http.MethodPost, "/system/setConfig", form)
}

// Enrol makes an e-mail token with a PIN; more are further pairs of parameters.
func (c *Client) Enrol(t testing.TB, serial, pin, address string, more ...string) {
	t.Helper()
	form := map[string]any{"type": "email", "serial": serial, "pin": pin, "email": address}
	for i := 0; i+1 < len(more); i += 2 {
		form[more[i]] = more[i+1]
	}
	c.Must(t, http.MethodPost, "/token/init", form)
}

// Failcount returns the fail counter of a token.
func (c *Client) Failcount(t testing.TB, serial string) int {
	t.Helper()
	a := c.Must(t, http.MethodGet, "/token/?serial="+url.QueryEscape(serial), nil)
	var value struct {
		Tokens []struct {
			Failcount int `json:"failcount"`
		} `json:"tokens"`
	}
	if err := json.Unmarshal(a.Result.Value, &value); err != nil || len(value.Tokens) != 1 {
		t.Fatalf("GET /token/ for %s: %s (%v)", serial, a, err)
	}
	return value.Tokens[0].Failcount
}
