package wire

import (
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A pipe holds bytes on their way from one socket to another, within the kernel.
type pipe struct{ r, w int }

// pipeSize is how much is moved at once. The kernel may give a pipe less.
const pipeSize = 1 << 20

// pipes are those that rest, all of them empty. What the pool forgets is closed.
var pipes sync.Pool

// getPipe returns an empty pipe, nil where there is none to be had.
func getPipe() *pipe {
	if p, ok := pipes.Get().(*pipe); ok {
		return p
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller pipe moves less at once
	p := &pipe{fds[0], fds[1]}
	runtime.AddCleanup(p, closePipe, *p)
	return p
}

func closePipe(p pipe) {
	_ = unix.Close(p.r) // nobody is left to be told
	_ = unix.Close(p.w)
}

// putPipe takes back a pipe. One that is not empty is left to the collector.
func putPipe(p *pipe, empty bool) {
	if empty {
		pipes.Put(p)
	}
}

func splice(from, to uintptr, n int) (int, syscall.Errno) {
	for {
		m, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, from, 0, to, 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno != syscall.EINTR {
			return int(m), errno
		}
	}
}

// move waits for bytes, holding no buffer, and moves what has come to dst without
// copying it. A readErr is c's, a writeErr dst's. ok is false where that cannot be done,
// and then nothing was. Budget: 0 allocs once there are pipes.
func (c *Conn) move(dst *Conn) (n int, ok bool, readErr, writeErr error) {
	if c.raw == nil || dst.raw == nil {
		return 0, false, nil, nil
	}
	s := &c.reader
	s.p, s.moves = nil, true
	n, err := c.read()
	p := s.pipe
	s.pipe, s.moves, s.unable = nil, false, false
	switch {
	case n > 0:
	case err == errNoSplice: //nolint:errorlint // made here, never wrapped
		return 0, false, nil, nil
	default:
		return 0, true, err, nil
	}
	w := &dst.writer
	w.pipe, w.left, w.n, w.errno = p, n, 0, 0
	m, err := dst.write()
	w.pipe = nil
	putPipe(p, m == n)
	return m, true, nil, err
}

// trySplice fills a pipe once; false means that there is nothing to read yet.
func (c *Conn) trySplice(fd uintptr) bool {
	s := &c.reader
	p := getPipe()
	if p == nil {
		s.unable = true
		return true
	}
	n, errno := splice(fd, uintptr(p.w), pipeSize)
	if errno == 0 && n > 0 {
		s.pipe, s.n, s.errno = p, n, 0
		return true
	}
	putPipe(p, true)
	if errno == syscall.EAGAIN {
		return false
	}
	s.unable = errno == syscall.EINVAL || errno == syscall.ENOSYS || errno == syscall.EPERM
	s.n, s.errno = 0, errno
	return true
}

// tryUnsplice empties the pipe into the socket; false means that the socket is full.
func (c *Conn) tryUnsplice(fd uintptr) bool {
	s := &c.writer
	for s.left > 0 {
		n, errno := splice(uintptr(s.pipe.r), fd, s.left)
		if errno == syscall.EAGAIN {
			c.waitWrite()
			return false
		}
		if errno != 0 {
			s.errno = errno
			return true
		}
		s.n, s.left = s.n+n, s.left-n
		c.out.Add(int64(n))
	}
	return true
}
