package wire

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// CloseLater has Close end the connection at once, both ways, and give its descriptor back a
// moment later together with others': the runtime is told of closing a descriptor as of any
// system call, which wakes its monitor where nothing else runs and so costs more than the
// call. What is written from now on goes with the end. To be called by whoever reads and
// writes, once nobody else does.
func (c *Conn) CloseLater() {
	if c.raw != nil {
		c.writer.flags = msgMore
		c.later.Store(true)
	}
}

// end ends both directions, and reports whether it could: a connection that the other side
// has reset cannot be ended.
func (c *Conn) end() bool {
	ended := false
	err := c.raw.Control(func(fd uintptr) {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, fd, syscall.SHUT_RDWR, 0)
		ended = errno == 0
	})
	return err == nil && ended
}

// leavers are the connections of this process that have ended and have their descriptors yet.
var leavers leaving

// What has ended has its descriptor for leaveAfter, or until there are leaveTogether of them:
// few beside those that a gateway short of descriptors keeps for others than clients.
const (
	leaveAfter    = 100 * time.Millisecond
	leaveTogether = 64
)

type leaving struct {
	mu   sync.Mutex
	list []net.Conn
}

func (l *leaving) add(nc net.Conn) {
	l.mu.Lock()
	l.list = append(l.list, nc)
	n := len(l.list)
	l.mu.Unlock()
	switch n {
	case 1:
		time.AfterFunc(leaveAfter, l.close)
	case leaveTogether:
		l.close()
	}
}

// close closes those that have come so far.
func (l *leaving) close() {
	l.mu.Lock()
	list := l.list
	l.list = nil
	l.mu.Unlock()
	for _, nc := range list {
		_ = nc.Close() // it has ended
	}
}
