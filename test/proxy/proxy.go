// Package proxy is a TCP proxy that makes faults: it delays, cuts and stalls.
//
// Tests put it between two programs. It knows no protocol: faults are times and numbers of bytes.
package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Faults apply to connections from the moment they are set. The zero value is no fault.
type Faults struct {
	Delay     time.Duration // before each piece of data is passed on, either way
	CutUp     int64         // close both sides after so many bytes to the server
	CutDown   int64         // close both sides after so many bytes to the client
	StallUp   int64         // pass nothing on to the server after so many bytes
	StallDown int64         // pass nothing on to the client after so many bytes
	Stall     bool          // accept, and pass nothing on
}

// Proxy listens on loopback and forwards to its target. It is safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context //nolint:containedctx // ends with the proxy
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex
	faults Faults
	conns  int
}

// Open starts a proxy before target (host:port).
func Open(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open proxy: %w", err)
	}
	p := &Proxy{target: target, listener: l}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the faults, for what open connections pass from now on too.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

// Connections returns how many were accepted.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// Close ends all connections and waits for their end.
func (p *Proxy) Close() error {
	p.stop()
	err := p.listener.Close()
	p.running.Wait()
	return err
}

func (p *Proxy) now() Faults {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns++
		p.mu.Unlock()
		p.running.Go(func() { p.serve(client) })
	}
}

// serve forwards in both directions until a side ends, a fault cuts, or the proxy is closed.
func (p *Proxy) serve(client net.Conn) {
	ctx, end := context.WithCancel(p.ctx)
	defer end()
	defer client.Close()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	var both sync.WaitGroup
	both.Go(func() { defer end(); p.pass(ctx, server, client, true) })
	both.Go(func() { defer end(); p.pass(ctx, client, server, false) })
	both.Wait()
}

// pass copies one direction.
func (p *Proxy) pass(ctx context.Context, to io.Writer, from io.Reader, up bool) {
	buffer := make([]byte, 32<<10)
	var passed int64
	for {
		n, err := from.Read(buffer)
		f := p.now()
		if f.Stall {
			<-ctx.Done()
			return
		}
		if !sleep(ctx, f.Delay) {
			return
		}
		cutAt, stallAt := f.CutDown, f.StallDown
		if up {
			cutAt, stallAt = f.CutUp, f.StallUp
		}
		n, cut := limit(n, passed, cutAt)
		n, stall := limit(n, passed, stallAt)
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil || cut {
			return
		}
		if stall {
			<-ctx.Done()
			return
		}
		passed += int64(n)
	}
}

// limit returns how many of n bytes may pass when most may in all (0: any number), and whether that is the end.
func limit(n int, passed, most int64) (int, bool) {
	if most <= 0 || passed+int64(n) < most {
		return n, false
	}
	return int(max(0, most-passed)), true
}

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
