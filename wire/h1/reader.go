package h1

import (
	"io"

	"legate/wire"
)

// A reader is a connection's read side: a buffer lent from a pool while there is
// something in it, and the bytes buf[r:w] that are not used yet.
type reader struct {
	src io.Reader
	buf []byte
	r   int
	w   int
}

func (rd *reader) buffered() int { return rd.w - rd.r }

// take takes what is unread, which is valid until the buffer is released.
func (rd *reader) take() []byte {
	p := rd.buf[rd.r:rd.w]
	rd.r = rd.w
	return p
}

// fill reads once more behind what is there. The buffer must have room.
func (rd *reader) fill() error {
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

// acquire makes sure there is a buffer.
func (rd *reader) acquire(pool *wire.Pool) {
	if rd.buf == nil {
		rd.buf = pool.Get()
		rd.r, rd.w = 0, 0
	}
}

// release gives the buffer back. What is unread is lost.
func (rd *reader) release() {
	putBuffer(rd.buf)
	rd.buf = nil
	rd.r, rd.w = 0, 0
}

// grow moves what is unread to the front of a buffer of at least size bytes.
// Offsets from r stay what they were.
func (rd *reader) grow(size int) {
	next := getBuffer(size)
	n := copy(next, rd.buf[rd.r:rd.w])
	putBuffer(rd.buf)
	rd.buf, rd.r, rd.w = next, 0, n
}

// compact moves what is unread to the front.
func (rd *reader) compact() {
	n := copy(rd.buf, rd.buf[rd.r:rd.w])
	rd.r, rd.w = 0, n
}

// readHead reads until a whole head is buffered and returns its length. The bytes
// are rd.buf[rd.r:rd.r+n].
func (rd *reader) readHead(s *scanner, lim *Limits) (int, error) {
	for {
		n, perr := s.scan(rd.buf[rd.r:rd.w], lim.MaxHeadBytes, lim.MaxHeadBytes)
		if perr != nil {
			return 0, perr
		}
		if n > 0 {
			return n, nil
		}
		if rd.w == len(rd.buf) {
			if rd.r > 0 {
				rd.compact()
			} else {
				rd.grow(2 * len(rd.buf))
			}
		}
		if err := rd.fill(); err != nil {
			return 0, err
		}
	}
}

// getBuffer lends a buffer of at least size bytes.
func getBuffer(size int) []byte {
	switch {
	case size <= wire.Small.Size():
		return wire.Small.Get()
	case size <= wire.Medium.Size():
		return wire.Medium.Get()
	case size <= wire.Large.Size():
		return wire.Large.Get()
	}
	return make([]byte, size)
}

func putBuffer(b []byte) {
	switch cap(b) {
	case wire.Small.Size():
		wire.Small.Put(b)
	case wire.Medium.Size():
		wire.Medium.Put(b)
	case wire.Large.Size():
		wire.Large.Put(b)
	}
}
