//go:build !linux

package wire

// A pipe is something that only Linux has.
type pipe struct{}

// move cannot be done here.
func (c *Conn) move(*Conn) (n int, ok bool, readErr, writeErr error) { return 0, false, nil, nil }

func (c *Conn) trySplice(uintptr) bool { return true }

func (c *Conn) tryUnsplice(uintptr) bool { return true }
