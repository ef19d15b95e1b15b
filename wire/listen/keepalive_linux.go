package listen

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prepare has clients that are silent asked whether they are still there, small writes sent at
// once, and the arrival of what they send noted where that is wanted. Connections inherit that
// from the socket they are accepted from, which saves as many system calls for each.
func prepare(config *net.ListenConfig, stamped bool) {
	config.KeepAlive = -1 // nothing is to be done for each
	config.Control = func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			set := func(level, option, value int) error { return unix.SetsockoptInt(int(fd), level, option, value) }
			failed = errors.Join(
				set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
				set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle/time.Second)),
				set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveEvery/time.Second)),
				set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount),
				set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			)
			if stamped {
				failed = errors.Join(failed, set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
			}
		})
		return errors.Join(err, failed)
	}
}
