package wire

import "syscall"

// msgMore has the kernel send what is written with what comes next.
const msgMore = syscall.MSG_MORE
