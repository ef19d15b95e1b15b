package wire

import "syscall"

const (
	// msgMore has the kernel send what is written with what comes next.
	msgMore = syscall.MSG_MORE
	// msgNoSignal has a write to a connection that is closed fail, and nothing else happen.
	msgNoSignal = syscall.MSG_NOSIGNAL
)
