package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	longestLine  = 8 << 10   // bytes of a reply line; RFC 5321 section 4.5.3.1.5 has 512, Python's smtplib takes 8192
	longestReply = 200 << 10 // bytes of a reply
	mostLines    = 100       // lines of a reply
)

// ProtocolError says how a server breaks the protocol. It closes the session, because a further
// reply could belong to another command.
type ProtocolError string

// Error implements error.
func (e ProtocolError) Error() string { return string(e) }

const (
	errLongReply   ProtocolError = "the server's reply is too long"
	errNoReply     ProtocolError = "the server's answer is not an SMTP reply"
	errSurplus     ProtocolError = "the server sent a reply without a command"
	errBadGreeting ProtocolError = "the server's greeting is not an SMTP reply"
)

var errCommand = errors.New("a command with a control character is not sent")

// conn reads replies and writes commands under deadlines. It is for one goroutine.
type conn struct {
	net.Conn
	r        *bufio.Reader
	timeout  time.Duration
	notAfter time.Time       // the end of the phases before a dot; zero: none
	ctx      context.Context //nolint:containedctx // the session's: its end closes the connection
	secured  *handshake      // nil: none was tried
}

func newConn(ctx context.Context, c net.Conn, o Options) *conn {
	return &conn{
		Conn:     c,
		r:        bufio.NewReaderSize(c, longestLine),
		timeout:  o.Timeout,
		notAfter: o.NotAfter,
		ctx:      ctx,
	}
}

// arm begins a phase before the dot. The phase ends with the time-out, the message's life or the
// session's context.
func (c *conn) arm() { c.armUntil(earlier(time.Now().Add(c.timeout), c.notAfter)) }

func (c *conn) armUntil(t time.Time) {
	if d, ok := c.ctx.Deadline(); ok && d.Before(t) {
		t = d
	}
	c.SetDeadline(t) //nolint:errcheck // a closed connection fails at the next read
}

// command writes a line and reads its reply.
func (c *conn) command(line string) (Reply, error) {
	if err := c.write(line); err != nil {
		return Reply{}, err
	}
	return c.only()
}

// write writes the lines at once. It refuses when an unrequested reply has come, and a line with a
// control character, which could end the line: the last guard against bad addresses and names.
func (c *conn) write(lines ...string) error {
	if c.r.Buffered() > 0 {
		return errSurplus
	}
	for _, line := range lines {
		if strings.ContainsFunc(line, unicode.IsControl) {
			return errCommand
		}
	}
	_, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	return err
}

// only reads a reply that must be the last one in the buffer. With errSurplus it returns the
// complete reply, too.
func (c *conn) only() (Reply, error) {
	r, err := c.reply()
	if err == nil && c.r.Buffered() > 0 {
		err = errSurplus
	}
	return r, err
}

// reply reads one reply.
func (c *conn) reply() (Reply, error) { return readReply(c.r) }

// readReply reads one reply (RFC 5321 section 4.2.1): lines "ddd-text" and a last "ddd text". It
// accepts what Python's smtplib accepts: a line may end in a bare LF, any character except a hyphen
// after the code ends the reply, and of several codes of one class the last counts. Codes of
// several classes are an error. With an error the reply is empty, also when only its end is
// missing.
func readReply(r *bufio.Reader) (Reply, error) {
	var reply Reply
	var texts []string
	size := 0
	for range mostLines {
		line, err := r.ReadSlice('\n')
		size += len(line)
		if errors.Is(err, bufio.ErrBufferFull) || size > longestReply {
			return Reply{}, errLongReply
		}
		if err != nil {
			return Reply{}, err
		}
		code, rest, last, err := parseLine(strings.TrimRight(string(line), "\r\n"))
		if err != nil || (reply.Code != 0 && code/100 != reply.Code/100) {
			return Reply{}, errNoReply
		}
		reply.Code = code
		enhanced, rest := cutEnhanced(code, rest)
		if reply.Enhanced == "" {
			reply.Enhanced = enhanced
		}
		texts = append(texts, rest)
		if last {
			reply.text = strings.Join(texts, "\n")
			return reply, nil
		}
	}
	return Reply{}, errLongReply
}

// parseLine splits one line of a reply.
func parseLine(line string) (code int, text string, last bool, err error) {
	if len(line) < 3 {
		return 0, "", false, errNoReply
	}
	code, err = strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, "", false, errNoReply
	}
	text, more := strings.CutPrefix(line[3:], "-")
	return code, strings.TrimLeft(text, " \t"), !more, nil
}

// cutEnhanced cuts the enhanced status code off a text (RFC 2034): class of the reply, subject and
// detail of up to three digits.
func cutEnhanced(code int, text string) (enhanced, rest string) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(code/100) {
		return "", text
	}
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 999 || len(p) > 3 {
			return "", text
		}
	}
	return word, rest
}

// extensions are what EHLO announced: keyword in upper case -> parameters.
type extensions map[string]string

// parseExtensions reads the lines of a reply to EHLO behind the first one, as Python's smtplib
// does: a keyword ends at the first character that keywords cannot have, and the mechanisms of
// "AUTH=" (before RFC 2554) are joined with those of "AUTH ".
func parseExtensions(text string) extensions {
	ext := extensions{}
	for _, line := range strings.Split(text, "\n")[1:] {
		line = strings.TrimSpace(line)
		end := strings.IndexFunc(line, func(r rune) bool { return r != '-' && notAlphanumeric(r) })
		if end < 0 {
			end = len(line)
		}
		keyword, parameters := strings.ToUpper(line[:end]), strings.TrimLeft(line[end:], " \t=")
		if keyword == "AUTH" {
			parameters = ext[keyword] + " " + parameters
		}
		ext[keyword] = parameters
	}
	return ext
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// hello sends EHLO, and HELO if the server refuses EHLO and keeps the connection. plain: only HELO.
func (c *conn) hello(name string, plain bool) (extensions, Reply, error) {
	c.arm()
	verb := "EHLO "
	if plain {
		verb = "HELO "
	}
	r, err := c.command(verb + name)
	if err != nil {
		return nil, r, err
	}
	if r.Code/100 != 2 && r.Code != 421 && !plain {
		return c.hello(name, true)
	}
	if r.Code/100 != 2 {
		return nil, r, &Error{Phase: PhaseEHLO, Reply: r}
	}
	if plain {
		return extensions{}, r, nil
	}
	return parseExtensions(r.text), r, nil
}

// startTLS upgrades the connection (RFC 3207). An unrequested reply before the handshake ends the
// session.
func (c *conn) startTLS(config *tls.Config) (Reply, error) {
	c.arm()
	r, err := c.command("STARTTLS")
	if err != nil {
		return r, err
	}
	if r.Code != 220 {
		return r, &Error{Phase: PhaseTLS, Reply: r}
	}
	return r, c.handshake(config)
}

func (c *conn) handshake(config *tls.Config) error {
	c.arm()
	secured := tls.Client(c.Conn, config)
	err := secured.HandshakeContext(c.ctx)
	c.secured = handshakeOf(secured.ConnectionState(), err)
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.Conn, c.r = secured, bufio.NewReaderSize(secured, longestLine)
	return nil
}
