package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"legate/wire"
)

// A greeter is an engine that says hello and ends, and counts what it is told.
type greeter struct {
	opened, closed, refused atomic.Int64
}

func (g *greeter) Start(raw *wire.Conn, _ *tls.Conn, _ wire.Peer, ended func()) {
	go func() {
		_, _ = io.WriteString(raw, "hello") // who left needs no greeting
		_ = raw.Close()
		ended()
	}()
}

func (g *greeter) Opened(bool)                             { g.opened.Add(1) }
func (g *greeter) Closed(bool, time.Duration)              { g.closed.Add(1) }
func (g *greeter) Refused()                                { g.refused.Add(1) }
func (g *greeter) Proxied(netip.Addr, ProxyOutcome, error) {}
func (g *greeter) HandshakeFailed(*wire.Peer, error)       {}
func (g *greeter) AcceptFailed(error)                      {}

func listenFor(t *testing.T, g *greeter, opts Options) *Listener {
	t.Helper()
	opts.Addr, opts.Engine, opts.Watcher, opts.Now = "127.0.0.1:0", g, g, time.Now
	opts.Config = func(string) *tls.Config { return nil }
	l, err := Listen(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// heard is what a connection brings to its end.
func heard(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	return string(b)
}

// Clients whose connections wait in the queue when the port closes are served.
func TestCloseServesTheQueue(t *testing.T) {
	g := &greeter{}
	l := listenFor(t, g, Options{})
	go l.Serve()
	if got := heard(t, dial(t, l)); got != "hello" {
		t.Fatalf("got %q", got)
	}
	conns := make([]net.Conn, 100)
	for i := range conns {
		conns[i] = dial(t, l)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i, c := range conns {
		if got := heard(t, c); got != "hello" {
			t.Errorf("connection %d brought %q", i, got)
		}
	}
	l.Wait()
	if g.opened.Load() != 101 || g.closed.Load() != 101 {
		t.Errorf("%d opened, %d closed", g.opened.Load(), g.closed.Load())
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("the port still accepts")
	}
}

// A listener that never served closes at once.
func TestCloseBeforeServe(t *testing.T) {
	l := listenFor(t, &greeter{}, Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Serve()
	l.Wait()
}

// Drain ends silence soon and leaves a handshake its time; Abort does not.
func TestDrainAndAbort(t *testing.T) {
	l := listenFor(t, &greeter{}, Options{TLS: true, HandshakeTimeout: time.Minute})
	served := make(chan struct{})
	go func() { defer close(served); l.Serve() }()
	silent, begun := dial(t, l), dial(t, l)
	if _, err := io.WriteString(begun, "\x16\x03\x01"); err != nil {
		t.Fatal(err)
	}
	for spoken := false; !spoken; runtime.Gosched() {
		l.mu.Lock()
		for _, s := range l.young {
			spoken = spoken || s
		}
		l.mu.Unlock()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-served
	l.Drain()
	if got := heard(t, silent); got != "" {
		t.Errorf("silence was answered %q", got)
	}
	l.mu.Lock()
	left := len(l.young)
	l.mu.Unlock()
	if left != 1 {
		t.Errorf("%d connections are left, want the one that shakes hands", left)
	}
	l.Abort()
	if got := heard(t, begun); got != "" {
		t.Errorf("half a handshake was answered %q", got)
	}
	l.Wait()
}

// Listeners that share a bound have no more connections together, and what one has no more
// of is the other's.
func TestBound(t *testing.T) {
	g, bound := &greeter{}, NewBound(2)
	a, b := listenFor(t, g, Options{TLS: true, Bound: bound}), listenFor(t, g, Options{TLS: true, Bound: bound})
	go a.Serve()
	go b.Serve()
	one := dial(t, a)
	two := dial(t, b)
	for _, l := range []*Listener{a, b} {
		if got := heard(t, dial(t, l)); got != "" {
			t.Errorf("the third brought %q", got)
		}
	}
	if n := g.refused.Load(); n != 2 {
		t.Errorf("%d are refused", n)
	}
	for _, c := range []net.Conn{one, two} {
		if _, err := io.WriteString(c, "GET"); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, c); got != "hello" {
			t.Errorf("within the bound: %q", got)
		}
	}
	for bound.count.Load() > 0 {
		runtime.Gosched() // their ends are noted
	}
	for range 2 {
		c := dial(t, b)
		if _, err := io.WriteString(c, "GET"); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, c); got != "hello" {
			t.Errorf("once there is room: %q", got)
		}
	}
}

func TestLimit(t *testing.T) {
	g := &greeter{}
	l := listenFor(t, g, Options{TLS: true, MaxConnections: 2})
	go l.Serve()
	one, two := dial(t, l), dial(t, l)
	if got := heard(t, dial(t, l)); got != "" || g.refused.Load() != 1 {
		t.Errorf("the third brought %q, %d refused", got, g.refused.Load())
	}
	for _, c := range []net.Conn{one, two} {
		if _, err := io.WriteString(c, "GET"); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, c); got != "hello" {
			t.Errorf("within the limit: %q", got)
		}
	}
}
