//go:build !linux

package wire

// msgMore has the kernel send what is written at once: it knows no other way.
const msgMore = 0
