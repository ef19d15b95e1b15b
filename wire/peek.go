package wire

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"unsafe"
)

// Gone reports whether the other side has closed or reset the connection. Bytes that
// wait to be read come before the end, so with them it is not gone. It reads nothing
// and does not wait.
func (c *Conn) Gone() bool {
	waiting, ended := c.peek()
	return ended && !waiting
}

// Quiet reports whether the connection is open with nothing to be read: what an idle
// connection to an endpoint must be, since whatever came would be taken for the next
// answer. It reads nothing and does not wait.
func (c *Conn) Quiet() bool {
	waiting, ended := c.peek()
	return !ended && !waiting
}

// peek reports whether bytes wait to be read and whether the end or an error does.
// Budget: 0 allocs.
func (c *Conn) peek() (waiting, ended bool) {
	if c.raw == nil {
		return false, c.closed.Load()
	}
	p := peekers.Get().(*peeker) //nolint:forcetypeassert // nothing else is put in
	defer peekers.Put(p)
	if err := c.raw.Control(p.look); err != nil {
		return false, true
	}
	return p.waiting, p.ended
}

// A peeker is one look at a socket. Its function is made once, so that looking
// allocates nothing.
type peeker struct {
	look           func(fd uintptr)
	b              [1]byte
	waiting, ended bool
}

var peekers = sync.Pool{New: func() any {
	p := new(peeker)
	p.look = p.peek
	return p
}}

func (p *peeker) peek(fd uintptr) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p.b)), 1, //nolint:gosec // one live byte
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	p.waiting = errno == 0 && n > 0
	p.ended = errno == 0 && n == 0 || errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR
}

// Peek waits until more than known bytes wait to be read and copies them to p, which
// must be longer, without taking them. io.EOF says that there is nothing and nothing
// will come; that what is there is all, only the deadline tells.
func (c *Conn) Peek(p []byte, known int) (int, error) {
	if c.raw == nil {
		return 0, errors.ErrUnsupported
	}
	var (
		n     uintptr
		errno syscall.Errno
	)
	err := c.raw.Read(func(fd uintptr) bool {
		n, _, errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_PEEK, 0, 0) //nolint:gosec // into a live slice
		return errno != syscall.EAGAIN && errno != syscall.EINTR && (errno != 0 || n == 0 || int(n) > known)
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}
