// Package listen accepts connections: it bounds their number, reads PROXY headers,
// tells TLS from cleartext by the first byte, runs handshakes, and hands each
// connection to an engine. It knows no names: which certificate serves is asked for
// per handshake.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"legate/wire"
)

// An Engine serves connections.
type Engine interface {
	// Start serves one connection in a goroutine of its own and calls ended when it is
	// over. secure is nil on cleartext.
	Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func())
}

// A Watcher is told of connections. Its methods must not block.
type Watcher interface {
	Opened(tls bool)
	Closed(tls bool, lasted time.Duration)
	// Refused counts a connection that was closed at once: the limit was reached.
	Refused()
	// Proxied counts a connection by its PROXY header, or by having none. err, if any,
	// says why it was refused. It is not called where no header is looked for.
	Proxied(from netip.Addr, outcome ProxyOutcome, err error)
	// HandshakeFailed reports a TLS handshake that came to nothing; with a *NoNameError
	// because there is no configuration for the name that was asked for.
	HandshakeFailed(peer *wire.Peer, err error)
	// AcceptFailed reports that no connection could be accepted, as when file
	// descriptors run out. Accepting goes on.
	AcceptFailed(err error)
}

// Options say what a Listener does. Engine, Watcher and Now must be set.
type Options struct {
	Addr             string // host:port
	Slot             int    // becomes Peer.Listener
	TLS              bool   // serve TLS beside cleartext
	Proxy            ProxyMode
	Trusted          []netip.Prefix // whose PROXY headers are believed; empty: everybody's
	MaxConnections   int            // 0: no limit
	Bound            *Bound         // of all Listeners that have it; nil for none
	HandshakeTimeout time.Duration  // for the PROXY header and the handshake together; 0: 10 s
	// Config chooses the configuration of a handshake; nil refuses it.
	Config func(sni string) *tls.Config
	// Challenge answers handshakes by which an authority looks whether a name is ours (RFC
	// 8737); nil, also from it, leaves them to Config.
	Challenge func(sni string) *tls.Config
	Engine    Engine
	Watcher   Watcher
	Now       func() time.Time
	Meter     *wire.Meter // sums the bytes of all connections; nil for none
	Stamped   bool        // connections know how long what they read has waited
}

// DefaultMaxConnections keeps one listener from taking every file descriptor.
const DefaultMaxConnections = 65536

// A client that has been silent for keepAliveIdle is asked keepAliveCount times, one every
// keepAliveEvery, before its connection is given up.
const (
	keepAliveIdle  = 30 * time.Second
	keepAliveEvery = 15 * time.Second
	keepAliveCount = 9
)

// An acceptor is a listening socket.
type acceptor interface {
	Accept() (net.Conn, error)
	Addr() net.Addr
	SetDeadline(t time.Time) error
	Close() error
}

// A Listener is one bound port.
type Listener struct {
	opts   Options
	ln     acceptor
	tls    *tls.Config
	count  atomic.Int64
	closed atomic.Bool
	serves atomic.Bool   // Serve has begun
	served chan struct{} // closed when it has returned
	done   sync.WaitGroup

	mu       sync.Mutex
	young    map[*wire.Conn]bool // not with the engine yet; true once the client has spoken
	draining bool
}

// connections numbers every connection of the process.
var connections atomic.Uint64

// A NoNameError ends a handshake for a name that nobody serves.
type NoNameError struct{ ServerName string } // "" where the client named none

// Error says so. It does not repeat the name, which is the client's.
func (e *NoNameError) Error() string { return "no certificate for this name" }

// Listen binds the address and serves nothing yet.
func Listen(ctx context.Context, opts Options) (*Listener, error) {
	if opts.HandshakeTimeout == 0 {
		opts.HandshakeTimeout = 10 * time.Second
	}
	var config net.ListenConfig
	prepare(&config, opts.Stamped)
	ln, err := config.Listen(ctx, "tcp", opts.Addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("listen on %s: %T is not TCP", opts.Addr, ln)
	}
	q, err := newQueue(tcp)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", opts.Addr, err)
	}
	l := &Listener{opts: opts, ln: q, served: make(chan struct{}), young: map[*wire.Conn]bool{}}
	if opts.TLS {
		// One configuration for the life of the listener: it owns the session ticket
		// keys, so that sessions outlive every change of the certificates.
		l.tls = &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if opts.Challenge != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
					if c := opts.Challenge(hello.ServerName); c != nil {
						return c, nil
					}
				}
				if c := opts.Config(hello.ServerName); c != nil {
					return c, nil
				}
				return nil, &NoNameError{hello.ServerName}
			},
		}
	}
	return l, nil
}

// SetTicketKeys has sessions sealed with the first of keys, and opened with all, from now on.
// Without it the listener has keys of its own, which change daily.
func (l *Listener) SetTicketKeys(keys [][32]byte) {
	if l.tls != nil && len(keys) > 0 {
		l.tls.SetSessionTicketKeys(keys)
	}
}

// Addr returns the bound address.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Serve accepts until Close. To be called once.
func (l *Listener) Serve() {
	l.serves.Store(true)
	defer close(l.served)
	delay := time.Duration(0)
	for {
		nc, err := l.ln.Accept()
		if err != nil && l.closed.Load() {
			return
		}
		if err != nil {
			l.opts.Watcher.AcceptFailed(err)
			delay = min(max(5*time.Millisecond, 2*delay), time.Second)
			time.Sleep(delay)
			continue
		}
		delay = 0
		l.start(nc)
	}
}

// start begins to serve a connection, or refuses it at the limit.
func (l *Listener) start(nc net.Conn) {
	if !l.enter() {
		l.opts.Watcher.Refused()
		_ = nc.Close() // the client sees that nobody is there
		return
	}
	l.done.Add(1)
	raw := wire.NewConn(nc)
	raw.MeterBy(l.opts.Meter)
	if l.opts.Stamped {
		raw.Stamped()
	}
	peer := wire.Peer{
		Physical: addrPort(nc.RemoteAddr()),
		Local:    addrPort(nc.LocalAddr()),
		Listener: l.opts.Slot,
		Conn:     connections.Add(1),
	}
	peer.Remote = peer.Physical
	if l.opts.TLS || l.opts.Proxy != ProxyOff {
		l.mu.Lock()
		l.young[raw] = false
		l.mu.Unlock()
		go l.greet(raw, peer)
		return
	}
	l.serve(raw, nil, peer)
}

// enter counts a connection, unless it is one too many.
func (l *Listener) enter() bool {
	if n := l.count.Add(1); l.opts.MaxConnections > 0 && n > int64(l.opts.MaxConnections) || !l.opts.Bound.enter() {
		l.count.Add(-1)
		return false
	}
	return true
}

func (l *Listener) leave() {
	l.count.Add(-1)
	l.opts.Bound.leave()
	l.done.Done()
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()) // a zone is this machine's affair
}

// serve hands a connection to the engine, which serves it in a goroutine of its own.
func (l *Listener) serve(raw *wire.Conn, secure *tls.Conn, peer wire.Peer) {
	l.opts.Watcher.Opened(secure != nil)
	begun := l.opts.Now()
	l.opts.Engine.Start(raw, secure, peer, func() {
		l.opts.Watcher.Closed(secure != nil, l.opts.Now().Sub(begun))
		l.leave()
	})
}

// greet finds out whose connection it is and what it speaks. The stack that a
// handshake grows goes with this goroutine.
func (l *Listener) greet(raw *wire.Conn, peer wire.Peer) {
	_ = raw.SetDeadline(l.opts.Now().Add(l.opts.HandshakeTimeout)) // fails only on a closed connection, as the next read shows
	if l.opts.Proxy != ProxyOff && !l.introduce(raw, &peer) {
		l.drop(raw)
		return
	}
	if !l.opts.TLS {
		l.grown(raw)
		l.serve(raw, nil, peer)
		return
	}
	l.secure(raw, peer)
}

// secure sniffs the first byte and runs the handshake.
func (l *Listener) secure(raw *wire.Conn, peer wire.Peer) {
	first, err := l.firstByte(raw)
	if err != nil {
		l.drop(raw)
		return
	}
	if first != handshakeRecord {
		l.grown(raw)
		l.serve(raw, nil, peer)
		return
	}
	secure := tls.Server(raw, l.tls)
	if err := secure.HandshakeContext(context.Background()); err != nil {
		l.opts.Watcher.HandshakeFailed(&peer, err)
		l.drop(raw)
		return
	}
	if secure.ConnectionState().NegotiatedProtocol == challengeProtocol {
		_ = secure.Close() // all is said
		l.drop(raw)
		return
	}
	l.grown(raw)
	l.serve(raw, secure, peer)
}

// challengeProtocol is all that authorities offer by ALPN in handshakes that ask whether a
// name is ours. Nothing is ever carried by it.
const challengeProtocol = "acme-tls/1"

// firstByte looks at what a client says first. One that has said nothing when
// draining begins is given a last moment.
func (l *Listener) firstByte(raw *wire.Conn) (byte, error) {
	first := make([]byte, 1)
	_, err := raw.Peek(first, 0)
	if errors.Is(err, os.ErrDeadlineExceeded) && l.spoken(raw) && raw.Resume(lastLookTime) {
		_, err = raw.Peek(first, 0)
	}
	if err != nil {
		return 0, err
	}
	if l.spoken(raw) && !raw.Resume(l.opts.HandshakeTimeout) {
		return 0, net.ErrClosed
	}
	return first[0], nil
}

// spoken notes that Drain is to leave the connection alone, and reports whether it
// may have stopped it before.
func (l *Listener) spoken(raw *wire.Conn) (drained bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.young[raw] = true
	return l.draining
}

// grown takes a connection off the list before the engine has it.
func (l *Listener) grown(raw *wire.Conn) {
	l.forget(raw)
	_ = raw.SetDeadline(time.Time{}) // fails only on a closed connection, as the next read shows
}

func (l *Listener) forget(raw *wire.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.young, raw)
}

// lastLookTime is how long a draining listener waits for the first byte of a
// connection that has only just been made.
const lastLookTime = 50 * time.Millisecond

// handshakeRecord is the first byte of a TLS connection (RFC 8446 §5.1), which no
// HTTP request begins with.
const handshakeRecord = 22

func (l *Listener) drop(raw *wire.Conn) {
	l.forget(raw)
	_ = raw.Close() // nothing was said
	l.leave()
}

// lastAcceptTime is how long a listener accepts after it was told to close: clients
// whose connections wait in the queue believe that they have been accepted.
const lastAcceptTime = 5 * time.Millisecond

// Close stops accepting, once what waits in the queue is accepted. Connections go on.
func (l *Listener) Close() error {
	l.closed.Store(true)
	if err := l.ln.SetDeadline(l.opts.Now().Add(lastAcceptTime)); err == nil && l.serves.Load() {
		<-l.served
	}
	if err := l.ln.Close(); err != nil {
		return fmt.Errorf("close listener %s: %w", l.opts.Addr, err)
	}
	return nil
}

// Drain ends connections on which nothing was said yet. Handshakes go on. To be
// called after Serve has returned.
func (l *Listener) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining = true
	for raw, spoken := range l.young {
		if !spoken {
			raw.StopReading()
		}
	}
}

// Abort breaks the connections that are not with the engine yet.
func (l *Listener) Abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for raw := range l.young {
		_ = raw.Close() // its goroutine sees the error
	}
}

// Wait returns when every connection has ended.
func (l *Listener) Wait() { l.done.Wait() }
