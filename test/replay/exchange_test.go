// Package replay walks the recorded exchanges of a privacyIDEA 3.14 against the built otpost binary
// and compares status, JSON and mails. Each exchange is equal, or deliberately different
// (testdata/different.json and the table of docs/compatibility.md), or waits for a later issue
// (testdata/waiting.txt); anything else fails, and so does a list that is out of date.
//
// The recordings lie in internal/httpapi/testdata/rest; script_test.go has the order and the calls in between.
package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const recordings = "../../internal/httpapi/testdata/rest"

// exchange is one recorded call with its answer and the mails that it caused.
type exchange struct {
	Name     string         `json:"name"`
	Request  request        `json:"request"`
	Response response       `json:"response"`
	Volatile []string       `json:"volatile"`
	Mails    []recordedMail `json:"mails"`
	area     string
}

// id is how lists and output name an exchange.
func (e exchange) id() string { return e.area + ": " + e.Name }

// request is a recorded call; at most one of Form, JSON and Raw is set.
type request struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Query   map[string]any    `json:"query"`
	Form    map[string]any    `json:"form"`
	JSON    any               `json:"json"`
	Raw     []string          `json:"raw"` // body, content type
	Auth    string            `json:"auth"`
	Headers map[string]string `json:"headers"`
}

// response is a recorded answer. JSON is nil if the body is not JSON.
type response struct {
	Status   int         `json:"status"`
	Headers  [][2]string `json:"headers"`
	BodyHead string      `json:"body_head"`
	JSON     any         `json:"json"`
}

// header returns a recorded header's value; empty: none.
func (r response) header(name string) string {
	for _, h := range r.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// recordedMail is a mail as the SMTP server got it, or an SMS as the gateway got it (port 0).
type recordedMail struct {
	Port int      `json:"port"`
	From string   `json:"from"`
	To   []string `json:"to"`
	Raw  string   `json:"raw"`
	TLS  bool     `json:"tls"`
	Auth []string `json:"auth"` // user, password
}

// redisDownByDefault is the area queue_redis_down once more, played against a server with the
// default of OTPOST_QUEUE_FALLBACK.
const redisDownByDefault = "queue_redis_down_outbox"

// loadArea returns the exchanges of one file, in the order of the calls. Numbers stay json.Number.
func loadArea(t *testing.T, area string) []exchange {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(recordings, strings.TrimSuffix(area, "_outbox")+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Exchanges []exchange `json:"exchanges"`
	}
	if err := decode(raw, &file); err != nil {
		t.Fatalf("%s.json: %v", area, err)
	}
	for i := range file.Exchanges {
		file.Exchanges[i].area = area
	}
	return file.Exchanges
}

// decode is json.Unmarshal with numbers kept as they are written, and nothing allowed behind the value.
func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("text behind the JSON value")
	}
	return nil
}
