package gateway

import (
	"encoding/base64"
	"errors"
	"io"

	"legate/wire"
)

var errBase64 = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "the body is no base64"}

// An unbase64 takes base64 apart that comes in pieces cut anywhere and is padded wherever
// its sender had nothing more to say just then (gRPC-Web's text form). The zero value is
// ready.
type unbase64 struct {
	held [quantum]byte // digits of a quantum that is not complete
	n    int
	over [2 * quantum]byte // bytes that a reader had no room for
	left []byte            // what of them is still to be read
}

// quantum is how many digits stand for up to three bytes (RFC 4648 §4).
const quantum = 4

// read reads what src's body stands for into p. Budget: 0 allocs.
func (u *unbase64) read(src wire.Stream, p []byte) (int, error) {
	if len(u.left) > 0 {
		n := copy(p, u.left)
		u.left = u.left[n:]
		return n, nil
	}
	if len(p) >= len(u.over) {
		return u.fill(src, p)
	}
	n, err := u.fill(src, u.over[:])
	if n == 0 {
		return 0, err
	}
	u.left = u.over[:n]
	return u.read(src, p) // an end is said again
}

// fill is read with room for some quanta.
func (u *unbase64) fill(src wire.Stream, p []byte) (int, error) {
	for {
		copy(p, u.held[:u.n])
		m, err := src.ReadBody(p[u.n:])
		got := u.n + m
		whole := got - got%quantum
		u.n = copy(u.held[:], p[whole:got])
		n, ok := decodeInPlace(p[:whole])
		switch {
		case !ok, errors.Is(err, io.EOF) && u.n > 0:
			return 0, errBase64
		case n > 0 || err != nil:
			return n, err
		}
	}
}

// decodeInPlace decodes whole quanta into the memory that they stand in: what is written
// never overtakes what is read. Padding may end any of them. Budget: 0 allocs.
func decodeInPlace(p []byte) (n int, ok bool) {
	for at := 0; at < len(p); at += quantum {
		var v uint32
		digits := quantum
		for i, c := range p[at : at+quantum] {
			d := digitOf[c]
			switch {
			case d < 64 && digits == quantum:
				v |= uint32(d) << (18 - 6*i)
			case c == '=' && i >= 2:
				digits = min(digits, i)
			default:
				return 0, false
			}
		}
		p[n], p[n+1], p[n+2] = byte(v>>16), byte(v>>8), byte(v)
		n += digits - 1
	}
	return n, true
}

// digitOf is the value of each digit, 255 for what is none.
var digitOf = func() (t [256]byte) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = 255
	}
	for i := range digits {
		t[digits[i]] = byte(i)
	}
	return t
}()

// A rebase64 puts bytes into base64 piece by piece. The zero value is ready.
type rebase64 struct {
	held [3]byte // bytes that make no quantum yet
	n    int
}

// encode writes the digits of p, or of as much of p as dst has room for, and keeps what
// makes no quantum yet. dst must have room for a quantum. Budget: 0 allocs.
func (r *rebase64) encode(dst, p []byte) (n, taken int) {
	if r.n > 0 {
		taken = copy(r.held[r.n:], p)
		if r.n += taken; r.n < len(r.held) {
			return 0, taken
		}
		base64.StdEncoding.Encode(dst, r.held[:])
		r.n, n = 0, quantum
	}
	whole := min(len(p)-taken, (len(dst)-n)/quantum*3)
	whole -= whole % 3
	base64.StdEncoding.Encode(dst[n:], p[taken:taken+whole])
	n += whole / 3 * quantum
	taken += whole
	if len(p)-taken < 3 {
		r.n = copy(r.held[:], p[taken:])
		taken = len(p)
	}
	return n, taken
}

// end writes the digits of what was kept, padded, and returns how many they are.
func (r *rebase64) end(dst []byte) int {
	if r.n == 0 {
		return 0
	}
	base64.StdEncoding.Encode(dst, r.held[:r.n])
	r.n = 0
	return quantum
}
