package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"otpost/internal/fault"
)

// object is a JSON object. A nil slice in it would become null, which kills clients (docs/compatibility.md,
// "Clients"): render lists with make or a literal.
type object = map[string]any

// threadID is in every detail, as in the original: an integer that no client reads.
const threadID = 1

// success is an answer as a handler gives it.
type success struct {
	authentication string // ACCEPT, REJECT or CHALLENGE where the envelope's id is 2; empty elsewhere
	value          any
	detail         object // nil: the answer has none
}

// answer writes a management answer: value, no detail.
func answer(w http.ResponseWriter, r *http.Request, value any) error {
	return succeed(w, r, success{value: value})
}

// succeed writes the recorded envelope of a success: keys sorted, separators ", " and ": ", pure ASCII.
func succeed(w http.ResponseWriter, r *http.Request, s success) error {
	c := callOf(r)
	result := object{"status": true, "value": s.value}
	body := object{"id": 1, "jsonrpc": "2.0", "result": result, "time": epoch(c.begun)}
	if s.authentication != "" {
		body["id"] = 2
		result["authentication"] = s.authentication
		c.entry.Authentication = s.authentication
	}
	if s.detail != nil {
		s.detail["threadid"] = threadID
		body["detail"] = s.detail
	}
	if !c.route.bare {
		body["version"], body["versionnumber"] = "otpost "+c.version, c.version
	}
	return writeJSON(w, http.StatusOK, body)
}

// failure returns the recorded envelope of an error. detail is null or, where the recording has it, {}.
func failure(c *call, f *fault.Error) object {
	var detail any
	if c.route != nil && c.route.emptyDetail(f.Code) {
		detail = object{}
	}
	return object{
		"detail":  detail,
		"id":      1,
		"jsonrpc": "2.0",
		"time":    epoch(c.begun),
		"version": "otpost " + c.version,
		"result":  object{"status": false, "error": object{"code": int(f.Code), "message": f.Message}},
	}
}

// epoch returns a time as the original writes it: Unix seconds as a float.
func epoch(t time.Time) json.Number {
	seconds := float64(t.UnixMicro()) / 1e6
	text := strconv.FormatFloat(seconds, 'f', -1, 64)
	if seconds == math.Trunc(seconds) {
		text += ".0"
	}
	return json.Number(text)
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	encoded, err := encode(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(encoded)
	return err
}

// encode returns v as Python's json.dumps would write it: keys sorted (maps only, no structs), ", " and ": ", every
// character beyond ASCII escaped.
func encode(v any) ([]byte, error) {
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	in := bytes.TrimSuffix(plain.Bytes(), []byte("\n"))
	out := make([]byte, 0, len(in)+len(in)/4)
	quoted := false
	for i := 0; i < len(in); {
		b := in[i]
		switch {
		case b >= 0x7f:
			r, size := utf8.DecodeRune(in[i:])
			out = appendEscaped(out, r)
			i += size
			continue
		case quoted && b == '\\':
			out = append(out, b, in[i+1])
			i += 2
			continue
		case b == '"':
			quoted = !quoted
		}
		out = append(out, b)
		if !quoted && (b == ',' || b == ':') {
			out = append(out, ' ')
		}
		i++
	}
	return out, nil
}

// appendEscaped adds a character as \uXXXX, beyond the basic plane as two surrogates (RFC 8259 section 7).
func appendEscaped(out []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}

// stamp returns a time as we write it into answers: RFC 3339, UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// stampOrNull returns null for the zero time.
func stampOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

// optionalStamp returns null for a time that is not there.
func optionalStamp(t *time.Time) any {
	if t == nil {
		return nil
	}
	return stamp(*t)
}
