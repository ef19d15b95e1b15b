package wire

import "golang.org/x/sys/unix"

// Acked returns how many bytes the other side's kernel has acknowledged since the
// connection began (RFC 4898 tcpEStatsAppHCThruOctetsAcked); the handshake may count
// as one. ok is false where the kernel does not say.
func (c *Conn) Acked() (n int64, ok bool) {
	if c.raw == nil {
		return 0, false
	}
	err := c.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n, ok = int64(info.Bytes_acked), true //nolint:gosec // a count
		}
	})
	return n, ok && err == nil
}
