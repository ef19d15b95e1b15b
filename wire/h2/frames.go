package h2

import "encoding/binary"

// A credit is what the peer may send us (RFC 9113 §5.2), of one stream or of a
// connection: what was taken in and not read yet is never more than its size.
type credit struct {
	size int64 // what the peer may have under way
	open int64 // what it may still send
	owed int64 // what was read and not given back yet
}

func newCredit(size int64) credit { return credit{size: size, open: size} }

// spend notes that n bytes came. It reports false if they were more than allowed.
func (c *credit) spend(n int) bool {
	c.open -= int64(n)
	return c.open >= 0
}

// earn notes that n bytes were read and returns how much is worth a WINDOW_UPDATE; 0
// for not yet.
func (c *credit) earn(n int) int64 {
	c.owed += int64(n)
	if c.owed < c.size/4 {
		return 0
	}
	back := c.owed
	c.owed = 0
	c.open += back
	return back
}

// appendFrame appends a frame's header (RFC 9113 §4.1).
func appendFrame(out []byte, length int, kind, flags byte, id uint32) []byte {
	return append(out, byte(length>>16), byte(length>>8), byte(length), kind, flags, //nolint:gosec // 24 bits
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id)) //nolint:gosec // 31 bits
}

const frameHeader = 9

// The frames' types and flags (RFC 9113 §6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameRST          = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

func appendWindowUpdate(out []byte, id uint32, n int64) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(out, 4, frameWindowUpdate, 0, id), uint32(n)) //nolint:gosec // below 2^31
}

func appendReset(out []byte, id, code uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(out, 4, frameRST, 0, id), code)
}

func appendPing(out []byte, flags byte, data [8]byte) []byte {
	return append(appendFrame(out, 8, framePing, flags, 0), data[:]...)
}

func appendGoAway(out []byte, last, code uint32) []byte {
	out = appendFrame(out, 8, frameGoAway, 0, 0)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(out, last), code)
}

// A setting is one parameter of SETTINGS (RFC 9113 §6.5.1).
type setting struct {
	id    uint16
	value uint32
}

func appendSettings(out []byte, settings ...setting) []byte {
	out = appendFrame(out, 6*len(settings), frameSettings, 0, 0)
	for _, s := range settings {
		out = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(out, s.id), s.value)
	}
	return out
}

// splitHeaders completes the frame of a field block: out[at:] is a frame header with
// the whole block behind it, which is cut into frames that the peer takes (RFC 9113
// §4.3). The common block fits one frame.
func splitHeaders(out []byte, at int, id uint32, end bool, maxFrame int) []byte {
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	length := len(out) - at - frameHeader
	if length <= maxFrame {
		appendFrame(out[:at], length, frameHeaders, flags|flagEndHeaders, id)
		return out
	}
	block := append([]byte(nil), out[at+frameHeader:]...)
	out = append(appendFrame(out[:at], maxFrame, frameHeaders, flags, id), block[:maxFrame]...)
	for block = block[maxFrame:]; len(block) > 0; {
		n := min(len(block), maxFrame)
		last := byte(0)
		if n == len(block) {
			last = flagEndHeaders
		}
		out = append(appendFrame(out, n, frameContinuation, last, id), block[:n]...)
		block = block[n:]
	}
	return out
}
