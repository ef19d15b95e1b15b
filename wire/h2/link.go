package h2

import (
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// A Link is one exchange on a connection that others share. It implements wire.Link.
type Link struct {
	stream
	client *Client

	head    wire.Head // the final head, until it is taken
	headBuf []byte    // backs head
	early   []*wire.Head
	out     []byte // what is not sent yet: the head's block behind room for its frame, then the body's beginning
	blockTo int    // where the block ends in out
	held    []byte // lent; what Rest gave away

	// Guarded by the mux's lock.
	final      bool // the final head came
	taken      bool // and was read
	bodyless   bool // the answer has no body, whatever its fields say
	interim    int
	sentBefore int64  // bytes written to the socket before the request
	heard      uint64 // what had come when the request was sent

	promised int64 // content still to be written; LengthUnknown without a length
	head0    bool  // the request is a HEAD
	safe     bool  // it asks for no action
	timedOut bool
	released bool
	aborted  atomic.Bool
	woken    atomic.Bool
}

// shortBody is how much of a request's body waits for its end, so that a short request
// is told in one breath.
const shortBody = 4 << 10

// maxInterim is how many interim answers may come before the final one.
const maxInterim = 16

// begin prepares the link for an exchange. The mux's lock must be held.
func (l *Link) begin() {
	l.stream.begin(l.client.mux, 0)
	l.link = l
	l.final, l.taken, l.bodyless, l.trailed = false, false, false, false
	l.interim, l.early = 0, l.early[:0]
	l.timedOut, l.released = false, false
	l.woken.Store(false)
}

// Endpoint returns the endpoint's address.
func (l *Link) Endpoint() string { return l.client.endpoint }

// Local returns our side's address.
func (l *Link) Local() netip.AddrPort { return l.mux.raw.LocalAddrPort() }

// Reused reports whether the connection carried an exchange before this one.
func (l *Link) Reused() bool { return l.id > 1 }

// WriteHead encodes the request's head. Budget: 0 allocs once the link's buffer has
// grown.
func (l *Link) WriteHead(req *wire.Head, e *wire.Edits, length int64) error {
	m := l.mux
	l.head0, l.safe = req.Method() == wire.HEAD, req.Method().Safe()
	l.promised = length
	var room [frameHeader]byte
	l.out = appendRequest(append(l.out[:0], room[:]...), req, e, m.secure != nil, length)
	l.blockTo = len(l.out)
	return nil
}

// Takes reports whether the windows are open for n bytes.
func (l *Link) Takes(n int) bool {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	window := l.window
	if l.id == 0 {
		window = m.peer.window
	}
	return int64(n) <= min(window, m.window)
}

// WriteBody writes a part of the request's content. Budget: 0 allocs.
func (l *Link) WriteBody(p []byte) (int, error) {
	if l.promised >= 0 {
		if int64(len(p)) > l.promised {
			return 0, errLongBody
		}
		l.promised -= int64(len(p))
	}
	if l.id == 0 && len(l.out)-l.blockTo+len(p) <= shortBody {
		l.out = append(l.out, p...)
		return len(p), nil
	}
	if err := l.send(false); err != nil {
		return 0, err
	}
	if err := l.write(p, false, bodyIdle); err != nil {
		return 0, err
	}
	return len(p), nil
}

var (
	errShortBody = errors.New("request is shorter than its Content-Length")
	errLongBody  = errors.New("request is longer than its Content-Length")
)

// bodyIdle is how long an endpoint may take nothing of a body.
const bodyIdle = 5 * time.Minute

// send appends to the connection's buffer what is not there yet, and opens the stream
// with it. end says that this is all of the request.
func (l *Link) send(end bool) error {
	if l.id != 0 {
		if !end {
			return nil
		}
		return l.write(nil, true, bodyIdle)
	}
	body := l.out[l.blockTo:]
	if err := l.open(end && len(body) == 0); err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	return l.write(body, end, bodyIdle)
}

// open gives the stream its id and appends the head.
func (l *Link) open(end bool) error {
	m, c := l.mux, l.client
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.dead == nil && m.unsent == nil && m.sending && cap(m.out)-len(m.out) < l.blockTo+spare {
		if err := m.awaitTurn(&l.stream, bodyIdle); err != nil {
			return err
		}
	}
	if l.broken == nil && (c.going.Load() || m.dead != nil || m.unsent != nil) {
		l.broken = wire.ErrRefused // nothing of it was sent
	}
	if err := l.lost(); err != nil {
		return err
	}
	if m.highest == 0 {
		m.highest = 1
	} else {
		m.highest += 2
	}
	if m.highest >= lastStream {
		c.going.Store(true)
	}
	l.id = m.highest
	l.window = m.peer.window
	l.sentBefore, l.heard = m.raw.BytesWritten(), c.reads.Load()
	m.table.add(&l.stream)
	at := len(m.buffer())
	l.finishHead(append(m.out, l.out[:l.blockTo]...), at, end)
	return nil
}

// Flush sends what was written so far.
func (l *Link) Flush() error {
	if err := l.send(false); err != nil {
		return err
	}
	return l.mux.flush()
}

// EndRequest completes the request and sends it.
func (l *Link) EndRequest(trailer *wire.Head) error {
	if l.promised > 0 {
		l.Abort()
		return errShortBody
	}
	if trailer == nil || trailer.Len() == 0 {
		if err := l.send(true); err != nil {
			return l.unlessAnswered(err)
		}
		return l.mux.flush()
	}
	if err := l.send(false); err != nil {
		return l.unlessAnswered(err)
	}
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := l.lost(); err != nil {
		return err
	}
	var room [frameHeader]byte
	at := len(m.buffer())
	l.finishHead(appendTrailer(append(m.out, room[:]...), trailer), at, true)
	m.flushLocked()
	return nil
}

// unlessAnswered forgives that a request's end cannot be sent when its answer is whole:
// the endpoint needed no more of it (RFC 9113 §8.1).
func (l *Link) unlessAnswered(err error) error {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.theirEnd && l.broken == nil {
		return nil
	}
	return err
}

// takeHead takes a decoded head into the link. The mux's lock is held.
func (l *Link) takeHead(end bool, fault *wire.ProtocolError) *wire.ProtocolError {
	h := &l.head
	l.headBuf = h.Buffer()[:0]
	switch {
	case fault != nil:
		return fault
	case h.Status < 200:
		if l.interim++; l.interim > maxInterim {
			return errManyInterim
		}
		if end {
			return errInterimEnds
		}
		early := new(wire.Head)
		*early, *h = *h, *early
		l.headBuf = nil // it is the interim head's now
		early.NoBody = true
		l.early = append(l.early, early)
		return nil
	}
	l.final = true
	l.bodyless = l.head0 || h.Status == 204 || h.Status == 304
	switch {
	case l.bodyless:
		l.declared = 0
	case end && h.Length > 0:
		return errLengthDisagrees
	default:
		l.declared = h.Length
	}
	h.NoBody = end || l.bodyless
	return nil
}

// ReadHead reads the answer's next head.
func (l *Link) ReadHead(resp *wire.Head, by time.Time, tick wire.Tick) error {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		switch {
		case len(l.early) > 0:
			*resp = *l.early[0]
			l.early = l.early[:copy(l.early, l.early[1:])]
			return nil
		case l.final && !l.taken && !l.spoiled():
			l.taken = true
			*resp, l.head = l.head, *resp // both keep lines of their own
			return nil
		}
		if err := l.lost(); err != nil {
			return err
		}
		if err := l.waitMore(&by, tick); err != nil {
			return err
		}
	}
}

// spoiled reports whether the answer broke a rule: not even its head is to be trusted.
// The mux's lock must be held.
func (l *Link) spoiled() bool {
	var fault *wire.ProtocolError
	return l.broken != nil && errors.As(l.broken, &fault)
}

// waitMore waits for something to come, with the mux's lock held but for the wait. What
// is still to be sent is sent first: the endpoint may wait for it.
func (l *Link) waitMore(by *time.Time, tick wire.Tick) error {
	m := l.mux
	m.flushLocked()
	if l.arrived() {
		return nil
	}
	m.mu.Unlock()
	err := l.waitRing(by, tick)
	m.mu.Lock()
	l.timedOut = errors.Is(err, os.ErrDeadlineExceeded)
	return err
}

// waitRing waits without the lock.
func (l *Link) waitRing(by *time.Time, tick wire.Tick) error {
	if l.woken.Swap(false) && tick != nil {
		until, ok := tick(*by)
		if !ok {
			return wire.ErrAbandoned
		}
		*by = until
	}
	return l.more.await(l.mux.now, by, tick)
}

// arrived reports whether there is something to read, or the reason why there is not.
// The mux's lock must be held.
func (l *Link) arrived() bool {
	return len(l.early) > 0 || l.final && !l.taken || l.taken && l.in.size > 0 || l.theirEnd || l.lost() != nil
}

// ReadBody reads the answer's content. Budget: 0 allocs.
func (l *Link) ReadBody(p []byte, by time.Time, tick wire.Tick) (int, error) {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		n, err := l.readNow(p)
		if n > 0 || err != nil {
			return n, err
		}
		if err := l.waitMore(&by, tick); err != nil {
			return 0, err
		}
	}
}

// Wake has the tick of whoever waits asked at once.
func (l *Link) Wake() {
	l.woken.Store(true)
	l.more.ring()
}

// Buffered returns how much of the answer is at hand; the end counts as a byte.
func (l *Link) Buffered() int {
	l.mux.mu.Lock()
	defer l.mux.mu.Unlock()
	if l.theirEnd && l.broken == nil {
		return l.in.size + 1
	}
	return l.in.size
}

// Rest takes what is left of the answer's body if all of it is at hand in one piece. It
// is valid until Release. Budget: 0 allocs.
func (l *Link) Rest() ([]byte, bool) {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if !l.theirEnd || l.broken != nil || l.held != nil {
		return nil, false
	}
	p, piece, ok := l.in.takeOnly()
	if ok {
		l.held = piece
	}
	return p, ok
}

// Done reports whether the answer's body has been read whole.
func (l *Link) Done() bool {
	l.mux.mu.Lock()
	defer l.mux.mu.Unlock()
	return l.taken && l.theirEnd && l.broken == nil && l.in.size == 0
}

// Trailer returns the answer's trailer.
func (l *Link) Trailer() *wire.Head {
	l.mux.mu.Lock()
	defer l.mux.mu.Unlock()
	if l.trailed && l.theirEnd && l.broken == nil {
		return &l.trailer
	}
	return nil
}

// Untouched reports that the endpoint cannot have acted on the request: it said so, or
// nothing of the request was sent, or the connection ended in order, with nothing of an
// answer, before the endpoint's kernel had acknowledged a byte of the request. Why a
// reset proves less is told at h1.Link.Untouched.
func (l *Link) Untouched() bool {
	m, c := l.mux, l.client
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case l.id == 0, errors.Is(l.broken, wire.ErrRefused):
		return true
	case l.final || l.interim > 0 || l.broken != nil || m.dead == nil:
		return false
	case m.raw.Cut() && !l.safe:
		return false
	}
	acked, ok := c.acked, c.known
	if !ok {
		acked, ok = m.raw.Acked()
	}
	return ok && acked <= l.sentBefore+1 // the handshake counts as one
}

// Abort ends the exchange: the endpoint is told to stop, and whoever waits returns. The
// connection goes on, unless the endpoint has been silent for as long as we waited:
// then what comes next goes elsewhere.
func (l *Link) Abort() {
	m := l.mux
	l.aborted.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	l.cancel()
	m.flushLocked()
}

// cancel resets the stream if it goes on. The mux's lock must be held.
func (l *Link) cancel() {
	m, c := l.mux, l.client
	if l.timedOut && !l.final && l.heard == c.reads.Load() {
		c.going.Store(true)
	}
	m.resetLocked(&l.stream, http2.ErrCodeCancel)
	if l.broken == nil && !(l.theirEnd && l.ourEnd) {
		l.broken = errCancelled
	}
	l.more.ring()
	l.room.ring()
}

// errCancelled says that we ended the exchange.
var errCancelled = errors.New("HTTP/2 stream was cancelled")

// Release ends the exchange and gives the link back. An exchange that is not complete
// is cancelled. Until the next exchange begins another Release does nothing.
func (l *Link) Release() {
	m := l.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.released {
		return
	}
	l.released = true
	if m.table.find(l.id) == &l.stream {
		l.cancel()
		m.flushLocked()
	}
	m.discard(&l.stream)
	if l.held != nil {
		putPiece(l.held)
		l.held = nil
	}
	if cap(l.out) > wire.Medium.Size() {
		l.out = nil
	}
	// An Abort may still be under way that was meant for this exchange.
	l.client.release(l, !l.aborted.Load() && !l.queued)
}
