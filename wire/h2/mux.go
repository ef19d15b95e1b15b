package h2

import (
	"crypto/tls"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// A role is what a server's connection and a client's do differently. The mux calls it
// from the goroutine that reads, without its lock unless said otherwise.
type role interface {
	// begin says into which head, of what kind, the field block goes that begins on the
	// stream; a nil head is for one that nobody waits for.
	begin(id uint32) (*wire.Head, block, error)
	// headers takes the block that begin was asked about. end says that no body follows,
	// fault which rule of HTTP the block broke.
	headers(id uint32, end bool, fault *wire.ProtocolError) error
	// closed is told, under the lock, that a stream has left the table.
	closed(s *stream)
	// goAway is told that the peer takes no stream above last.
	goAway(last uint32, code http2.ErrCode)
	// ponged is told, under the lock, that our PING was answered.
	ponged(data [8]byte)
	// abused is told that a connection or stream ends over an abuse; it must not block.
	abused(a Abuse)
}

// A remote is what the peer has said of itself in SETTINGS.
type remote struct {
	maxFrame   int
	window     int64
	maxStreams uint32
	extended   bool // takes extended CONNECT, RFC 8441
}

// A mux carries a connection's frames: one goroutine reads them, anyone writes.
// Frames to be sent are appended to one buffer under a short lock, and whoever flushes
// also sends what others append meanwhile.
type mux struct {
	raw    *wire.Conn
	secure *tls.Conn
	now    func() time.Time
	role   role

	// Of the goroutine that reads.
	rd       *reader
	dec      *decoder
	calm     calm
	block    []byte // of a field block that goes on in CONTINUATION
	blockEnd bool   // its HEADERS frame had END_STREAM
	frames   int    // that it came in
	headAt   time.Time
	heard    time.Time // when anything came
	self     bool      // its HEADERS frame made the stream depend on itself
	settled  bool      // the peer's SETTINGS came

	mu      sync.Mutex
	table   table
	past    history
	recv    credit
	peer    remote
	highest uint32 // id of the last stream that was opened
	unsent  error  // why nothing more can be sent; what was sent may still be answered
	eager   bool   // of a client, see credited
	dead    error  // why the connection is over

	out       []byte    // lent; frames to be sent
	sending   bool      // somebody sends, without the lock
	soon      bool      // somebody is about to flush
	batch     uint64    // counts what was sent: offsets into out are of one batch only
	window    int64     // what all streams together may send
	carried   int       // DATA frames both ways, since a PING was last judged
	completed int       // streams that both sides completed, since a reset was last judged
	queue     []*stream // those that wait for their turn to send
	piled     bool      // the goroutine that reads waits until less is to be sent
	drained   bell
}

// newMux makes the mux of a connected socket, and of the TLS session on it if secure is
// not nil.
func newMux(raw *wire.Conn, secure *tls.Conn, now func() time.Time, r role, dec *decoder) *mux {
	m := &mux{raw: raw, secure: secure, now: now, role: r, dec: dec}
	m.peer = remote{maxFrame: maxFrameSize, window: initialWindow, maxStreams: 100}
	m.window = initialWindow
	m.recv = newCredit(connWindow)
	if secure != nil {
		m.rd = newReader(secure)
	} else {
		m.rd = newReader(raw)
	}
	m.calm.begin()
	m.drained = newBell()
	return m
}

// buffer returns what is to be sent, lending a buffer if there is none. The lock must
// be held.
func (m *mux) buffer() []byte {
	if m.out == nil {
		m.out = buffers.Get()[:0]
	}
	return m.out
}

// greet appends our SETTINGS and opens the connection's window.
func (m *mux) greet(settings ...setting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = appendSettings(m.buffer(), settings...)
	m.out = appendWindowUpdate(m.out, 0, connWindow-initialWindow)
}

// appendData appends DATA frames of p as the windows and the buffer have room, and
// returns how much that was. The lock must be held. Budget: 0 allocs.
func (m *mux) appendData(s *stream, p []byte) (n int) {
	out := m.buffer()
	for len(p) > n {
		free := cap(out) - len(out) - frameHeader - spare
		size := min(int64(len(p)-n), s.window, m.window, int64(m.peer.maxFrame), int64(free))
		if size <= 0 {
			break
		}
		s.tail, s.tailBatch = len(out), m.batch
		out = appendFrame(out, int(size), frameData, 0, s.id)
		out = append(out, p[n:n+int(size)]...)
		n += int(size)
		m.carried++
		s.window -= size
		m.window -= size
	}
	m.out = out
	return n
}

// spare is kept free in the buffer for the small frames of the protocol.
const spare = 256

// endStream says that we have said all: in the stream's last frame if that is not sent
// yet, else in an empty one. The lock must be held.
func (m *mux) endStream(s *stream) {
	if s.tailBatch == m.batch {
		m.out[s.tail+4] |= flagEndStream
	} else {
		m.out = appendFrame(m.buffer(), 0, frameData, flagEndStream, s.id)
	}
	m.ended(s, true, false)
}

// ended notes that a side of the stream has said all, and lets the stream go when both
// have. The lock must be held.
func (m *mux) ended(s *stream, ours, theirs bool) {
	s.ourEnd = s.ourEnd || ours
	s.theirEnd = s.theirEnd || theirs
	if s.ourEnd && s.theirEnd {
		m.forget(s, completed)
	}
}

// forget takes the stream off the table. The lock must be held.
func (m *mux) forget(s *stream, how ending) {
	if m.table.remove(s) {
		if how == completed {
			m.completed++
		}
		m.past.note(s.id, how)
		m.role.closed(s)
	}
}

// resetLocked ends a stream from our side. The lock must be held.
func (m *mux) resetLocked(s *stream, code http2.ErrCode) {
	why := resetError(code)
	if m.eager {
		why = ourReset(code)
	}
	m.breakOff(s, code, why)
}

// breakOff ends a stream from our side, and tells whoever uses it why. The lock must be
// held. Nobody may use the stream afterwards but who served it.
func (m *mux) breakOff(s *stream, code http2.ErrCode, why error) {
	if s.broken != nil || m.dead != nil || m.table.find(s.id) != s {
		return
	}
	s.broken = why
	m.out = appendReset(m.buffer(), s.id, uint32(code))
	m.discard(s)
	m.forget(s, resetByUs)
	s.more.ring()
	s.room.ring()
}

// resetID refuses a stream that is not in the table.
func (m *mux) resetID(id uint32, code http2.ErrCode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = appendReset(m.buffer(), id, uint32(code))
	m.past.note(id, resetByUs)
}

// consumed gives the peer back what was read of s. The lock must be held.
func (m *mux) consumed(s *stream, n int) {
	if back := s.recv.earn(n); back > 0 && !s.theirEnd && s.lost() == nil {
		m.out = appendWindowUpdate(m.buffer(), s.id, back)
	}
	m.credited(n)
}

// credited gives the peer back of the connection's window what was read. An eager mux
// has done so when it came: there a stream that nobody reads must not keep those of
// others waiting, and the windows of the streams, which we open, bound what is kept.
func (m *mux) credited(n int) {
	if !m.eager {
		m.refund(n)
	}
}

func (m *mux) refund(n int) {
	if back := m.recv.earn(n); back > 0 {
		m.out = appendWindowUpdate(m.buffer(), 0, back)
	}
}

// discard drops what came of a body that nobody reads. The lock must be held.
func (m *mux) discard(s *stream) { m.credited(s.in.drop()) }

// flush sends what there is to send. When somebody else is sending already, they send
// ours as well.
func (m *mux) flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushLocked()
	return m.dead
}

// flushSoon sends what there is to send, and first lets whoever can run now append what
// they have: one write serves them all. others says that there may be such.
func (m *mux) flushSoon(others bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.soon: // somebody is about to
		return m.dead
	case others && !m.sending:
		m.soon = true
		m.mu.Unlock()
		runtime.Gosched()
		m.mu.Lock()
		m.soon = false
	}
	m.flushLocked()
	return m.dead
}

// flushUnlessSoon is flush for who knows that it does not matter when.
func (m *mux) flushUnlessSoon() {
	if !m.soon {
		m.flushLocked()
	}
}

// flushLocked is flush with the lock held; it lets go of it while it sends.
func (m *mux) flushLocked() {
	if m.sending {
		return
	}
	if m.unsent != nil {
		m.out = m.out[:0]
	}
	for len(m.out) > 0 && m.dead == nil {
		out := m.out
		m.out, m.sending = nil, true
		m.batch++
		m.mu.Unlock()
		err := m.send(out)
		buffers.Put(out)
		m.mu.Lock()
		m.sending = false
		if m.piled {
			m.piled = false
			m.drained.ring()
		}
		if err != nil {
			m.cannotSend(err)
		}
		m.admit()
	}
	if m.dead == nil && m.out != nil && len(m.out) == 0 {
		buffers.Put(m.out)
		m.out = nil
	}
}

// cannotSend ends the connection, a client's only when what the peer has said before is
// read: it may have refused requests that can then be sent again. The lock must be held.
func (m *mux) cannotSend(err error) {
	if !m.eager {
		m.failLocked(err)
		return
	}
	m.unsent, m.out = err, m.out[:0]
	time.AfterFunc(lastWords, func() { m.fail(err) })
}

func (m *mux) send(p []byte) error {
	var err error
	if m.secure != nil {
		_, err = m.secure.Write(p)
	} else {
		_, err = m.raw.Write(p)
	}
	return err
}

// admit wakes whose turn it is to send. The lock must be held.
func (m *mux) admit() {
	if len(m.queue) > 0 {
		m.queue[0].room.ring()
	}
}

// roomForData is how much of the connection's window may be used with what is left of
// the buffer. The lock must be held.
func (m *mux) roomForData() int64 {
	out := m.buffer()
	return min(m.window, int64(cap(out)-len(out)-frameHeader-spare))
}

// fail ends the connection: every stream learns why. What is still to be sent is lost.
func (m *mux) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failLocked(err)
}

func (m *mux) failLocked(err error) {
	if m.dead != nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // to a stream it is no orderly end
	}
	m.dead = err
	for m.table.len() > 0 {
		s := m.table.streams[m.table.len()-1]
		if !m.eager {
			m.credited(s.in.drop())
		}
		m.forget(s, resetByThem)
		s.more.ring()
		s.room.ring()
	}
	m.raw.StopReading() // whoever reads ends the connection
}

// bounded makes the goroutine that reads wait while more is to be sent than a peer that
// reads leaves unread: what its frames call forth must not pile up.
func (m *mux) bounded() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.out) >= maxPiled && m.dead == nil {
		if !m.sending {
			m.flushLocked()
			return
		}
		m.piled = true
		m.mu.Unlock()
		m.drained.wait(0)
		m.mu.Lock()
	}
}

// maxPiled is how much may wait to be sent behind what is being sent before no more is
// read.
const maxPiled = 128 << 10
