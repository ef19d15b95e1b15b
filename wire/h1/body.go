package h1

import (
	"errors"
	"io"

	"legate/wire"
)

// How a body ends.
type bodyMode uint8

const (
	bodyNone    bodyMode = iota
	bodyLength           // after remaining bytes
	bodyChunked          // after the chunk of size 0
	bodyClose            // with the connection
)

// The states of a chunked body.
type chunkState uint8

const (
	chunkSize    chunkState = iota // at the beginning of a size line
	chunkData                      // within remaining bytes of data
	chunkDataEnd                   // at the CRLF behind the data
	chunkTrailer                   // at the trailer
)

// A body reads one message's body from a reader, whatever its framing. It never
// reads past the body's end.
type body struct {
	rd        *reader
	mode      bodyMode
	state     chunkState
	done      bool
	remaining int64
	total     int64 // bytes of content read so far

	trailer    wire.Head
	trailerBuf []byte
	hasTrailer bool
}

// begin prepares b for the body that follows head h.
func (b *body) begin(rd *reader, h *wire.Head) {
	b.rd = rd
	b.done, b.hasTrailer = false, false
	b.state, b.remaining, b.total = chunkSize, 0, 0
	switch {
	case h.NoBody:
		b.mode, b.done = bodyNone, true
	case h.Has(wire.FieldTransferEncoding):
		b.mode = bodyChunked
	case h.Length >= 0:
		b.mode, b.remaining = bodyLength, h.Length
	default:
		b.mode = bodyClose
	}
}

// read reads content into p. io.EOF follows the last byte, io.ErrUnexpectedEOF a
// connection that ends too early, and a *wire.ProtocolError broken framing.
func (b *body) read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch b.mode {
	case bodyChunked:
		return b.readChunked(p)
	case bodyLength:
		n, err := b.readRaw(p, b.remaining)
		b.remaining -= int64(n)
		if b.remaining == 0 {
			b.done = true
		}
		return n, err
	default:
		n, err := b.readSome(p)
		b.done = errors.Is(err, io.EOF) // but not the end of a TLS session within a record: RFC 9112 §9.8
		return n, err
	}
}

// readRaw reads at most limit bytes, before which the connection must not end.
func (b *body) readRaw(p []byte, limit int64) (int, error) {
	if int64(len(p)) > limit {
		p = p[:limit]
	}
	n, err := b.readSome(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readSome reads from the buffer, or straight into p when the buffer is empty.
func (b *body) readSome(p []byte) (int, error) {
	if n := b.rd.buffered(); n > 0 {
		n = copy(p, b.rd.buf[b.rd.r:b.rd.w])
		b.rd.r += n
		b.total += int64(n)
		return n, nil
	}
	n, err := b.rd.src.Read(p)
	b.total += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// more reads further bytes behind what is buffered, for the parts of framing that
// need to be seen as a whole.
func (b *body) more() error {
	rd := b.rd
	if rd.buf == nil {
		rd.acquire(wire.Small)
	}
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
	}
	if rd.w == len(rd.buf) {
		if rd.r > 0 {
			rd.compact()
		} else {
			rd.grow(2 * len(rd.buf))
		}
	}
	err := rd.fill()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
