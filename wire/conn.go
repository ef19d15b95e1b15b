package wire

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Errors of Conn.Read beside those of the socket and os.ErrDeadlineExceeded.
var (
	// ErrStopped says that StopReading ended the wait.
	ErrStopped error = passing("reading was stopped")
	// ErrAbandoned says that the tick function no longer wants to wait.
	ErrAbandoned error = passing("the wait was given up")
)

// errNoSplice says that the kernel cannot move bytes between sockets, or not now.
var errNoSplice error = passing("bytes cannot be moved within the kernel")

// passing is an error that crypto/tls must not take for the connection's end.
type passing string

func (e passing) Error() string { return string(e) }
func (passing) Timeout() bool   { return true }
func (passing) Temporary() bool { return true }

// How a Conn keeps timers off the request path: a deadline that is already armed
// and not too late is left alone, and only when it fires is it compared with the
// one that is wanted. A connection in steady use thus touches the runtime's timers
// once per tick instead of twice per request.
const (
	tick    = time.Second      // how often a waiting reader is asked whether to go on
	farAway = 30 * time.Minute // how far ahead a timer is armed when no deadline is wanted
)

// A Conn is a TCP connection with lazy deadlines, byte counts and waits that hold
// no buffer. On a real socket it calls the kernel directly: the descriptor is
// non-blocking, so the scheduler need not be told. Any other net.Conn works too.
//
// One goroutine may read while another writes; StopReading, Close, Gone and Quiet may
// be called by anyone.
type Conn struct {
	nc  net.Conn
	raw syscall.RawConn // nil when nc is not a socket

	reader side
	writer side

	early [1]byte // takes what came before it was asked for

	tickFn  Tick
	held    bool  // see Hold
	stamped bool  // see Stamped
	arrived int64 // when what was read last did, in nanoseconds since 1970; 0 where nobody knows
	stopped atomic.Bool
	woken   atomic.Bool
	in, out atomic.Int64
	meter   *Meter // nil for none; it has been told of so much:

	inMetered, outMetered atomic.Int64
	closed                atomic.Bool
	cut                   atomic.Bool // the other side reset the connection without having ended it
	later                 atomic.Bool // see CloseLater
}

// A side is one direction's system call in flight. Its function is made once, so
// that waiting allocates nothing.
type side struct {
	try   func(fd uintptr) bool
	p     []byte
	tail  []byte // second part of a vectored write
	pool  *Pool  // where to take p from once there is something to read
	ask   []byte // to be sent before the wait begins, see Ask
	rest  []byte // what of ask the socket had no room for
	moves bool   // read into a pipe, see move
	pipe  *pipe  // what it was read into, or is to be written from
	left  int    // bytes of it that are still to be written

	unable bool // to move
	flags  int  // of writes
	n      int
	errno  syscall.Errno
	armed  time.Time // when the runtime's timer fires; zero for never
	want   time.Time // when the caller wants to stop; zero for never
	mark   int64     // bytes written when the write timer was armed
	idle   time.Duration
}

// NewConn wraps nc, which it owns from now on.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.reader.try = c.tryRead
			c.writer.try = c.tryWrite
		}
	}
	return c
}

// tryRead reads once; false means that there is nothing to read yet.
func (c *Conn) tryRead(fd uintptr) bool {
	s := &c.reader
	if s.moves {
		return c.trySplice(fd)
	}
	if s.ask != nil {
		return c.tryAsk(fd)
	}
	taken := s.p == nil
	if taken {
		s.p = s.pool.Get()
	}
	var n int
	var errno syscall.Errno
	if c.stamped {
		n, c.arrived, errno = readStamped(fd, s.p)
	} else {
		n, errno = readOnce(fd, s.p)
	}
	if errno == syscall.EAGAIN {
		if taken {
			s.pool.Put(s.p)
			s.p = nil
		}
		return false
	}
	s.n, s.errno = n, errno
	return true
}

func readOnce(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0) //nolint:gosec // a read into a live slice
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// tryWrite writes what is left of p and tail; false means that the socket is full.
func (c *Conn) tryWrite(fd uintptr) bool {
	s := &c.writer
	if s.pipe != nil {
		return c.tryUnsplice(fd)
	}
	for {
		n, errno := writeOnce(fd, s.p, s.tail, s.flags)
		if errno == syscall.EINTR {
			continue
		}
		if errno == syscall.EAGAIN {
			c.waitWrite()
			return false
		}
		s.errno = errno
		if errno != 0 {
			return true
		}
		s.n += n
		c.out.Add(int64(n))
		first := min(n, len(s.p))
		s.p, s.tail = s.p[first:], s.tail[n-first:]
		if len(s.p)+len(s.tail) == 0 {
			return true
		}
	}
}

// waitWrite has the deadline of a write count from now on.
func (c *Conn) waitWrite() {
	c.armWrite(time.Now()) //nolint:forbidigo // because only a full socket pays for it
}

func writeOnce(fd uintptr, p, tail []byte, flags int) (int, syscall.Errno) {
	if len(tail) == 0 || len(p) == 0 {
		if len(p) == 0 {
			p = tail
		}
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(msgNoSignal|flags), 0, 0) //nolint:gosec // a write from a live slice
		return int(n), errno
	}
	iov := [2]syscall.Iovec{
		{Base: &p[0], Len: uint64(len(p))},
		{Base: &tail[0], Len: uint64(len(tail))},
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&iov)), 2) //nolint:gosec // two live slices
	return int(n), errno
}

// ReadBy sets when a Read that has nothing to return gives up. A zero by means
// never. now is the current time. Budget: 0 allocs.
func (c *Conn) ReadBy(by, now time.Time) {
	s := &c.reader
	s.want = by
	limit := now.Add(farAway)
	if c.tickFn != nil {
		limit = now.Add(tick)
	}
	if !by.IsZero() && by.Before(limit) {
		limit = by
	}
	if s.armed.After(limit) || s.armed.Before(now.Add(limit.Sub(now)/2)) {
		c.armRead(limit)
	}
}

// A Tick is asked about once a second, while someone waits, whether to go on and
// until when. by is the deadline so far; zero is never.
type Tick func(by time.Time) (until time.Time, ok bool)

// OnTick has f asked while Read waits; nil stops that. Set it before ReadBy.
func (c *Conn) OnTick(f Tick) { c.tickFn = f }

// Wake has the Tick of a Read that waits, or of the next one, asked at once.
func (c *Conn) Wake() {
	c.woken.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

func (c *Conn) armRead(at time.Time) {
	c.reader.armed = at
	_ = c.nc.SetReadDeadline(at) // fails only on a closed connection, which Read reports
}

// Read reads into p. Budget: 0 allocs.
func (c *Conn) Read(p []byte) (int, error) {
	c.reader.p = p
	return c.read()
}

// ReadFirst waits for data without holding a buffer, then takes one from pool and
// reads into it. The buffer is the caller's if n > 0.
func (c *Conn) ReadFirst(pool *Pool) (b []byte, n int, err error) {
	if c.raw == nil {
		b = pool.Get()
		c.reader.p = b
	} else {
		c.reader.p, c.reader.pool = nil, pool
	}
	n, err = c.read()
	b = c.reader.p
	c.reader.p = nil
	if n <= 0 && b != nil {
		pool.Put(b)
		b = nil
	}
	return b, n, err
}

func (c *Conn) read() (int, error) {
	for {
		if c.held || c.stopped.Load() {
			return 0, ErrStopped
		}
		if c.woken.Load() && c.woken.Swap(false) {
			if err := c.rearmRead(); err != nil {
				return 0, err
			}
		}
		n, err := c.readOnce()
		if n > 0 {
			c.in.Add(int64(n))
			c.metered()
			return n, nil
		}
		if err == nil {
			return 0, io.EOF
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.noteCut(err)
			return 0, err
		}
		if err := c.rearmRead(); err != nil {
			return 0, err
		}
	}
}

func (c *Conn) readOnce() (int, error) {
	if c.raw == nil {
		n, err := c.nc.Read(c.reader.p)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	if err := c.raw.Read(c.reader.try); err != nil {
		return 0, err
	}
	if c.reader.rest != nil {
		if err := c.sendRest(); err != nil {
			return 0, err
		}
	}
	if c.reader.unable {
		return 0, errNoSplice
	}
	if c.reader.errno != 0 {
		return 0, c.reader.errno
	}
	return c.reader.n, nil
}

// rearmRead decides, when the timer has fired, whether that was the deadline that
// is wanted; if not it arms the next and returns nil.
func (c *Conn) rearmRead() error {
	if c.stopped.Load() {
		return ErrStopped
	}
	now := time.Now() //nolint:forbidigo // because a timer has fired, and what is compared is when
	s := &c.reader
	if c.tickFn != nil {
		until, ok := c.tickFn(s.want)
		if !ok {
			return ErrAbandoned
		}
		s.want = until
	}
	if !s.want.IsZero() && !now.Before(s.want) {
		return os.ErrDeadlineExceeded
	}
	s.armed = time.Time{}
	c.ReadBy(s.want, now)
	if c.stopped.Load() { // StopReading may have come between; its deadline is now lost
		return ErrStopped
	}
	return nil
}

// StopReading makes the Read that waits, and every later one, return ErrStopped.
func (c *Conn) StopReading() {
	c.stopped.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// Resume takes StopReading back and bounds the next Read by d from now.
func (c *Conn) Resume(d time.Duration) bool {
	if c.closed.Load() {
		return false
	}
	c.stopped.Store(false)
	c.reader.armed = time.Time{}
	now := time.Now() //nolint:forbidigo // because the wait is bounded from here on, whoever calls
	c.ReadBy(now.Add(d), now)
	return true
}

// Hold makes Read return ErrStopped without asking the socket, until it is taken
// back: what a TLS session has read ahead can be told from what is still to come.
// No other goroutine may be reading.
func (c *Conn) Hold(on bool) { c.held = on }

// WriteIdle sets how long a Write may rest without the socket taking a byte; 0 is
// for ever. The time is kept coarsely: between one and two times d. Every Write is
// given that long, however late it begins.
func (c *Conn) WriteIdle(d time.Duration) { c.writer.idle = d }

// Write writes all of p. Budget: 0 allocs.
func (c *Conn) Write(p []byte) (int, error) { return c.WriteTwo(p, nil) }

// WriteTwo writes p and then tail with one system call where the socket has room.
// Budget: 0 allocs.
func (c *Conn) WriteTwo(p, tail []byte) (int, error) {
	defer c.metered()
	if c.raw == nil {
		return c.writePlain(p, tail)
	}
	s := &c.writer
	s.p, s.tail, s.n, s.errno = p, tail, 0, 0
	n, err := c.write()
	s.p, s.tail = nil, nil
	return n, err
}

// write writes what is prepared.
func (c *Conn) write() (int, error) {
	s := &c.writer
	for first := true; ; first = false {
		err := c.raw.Write(s.try)
		if err == nil && s.errno != 0 {
			err = s.errno
		}
		if err == nil {
			return s.n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.rearmWrite(first) {
			c.noteCut(err)
			return s.n, err
		}
	}
}

// noteCut notes a reset. The kernel tells of it once: whoever comes later sees an
// ordinary end.
func (c *Conn) noteCut(err error) {
	if errors.Is(err, syscall.ECONNRESET) {
		c.cut.Store(true)
	}
}

// Cut reports whether a Read or Write met a reset that no orderly end came before.
func (c *Conn) Cut() bool { return c.cut.Load() }

func (c *Conn) writePlain(p, tail []byte) (int, error) {
	n, err := c.writeAll(p)
	if err == nil && len(tail) > 0 {
		var m int
		m, err = c.writeAll(tail)
		n += m
	}
	return n, err
}

func (c *Conn) writeAll(p []byte) (int, error) {
	done := 0
	for first := true; ; first = false {
		n, err := c.nc.Write(p[done:])
		done += n
		c.out.Add(int64(n))
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.rearmWrite(first) {
			c.noteCut(err)
			return done, err
		}
	}
}

// armWrite makes sure that a write that waits does not rest for ever. Like ReadBy it
// leaves a timer alone that is good enough.
func (c *Conn) armWrite(now time.Time) {
	s := &c.writer
	d := s.idle
	if d <= 0 {
		d = farAway
	}
	limit := now.Add(d)
	if !s.want.IsZero() && s.want.Before(limit) {
		limit = s.want
	}
	if s.armed.After(limit) || s.armed.Before(now.Add(limit.Sub(now)/2)) {
		s.armed, s.mark = limit, c.out.Load()
		_ = c.nc.SetWriteDeadline(limit) // fails only on a closed connection, which Write reports
	}
}

// rearmWrite reports whether a write whose timer has fired may go on: because bytes
// have moved since it was armed, because no limit is wanted, or because the timer was
// armed before this write began, so that it may have fired while nothing was being
// written. A deadline set by SetWriteDeadline is never forgiven.
func (c *Conn) rearmWrite(first bool) bool {
	s := &c.writer
	now := time.Now() //nolint:forbidigo // because a timer has fired, and what is compared is when
	switch {
	case c.closed.Load(), !s.want.IsZero() && !now.Before(s.want):
		return false
	case !first && s.idle > 0 && c.out.Load() == s.mark:
		return false
	}
	s.armed = time.Time{}
	c.armWrite(now)
	return true
}

// BytesRead and BytesWritten count what went through the socket.
func (c *Conn) BytesRead() int64    { return c.in.Load() }
func (c *Conn) BytesWritten() int64 { return c.out.Load() }

// Close closes the connection.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.settle()
	if c.later.Load() && c.end() {
		leavers.add(c.nc)
		return nil
	}
	return c.nc.Close()
}

// Reset closes the connection so that the other side sees an error rather than an
// orderly end.
func (c *Conn) Reset() {
	if tcp, ok := c.nc.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // fails only on a closed connection
	}
	_ = c.Close() // it is over either way
}

// CloseWrite closes our direction only, where the transport can.
func (c *Conn) CloseWrite() error {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// LocalAddr returns our address. This and what follows completes net.Conn for
// crypto/tls; deadlines set here are exact.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// LocalAddrPort is LocalAddr without allocating; invalid for what is no TCP socket.
func (c *Conn) LocalAddrPort() netip.AddrPort {
	tcp, ok := c.nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.reader.want, c.reader.armed = t, t
	return c.nc.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writer.want, c.writer.armed = t, t
	return c.nc.SetWriteDeadline(t)
}
