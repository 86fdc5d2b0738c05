package smtp

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestReplyTextHoldsNothingThatWasToBeRemoved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[0-9A-Za-z@.]{4,20}`).Draw(t, "secret")
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		text := rapid.SampledFrom([]string{
			before + secret + after, before + strings.ToUpper(secret) + after, secret + secret,
			before + base64.StdEncoding.EncodeToString([]byte(secret)) + after,
			before + base64.StdEncoding.EncodeToString([]byte("\x00user\x00"+secret)),
		}).Draw(t, "text")
		got := Reply{text: text}.Text("other", secret)
		lower := strings.ToLower(got)
		if strings.Contains(lower, strings.ToLower(secret)) {
			t.Fatalf("%q still holds the secret", got)
		}
		if len(secret) >= 7 && strings.Contains(got, encodings(secret)[0]) {
			t.Fatalf("%q still holds its Base64", got)
		}
		if len(got) > 256 || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("%q is no clean text", got)
		}
	})
}

func TestScrubFindsTracesInLongerBase64(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "a", "ab", "abc", "Your code is "} {
		encoded := base64.StdEncoding.EncodeToString([]byte(before + "48291357" + "!!"))
		got := Scrub("content rejected: "+encoded, "48291357")
		if !strings.Contains(got, removed) || len(got) > len("content rejected: "+encoded)-5 {
			t.Errorf("behind %q: %q", before, got)
		}
	}
}

func TestScrubKeepsWhatNeedNotGo(t *testing.T) {
	t.Parallel()
	const text = "5.1.1 <alice@example.com>: Recipient address rejected: User unknown"
	if got, want := Scrub(text, "Alice@Example.com", "",
		"482913"), "5.1.1 <***>: Recipient address rejected: User unknown"; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

// A server that quotes the mail may break it anywhere.
func TestScrubFindsWhatIsTornApart(t *testing.T) {
	t.Parallel()
	for wire, want := range map[string]string{
		"550-rejected 035\r\n550 354":           "rejected ***",
		"550-rejected 035\r\n550 5.7.1 354":     "rejected ***",
		"550 code 035\x01354 found":             "code *** found",
		"550 code 0 3 5 - 3 5 4 found":          "code *** found",
		"550 code 035.354, found":               "code ***, found",
		"550-no alice@exam\r\n550 ple.com here": "no *** here",
		"550 no al\x00ice@example\x7f.com here": "no *** here",
		"550 at 035 or 354 or 1035 or 3540":     "at 035 or 354 or 1035 or 3540",
		"550 MDM1\x01MzU0 " + "quoted":          "*** quoted",
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(wire+"\r\n"), longestLine))
		if got := r.Text("alice@example.com", "035354"); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", wire, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.StringMatching(`[0-9]{6,8}`).Draw(t, "code")
		torn := ""
		for _, digit := range code {
			torn += string(digit) + rapid.StringMatching(`[ \n\r\t\x00-\x1f.,:/_-]{0,2}`).Draw(t, "between")
		}
		text := strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, Scrub("x"+torn+"y", code))
		if strings.Contains(text, code) {
			t.Fatal("the digits are still there")
		}
	})
}

// A user name of one letter is in half of all words.
func TestScrubTakesShortStringsAsWordsOnly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"dial tcp: connection refused":      "dial tcp: connection refused",
		"user e, password tc":               "user ***, password ***",
		"E: bad credentials (tc)":           "***: bad credentials (***)",
		"auth PLAIN AGUAdGM= for ZQ":        "auth PLAIN ***= for ***",
		"the zquare":                        "the zquare",
		"notice: cpno is wrong, tcp not so": "notice: *** is wrong, tcp not so",
	} {
		if got := Scrub(text, "e", "tc", "cpno", "\x00e\x00tc"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestScrubLeavesItsArgumentsAlone(t *testing.T) {
	t.Parallel()
	remove := []string{"a", "long enough", "b"}
	Scrub("a long enough b", remove...)
	if remove[0] != "a" || remove[1] != "long enough" || remove[2] != "b" {
		t.Fatalf("%q", remove)
	}
}

func TestEnhancedCodeIsTakenOffTheText(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		"550 5.1.1 no such user":   {"5.1.1", "no such user"},
		"550 4.1.1 other class":    {"", "4.1.1 other class"},
		"550 5.1 short":            {"", "5.1 short"},
		"550 5.1.1234 long":        {"", "5.1.1234 long"},
		"550 5.-1.1 sign":          {"", "5.-1.1 sign"},
		"550-5.7.1 a\n550 5.7.1 b": {"5.7.1", "a b"},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(line+"\r\n"), longestLine))
		if got := [2]string{r.Enhanced, r.Text()}; err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
}

// A reply ends the session at its bounds, and the largest within them is taken.
func TestReplyIsBounded(t *testing.T) {
	t.Parallel()
	line := func(n int) string { return "250-" + strings.Repeat("x", n-len("250-\r\n")) + "\r\n" }
	few := longestReply/longestLine - 1
	for name, c := range map[string]struct {
		wire string
		want error
	}{
		"the longest line":        {line(longestLine) + "250 ok\r\n", nil},
		"a longer line":           {line(longestLine+1) + "250 ok\r\n", errLongReply},
		"a line without end":      {strings.Repeat("2", 10*longestLine), errLongReply},
		"the most lines":          {strings.Repeat(line(10), mostLines-1) + "250 ok\r\n", nil},
		"more lines":              {strings.Repeat(line(10), mostLines) + "250 ok\r\n", errLongReply},
		"many long lines":         {strings.Repeat(line(longestLine), few) + "250 ok\r\n", nil},
		"more bytes than a reply": {strings.Repeat(line(longestLine), few+2) + "250 ok\r\n", errLongReply},
	} {
		reply, err := readReply(bufio.NewReaderSize(strings.NewReader(c.wire), longestLine))
		if !errors.Is(err, c.want) || (err == nil) != (reply.Code == 250) || len(reply.Text()) > longestText {
			t.Errorf("%s: code %d, text of %d bytes, %v, want %v", name, reply.Code, len(reply.Text()), err, c.want)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "250\n", "250-a\r\n550 b\r\n", "334 \r\n",
		"554 5.7.1 \xff\x00\r\n", "99 x\r\n", "\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		source := bytes.NewReader(wire)
		r := bufio.NewReaderSize(source, longestLine)
		reply, err := readReply(r)
		if err != nil {
			if reply != (Reply{}) {
				t.Fatalf("half a reply: %+v", reply)
			}
			return
		}
		used := len(wire) - source.Len() - r.Buffered()
		if reply.Code < 200 || reply.Code > 599 || used > longestLine*mostLines ||
			!bytes.HasSuffix(wire[:used], []byte("\n")) {
			t.Fatalf("code %d from %d bytes", reply.Code, used)
		}
		if text := reply.Text(); len(text) > longestText || !utf8.ValidString(text) ||
			strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("%q is no clean text", text)
		}
	})
}
