package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEncodeWritesAsPythonDoes(t *testing.T) {
	t.Parallel()
	// The separators, the order and the escapes of the recording's body_head; json.dumps of Python writes the same.
	for _, one := range []struct {
		v    any
		want string
	}{
		{object{"id": 1, "a": []any{1, true, nil, "x,y:z"}}, `{"a": [1, true, null, "x,y:z"], "id": 1}`},
		{"ü€😀\x7f", `"\u00fc\u20ac\ud83d\ude00\u007f"`},
		{`"\,: <&>`, `"\"\\,: <&>"`},
		{[]string{}, `[]`},
		{object{}, `{}`},
		{epoch(time.UnixMicro(1795492061486045)), `1795492061.486045`},
		{epoch(time.Unix(1795492061, 0)), `1795492061.0`},
	} {
		got, err := encode(one.v)
		if err != nil || string(got) != one.want {
			t.Errorf("encode(%v) = %s, %v, want %s", one.v, got, err, one.want)
		}
	}
}

func TestEncodeIsJSONOfTheSameValueInASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "value")
		encoded, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range encoded {
			if b >= 0x7f || b < ' ' {
				t.Fatalf("byte %#x in %s", b, encoded)
			}
		}
		var got map[string][]string
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
