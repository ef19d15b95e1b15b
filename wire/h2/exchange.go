package h2

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

var errBodyTooSlow = &wire.ProtocolError{Kind: wire.BodyTooSlow, Text: "request body under the minimum rate"}

// Errors of a stream's owner breaking its own promises.
var (
	errShortAnswer = errors.New("answer is shorter than its Content-Length")
	errLongAnswer  = errors.New("answer is longer than its Content-Length")
	errNoTunnel    = errors.New("link cannot carry a tunnel")
)

// An exchange is one request and its answer on the server's side: a wire.Stream.
type exchange struct {
	stream
	c     *conn
	head  wire.Head
	fault *wire.ProtocolError // why the request cannot be accepted
	start time.Time

	bodyless  bool // the answer has no body
	orphan    bool // answered, but the request still comes
	idleLimit time.Duration
	waited    time.Duration // spent waiting for the request's body
	taken     int64         // content of the request that was read
	written   int64         // content of the answer
	promised  int64         // Content-Length of the answer, or LengthUnknown
}

// maxKept is the largest head buffer kept for the next request.
const maxKept = 8 << 10

var exchanges = sync.Pool{New: func() any {
	x := new(exchange)
	x.head.Reset(make([]byte, 0, 1<<10))
	x.x = x
	return x
}}

// newExchange lends the exchange of a stream that is being opened.
func newExchange(c *conn, id uint32) *exchange {
	x := exchanges.Get().(*exchange) //nolint:forcetypeassert // nothing else is put in
	x.c = c
	x.stream.begin(c.mux, id)
	x.fault = nil
	x.bodyless, x.orphan = false, false
	x.idleLimit = c.srv.limits.Load().StreamIdle
	x.waited, x.taken, x.written, x.promised = 0, 0, 0, wire.LengthUnknown
	return x
}

// free gives the exchange back. Nothing may hold it afterwards.
func (x *exchange) free() {
	x.c, x.mux = nil, nil
	if cap(x.head.Buffer()) > maxKept {
		x.head.Reset(make([]byte, 0, 1<<10))
	}
	if cap(x.trailer.Buffer()) > maxKept {
		x.trailer.Reset(nil)
	}
	exchanges.Put(x)
}

// serve has the request answered and ends the stream.
func (x *exchange) serve() {
	if x.fault != nil {
		x.c.srv.handler.Refuse(x, &x.head, x.fault)
	} else {
		x.c.srv.handler.Serve(x, &x.head)
	}
	x.c.done(x)
}

// Peer describes the connection.
func (x *exchange) Peer() *wire.Peer { return &x.c.peer }

// Start returns when the request's head was there.
func (x *exchange) Start() time.Time { return x.start }

// ReadBody reads the request's body. Waiting is bounded by the stream's idle limit
// and by the rate a sender must keep up while we wait for it. Budget: 0 allocs.
func (x *exchange) ReadBody(p []byte) (int, error) {
	if x.mustWait() {
		before := x.c.now()
		by, slow := x.bodyDeadline(before)
		n, err := x.read(p, by)
		x.waited += x.c.now().Sub(before)
		x.taken += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) && slow {
			err = errBodyTooSlow
		}
		return n, err
	}
	n, err := x.read(p, time.Time{})
	x.taken += int64(n)
	return n, err
}

// mustWait reports whether reading would wait.
func (x *exchange) mustWait() bool {
	x.mux.mu.Lock()
	defer x.mux.mu.Unlock()
	return x.in.size == 0 && !x.theirEnd && !x.stopped && x.lost() == nil
}

// bodyDeadline returns until when the next part of the body is waited for, and
// whether it is the minimum rate that says so.
func (x *exchange) bodyDeadline(now time.Time) (by time.Time, slow bool) {
	lim := x.c.lim
	if x.idleLimit > 0 {
		by = now.Add(x.idleLimit)
	}
	if lim.MinBodyRate <= 0 || x.head.UpgradeTo {
		return by, false
	}
	earned := time.Duration(min(x.taken/int64(lim.MinBodyRate), 1<<32)) * time.Second // a century, far from overflow
	patience := now.Add(max(lim.BodyGrace+earned-x.waited, 0))
	if by.IsZero() || patience.Before(by) {
		return patience, true
	}
	return by, false
}

// Ready reports whether the rest of the request, its trailer included, is at hand.
func (x *exchange) Ready() bool {
	x.mux.mu.Lock()
	defer x.mux.mu.Unlock()
	return x.theirEnd || x.lost() != nil
}

// Trailer returns the request's trailer.
func (x *exchange) Trailer() *wire.Head {
	x.mux.mu.Lock()
	defer x.mux.mu.Unlock()
	if x.trailed {
		return &x.trailer
	}
	return nil
}

// BytesIn counts the request's content.
func (x *exchange) BytesIn() int64 { return x.taken }

// BytesOut counts the answer's content.
func (x *exchange) BytesOut() int64 { return x.written }

// CloseAfter does nothing: what is wrong with a request is wrong with its stream, and a
// connection ends when its server drains.
func (x *exchange) CloseAfter() {}

// Gone reports whether the client has given the stream up.
func (x *exchange) Gone() bool { return x.gone() }

// StopReading ends the reading of the request's body.
func (x *exchange) StopReading() { x.stop() }

// SetIdle sets how long the stream may rest.
func (x *exchange) SetIdle(d time.Duration) { x.idleLimit = d }

// WriteHead writes an answer's head into the buffer. Budget: 0 allocs.
func (x *exchange) WriteHead(status int, h *wire.Head, e *wire.Edits, length int64) error {
	if status < 200 {
		length = wire.LengthUnknown
	} else {
		x.promised = length
		x.bodyless = x.head.Method() == wire.HEAD || status == 204 || status == 304
	}
	m := x.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := x.roomForHead(); err != nil {
		return err
	}
	at := len(m.buffer())
	out := appendFrame(m.out, 0, 0, 0, 0)
	x.finishHead(appendAnswer(out, status, h, e, length), at, false)
	return nil
}

// roomForHead waits until a head may be appended: the buffer grows for one that is
// large, but not for many. The lock must be held.
func (x *exchange) roomForHead() error {
	m := x.mux
	for {
		if err := x.lost(); err != nil {
			return err
		}
		if x.ourEnd {
			return errEnded
		}
		if m.out == nil || len(m.out) < cap(m.out)/2 {
			return nil
		}
		if !m.sending {
			m.flushLocked()
			continue
		}
		if err := m.awaitTurn(&x.stream, x.idleLimit); err != nil {
			return err
		}
	}
}

// WriteBody writes content, as far as the buffer has no room waiting for the client.
// Budget: 0 allocs.
func (x *exchange) WriteBody(p []byte) (int, error) {
	if len(p) == 0 || x.bodyless {
		return len(p), nil
	}
	if x.promised >= 0 && x.written+int64(len(p)) > x.promised {
		return 0, errLongAnswer
	}
	if err := x.write(p, false, x.idleLimit); err != nil {
		return 0, err
	}
	x.written += int64(len(p))
	return len(p), nil
}

// Flush sends what is buffered.
func (x *exchange) Flush() error { return x.mux.flush() }

// End completes the answer and sends it. Budget: 0 allocs.
func (x *exchange) End(trailer *wire.Head) error {
	if x.promised >= 0 && x.written != x.promised && !x.bodyless {
		x.Abort()
		return errShortAnswer
	}
	if trailer != nil && !x.bodyless {
		if err := x.writeTrailer(trailer); err != nil {
			return err
		}
	} else if err := x.write(nil, true, x.idleLimit); err != nil {
		return err
	}
	return x.mux.flushSoon(x.c.crowded())
}

// writeTrailer ends the answer with a trailer, or without one if no field may be in it.
func (x *exchange) writeTrailer(trailer *wire.Head) error {
	m := x.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := x.roomForHead(); err != nil {
		return err
	}
	at := len(m.buffer())
	out := appendTrailer(appendFrame(m.out, 0, 0, 0, 0), trailer)
	if len(out) == at+frameHeader {
		m.endStream(&x.stream)
		return nil
	}
	x.finishHead(out, at, true)
	return nil
}

// Abort ends the stream so that the client sees that its answer is not whole.
func (x *exchange) Abort() {
	x.reset(http2.ErrCodeInternal)
	_ = x.mux.flush() // the client may be gone already
}

// Tunnel answers 200 to an extended CONNECT (RFC 8441 §5) and carries bytes both ways
// in DATA until both sides have ended.
func (x *exchange) Tunnel(h *wire.Head, e *wire.Edits, up wire.Link) error {
	far, ok := up.(wire.Tunneler)
	if !ok {
		return errNoTunnel
	}
	if err := x.WriteHead(200, h, e, wire.LengthUnknown); err != nil {
		return err
	}
	if err := x.Flush(); err != nil {
		return err
	}
	t := &wire.Tunnel{Near: &tunnelEnd{x: x}, Far: far.Tunnel(), Idle: x.idleLimit, Now: x.c.now}
	x.c.tunnels.add(t)
	defer x.c.tunnels.remove(t)
	err := t.Run()
	x.taken += t.Up()
	x.written += t.Down()
	return err
}

// A tunnelEnd is a stream as a side of a tunnel.
type tunnelEnd struct {
	x    *exchange
	by   time.Time
	idle time.Duration
}

// ReadFirst waits for DATA and takes what came into one of pool's buffers.
func (t *tunnelEnd) ReadFirst(pool *wire.Pool) ([]byte, int, error) {
	var none [0]byte
	for {
		if n, err := t.x.read(none[:], t.by); err != nil || n > 0 {
			return nil, 0, err
		}
		b := pool.Get()
		n, err := t.x.read(b, t.by)
		if n > 0 {
			return b, n, nil
		}
		pool.Put(b)
		if err != nil {
			return nil, 0, err
		}
	}
}

// ReadBy sets until when a ReadFirst waits.
func (t *tunnelEnd) ReadBy(by, _ time.Time) { t.by = by }

// Write sends p as DATA.
func (t *tunnelEnd) Write(p []byte) (int, error) {
	if err := t.x.write(p, false, t.idle); err != nil {
		return 0, err
	}
	return len(p), t.x.mux.flush()
}

// WriteIdle sets how long a Write may rest.
func (t *tunnelEnd) WriteIdle(d time.Duration) { t.idle = d }

// CloseWrite ends our direction of the stream.
func (t *tunnelEnd) CloseWrite() error {
	if err := t.x.write(nil, true, t.idle); err != nil {
		return err
	}
	return t.x.mux.flush()
}

// StopReading ends a ReadFirst that waits.
func (t *tunnelEnd) StopReading() { t.x.stop() }

// Abort resets the stream (RFC 8441 §5: as TCP's reset).
func (t *tunnelEnd) Abort() {
	t.x.reset(http2.ErrCodeCancel)
	_ = t.x.mux.flush() // the client may be gone already
}
