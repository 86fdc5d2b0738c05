package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"otpost/internal/app"
)

// maxPassword bounds the length of a password, in bytes.
const maxPassword = 1024

// minPassword is the length below which a password of an administrator causes a warning, in
// characters (NIST SP 800-63B, section 5.1.1.1). It is not refused: the exchanges recorded with
// privacyIDEA have an administrator with 7 characters.
const minPassword = 8

// askPassword reads a new password: the first line of standard input with fromStdin, else from the
// terminal, twice and without echo. A short password causes a warning.
func askPassword(s streams, prompt string, fromStdin bool) (app.Password, error) {
	password, err := readPassword(s, prompt, fromStdin)
	if err == nil && utf8.RuneCountInString(password.Reveal()) < minPassword {
		fmt.Fprintf(s.err, "warning: the password has fewer than %d characters and is easy to guess: set a longer "+
			"one with otpost admin password\n", minPassword)
	}
	return password, err
}

func readPassword(s streams, prompt string, fromStdin bool) (app.Password, error) {
	if fromStdin {
		return readLine(s.in)
	}
	terminal, ok := s.in.(*os.File)
	if !ok || !isTerminal(terminal) {
		return "", usageError("standard input is not a terminal, so the password cannot be asked for: use " +
			"--password-stdin")
	}
	first, err := askHidden(terminal, s.err, prompt+": ")
	if err != nil {
		return "", err
	}
	again, err := askHidden(terminal, s.err, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// askHidden asks once. A signal that ends the program restores the terminal's echo first.
func askHidden(terminal *os.File, out io.Writer, prompt string) (app.Password, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("read the terminal's settings: %w", err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", fmt.Errorf("turn the terminal's echo off: %w", err)
	}
	fmt.Fprint(out, prompt) // the echo is off by now
	defer func() {
		unix.IoctlSetTermios(fd, unix.TCSETS, before) //nolint:errcheck // the terminal accepted settings a moment ago
		fmt.Fprintln(out)
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	type answer struct {
		password app.Password
		err      error
	}
	typed := make(chan answer, 1)
	go func() { // after a signal it keeps reading until the program ends
		password, err := readLine(terminal)
		typed <- answer{password, err}
	}()
	select {
	case a := <-typed:
		return a.password, a.err
	case <-signals:
		return "", errors.New("interrupted: nothing was changed")
	}
}

// readLine reads one line byte by byte, so that the rest stays unread.
func readLine(r io.Reader) (app.Password, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(oneByte{r}, maxPassword+1), 16).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	switch {
	case line == "":
		return "", errors.New("the password is empty")
	case len(line) >= maxPassword:
		return "", fmt.Errorf("the password has more than %d bytes", maxPassword-1)
	case !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl):
		return "", errors.New("the password must be valid UTF-8 without control characters, for it could not be " +
			"typed at a sign-in")
	}
	return app.Password(line), nil
}

// oneByte reads one byte at a time.
type oneByte struct{ r io.Reader }

// Read implements io.Reader.
func (o oneByte) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return o.r.Read(p)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
