package h2

import (
	"golang.org/x/net/http2"

	"legate/wire"
)

// begin says where the field block goes that begins on a stream (RFC 9113 §5.1, §5.1.1).
func (c *conn) begin(id uint32) (*wire.Head, block, error) {
	c.next, c.trails, c.refusal = nil, false, forgotten
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.table.find(id); s != nil {
		if s.theirEnd {
			c.resetLocked(s, http2.ErrCodeStreamClosed)
			c.refusal = resetByUs
			return nil, trailerBlock, nil
		}
		c.trails = true
		return c.scratch(), trailerBlock, nil
	}
	if id&1 == 0 {
		return nil, requestBlock, &ConnError{http2.ErrCodeProtocol, "a client's stream has an even number"}
	}
	if id <= c.highest {
		err := c.closedBefore(id)
		if c.refusal == resetByUs { // a trailer that was under way
			return c.scratch(), trailerBlock, err
		}
		return nil, requestBlock, err
	}
	c.highest = id
	if c.leaving == parted || c.active+len(c.pending) >= c.lim.MaxStreams {
		c.refusal = never
		return nil, requestBlock, nil
	}
	c.next = newExchange(c, id)
	return &c.next.head, requestBlock, nil
}

// closedBefore judges a field block on a stream that has ended.
func (c *conn) closedBefore(id uint32) error {
	c.refusal = c.past.of(id)
	switch c.refusal {
	case never:
		return &ConnError{http2.ErrCodeProtocol, "stream number is lower than one before"}
	case completed:
		return &ConnError{http2.ErrCodeStreamClosed, "HEADERS on a stream that has ended"}
	case forgotten, resetByThem, resetByUs:
	}
	return nil
}

// headers takes a whole field block.
func (c *conn) headers(id uint32, end bool, fault *wire.ProtocolError) error {
	switch {
	case c.trails:
		c.trailer(id, end, fault)
		return nil
	case c.next != nil:
		x := c.next
		c.next = nil
		c.open(x, end, fault)
		return nil
	}
	switch c.refusal {
	case never: // a new one, too many
		c.resetID(id, http2.ErrCodeRefusedStream)
		return c.tolerate(RapidReset)
	case resetByUs:
		if fault != nil {
			c.resetID(id, http2.ErrCodeProtocol)
			return c.tolerate(EmptyFrames)
		}
		return nil
	case forgotten, completed, resetByThem:
	}
	c.resetID(id, http2.ErrCodeStreamClosed)
	return c.tolerate(EmptyFrames)
}

// open begins a request whose head is there.
func (c *conn) open(x *exchange, end bool, fault *wire.ProtocolError) {
	if end && fault == nil && x.head.Length > 0 {
		fault = errLengthDisagrees
	}
	if fault != nil {
		c.srv.watcher.Abused(abuseOf(fault))
	}
	x.fault = fault
	if x.head.UpgradeTo || end {
		x.head.NoBody, x.head.Length = true, 0
	} else {
		x.head.NoBody = x.head.Length == 0
	}
	c.calm.forgive(EmptyFrames, 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	x.window = c.mux.peer.window
	if !x.head.UpgradeTo {
		x.declared = x.head.Length
	}
	c.table.add(&x.stream)
	x.theirEnd = end
	c.pending = append(c.pending, x)
}

// abuseOf says which abuse a head is that breaks a rule.
func abuseOf(fault *wire.ProtocolError) Abuse {
	switch fault.Kind {
	case wire.HeadTooLarge, wire.TooManyLines, wire.LineTooLong:
		return HeadBomb
	case wire.BadFraming:
		return LengthMismatch
	default:
		return ForbiddenField
	}
}

// trailer takes what follows a request's body.
func (c *conn) trailer(id uint32, end bool, fault *wire.ProtocolError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.table.find(id)
	if s == nil {
		return // it ended meanwhile
	}
	if !end && fault == nil {
		fault = errTrailerEnd
	}
	if fault != nil {
		c.srv.watcher.Abused(abuseOf(fault))
		c.breakOff(s, http2.ErrCodeProtocol, fault)
		return
	}
	if s.declared >= 0 && s.got != s.declared {
		c.mismatch(s)
		return
	}
	s.trailer, *c.late = *c.late, s.trailer
	s.trailed = true
	c.ended(s, false, true)
	s.more.ring()
}

// scratch is the head of a trailer while it is read: the stream may end meanwhile, and
// be somebody else's.
func (c *conn) scratch() *wire.Head {
	if c.late == nil {
		c.late = new(wire.Head)
	}
	return c.late
}

var errTrailerEnd = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "second field block does not end the stream"}

// startPending has the requests served whose heads came in what was read. What was
// reset meanwhile never costs more than that.
func (c *conn) startPending() {
	if len(c.pending) == 0 {
		return
	}
	now := c.now()
	waited := c.raw.Waited(now)
	for i, x := range c.pending {
		c.pending[i] = nil
		c.mu.Lock()
		if fault, ok := x.broken.(*wire.ProtocolError); ok { //nolint:errorlint // made here, never wrapped
			x.fault = fault
		} else if x.broken != nil {
			c.mu.Unlock()
			x.free()
			continue
		}
		x.start, x.head.Waited = now, waited
		c.active++
		c.mu.Unlock()
		c.srv.workers.do(x)
	}
	c.pending = c.pending[:0]
}

// done is told that a handler has returned.
func (c *conn) done(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &x.stream
	whole := s.broken == nil
	if !s.ourEnd {
		c.resetLocked(s, http2.ErrCodeInternal)
	}
	if whole && x.fault != nil && x.malformed() && c.dead == nil {
		c.out = appendReset(c.buffer(), s.id, uint32(http2.ErrCodeProtocol)) // RFC 9113 §8.1.1
	}
	c.discard(s)
	if c.table.find(s.id) == s && s.recv.open < s.recv.size/2 {
		c.resetLocked(s, http2.ErrCodeNo) // the rest is long, and not wanted: RFC 9113 §8.1
	}
	if c.table.find(s.id) == s {
		x.orphan = true
		c.orphans++
		c.dropOrphans(c.orphansKept())
	} else {
		x.free()
	}
	c.active--
	if c.active == 0 {
		c.resting = c.now()
	}
	c.flushUnlessSoon()
	c.finishLocked()
	if c.active == 0 && c.dead != nil {
		c.drained.ring()
	}
}

// maxOrphans is how many requests may still come, up to half a window each, that are
// answered already: to cut them short would have many clients miss the answer.
const maxOrphans = 8

func (c *conn) orphansKept() int {
	if c.leaving == parted {
		return 0
	}
	return maxOrphans
}

// dropOrphans tells clients to stop sending what nobody waits for (RFC 9113 §8.1), but
// for so many.
func (c *conn) dropOrphans(keep int) {
	for i := 0; c.orphans > keep && i < c.table.len(); {
		if x := c.table.streams[i].x; x.orphan {
			c.resetLocked(&x.stream, http2.ErrCodeNo)
			continue
		}
		i++
	}
}

// malformed reports whether the request broke HTTP's rules rather than a limit.
func (x *exchange) malformed() bool {
	switch x.fault.Kind {
	case wire.BadSyntax, wire.BadAuthority, wire.BadTarget, wire.BadFraming:
		return true
	default:
		return false
	}
}
