package listen

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A queue is a listening socket that is accepted from by calls of the kernel which the
// runtime is not told of. They never block; and telling the runtime of a call while nothing
// else runs wakes its monitor, which then looks around every few microseconds and costs a
// process that comes to rest between connections more than accepting does.
type queue struct {
	file *os.File
	raw  syscall.RawConn
	addr net.Addr

	try    func(listener uintptr) bool // made once
	fd     uintptr
	errno  syscall.Errno
	client unix.RawSockaddrInet6 // has room for either family
}

// newQueue takes ln over.
func newQueue(ln *net.TCPListener) (acceptor, error) {
	defer ln.Close()       //nolint:errcheck // because the descriptor that goes on is another one
	file, err := ln.File() // a *net.TCPListener does not let others read from it
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	q := &queue{file: file, raw: raw, addr: ln.Addr()}
	q.try = q.accept
	return q, nil
}

// accept accepts once; false means that nobody waits.
func (q *queue) accept(listener uintptr) bool {
	for {
		size := uint32(unsafe.Sizeof(q.client))
		q.fd, _, q.errno = syscall.RawSyscall6(syscall.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&q.client)), uintptr(unsafe.Pointer(&size)), //nolint:gosec // into what is live
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		switch q.errno {
		case syscall.EINTR, syscall.ECONNABORTED: // whoever it was has left the queue
		default:
			return q.errno != syscall.EAGAIN
		}
	}
}

// Accept waits for the next connection. To be called by one goroutine.
func (q *queue) Accept() (net.Conn, error) {
	if err := q.raw.Read(q.try); err != nil {
		return nil, err
	}
	if q.errno != 0 {
		return nil, os.NewSyscallError("accept4", q.errno)
	}
	s := &socket{remote: tcpAddr(&q.client)}
	var local unix.RawSockaddrInet6
	size := uint32(unsafe.Sizeof(local))
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, q.fd, uintptr(unsafe.Pointer(&local)), uintptr(unsafe.Pointer(&size))); errno == 0 { //nolint:gosec // into what is live
		s.local = tcpAddr(&local)
	}
	s.File = os.NewFile(q.fd, "client")
	return s, nil
}

func (q *queue) Addr() net.Addr                { return q.addr }
func (q *queue) SetDeadline(t time.Time) error { return q.file.SetDeadline(t) }
func (q *queue) Close() error                  { return q.file.Close() }

// A socket is a connection that was accepted. Its file waits by the runtime's poller.
type socket struct {
	*os.File
	local, remote net.TCPAddr
}

func (s *socket) LocalAddr() net.Addr  { return &s.local }
func (s *socket) RemoteAddr() net.Addr { return &s.remote }

// CloseWrite ends our direction.
func (s *socket) CloseWrite() error {
	return s.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

// SetLinger says how long Close has the kernel try to send what is left; 0 has it reset the
// connection.
func (s *socket) SetLinger(sec int) error {
	return s.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(sec)}) //nolint:gosec // seconds
	})
}

func (s *socket) control(do func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// tcpAddr reads what the kernel says of one end of a connection.
func tcpAddr(sa *unix.RawSockaddrInet6) net.TCPAddr {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) //nolint:gosec // in the network's order
	addr := net.TCPAddr{Port: int(port[0])<<8 | int(port[1])}
	if sa.Family == unix.AF_INET {
		addr.IP = append(net.IP(nil), (*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr[:]...) //nolint:gosec // the family says that it is one
		return addr
	}
	addr.IP = append(net.IP(nil), sa.Addr[:]...)
	return addr
}
