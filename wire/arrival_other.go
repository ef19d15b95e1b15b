//go:build !linux

package wire

import "syscall"

// readStamped is readOnce: when data arrived is known on Linux only.
func readStamped(fd uintptr, p []byte) (n int, arrived int64, errno syscall.Errno) {
	n, errno = readOnce(fd, p)
	return n, 0, errno
}
