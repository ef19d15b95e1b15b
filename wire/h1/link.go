package h1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"legate/wire"
)

// An Owner is who a link goes back to.
type Owner interface {
	// Idle is given a link whose exchange is complete and whose connection can carry
	// another. It reports whether it keeps the link; if not, the link closes itself.
	Idle(l *Link) bool
	// Closed is told, once, that the link's connection is closed.
	Closed(l *Link)
}

var errManyInterim = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "too many interim answers"}

var errUnaskedSwitch = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "switched protocols unasked"}

// A Link is a connection to an endpoint, and the exchange it carries. Between two
// exchanges it holds no buffer. It implements wire.Link.
type Link struct {
	raw      *wire.Conn
	secure   *tls.Conn
	endpoint string
	owner    Owner
	lim      *Limits
	rd       reader
	closed   atomic.Bool
	released bool // between two exchanges

	exchanges int // begun on this connection

	// Of the exchange in hand.
	out        []byte // lent
	held       []byte // lent; the final head's buffer when the body uses another
	sentBefore int64  // bytes written to the socket before this exchange
	chunkedUp  bool
	promised   int64 // content still to be written; LengthUnknown for chunked
	requestOK  bool  // the request was written whole
	headSeen   bool  // the final head was read
	gotByte    bool  // any byte of an answer was read
	askedHead  bool  // the request is a HEAD
	safe       bool  // the request asks for no action
	askedUp    bool  // the request asks for an upgrade
	unasked    bool  // the whole request is in out, and goes out with the wait for its answer
	keepAlive  bool  // the endpoint will use the connection again
	interim    int
	body       body
}

// linkLimits are those of answers.
var linkLimits = func() *Limits {
	l := DefaultLimits()
	l.MaxHeadBytes = 128 << 10
	l.MaxFields = 200
	return &l
}()

// NewLink makes a link on a connected socket, and on the TLS session on it if
// secure is not nil. endpoint is the address for records.
func NewLink(raw *wire.Conn, secure *tls.Conn, endpoint string, owner Owner) *Link {
	l := &Link{raw: raw, secure: secure, endpoint: endpoint, owner: owner, lim: linkLimits}
	raw.WriteIdle(linkLimits.StreamIdle)
	l.rd.src = raw
	if secure != nil {
		l.rd.src = secure
	}
	return l
}

// Endpoint returns the endpoint's address.
func (l *Link) Endpoint() string { return l.endpoint }

// Local returns our side's address.
func (l *Link) Local() netip.AddrPort { return l.raw.LocalAddrPort() }

// Reused reports whether the connection carried an exchange before this one.
func (l *Link) Reused() bool { return l.exchanges > 1 }

// Alive reports whether an idle link can carry another exchange: its endpoint has
// neither closed it nor sent anything, which would be taken for the next answer.
func (l *Link) Alive() bool { return !l.closed.Load() && l.raw.Quiet() && !l.readAhead() }

// readAhead reports whether the TLS session holds bytes that nobody asked for.
func (l *Link) readAhead() bool {
	if l.secure == nil {
		return false
	}
	l.raw.Hold(true)
	var b [1]byte
	n, err := l.secure.Read(b[:])
	l.raw.Hold(false)
	return n > 0 || !errors.Is(err, wire.ErrStopped)
}

// WriteHead writes the request's head into the buffer. Budget: 0 allocs.
func (l *Link) WriteHead(req *wire.Head, e *wire.Edits, length int64) error {
	l.begin()
	l.askedHead = req.Method() == wire.HEAD
	l.safe = req.Method().Safe()
	l.askedUp = e != nil && e.Upgrade != nil
	out := wire.Medium.Get()[:0]
	out = append(append(out, req.MethodName()...), ' ')
	out = appendTarget(out, req, e)
	out = append(out, " HTTP/1.1\r\nhost: "...)
	if e != nil && e.Host != nil {
		out = append(out, e.Host...)
	} else {
		out = append(out, req.Host()...)
	}
	out = append(out, '\r', '\n')
	out = appendFields(out, req, e)
	l.promised = length
	switch {
	case length == wire.LengthUnknown:
		l.chunkedUp = true
		out = append(out, "transfer-encoding: chunked\r\n"...)
	case length > 0 || req.Has(wire.FieldContentLength) || length == 0 && lengthExpected(req.Method()):
		out = append(out, "content-length: "...)
		out = appendInt(out, length)
		out = append(out, '\r', '\n')
	}
	spell(out, e)
	l.out = append(out, '\r', '\n')
	return nil
}

// lengthExpected reports whether a request of that method says content-length: 0
// when it has no content (RFC 9110 §8.6).
func lengthExpected(m wire.Method) bool {
	return m == wire.POST || m == wire.PUT || m == wire.PATCH
}

func appendTarget(out []byte, req *wire.Head, e *wire.Edits) []byte {
	path := req.Path()
	query, hasQuery := req.Query()
	if e != nil && e.Path != nil {
		path = e.Path
		if e.HasQuery {
			query, hasQuery = e.Query, e.Query != nil
		}
	}
	out = append(out, path...)
	if hasQuery {
		out = append(append(out, '?'), query...)
	}
	return out
}

func (l *Link) begin() {
	l.exchanges++
	l.released = false
	l.sentBefore = l.raw.BytesWritten()
	l.unasked = false
	l.chunkedUp, l.requestOK, l.headSeen, l.gotByte, l.keepAlive = false, false, false, false, false
	l.interim = 0
	l.body.done, l.body.hasTrailer = false, false
}

// Takes is always true: an endpoint of HTTP/1.1 says nothing of what it takes.
func (l *Link) Takes(int) bool { return true }

// WriteBody writes a part of the request's content.
func (l *Link) WriteBody(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !l.chunkedUp {
		if int64(len(p)) > l.promised {
			return 0, errLongAnswer
		}
		l.promised -= int64(len(p))
		return len(p), l.put(p)
	}
	l.out = appendChunkSize(l.buffer(), len(p))
	if err := l.put(p); err != nil {
		return 0, err
	}
	l.out = append(l.buffer(), '\r', '\n')
	return len(p), nil
}

func (l *Link) buffer() []byte {
	if l.out == nil {
		l.out = wire.Medium.Get()[:0]
	}
	return l.out
}

// put buffers p if it fits and else sends the buffer and p.
func (l *Link) put(p []byte) error {
	out := l.buffer()
	if len(p) <= cap(out)-len(out)-spare {
		l.out = append(out, p...)
		return nil
	}
	if l.secure == nil {
		if err := l.still(); err != nil {
			return err
		}
		l.out = out[:0]
		_, err := l.raw.WriteTwo(out, p)
		return err
	}
	if err := l.Flush(); err != nil {
		return err
	}
	_, err := l.secure.Write(p)
	return err
}

// errStale says that the connection was closed or spoken on before it was used again.
var errStale = errors.New("the connection did not rest quietly")

// still makes sure, before the first byte of a request, that nothing waits to be read
// which would be taken for its answer.
func (l *Link) still() error {
	if l.exchanges > 1 && l.unsent() && !l.Alive() {
		return errStale
	}
	return nil
}

// Flush sends what is buffered.
func (l *Link) Flush() error {
	if len(l.out) == 0 {
		return nil
	}
	err := l.still()
	if err != nil {
		return err
	}
	if l.secure != nil {
		_, err = l.secure.Write(l.out)
	} else {
		_, err = l.raw.Write(l.out)
	}
	l.out = l.out[:0]
	return err
}

// EndRequest completes the request. One that nothing was sent of yet goes out with
// the wait for its answer.
func (l *Link) EndRequest(trailer *wire.Head) error {
	if l.chunkedUp {
		l.out = append(l.buffer(), "0\r\n"...)
		l.out = appendTrailer(l.out, trailer)
		l.out = append(l.out, '\r', '\n')
	} else if l.promised > 0 {
		return errShortAnswer
	}
	if l.secure == nil && l.unsent() && l.rd.buf == nil {
		l.unasked = true // ReadHead sends it: see Conn.Ask
	} else {
		if err := l.Flush(); err != nil {
			return err
		}
		l.dropOut()
	}
	l.requestOK = true
	return nil
}

// unsent reports that nothing of this exchange's request was sent yet.
func (l *Link) unsent() bool { return l.raw.BytesWritten() == l.sentBefore }

func (l *Link) dropOut() {
	putBuffer(l.out)
	l.out = nil
}

// ReadHead reads the answer's next head.
func (l *Link) ReadHead(resp *wire.Head, by time.Time, tick wire.Tick) error {
	l.wait(by, tick)
	if l.rd.buffered() == 0 && l.rd.buf == nil {
		if err := l.readFirst(); err != nil {
			return l.readError(err)
		}
	}
	var s scanner
	n, err := l.rd.readHead(&s, l.lim)
	l.gotByte = l.gotByte || l.rd.w > 0
	if err != nil {
		return l.readError(err)
	}
	raw := l.rd.buf[l.rd.r : l.rd.r+n]
	l.rd.r += n
	if perr := parseResponse(resp, raw, l.askedHead, l.lim); perr != nil {
		return perr
	}
	if resp.Status < 200 && resp.Status != 101 {
		if l.interim++; l.interim > maxInterim {
			return errManyInterim
		}
		return nil
	}
	return l.final(resp)
}

// final notes what the final head says of the body and the connection.
func (l *Link) final(resp *wire.Head) error {
	if resp.Status == 101 && !l.askedUp {
		return errUnaskedSwitch
	}
	l.headSeen = true
	l.keepAlive = !resp.Close && framed(resp) && resp.Status != 101
	l.body.begin(&l.rd, resp)
	whole := l.body.done || l.body.mode == bodyLength && int64(l.rd.buffered()) >= l.body.remaining
	if !whole { // the body will go on using the buffer, the head must not change
		next := wire.Small.Get()
		if len(next) < l.rd.buffered() {
			wire.Small.Put(next)
			next = getBuffer(l.rd.buffered())
		}
		n := copy(next, l.rd.buf[l.rd.r:l.rd.w])
		l.held = l.rd.buf
		l.rd.buf, l.rd.r, l.rd.w = next, 0, n
	}
	return nil
}

// readFirst waits for the answer's first bytes without holding a buffer.
func (l *Link) readFirst() error {
	if l.secure != nil {
		l.rd.acquire(wire.Medium)
		return l.rd.fill()
	}
	var (
		b   []byte
		n   int
		err error
	)
	if l.unasked {
		l.unasked = false
		b, n, err = l.raw.Ask(l.out, wire.Medium)
		l.dropOut()
	} else {
		b, n, err = l.raw.ReadFirst(wire.Medium)
	}
	if n > 0 {
		l.rd.buf, l.rd.r, l.rd.w = b, 0, n
		return nil
	}
	return err
}

func (l *Link) wait(by time.Time, tick wire.Tick) {
	l.raw.OnTick(tick)
	l.raw.ReadBy(by, time.Now()) //nolint:forbidigo // because the wait begins here, however long ago the request came
}

// readError makes an end of file in the middle of a head an error of its own.
func (l *Link) readError(err error) error {
	if errors.Is(err, io.EOF) && l.rd.w > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadBody reads the answer's content. Budget: 0 allocs.
func (l *Link) ReadBody(p []byte, by time.Time, tick wire.Tick) (int, error) {
	if l.rd.buffered() == 0 {
		l.wait(by, tick)
	}
	return l.body.read(p)
}

// Buffered returns how much of the answer can be read without waiting, at least one
// byte of it being content or the end.
func (l *Link) Buffered() int { return l.rd.buffered() }

// Rest takes what is left of the answer's body if all of it is at hand and needs no
// decoding, without copying it. It is valid until Release. Budget: 0 allocs.
func (l *Link) Rest() ([]byte, bool) {
	b := &l.body
	if b.done || b.mode != bodyLength || int64(l.rd.buffered()) < b.remaining {
		return nil, false
	}
	p := l.rd.buf[l.rd.r : l.rd.r+int(b.remaining)]
	l.rd.r += len(p)
	b.total += int64(len(p))
	b.remaining, b.done = 0, true
	return p, true
}

// Done reports whether the answer's body has been read whole.
func (l *Link) Done() bool { return l.body.done }

// Wake has the tick of whoever waits asked at once.
func (l *Link) Wake() { l.raw.Wake() }

// Trailer returns the answer's trailer.
func (l *Link) Trailer() *wire.Head {
	if l.body.hasTrailer {
		return &l.body.trailer
	}
	return nil
}

// Untouched reports that the endpoint cannot have acted on the request: nothing of
// an answer came, and the endpoint ended the connection in order without its kernel
// having acknowledged a byte of what was sent in this exchange. The end says how much
// had arrived before it. A reset does not: acknowledging may wait for 40 ms while the
// application has long read the request, and the reset comes first. It is believed
// only of a request that asks for no action.
func (l *Link) Untouched() bool {
	if l.gotByte {
		return false
	}
	if l.unsent() {
		return true
	}
	if l.raw.Cut() && !l.safe {
		return false
	}
	acked, ok := l.raw.Acked()
	return ok && acked <= l.sentBefore+1 // the handshake counts as one
}

// Abort breaks the connection.
func (l *Link) Abort() { l.close() }

// Release gives the connection back to its owner, or closes it. Until the next
// exchange begins another Release does nothing.
func (l *Link) Release() {
	if l.released {
		return
	}
	l.released = true
	putBuffer(l.held)
	l.held = nil
	l.dropOut()
	clean := l.requestOK && l.headSeen && l.body.done && l.keepAlive && l.rd.buffered() == 0
	l.rd.release()
	l.body.rd = nil
	l.raw.OnTick(nil)
	if !clean || l.closed.Load() || !l.owner.Idle(l) {
		l.close()
	}
}

// Close closes an idle link.
func (l *Link) Close() error {
	l.close()
	return nil
}

func (l *Link) close() {
	if l.closed.Swap(true) {
		return
	}
	_ = l.raw.Close() // the exchange is over; close_notify would tell nobody anything
	l.owner.Closed(l)
}

// Tunnel gives the connection's bytes away. The link never goes back, and its buffer is
// not kept for what may rest for hours.
func (l *Link) Tunnel() wire.Duplex {
	l.keepAlive = false
	ahead := bytes.Clone(l.rd.take())
	l.rd.release()
	return wire.NewEnd(l.raw, l.secure, ahead)
}
