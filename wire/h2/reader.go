package h2

import (
	"crypto/tls"
	"errors"
	"io"

	"golang.org/x/net/http2"

	"legate/wire"
)

// buffers are large enough for any frame that is accepted, with room for what comes
// behind it: one read brings many frames.
var buffers = wire.NewPool(32 << 10)

// A reader is a connection's read side: a buffer, lent while there is something in it,
// and the Framer that reads the frames in it.
type reader struct {
	src    io.Reader
	buf    []byte
	r, w   int
	framer *http2.Framer
	one    [1]byte // takes the first byte of what comes over TLS while there is no buffer
}

func newReader(src io.Reader) *reader {
	rd := &reader{src: src}
	rd.framer = http2.NewFramer(io.Discard, rd)
	rd.framer.SetMaxReadFrameSize(maxFrameSize)
	return rd
}

// Read gives the Framer what is buffered. It never waits: the Framer is asked only for
// frames that are there whole.
func (rd *reader) Read(p []byte) (int, error) {
	if rd.r == rd.w {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, rd.buf[rd.r:rd.w])
	rd.r += n
	return n, nil
}

func (rd *reader) buffered() int { return rd.w - rd.r }

// whole reports whether a whole frame is buffered, or the header of one that is too
// large to be read.
func (rd *reader) whole() bool {
	b := rd.buf[rd.r:rd.w]
	if len(b) < frameHeader {
		return false
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	return length > maxFrameSize || len(b) >= frameHeader+length
}

// take returns the next n bytes, which are buffered, without copying them.
func (rd *reader) take(n int) []byte {
	p := rd.buf[rd.r : rd.r+n]
	rd.r += n
	return p
}

// fill reads once more behind what is there.
func (rd *reader) fill() error {
	if rd.buf == nil {
		rd.buf, rd.r, rd.w = buffers.Get(), 0, 0
	}
	if rd.r > 0 {
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
	}
	n, err := rd.src.Read(rd.buf[rd.w:])
	rd.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// wait waits for bytes and reads them, holding no buffer while there is none.
func (rd *reader) wait(raw *wire.Conn, secure *tls.Conn) error {
	if rd.buf != nil {
		return rd.fill()
	}
	if secure == nil {
		b, n, err := raw.ReadFirst(buffers)
		if n > 0 {
			rd.buf, rd.r, rd.w = b, 0, n
			return nil
		}
		return err
	}
	n, err := secure.Read(rd.one[:])
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	rd.buf, rd.r, rd.w = buffers.Get(), 0, 1
	rd.buf[0] = rd.one[0]
	raw.Hold(true) // what the session has at hand, and no more
	n, _ = secure.Read(rd.buf[1:])
	raw.Hold(false)
	rd.w += n
	return nil
}

// begin puts bytes that were read before in front.
func (rd *reader) begin(early []byte) {
	if len(early) == 0 {
		return
	}
	if rd.buf == nil {
		rd.buf = buffers.Get()
		rd.r, rd.w = 0, 0
	}
	rd.w += copy(rd.buf[rd.w:], early)
}

// rest gives the buffer back if nothing is in it.
func (rd *reader) rest() {
	if rd.buf != nil && rd.r == rd.w {
		buffers.Put(rd.buf)
		rd.buf, rd.r, rd.w = nil, 0, 0
	}
}

// release gives the buffer back. What is unread is lost.
func (rd *reader) release() {
	rd.r = rd.w
	rd.rest()
}

// frameError says what an error of the Framer means for the connection.
func frameError(err error) error {
	var lost http2.ConnectionError
	switch {
	case errors.Is(err, http2.ErrFrameTooLarge):
		return &ConnError{http2.ErrCodeFrameSize, "frame over the limit"}
	case errors.As(err, &lost):
		return &ConnError{http2.ErrCode(lost), "malformed frame"}
	}
	return err
}

// unpad returns the content of a DATA or HEADERS frame without its padding (RFC 9113
// §6.1); false if there is more padding than frame.
func unpad(p []byte, flags http2.Flags) ([]byte, bool) {
	if flags&flagPadded == 0 {
		return p, true
	}
	if len(p) == 0 {
		return nil, false
	}
	pad := int(p[0])
	p = p[1:]
	if pad > len(p) {
		return nil, false
	}
	return p[:len(p)-pad], true
}
