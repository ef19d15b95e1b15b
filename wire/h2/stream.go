package h2

import (
	"errors"
	"io"
	"os"
	"slices"
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
	link *Link     // whose it is; nil on a server
	x    *exchange // whose it is; nil on a client

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
	queued    bool // waits its turn to send

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
	s.theirEnd, s.ourEnd, s.stopped, s.trailed, s.queued, s.unwanted = false, false, false, false, false, false
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

// read takes what has come of the body, waiting until by for something to come. An
// empty p only waits.
// io.EOF follows the last byte.
func (s *stream) read(p []byte, by time.Time) (int, error) {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if len(p) == 0 && s.in.size > 0 {
			return 0, nil
		}
		if n, err := s.readNow(p); n > 0 || err != nil {
			return n, err
		}
		m.flushLocked() // the peer may wait for what we have to say before it goes on
		if s.in.size > 0 || s.theirEnd || s.lost() != nil {
			continue
		}
		m.mu.Unlock()
		err := s.more.await(m.now, &by, nil)
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
// until a flush. Streams that wait for the same take turns. Budget: 0 allocs.
func (s *stream) write(p []byte, end bool, idle time.Duration) error {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		err := s.lost()
		if err == nil && (s.ourEnd || s.unwanted) {
			err = errEnded
		}
		if err != nil {
			m.leaveQueue(s)
			return err
		}
		if len(p) == 0 {
			m.leaveQueue(s)
			if end {
				m.endStream(s)
			}
			return nil
		}
		switch {
		case s.window <= 0:
			m.leaveQueue(s) // others may go on
			m.flushLocked()
			if s.window > 0 || s.lost() != nil {
				continue
			}
			err = m.awaitRoom(s, idle)
		case len(m.queue) > 0 && m.queue[0] != s:
			m.enqueue(s)
			err = m.awaitRoom(s, idle)
		case m.roomForData() <= 0:
			if len(m.out) > 0 && !m.sending {
				m.flushLocked()
				continue
			}
			m.enqueue(s)
			err = m.awaitRoom(s, idle)
		default:
			most := len(p)
			if len(m.queue) > 1 {
				most = min(most, turn)
			}
			n := m.appendData(s, p[:most])
			p = p[n:]
			if len(m.queue) > 1 {
				m.leaveQueue(s)
			}
		}
		if err != nil {
			m.leaveQueue(s)
			return err
		}
	}
}

// turn is how much a stream sends before it is another's turn.
const turn = 16 << 10

// awaitRoom waits until s may have room to send. The lock is held but for the wait.
func (m *mux) awaitRoom(s *stream, idle time.Duration) error {
	m.mu.Unlock()
	rang := s.room.wait(idle)
	m.mu.Lock()
	if !rang {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// awaitTurn waits, with others, for room to send. The lock is held but for the wait.
func (m *mux) awaitTurn(s *stream, idle time.Duration) error {
	m.enqueue(s)
	err := m.awaitRoom(s, idle)
	m.leaveQueue(s)
	return err
}

// enqueue makes s one of those that wait for what all streams share: the connection's
// window and the buffer.
func (m *mux) enqueue(s *stream) {
	if !s.queued {
		s.queued = true
		m.queue = append(m.queue, s)
	}
}

// leaveQueue takes s off the queue and tells the next.
func (m *mux) leaveQueue(s *stream) {
	if !s.queued {
		return
	}
	s.queued = false
	i := slices.Index(m.queue, s)
	m.queue = slices.Delete(m.queue, i, i+1)
	m.admit()
}

// finishHead makes out what is to be sent: a head's block stands at its end, behind room
// for a frame's header at offset at. The lock must be held.
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
