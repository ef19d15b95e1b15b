// Package h2 is the HTTP/2 engine (RFC 9113): a server side that turns connections
// into streams and a client side whose links carry exchanges over connections that
// many share. Frames are read and checked by golang.org/x/net/http2 and field blocks
// decoded by its hpack; everything else is here. Both bodies stream with bounded
// buffers, whatever many streams have to say goes out in one write, and what is wrong
// with a request ends its stream only. It knows no route and no policy.
package h2

import (
	"fmt"

	"golang.org/x/net/http2"

	"legate/wire"
)

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = http2.ClientPreface

// What both sides say of themselves, and what the protocol starts from (RFC 9113
// §6.5.2).
const (
	maxFrameSize  = 16 << 10 // the largest frame that is accepted; nobody needs larger ones
	tableSize     = 4 << 10  // of the table that field blocks are decoded with
	initialWindow = 64<<10 - 1
	maxWindow     = 1<<31 - 1

	streamWindow = 256 << 10 // what one stream may send before it is read
	connWindow   = 1 << 20   // what all of them together may
)

// A ConnError ends a connection with all of its streams (RFC 9113 §5.4.1). Text is for
// operators; it never holds bytes of the message.
type ConnError struct {
	Code http2.ErrCode
	Text string
}

// Error returns the code and the text.
func (e *ConnError) Error() string { return fmt.Sprintf("HTTP/2 %v: %s", e.Code, e.Text) }

// A ResetError says that the peer reset a stream (RFC 9113 §5.4.2).
type ResetError struct{ Code http2.ErrCode }

// Error returns the code.
func (e *ResetError) Error() string { return "HTTP/2 stream was reset: " + e.Code.String() }

// Is reports whether target is what the reset of a link's stream amounts to.
func (e *ResetError) Is(target error) bool {
	if e.Code == http2.ErrCodeRefusedStream {
		return target == wire.ErrRefused
	}
	return target == wire.ErrRemoteReset
}

// resets are ready, so that a reset costs no allocation.
var resets = func() (t [14]ResetError) {
	for i := range t {
		t[i].Code = http2.ErrCode(i)
	}
	return t
}()

// resetError returns the error of a reset with that code. Unknown codes mean
// INTERNAL_ERROR (RFC 9113 §7).
func resetError(code http2.ErrCode) error {
	if int(code) >= len(resets) {
		code = http2.ErrCodeInternal
	}
	return &resets[code]
}

// errBroke stands for the frames of an answer that break HTTP/2's rules.
var errBroke = &wire.ProtocolError{Kind: wire.BadFraming, Text: "frames that break the rules of HTTP/2"}

// ourReset returns why a client resets a stream.
func ourReset(code http2.ErrCode) error {
	if code == http2.ErrCodeCancel {
		return errCancelled
	}
	return errBroke
}
