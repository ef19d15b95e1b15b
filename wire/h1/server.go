package h1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"legate/wire"
	"legate/wire/proxyproto"
)

// A Server turns connections into streams for a Handler. Its owner accepts and
// secures the connections.
type Server struct {
	handler wire.Handler
	next    Successor // nil: HTTP/2 is not served
	limits  atomic.Pointer[Limits]
	now     func() time.Time

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*conn]struct{}
	aborted  bool
	done     sync.WaitGroup
}

// NewServer makes a server that asks handler and reads the clock with now.
func NewServer(handler wire.Handler, limits Limits, now func() time.Time) *Server {
	s := &Server{handler: handler, now: now, conns: map[*conn]struct{}{}}
	s.limits.Store(&limits)
	return s
}

// A Successor takes over a connection whose client turns out to speak HTTP/2 (RFC 9113
// §3.3). early is what was read of it; it is valid until Start returns.
type Successor interface {
	Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, early []byte, ended func())
}

// Succeed has next take over connections that begin with HTTP/2's preface. It is to be
// called before the first of them starts.
func (s *Server) Succeed(next Successor) { s.next = next }

// SetLimits replaces the limits from each connection's next request on.
func (s *Server) SetLimits(l Limits) { s.limits.Store(&l) }

// Limits returns the limits in force.
func (s *Server) Limits() Limits { return *s.limits.Load() }

// ServeConn serves one connection until it ends. raw is the socket, secure the TLS
// session on it or nil.
func (s *Server) ServeConn(raw *wire.Conn, secure *tls.Conn, peer wire.Peer) {
	done := make(chan struct{})
	s.Start(raw, secure, peer, func() { close(done) })
	<-done
}

// Start serves one connection in a goroutine of its own and calls ended when it is
// over.
func (s *Server) Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func()) {
	c := &conn{srv: s, raw: raw, secure: secure, peer: peer, onEnd: ended}
	c.rd.src = raw
	if secure != nil {
		c.rd.src = secure
		c.peer.TLS = wire.NewTLSInfo(secure)
	}
	if !s.track(c) {
		c.close()
		ended()
		return
	}
	go c.run(false)
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return false
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.done.Done()
}

// Drain closes connections that are idle, once they have been for a second, and makes each
// other one close after the exchange it is in. A request that is already on its way on an
// idle connection is still served, and so is the one for which a connection starts later.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	for c := range s.conns {
		if c.state.CompareAndSwap(stateIdle, stateStopped) {
			c.raw.StopReading()
		}
	}
}

// Wait returns when every connection has ended. None may start while it waits.
func (s *Server) Wait() { s.done.Wait() }

// Abort breaks every connection that is left, and those that start later. A tunnel ends
// in order if its sides let it: nobody could tell where it may be cut.
func (s *Server) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	s.aborted = true
	for c := range s.conns {
		if t := c.tunnel.Load(); t != nil {
			t.Stop()
			continue
		}
		_ = c.raw.Close() // its goroutine sees the error
	}
}

// What a connection is doing, for Drain: only an idle one is told to stop.
const (
	stateBusy uint32 = iota
	stateIdle
	stateStopped
)

// A conn is one connection and, while a request is in hand, its stream.
type conn struct {
	srv    *Server
	raw    *wire.Conn
	secure *tls.Conn
	peer   wire.Peer
	rd     reader
	one    [1]byte // holds a TLS connection's first byte while it has no buffer
	state  atomic.Uint32
	tunnel atomic.Pointer[wire.Tunnel] // that the connection has become; nil for none
	onEnd  func()

	idleUntil time.Time
	spoken    bool // a request was read
	fresh     bool // the request's first byte has just come from the socket
	succeeded bool // the connection is no longer ours

	*session // nil while idle
}

// A session is what a connection needs during an exchange only.
type session struct {
	lim   *Limits
	head  wire.Head
	body  body
	out   []byte // lent; what is written but not sent
	held  []byte // lent; the head's buffer when the body uses another
	start time.Time

	refused     bool // the request could not be accepted
	cutShort    bool // a tunnel was ended here, and its client may still be sending
	closeAfter  bool // no further request on this connection
	headWritten bool
	chunkedOut  bool
	bodyless    bool // the answer has no body
	aborted     bool
	ended       bool
	stopped     atomic.Bool
	idleLimit   time.Duration
	waited      time.Duration // spent waiting for the request's body
	written     int64         // content bytes of the answer
	promised    int64         // Content-Length of the answer, or LengthUnknown
}

var sessions = sync.Pool{New: func() any { return new(session) }}

func (c *conn) writer() io.Writer {
	if c.secure != nil {
		return c.secure
	}
	return c.raw
}

// run serves the connection. A connection that rests goes on in a new goroutine: the
// stack that a request grew is not worth keeping for one that may rest for minutes.
func (c *conn) run(resting bool) {
	if c.serve(resting) {
		go c.run(true)
		return
	}
	if c.succeeded {
		c.srv.untrack(c)
		return
	}
	c.close()
	c.srv.untrack(c)
	c.onEnd()
}

// serve runs the connection's requests one after the other. It reports whether the
// connection rests; it is over otherwise.
func (c *conn) serve(resting bool) (rests bool) {
	for {
		switch c.await(resting) {
		case over:
			return false
		case rest:
			return true
		case arrived:
		}
		resting = false
		s := sessions.Get().(*session) //nolint:forcetypeassert // nothing else is put in
		c.session = s
		again := c.exchange()
		c.endSession()
		if !again {
			return false
		}
	}
}

func (c *conn) endSession() {
	s := c.session
	c.session = nil
	putBuffer(s.out)
	s.out = nil
	s.lim = nil
	s.body.rd = nil
	sessions.Put(s)
	if c.rd.buffered() == 0 {
		c.rd.release()
	}
}

// What came of waiting for a request.
type waited uint8

const (
	over    waited = iota // the connection has ended
	arrived               // a request begins
	rest                  // nothing for a while
)

// await waits for a request's first byte, holding no buffer. resting says that it
// has waited before.
func (c *conn) await(resting bool) waited {
	if c.rd.buffered() > 0 {
		return arrived
	}
	now := c.srv.now()
	if resting {
		c.raw.OnTick(nil)
	} else {
		c.idleUntil = now.Add(c.srv.limits.Load().IdleTimeout)
		c.raw.OnTick(restAfterTick)
		c.state.Store(stateIdle)
		if c.srv.draining.Load() && c.state.CompareAndSwap(stateIdle, stateStopped) {
			return c.lastLook()
		}
	}
	c.raw.ReadBy(c.idleUntil, now)
	err := c.readFirst()
	if errors.Is(err, wire.ErrAbandoned) {
		return rest
	}
	c.raw.OnTick(nil)
	switch {
	case c.state.CompareAndSwap(stateIdle, stateBusy):
	case errors.Is(err, wire.ErrStopped):
		return c.lastLook()
	case err == nil && !c.resume(c.srv.limits.Load().HeadTimeout): // it was told to stop when the byte was there already
		return over
	}
	if err != nil {
		return over
	}
	return arrived
}

// restAfterTick ends a wait after its first tick.
func restAfterTick(by time.Time) (time.Time, bool) { return by, false }

// lastLook serves a request that arrives around the moment in which the connection is told
// to stop waiting, so that draining cuts nothing that was sent in good faith.
func (c *conn) lastLook() waited {
	c.raw.OnTick(nil)
	if c.resume(c.lookTime()) && !c.raw.Gone() && c.readFirst() == nil {
		return arrived
	}
	return over
}

// resume takes back that Drain told the connection to stop, once it has.
func (c *conn) resume(d time.Duration) bool {
	c.srv.mu.Lock()   // Drain has finished telling connections to stop
	c.srv.mu.Unlock() //nolint:staticcheck // an empty section on purpose
	return c.raw.Resume(d)
}

// A draining connection is watched for a request that is already on its way until it has
// been quiet for quietTime: a client that has just been answered sends the next one a round
// trip and a thought later, and is told by its answer to go elsewhere. One that has been
// quiet for longer is watched for lastLookTime.
const quietTime, lastLookTime = time.Second, 5 * time.Millisecond

// lookTime is how long the connection is watched from now on.
func (c *conn) lookTime() time.Duration {
	quiet := c.srv.now().Sub(c.idleUntil.Add(-c.srv.limits.Load().IdleTimeout))
	return min(max(quietTime-quiet, lastLookTime), quietTime)
}

func (c *conn) readFirst() error {
	if c.secure == nil {
		b, n, err := c.raw.ReadFirst(wire.Small)
		if n > 0 {
			c.fresh = true
			c.rd.buf, c.rd.r, c.rd.w = b, 0, n
			return nil
		}
		return err
	}
	before := c.raw.BytesRead()
	n, err := c.secure.Read(c.one[:])
	c.fresh = c.raw.BytesRead() != before
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	c.rd.acquire(wire.Small)
	c.rd.buf[0], c.rd.w = c.one[0], 1
	return nil
}

// exchange serves one request and reports whether the connection can go on.
func (c *conn) exchange() bool {
	c.begin()
	waited := c.waitedForUs()
	n, err := c.readRequestHead()
	if err != nil {
		return c.refuse(err)
	}
	raw := c.rd.buf[c.rd.r : c.rd.r+n]
	if !c.spoken && c.srv.next != nil && string(raw) == preface {
		c.succeed()
		return false
	}
	c.rd.r += n
	first := !c.spoken
	c.spoken = true
	if perr := parseRequest(&c.head, raw, c.lim); perr != nil {
		if first && c.srv.next != nil && foreign(raw) && !proxyproto.Begins(c.rd.buf[:c.rd.w]) {
			return false
		}
		return c.refuse(perr)
	}
	c.head.Waited = waited
	c.body.begin(&c.rd, &c.head)
	c.closeAfter = c.head.Close || c.srv.draining.Load()
	if c.body.done || c.rd.buffered() > 0 && c.body.mode == bodyLength && int64(c.rd.buffered()) >= c.body.remaining {
		c.srv.handler.Serve(c, &c.head)
		return c.finish()
	}
	c.keepHead()
	c.srv.handler.Serve(c, &c.head)
	return c.finish()
}

// waitedForUs is how long the request's first byte has been there. One that came behind
// another request has waited for that.
func (c *conn) waitedForUs() time.Duration {
	if !c.fresh {
		return 0
	}
	c.fresh = false
	return c.raw.Waited(c.start)
}

// preface is how HTTP/2's begins (RFC 9113 §3.4): a request that no HTTP/1.1 client sends.
const preface = "PRI * HTTP/2.0\r\n\r\n"

// foreign reports whether a head is neither HTTP/1.1, in whatever bad form, nor HTTP/2's
// preface. Where both are served, RFC 9113 §3.4 has who begins so see the connection
// close.
func foreign(raw []byte) bool {
	line, _, _ := bytes.Cut(raw, []byte("\r\n"))
	method, _, _ := bytes.Cut(line, []byte(" "))
	return wire.LookupMethod(method) == wire.MethodOther && !bytes.Contains(line, []byte("HTTP/"))
}

// succeed gives the connection away, with what was read of it.
func (c *conn) succeed() {
	c.succeeded = true
	c.raw.OnTick(nil)
	c.srv.next.Start(c.raw, c.secure, c.peer, c.rd.buf[c.rd.r:c.rd.w], c.onEnd)
	c.rd.release()
}

// keepHead moves the head to a buffer of its own when the body will go on using the
// connection's: views of it must stay valid until the exchange ends.
func (c *conn) keepHead() {
	next := getBuffer(len(c.rd.buf))
	n := copy(next, c.rd.buf[c.rd.r:c.rd.w])
	c.held = c.rd.buf
	c.rd.buf, c.rd.r, c.rd.w = next, 0, n
}

func (c *conn) begin() {
	s := c.session
	s.lim = c.srv.limits.Load()
	s.start = c.srv.now()
	s.closeAfter, s.headWritten, s.chunkedOut, s.bodyless, s.aborted, s.ended = false, false, false, false, false, false
	s.stopped.Store(false)
	s.head.Reset(nil)
	s.refused, s.cutShort = false, false
	s.waited, s.written, s.promised = 0, 0, wire.LengthUnknown
	s.idleLimit = s.lim.StreamIdle
	c.raw.WriteIdle(s.idleLimit)
}

// readRequestHead reads a whole head. One empty line before it is skipped (RFC 9112
// §2.2).
func (c *conn) readRequestHead() (int, error) {
	var s scanner
	if err := c.skipEmptyLine(); err != nil {
		return 0, c.headError(err)
	}
	if n, perr := s.scan(c.rd.buf[c.rd.r:c.rd.w], c.lim.MaxHeadBytes, c.lim.MaxHeadBytes); perr != nil {
		return 0, perr
	} else if n > 0 {
		return n, nil
	}
	if proxyproto.Begins(c.rd.buf[:c.rd.w]) {
		return 0, errStrayProxy // what comes behind it may never look like a head
	}
	c.raw.ReadBy(c.start.Add(c.lim.HeadTimeout), c.start)
	n, err := c.rd.readHead(&s, c.lim)
	if err != nil {
		return 0, c.headError(err)
	}
	return n, nil
}

func (c *conn) skipEmptyLine() error {
	if c.rd.buf[c.rd.r] != '\r' {
		return nil
	}
	c.raw.ReadBy(c.start.Add(c.lim.HeadTimeout), c.start)
	for want := 2; want <= 3; want++ { // the line's end, then the request's first byte
		for c.rd.buffered() < want {
			if c.rd.w == len(c.rd.buf) {
				c.rd.compact()
			}
			if err := c.rd.fill(); err != nil {
				return err
			}
		}
		if c.rd.buf[c.rd.r+1] != '\n' {
			return errBareCR
		}
	}
	c.rd.r += 2
	return nil
}

// headError tells a client that is too slow from one that is gone.
func (c *conn) headError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errHeadTooSlow
	}
	return err
}

// refuse answers a request that cannot be accepted and ends the connection. A
// client that went away without a word gets no answer and no record.
func (c *conn) refuse(err error) bool {
	var perr *wire.ProtocolError
	switch {
	case proxyproto.Begins(c.rd.buf[:c.rd.w]):
		perr = errStrayProxy // whatever else is wrong with what comes behind
	case !errors.As(err, &perr):
		return false
	}
	c.closeAfter, c.refused = true, true
	c.body.mode, c.body.done = bodyNone, true
	c.srv.handler.Refuse(c, &c.head, perr)
	c.finish()
	return false
}

// finish completes the exchange and reports whether another can follow.
func (c *conn) finish() bool {
	if !c.ended && !c.aborted {
		c.Abort()
	}
	if c.held != nil {
		putBuffer(c.held)
		c.held = nil
	}
	if c.aborted {
		return false
	}
	if !c.closeAfter && !c.stopped.Load() && c.skipRest() {
		return true
	}
	c.linger()
	return false
}

// skipRest reads what is left of the request's body if that is little and already
// on its way.
func (c *conn) skipRest() bool {
	if c.body.done {
		return true
	}
	if c.body.mode == bodyLength && c.body.remaining > wire.MaxUnwanted {
		return false
	}
	b := wire.Large.Get()
	defer wire.Large.Put(b)
	now := c.srv.now()
	c.raw.ReadBy(now.Add(lingerTime), now)
	for skipped := 0; skipped <= wire.MaxUnwanted; {
		n, err := c.body.read(b)
		skipped += n
		if c.body.done { // perhaps with the last byte that may be skipped
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

// lingerTime bounds how long a connection is read from after its last answer, so
// that the answer is not lost to a reset (RFC 9112 §9.6). Nothing else bounds it: a
// client that sends fast would meet the reset before it has looked for the answer.
const lingerTime = time.Second

func (c *conn) linger() {
	if c.body.done && c.rd.buffered() == 0 && !c.refused && !c.cutShort {
		return
	}
	if c.secure != nil {
		_ = c.secure.CloseWrite() // the peer may be gone already
	}
	if c.raw.CloseWrite() != nil {
		return
	}
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	now := c.srv.now()
	c.raw.Resume(lingerTime)
	c.raw.ReadBy(now.Add(lingerTime), now)
	for {
		if _, err := c.raw.Read(b); err != nil {
			return
		}
	}
}

func (c *conn) close() {
	c.raw.CloseLater()
	if c.secure != nil {
		now := c.srv.now()
		_ = c.secure.SetWriteDeadline(now.Add(lingerTime)) // close_notify is a courtesy
		_ = c.secure.Close()
	}
	_ = c.raw.Close() // nothing is left to be told
	c.rd.release()
}
