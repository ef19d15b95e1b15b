package h1

import (
	"errors"
	"io"
	"os"
	"time"

	"legate/wire"
)

var errBodyTooSlow = &wire.ProtocolError{Kind: wire.BodyTooSlow, Text: "request body under the minimum rate"}

// Errors of a stream's owner breaking its own promises.
var (
	errShortAnswer = errors.New("answer is shorter than its Content-Length")
	errLongAnswer  = errors.New("answer is longer than its Content-Length")
	errAborted     = errors.New("stream was aborted")
)

// Peer describes the connection.
func (c *conn) Peer() *wire.Peer { return &c.peer }

// Start returns when the request's first byte was there.
func (c *conn) Start() time.Time { return c.start }

// ReadBody reads the request's body. Waiting is bounded by the stream's idle limit
// and by the rate a sender must keep up while we wait for it. Budget: 0 allocs.
func (c *conn) ReadBody(p []byte) (int, error) {
	if c.stopped.Load() {
		return 0, wire.ErrStopped
	}
	if c.body.done || c.rd.buffered() > 0 && c.body.mode == bodyLength {
		return c.body.read(p)
	}
	before := c.srv.now()
	by, slow := c.bodyDeadline(before)
	c.raw.ReadBy(by, before)
	n, err := c.body.read(p)
	c.waited += c.srv.now().Sub(before)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	c.stopped.Store(true) // nobody knows where the next request begins, as the answer is to say
	if errors.Is(err, os.ErrDeadlineExceeded) && slow {
		return n, errBodyTooSlow
	}
	return n, err
}

// Ready reports whether the rest of the request's body is at hand. Budget: 0 allocs.
func (c *conn) Ready() bool {
	switch {
	case c.body.done:
		return true
	case c.body.mode == bodyLength:
		return int64(c.rd.buffered()) >= c.body.remaining
	}
	return c.body.chunksAtHand()
}

// bodyDeadline returns until when the next part of the body is waited for, and
// whether it is the minimum rate that says so.
func (c *conn) bodyDeadline(now time.Time) (by time.Time, slow bool) {
	if c.idleLimit > 0 {
		by = now.Add(c.idleLimit)
	}
	if c.lim.MinBodyRate <= 0 {
		return by, false
	}
	earned := time.Duration(min(c.body.total/int64(c.lim.MinBodyRate), 1<<32)) * time.Second // a century, far from overflow
	patience := now.Add(max(c.lim.BodyGrace+earned-c.waited, 0))
	if by.IsZero() || patience.Before(by) {
		return patience, true
	}
	return by, false
}

// Trailer returns the request's trailer.
func (c *conn) Trailer() *wire.Head {
	if c.body.hasTrailer {
		return &c.body.trailer
	}
	return nil
}

// BytesIn counts the request's content.
func (c *conn) BytesIn() int64 { return c.body.total }

// BytesOut counts the answer's content.
func (c *conn) BytesOut() int64 { return c.written }

// CloseAfter makes this the connection's last exchange.
func (c *conn) CloseAfter() { c.closeAfter = true }

// Gone reports whether the client has gone away. A half-closed connection counts
// as gone: over TLS it cannot be told apart, and no gateway in front of browsers
// meets the difference.
func (c *conn) Gone() bool { return c.rd.buffered() == 0 && c.raw.Gone() }

// StopReading ends the reading of the request's body.
func (c *conn) StopReading() {
	c.stopped.Store(true)
	c.raw.StopReading()
}

// SetIdle sets how long the stream may rest.
func (c *conn) SetIdle(d time.Duration) {
	c.idleLimit = d
	c.raw.WriteIdle(d)
}

// WriteHead writes an answer's head into the buffer. Budget: 0 allocs.
func (c *conn) WriteHead(status int, h *wire.Head, e *wire.Edits, length int64) error {
	if c.aborted {
		return errAborted
	}
	out := c.buffer()
	start := len(out)
	out = append(out, statusLine(status)...)
	out = appendFields(out, h, e)
	if status < 200 {
		spell(out[start:], e)
		c.out = append(out, '\r', '\n')
		return nil
	}
	out = c.frame(out, status, length)
	spell(out[start:], e)
	c.out = append(out, '\r', '\n')
	c.headWritten = true
	return nil
}

// buffer returns what is written but not sent, lending a buffer if there is none.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = wire.Medium.Get()[:0]
	}
	return c.out
}

// frame decides how the answer's end is told and appends the fields that say so.
func (c *conn) frame(out []byte, status int, length int64) []byte {
	c.promised = length
	c.bodyless = c.head.Method() == wire.HEAD || status == 204 || status == 304
	switch {
	case status == 204: // RFC 9110 §8.6: no length here
	case length >= 0:
		out = append(out, "content-length: "...)
		out = appendInt(out, length)
		out = append(out, '\r', '\n')
	case c.bodyless:
	case c.head.Major == 1 && c.head.Minor == 0 || c.head.Major == 0:
		c.closeAfter = true // HTTP/1.0 knows no other end
	default:
		c.chunkedOut = true
		out = append(out, "transfer-encoding: chunked\r\n"...)
	}
	if c.srv.draining.Load() {
		c.closeAfter = true
	}
	switch {
	case c.closeAfter || c.stopped.Load():
		out = append(out, "connection: close\r\n"...)
	case c.head.Minor == 0:
		out = append(out, "connection: keep-alive\r\n"...)
	}
	return out
}

// WriteBody writes content: into the buffer while it fits, else to the connection
// with what is buffered. Budget: 0 allocs.
func (c *conn) WriteBody(p []byte) (int, error) {
	if c.aborted {
		return 0, errAborted
	}
	if len(p) == 0 || c.bodyless {
		return len(p), nil
	}
	if c.promised >= 0 && c.written+int64(len(p)) > c.promised {
		return 0, errLongAnswer
	}
	var err error
	if c.chunkedOut {
		err = c.writeChunk(p)
	} else {
		err = c.put(p)
	}
	if err != nil {
		return 0, err
	}
	c.written += int64(len(p))
	return len(p), nil
}

func (c *conn) writeChunk(p []byte) error {
	c.out = appendChunkSize(c.buffer(), len(p))
	if err := c.put(p); err != nil {
		return err
	}
	c.out = append(c.buffer(), '\r', '\n')
	return nil
}

// put buffers p if it fits, and else sends the buffer and p together. TLS gets
// whole records: p is cut to fill them.
func (c *conn) put(p []byte) error {
	out := c.buffer()
	if len(p) <= cap(out)-len(out)-spare {
		c.out = append(out, p...)
		return nil
	}
	if c.secure == nil {
		c.out = out[:0]
		_, err := c.raw.WriteTwo(out, p)
		return err
	}
	for len(p) > 0 {
		n := min(len(p), cap(c.out)-len(c.out)-spare)
		c.out = append(c.out, p[:n]...)
		p = p[n:]
		if len(p) > 0 {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// spare is kept free in the buffer for what must follow a body: the end of a chunk,
// the last chunk, the next chunk's size.
const spare = 64

// Flush sends what is buffered.
func (c *conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.writer().Write(c.out)
	c.out = c.out[:0]
	return err
}

// End completes the answer and sends it. Budget: 0 allocs.
func (c *conn) End(trailer *wire.Head) error {
	switch {
	case c.aborted:
		return errAborted
	case c.promised >= 0 && c.written != c.promised && !c.bodyless:
		c.Abort()
		return errShortAnswer
	case c.chunkedOut:
		c.out = append(c.buffer(), "0\r\n"...)
		c.out = appendTrailer(c.out, trailer)
		c.out = append(c.out, '\r', '\n')
	}
	c.ended = true
	return c.Flush()
}

// Abort ends the connection so that the client sees that its answer is not whole.
func (c *conn) Abort() {
	if c.aborted {
		return
	}
	c.aborted, c.closeAfter = true, true
	if c.headWritten {
		_ = c.Flush() // what was promised of the answer is still the client's
	}
	if c.headWritten && !c.chunkedOut && c.promised < 0 && !c.bodyless {
		c.raw.Reset() // only a reset tells this end from a whole answer's
		return
	}
	_ = c.raw.Close() // without close_notify: a truncated answer must look like one
}
