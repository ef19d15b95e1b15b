package h2

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// A ClientOwner is who made a connection. It may be called from any goroutine.
type ClientOwner interface {
	// Rested is told that the last exchange on the connection has ended.
	Rested()
	// Closed is told, once, that the connection is closed.
	Closed()
}

// ClientOptions say how a connection to an endpoint is kept. The zero value sends no
// PING.
type ClientOptions struct {
	PingAfter   time.Duration // of silence while exchanges go on; 0 for never
	PingIdle    bool          // also while none does
	PingTimeout time.Duration // how long an answer to PING may take; 0 for ten seconds
	Now         func() time.Time
}

// What answers may be, as for HTTP/1.1.
const (
	maxAnswerBytes  = 128 << 10
	maxAnswerFields = 200
)

const (
	// writeIdle is how long an endpoint may leave its end of the socket unread. What of a
	// body it does not want flow control keeps from being sent, so it reads at once.
	writeIdle = 10 * time.Second
	// lastWords is how long is waited, when nothing more can be sent, for what the
	// endpoint has said before: which requests it has refused.
	lastWords = time.Second
	// maxOpen is how many streams we open on one connection at once, whatever the
	// endpoint allows.
	maxOpen = 256
	// lastStream is the last id that a client's stream may have.
	lastStream = maxWindow - 2
)

// A Client is a connection to an endpoint that carries many exchanges at once. One
// goroutine reads it until it ends.
type Client struct {
	mux      *mux
	endpoint string
	owner    ClientOwner
	opts     ClientOptions

	active atomic.Int32  // links that are out
	room   atomic.Int32  // how many may be
	going  atomic.Bool   // no further exchange
	reads  atomic.Uint64 // how often something came
	one    [1]byte       // takes the first byte over TLS after a rest
	ended  chan struct{} // closed by the goroutine that reads, at its end

	// Guarded by the mux's lock.
	free  []*Link
	acked int64 // what the endpoint's kernel had acknowledged at the end
	known bool  // acked is set
	ping  *time.Timer
	heard uint64 // reads when the last look was taken
	asked bool   // a PING waits for its answer
}

// NewClient begins HTTP/2 on a connected socket, or on the TLS session on it if secure
// is not nil, and waits until by for the endpoint to do the same: its SETTINGS say how
// many exchanges it takes. endpoint is the address for records. On failure the socket
// is closed.
func NewClient(raw *wire.Conn, secure *tls.Conn, endpoint string, owner ClientOwner, by time.Time, opts ClientOptions) (*Client, error) {
	c := &Client{endpoint: endpoint, owner: owner, opts: opts, ended: make(chan struct{})}
	c.mux = newMux(raw, secure, opts.Now, c, newDecoder(maxAnswerBytes, maxAnswerFields))
	c.mux.eager = true
	c.mux.peer.maxStreams = maxOpen // who says nothing sets no limit
	raw.WriteIdle(writeIdle)
	if err := c.handshake(by); err != nil {
		_ = raw.Close() // the handshake's error is the one to tell
		return nil, err
	}
	c.schedule(opts.PingAfter)
	go c.read()
	return c, nil
}

// handshake sends the preface and reads as far as the endpoint's SETTINGS.
func (c *Client) handshake(by time.Time) error {
	m := c.mux
	m.mu.Lock()
	m.out = append(m.buffer(), Preface...)
	m.mu.Unlock()
	m.greet(
		setting{uint16(http2.SettingEnablePush), 0},
		setting{uint16(http2.SettingInitialWindowSize), streamWindow},
		setting{uint16(http2.SettingMaxHeaderListSize), maxAnswerBytes},
	)
	if err := m.flush(); err != nil {
		return err
	}
	m.raw.ReadBy(by, m.now())
	for !m.settled {
		if err := m.rd.fill(); err != nil {
			return fmt.Errorf("wait for SETTINGS: %w", err)
		}
		if err := m.take(); err != nil {
			return err
		}
	}
	m.raw.ReadBy(time.Time{}, m.now())
	c.measure()
	if err := m.flush(); err != nil && !errors.Is(err, errRetired) { // one that says goodbye at once has begun well
		return err
	}
	return nil
}

// measure notes how many exchanges the endpoint takes at once.
func (c *Client) measure() {
	c.room.Store(int32(min(c.mux.peer.maxStreams, maxOpen)))
}

// read takes what comes until the connection ends.
func (c *Client) read() {
	m := c.mux
	err := m.flush() // of the handshake
	for err == nil {
		if err = c.await(); err != nil {
			break
		}
		c.reads.Add(1)
		m.calm.refill(m.now())
		if err = m.take(); err == nil {
			c.measure()
			m.rd.rest()
			err = m.flush()
		}
	}
	c.end(err)
}

// await reads once more. A connection that rests holds no buffer.
func (c *Client) await() error {
	m, rd := c.mux, c.mux.rd
	switch {
	case rd.buf != nil:
	case m.secure == nil:
		b, n, err := m.raw.ReadFirst(buffers)
		if n > 0 {
			rd.buf, rd.r, rd.w = b, 0, n
			return nil
		}
		return err
	case c.active.Load() == 0:
		n, err := m.secure.Read(c.one[:])
		if n == 0 {
			return cmp.Or(err, io.ErrNoProgress)
		}
		rd.begin(c.one[:])
		return nil
	}
	return rd.fill()
}

// end ends the connection: every exchange on it learns why.
func (c *Client) end(err error) {
	m := c.mux
	m.mu.Lock()
	if lost, ok := errors.AsType[*ConnError](err); ok {
		m.out = appendGoAway(m.buffer(), 0, uint32(lost.Code))
		m.flushLocked()
		err = &wire.ProtocolError{Kind: wire.BadFraming, Text: lost.Error()}
	}
	c.going.Store(true)
	if c.ping != nil {
		c.ping.Stop()
	}
	c.acked, c.known = m.raw.Acked()
	m.failLocked(err)
	m.mu.Unlock()
	_ = m.raw.Close() // what there was to say is said
	m.rd.release()
	close(c.ended)
	c.owner.Closed()
}

// Open returns a link for one more exchange; nil when the endpoint takes no more at
// once, or none at all. Budget: 0 allocs once exchanges have ended.
func (c *Client) Open() *Link {
	if c.going.Load() || c.active.Load() >= c.room.Load() {
		return nil
	}
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.going.Load() || c.active.Load() >= c.room.Load() {
		return nil
	}
	c.active.Add(1)
	var l *Link
	if last := len(c.free) - 1; last >= 0 {
		l = c.free[last]
		c.free[last] = nil
		c.free = c.free[:last]
	} else {
		l = &Link{client: c}
	}
	l.begin()
	return l
}

// Streams returns how many exchanges go on.
func (c *Client) Streams() int { return int(c.active.Load()) }

// MaxStreams returns how many may go on at once.
func (c *Client) MaxStreams() int { return int(c.room.Load()) }

// Leaving reports whether the connection takes no further exchange.
func (c *Client) Leaving() bool { return c.going.Load() }

// Retire has the connection take no further exchange and end after its last.
func (c *Client) Retire() {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	c.going.Store(true)
	c.leave()
}

// leave ends the connection if nothing goes on any more. The lock must be held.
func (c *Client) leave() {
	m := c.mux
	if !c.going.Load() || c.active.Load() > 0 || m.dead != nil {
		return
	}
	m.out = appendGoAway(m.buffer(), 0, uint32(http2.ErrCodeNo))
	m.flushLocked()
	m.failLocked(errRetired)
}

// errRetired is what ends a connection that nobody needs any more.
var errRetired = errors.New("HTTP/2 connection was retired")

// Close closes the connection, whatever goes on, and returns when it is closed.
func (c *Client) Close() error {
	c.going.Store(true)
	c.mux.fail(errRetired)
	<-c.ended
	return nil
}

// release takes a link back at the end of its exchange.
func (c *Client) release(l *Link, reuse bool) {
	m := c.mux
	if reuse && m.dead == nil {
		c.free = append(c.free, l)
	}
	if c.active.Add(-1) > 0 {
		return
	}
	if c.going.Load() {
		c.leave()
	} else {
		c.owner.Rested()
	}
}

// begin says where the block goes that begins on a stream.
func (c *Client) begin(id uint32) (*wire.Head, block, error) {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if id&1 == 0 || id > m.highest {
		return nil, answerBlock, &ConnError{http2.ErrCodeProtocol, "HEADERS on a stream that we did not open"}
	}
	s := m.table.find(id)
	switch {
	case s == nil || s.theirEnd:
		return nil, answerBlock, nil
	case s.link.final:
		return &s.trailer, trailerBlock, nil
	}
	s.link.head.Reset(s.link.headBuf[:0])
	return &s.link.head, answerBlock, nil
}

// headers takes a head or trailer.
func (c *Client) headers(id uint32, end bool, fault *wire.ProtocolError) error {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.table.find(id)
	switch {
	case s == nil:
		return nil // the exchange has ended; its trailer was under way
	case s.theirEnd:
		m.breakOff(s, http2.ErrCodeProtocol, errLateFields)
		return nil
	case s.link.final:
		if fault == nil && !end {
			fault = errTrailerGoesOn
		}
		if fault == nil && s.declared >= 0 && s.got < s.declared {
			fault = errLengthDisagrees
		}
		s.trailed = true
	default:
		fault = s.link.takeHead(end, fault)
		if !s.link.final {
			end = false
		}
	}
	if fault != nil {
		m.breakOff(s, http2.ErrCodeProtocol, fault)
		return nil
	}
	if end {
		m.ended(s, false, true)
	}
	s.more.ring()
	return nil
}

var (
	errEarlyBody     = &wire.ProtocolError{Kind: wire.BadFraming, Text: "a body before the head"}
	errLateFields    = &wire.ProtocolError{Kind: wire.BadFraming, Text: "fields after the end of the answer"}
	errTrailerGoesOn = &wire.ProtocolError{Kind: wire.BadFraming, Text: "fields in the middle of the answer's body"}
	errManyInterim   = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "too many interim answers"}
	errInterimEnds   = &wire.ProtocolError{Kind: wire.BadFraming, Text: "an interim answer that ends the stream"}
)

// closed is told that a stream has left the table.
func (c *Client) closed(*stream) {}

// goAway notes that the endpoint takes no stream above last; what it has not taken can
// be sent again elsewhere (RFC 9113 §6.8).
func (c *Client) goAway(last uint32, _ http2.ErrCode) {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	c.going.Store(true)
	for i := m.table.len() - 1; i >= 0; i-- {
		if s := m.table.streams[i]; s.id > last {
			s.broken = wire.ErrRefused
			m.forget(s, resetByThem)
			s.more.ring()
			s.room.ring()
		}
	}
	c.leave()
}

// ponged is told that our PING was answered.
func (c *Client) ponged([8]byte) { c.asked = false }

// abused does nothing beyond what ends the stream or the connection.
func (c *Client) abused(Abuse) {}

// schedule has the connection looked at after d. The lock must be held, or the
// connection be new.
func (c *Client) schedule(d time.Duration) {
	switch {
	case d <= 0:
	case c.ping == nil:
		c.ping = time.AfterFunc(d, c.keepAlive)
	default:
		c.ping.Reset(d)
	}
}

// errSilent says that an endpoint has gone without a word.
var errSilent = errors.New("HTTP/2 connection: PING was not answered")

// keepAlive asks an endpoint that has been silent whether it is still there.
func (c *Client) keepAlive() {
	m := c.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	heard := c.reads.Load()
	silent := heard == c.heard
	c.heard = heard
	switch {
	case m.dead != nil:
	case silent && c.asked:
		m.failLocked(errSilent)
	case silent && (c.opts.PingIdle || c.active.Load() > 0):
		c.asked = true
		m.out = appendPing(m.buffer(), 0, [8]byte{'l', 'e', 'g', 'a', 't', 'e'})
		m.flushLocked()
		c.schedule(c.pingTimeout())
	default:
		c.asked = false
		c.schedule(c.opts.PingAfter)
	}
}

func (c *Client) pingTimeout() time.Duration {
	if c.opts.PingTimeout > 0 {
		return c.opts.PingTimeout
	}
	return 10 * time.Second
}
