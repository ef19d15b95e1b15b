//go:build !linux

package wire

const (
	// msgMore has the kernel send what is written at once: it knows no other way.
	msgMore = 0
	// msgNoSignal is not needed where Go's runtime lets go of the signal.
	msgNoSignal = 0
)
