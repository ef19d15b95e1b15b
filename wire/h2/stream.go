package h2

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// errEnded says that a stream's owner sends after its end.
var errEnded = errors.New("HTTP/2 stream has ended")

// A stream is what both sides' streams are made of: flow control, a body that comes, a
// body that goes. What the mux's lock guards is marked.
type stream struct {
	mux  *mux
	id   uint32
	link *Link // whose it is; nil on a server

	// Guarded by the mux's lock.
	window    int64 // what we may send
	recv      credit
	in        inbox
	declared  int64 // Content-Length of the body that comes; LengthUnknown without one
	got       int64 // content that came
	theirEnd  bool  // they have said all
	ourEnd    bool  // we have
	broken    error // why nothing more comes or goes; nil while it does
	unwanted  bool  // they take no more of ours, and have said all
	stopped   bool  // nobody wants to read any more
	trailed   bool  // a trailer came
	tail      int   // where in mux.out the last frame of this stream begins
	tailBatch uint64
	waits     bool // is on the mux's list of those that wait to send

	trailer wire.Head
	more    bell // something came
	room    bell // something may be sent
}

// begin makes s a stream of m, not open yet.
func (s *stream) begin(m *mux, id uint32) {
	if s.more.rung == nil {
		s.more, s.room = newBell(), newBell()
	}
	s.more.hush()
	s.room.hush()
	s.mux, s.id = m, id
	s.recv = newCredit(streamWindow)
	s.declared, s.got = wire.LengthUnknown, 0
	s.theirEnd, s.ourEnd, s.stopped, s.trailed, s.waits, s.unwanted = false, false, false, false, false, false
	s.broken = nil
	s.tail, s.tailBatch = 0, 0
}

// lost returns why the stream carries nothing more; nil while it does. The mux's lock
// must be held.
func (s *stream) lost() error {
	if s.broken != nil {
		return s.broken
	}
	return s.mux.dead
}

// read takes what has come of the body, waiting until by for something to come.
// io.EOF follows the last byte.
func (s *stream) read(p []byte, by time.Time, tick wire.Tick) (int, error) {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if n, err := s.readNow(p); n > 0 || err != nil {
			return n, err
		}
		m.flushLocked() // the peer may wait for what we have to say before it goes on
		if s.in.size > 0 || s.theirEnd || s.lost() != nil {
			continue
		}
		m.mu.Unlock()
		err := s.more.await(m.now, &by, tick)
		m.mu.Lock()
		if err != nil {
			return 0, err
		}
	}
}

// readNow takes what has come of the body; nothing, without an error, if nothing has.
// What came before a stream broke comes before the reason. The mux's lock must be held.
func (s *stream) readNow(p []byte) (int, error) {
	switch {
	case s.stopped:
		return 0, wire.ErrStopped
	case s.in.size > 0:
		n := s.in.pull(p)
		s.mux.consumed(s, n)
		return n, nil
	case s.theirEnd && s.broken == nil:
		return 0, io.EOF
	}
	return 0, s.lost()
}

// stop makes a read that waits, and every later one, return wire.ErrStopped.
func (s *stream) stop() {
	s.mux.mu.Lock()
	s.stopped = true
	s.mux.mu.Unlock()
	s.more.ring()
}

// write sends p as far as the peer's windows and our buffer take it, waiting for them
// for idle without a byte moving; 0 is for ever. What is small stays in the buffer
// until a flush. Budget: 0 allocs.
func (s *stream) write(p []byte, end bool, idle time.Duration) error {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if err := s.lost(); err != nil {
			return err
		}
		if s.ourEnd || s.unwanted {
			return errEnded
		}
		if len(p) == 0 {
			if end {
				m.endStream(s)
			}
			return nil
		}
		n := m.appendData(s, p)
		if p = p[n:]; n > 0 && len(p) == 0 {
			continue
		}
		if len(m.out) > 0 && !m.sending {
			m.flushLocked()
			continue
		}
		if n == 0 {
			if err := m.awaitRoom(s, idle); err != nil {
				return err
			}
		}
	}
}

// awaitRoom waits until there may be room for s to send. The lock is held but for the
// wait.
func (m *mux) awaitRoom(s *stream, idle time.Duration) error {
	if !s.waits {
		s.waits = true
		m.waiting = append(m.waiting, s)
	}
	m.mu.Unlock()
	rang := s.room.wait(idle)
	m.mu.Lock()
	if !rang {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// writeHead appends a head's block as frames. block holds it behind frameHeader bytes
// that are still to be filled.
func (s *stream) finishHead(out []byte, at int, end bool) {
	m := s.mux
	m.out = splitHeaders(out, at, s.id, end, m.peer.maxFrame)
	s.tail, s.tailBatch = at, m.batch
	if end {
		m.ended(s, true, false)
	}
}

// reset ends the stream from our side with a code.
func (s *stream) reset(code http2.ErrCode) {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resetLocked(s, code)
}

// gone reports whether the peer has given the stream up, or the connection ended.
func (s *stream) gone() bool {
	s.mux.mu.Lock()
	defer s.mux.mu.Unlock()
	return s.lost() != nil
}
