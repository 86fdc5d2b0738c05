package broken

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is an SMTP server that answers as its file says. It is safe for concurrent use; it counts
// over all of its connections.
type script struct {
	rules    []rule      // the first rule that fits a command answers it; without a rule the server accepts everything
	tls      *tls.Config // STARTTLS is offered with it
	implicit bool        // TLS from the first byte
	read     string      // of the lines that one read brings, only the "first" or the "last" is handled; empty: all

	mu    sync.Mutex
	asked []int      // how often each rule has answered
	lines [][]string // what came by each connection, without contents and answers to challenges
	mails []string   // the contents that came with their end
}

// rule says how a command is answered.
type rule struct {
	command string   // the begin of the line in upper case; greet: a new connection, ".": the end of a mail
	replies []string // at its first, second ... time; the last one stays. The form is that of script.answer
}

const greet = "GREET"

// serve takes connections until the end of the test.
func (s *script) serve(t testing.TB, l net.Listener) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				(&talk{script: s, c: c, number: s.begin()}).run()
			})
		}
	})
	t.Cleanup(func() {
		stop()
		l.Close() //nolint:errcheck // it serves no more
		running.Wait()
	})
}

// begin counts a connection and returns its number.
func (s *script) begin() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, nil)
	return len(s.lines) - 1
}

// note keeps a line that came.
func (k *talk) note(line string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines[k.number] = append(k.lines[k.number], line)
}

// reply returns what is said to a command.
func (s *script) reply(line string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = make([]int, len(s.rules))
	}
	upper := strings.ToUpper(line)
	for i, r := range s.rules {
		if r.command == upper || strings.HasPrefix(upper, r.command+" ") || strings.HasPrefix(upper, r.command+":") {
			n := s.asked[i]
			s.asked[i]++
			_, argument, _ := strings.Cut(line, " ")
			return strings.ReplaceAll(r.replies[min(n, len(r.replies)-1)], "{argument}", argument)
		}
	}
	return s.usual(upper)
}

// usual is what a server says that accepts everything.
func (s *script) usual(upper string) string {
	verb, _, _ := strings.Cut(upper, " ")
	switch verb {
	case greet:
		return "220 broken.example.org ESMTP"
	case "EHLO":
		if s.tls != nil && !s.implicit {
			return `250-broken.example.org\n250-AUTH PLAIN\n250-SIZE 10240000\n250 STARTTLS`
		}
		return `250-broken.example.org\n250-AUTH PLAIN\n250 SIZE 10240000`
	case "STARTTLS":
		if s.tls == nil {
			return "502 5.5.1 not here"
		}
		return "220 2.0.0 go ahead | <tls>"
	case "AUTH":
		return "235 2.7.0 welcome"
	case "DATA":
		return "354 go on"
	case "QUIT":
		return "221 2.0.0 bye"
	}
	return "250 2.0.0 ok"
}

// talk is one connection.
type talk struct {
	*script
	c       net.Conn
	number  int    // of the connection
	pending []byte // came and is not read yet
}

func (k *talk) run() {
	if k.implicit {
		k.c = tls.Server(k.c, k.tls)
	}
	if !k.answer(k.reply(greet)) {
		return
	}
	for {
		line, ok := k.line(k.read)
		if !ok {
			return
		}
		k.note(line)
		reply := k.reply(line)
		if !k.answer(reply) || strings.EqualFold(line, "QUIT") {
			return
		}
		if strings.EqualFold(line, "DATA") && strings.Contains(" "+reply, " 354") && !k.mail() {
			return
		}
	}
}

// mail reads a content and answers its end.
func (k *talk) mail() bool {
	var content strings.Builder
	for {
		line, ok := k.line("")
		if !ok {
			return false
		}
		if line == "." {
			break
		}
		content.WriteString(line + "\r\n")
	}
	k.mu.Lock()
	k.mails = append(k.mails, content.String())
	k.mu.Unlock()
	return k.answer(k.reply("."))
}

// line reads a line, without its end. which says which line counts of those that come at once.
func (k *talk) line(which string) (string, bool) {
	buffer := make([]byte, 64<<10)
	for {
		if which == "last" {
			if ended := bytes.HasSuffix(k.pending, []byte("\n")); ended {
				all := strings.Split(strings.TrimSpace(string(k.pending)), "\n")
				k.pending = nil
				return strings.TrimSpace(all[len(all)-1]), true
			}
		} else if line, rest, found := bytes.Cut(k.pending, []byte("\n")); found {
			k.pending = rest
			if which == "first" {
				k.pending = nil
			}
			return strings.TrimSuffix(string(line), "\r"), true
		}
		n, err := k.c.Read(buffer)
		if err != nil {
			return "", false
		}
		k.pending = append(k.pending, buffer[:n]...)
	}
}

// answer says a reply, and reports whether the connection goes on. Parts are separated by " | "; behind a 334
// the client is heard first. A part is a reply, in which \n ends a line and \xNN is a byte, or one of these:
// <close>, <silence>, <tls>, <wait 100ms>, <split> (the next part in single bytes), <as it stands> (the next
// part with no line ends but those written).
func (k *talk) answer(reply string) bool {
	split, raw := false, false
	for part := range strings.SplitSeq(reply, " | ") {
		switch word, rest, _ := strings.Cut(strings.Trim(part, "<>"), " "); {
		case part == "<close>":
			return false
		case part == "<silence>":
			io.Copy(io.Discard, k.c) //nolint:errcheck // until the client or the test ends
			return false
		case part == "<tls>":
			k.c = tls.Server(k.c, k.tls)
		case part == "<split>":
			split = true
		case part == "<as it stands>":
			raw = true
		case word == "wait" && part[0] == '<':
			d, _ := time.ParseDuration(rest) //nolint:errcheck // read checked it
			time.Sleep(d)
		default:
			if !k.say(unescape(part, raw), split) {
				return false
			}
			split, raw = false, false
			if strings.HasPrefix(part, "334") {
				if _, ok := k.line(""); !ok {
					return false
				}
			}
		}
	}
	return true
}

func (k *talk) say(text string, split bool) bool {
	pieces := [][]byte{[]byte(text)}
	if split {
		pieces = slices.Collect(slices.Chunk([]byte(text), 1))
	}
	for _, piece := range pieces {
		if _, err := k.c.Write(piece); err != nil {
			return false
		}
		if split {
			time.Sleep(time.Millisecond)
		}
	}
	return true
}
