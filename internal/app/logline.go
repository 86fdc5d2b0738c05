package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// lineHandler writes log records as privacyIDEA's worker does (recorded in docs/compatibility.md),
// so that a site's patterns keep matching:
//
//	[2026-11-24 03:40:58,849][PID][THREAD][LEVEL][LOGGER:LINE] text key=value ...
//
// The time is local, THREAD is the component, LOGGER the package and LINE the line of code. Values
// with spaces or quotes are quoted, so that a value from outside cannot begin a new line.
type lineHandler struct {
	out       *lockedWriter
	level     slog.Leveler
	simple    bool
	component string
	attrs     []byte // of With, already formatted
	group     string // prefix of the keys: "a.b."
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// NewLog returns a logger that writes the worker's lines to w, from level on.
func NewLog(w io.Writer, level slog.Leveler) *slog.Logger {
	return newLog(w, &lineHandler{level: level, component: "main"})
}

// NewSimpleLog returns a logger with lines of the time of day and the text, as huey's consumer
// writes them with -S. Lines above INFO also name their level, which huey leaves out: sites search
// this log for ERROR.
//
//	03:40:58 text key=value ...
//	03:40:58 ERROR text key=value ...
func NewSimpleLog(w io.Writer, level slog.Leveler) *slog.Logger {
	return newLog(w, &lineHandler{level: level, simple: true})
}

// newLog lets h write to w. If w is a LogBuffer, its line about lost lines has the form of h.
func newLog(w io.Writer, h *lineHandler) *slog.Logger {
	h.out = &lockedWriter{w: w}
	if b, ok := w.(*LogBuffer); ok {
		b.mu.Lock()
		b.mark = h.format
		b.mu.Unlock()
	}
	return slog.New(h)
}

// Enabled implements slog.Handler.
func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	line := h.format(r)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(line)
	return err
}

// format returns the line of a record, with its end.
func (h *lineHandler) format(r slog.Record) []byte {
	var b bytes.Buffer
	at := r.Time.Local()
	switch {
	case !h.simple:
		fmt.Fprintf(&b, "[%s,%03d][%d][%s][%s][%s] ", at.Format(time.DateTime), at.Nanosecond()/1_000_000, os.Getpid(),
			h.component,
			levelName(r.Level), origin(r.PC))
	case r.Level >= slog.LevelWarn:
		fmt.Fprintf(&b, "%s %s ", at.Format(time.TimeOnly), levelName(r.Level))
	default:
		fmt.Fprintf(&b, "%s ", at.Format(time.TimeOnly))
	}
	b.WriteString(clean(r.Message))
	b.Write(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	b.WriteByte('\n')
	return b.Bytes()
}

// WithAttrs implements slog.Handler. The attribute "component" becomes the line's THREAD.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	b := bytes.NewBuffer(bytes.Clone(h.attrs))
	for _, a := range attrs {
		if a.Key == "component" && h.group == "" {
			c.component = clean(a.Value.String())
			continue
		}
		appendAttr(b, h.group, a)
	}
	c.attrs = b.Bytes()
	return &c
}

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.group += name + "."
	return &c
}

func appendAttr(b *bytes.Buffer, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			appendAttr(b, group, member)
		}
		return
	}
	text := bound(v.String())
	if v.Kind() == slog.KindTime {
		text = v.Time().UTC().Format("2006-01-02T15:04:05.000Z")
	}
	if text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == 0x7f
	}) {
		text = strconv.Quote(text)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}

// mostOfValue is how many bytes of one value a line shows: a damaged row may have any number.
const mostOfValue = 1024

// bound cuts a value at mostOfValue and adds its length.
func bound(s string) string {
	if len(s) <= mostOfValue {
		return s
	}
	return strings.ToValidUTF8(s[:mostOfValue], "") + " (cut: " + strconv.Itoa(len(s)) + " bytes)"
}

// clean makes a text safe in the middle of a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// levelName returns the name in Python's logging, which the patterns of sites match.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	default:
		return "DEBUG"
	}
}

// origin returns "package:line" of the caller, as Python's "logger:line".
func origin(pc uintptr) string {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	name := path.Base(frame.Function)
	if i := strings.IndexByte(name, '.'); i >= 0 {
		name = name[:i]
	}
	return "otpost." + name + ":" + strconv.Itoa(frame.Line)
}

// callerPC returns the place of its caller, for slog.NewRecord.
func callerPC() uintptr {
	var pc [1]uintptr
	runtime.Callers(2, pc[:])
	return pc[0]
}
