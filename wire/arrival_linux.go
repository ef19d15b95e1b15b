package wire

import (
	"sync"
	"syscall"
	"unsafe"
)

// A stampedRead is one read that also asks when what it reads has arrived. Such reads are
// pooled: connections that rest have none.
type stampedRead struct {
	msg     syscall.Msghdr
	part    syscall.Iovec
	control [syscall.SizeofCmsghdr + int(unsafe.Sizeof(syscall.Timespec{}))]byte
}

var stampedReads = sync.Pool{New: func() any { return new(stampedRead) }}

// readStamped is readOnce for a socket whose data has the time at which it arrived, in
// nanoseconds since 1970; 0 where the kernel does not say. Of data that arrived in several
// parts it is that of the last.
func readStamped(fd uintptr, p []byte) (n int, arrived int64, errno syscall.Errno) {
	r := stampedReads.Get().(*stampedRead) //nolint:forcetypeassert // nothing else is put in
	defer stampedReads.Put(r)
	r.part.Base = unsafe.SliceData(p) //nolint:gosec // which outlives the call
	r.part.SetLen(len(p))
	r.msg.Iov, r.msg.Iovlen = &r.part, 1
	r.msg.Control = &r.control[0]
	for {
		r.msg.SetControllen(len(r.control))
		got, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.msg)), 0) //nolint:gosec // a read into a live slice
		if errno == syscall.EINTR {
			continue
		}
		r.part.Base = nil
		if errno != 0 {
			return 0, 0, errno
		}
		return int(got), r.arrival(), 0
	}
}

// arrival is what the kernel says beside the data.
func (r *stampedRead) arrival() int64 {
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&r.control))                                                               //nolint:gosec // as the kernel has written it
	if int(r.msg.Controllen) < len(r.control) || h.Level != syscall.SOL_SOCKET || h.Type != syscall.SCM_TIMESTAMPNS { //nolint:gosec // a small number
		return 0
	}
	return (*syscall.Timespec)(unsafe.Pointer(&r.control[syscall.SizeofCmsghdr])).Nano() //nolint:gosec // the same
}
