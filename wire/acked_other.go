//go:build !linux

package wire

// Acked is unknown here.
func (c *Conn) Acked() (n int64, ok bool) { return 0, false }
