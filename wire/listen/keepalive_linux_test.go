package listen

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A client that is gone without a word is found out, though nothing is set for its connection.
func TestKeepAlive(t *testing.T) {
	l := listenFor(t, &greeter{}, Options{})
	dial(t, l)
	c, err := l.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name                string
		level, option, want int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		var got int
		if failed := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), row.level, row.option) }); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		if got != row.want {
			t.Errorf("%s is %d, want %d", row.name, got, row.want)
		}
	}
}
