package broken

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// script is an SMTP server that answers as it is told.
type script struct {
	silent  bool              // it takes connections and says nothing
	tls     *tls.Config       // STARTTLS is offered with it
	replies map[string]string // verb in upper case, "." for the end of a mail -> reply; {argument} stands for what the command said
}

// serve takes connections until the end of the test.
func (s script) serve(t testing.TB, l net.Listener) {
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
				s.talk(c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		stop()
		l.Close() //nolint:errcheck // it serves no more
		running.Wait()
	})
}

// talk is one connection.
func (s script) talk(c net.Conn) {
	if s.silent {
		io.Copy(io.Discard, c) //nolint:errcheck // until the client or the test ends
		return
	}
	io.WriteString(c, "220 broken.example.org ESMTP\r\n") //nolint:errcheck // the next read fails then
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		verb = strings.ToUpper(verb)
		reply := s.reply(verb, argument)
		if _, err := io.WriteString(c, reply+"\r\n"); err != nil || verb == "QUIT" {
			return
		}
		switch {
		case verb == "STARTTLS" && strings.HasPrefix(reply, "220"):
			c = tls.Server(c, s.tls)
			r = bufio.NewReader(c)
		case verb == "DATA" && strings.HasPrefix(reply, "354"):
			if !readMail(r) {
				return
			}
			io.WriteString(c, s.reply(".", "")+"\r\n") //nolint:errcheck // the next read fails then
		}
	}
}

// reply returns what is said to a command.
func (s script) reply(verb, argument string) string {
	if said, ok := s.replies[verb]; ok {
		return strings.ReplaceAll(said, "{argument}", argument)
	}
	switch verb {
	case "EHLO":
		lines := []string{"broken.example.org", "AUTH PLAIN", "SIZE 10240000"}
		if s.tls != nil {
			lines = append(lines, "STARTTLS")
		}
		return "250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1]
	case "STARTTLS":
		if s.tls == nil {
			return "502 5.5.1 not here"
		}
		return "220 2.0.0 go ahead"
	case "AUTH":
		return "235 2.7.0 welcome"
	case "DATA":
		return "354 go on"
	case "QUIT":
		return "221 2.0.0 bye"
	}
	return "250 2.0.0 ok"
}

// readMail reads to the end of a mail.
func readMail(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return true
		}
	}
}
