package wire

import (
	"errors"
	"os"
)

// Errors of a Link whose connection is well.
var (
	// ErrRefused says that the endpoint did nothing with the request, and will not.
	ErrRefused = errors.New("the endpoint refused the stream")
	// ErrRemoteReset says that the endpoint ended the exchange before its answer was whole.
	ErrRemoteReset = errors.New("the endpoint reset the stream")
)

// Outcome names what ended an exchange on the client side.
type Outcome uint8

// The outcomes of a failed exchange.
const (
	Reset       Outcome = iota // the connection was closed or reset
	Refused                    // the endpoint says that it did nothing
	RemoteReset                // the endpoint ended this exchange only
	Timeout                    // the deadline passed
	Mangled                    // a malformed answer
	TooLarge                   // an answer's head over the limit
	GivenUp                    // we no longer wanted it
)

// OutcomeOf classifies an error of a Link's methods.
func OutcomeOf(err error) Outcome {
	var perr *ProtocolError
	switch {
	case errors.As(err, &perr) && (perr.Kind == HeadTooLarge || perr.Kind == TooManyLines || perr.Kind == LineTooLong):
		return TooLarge
	case errors.As(err, &perr):
		return Mangled
	case errors.Is(err, ErrAbandoned), errors.Is(err, ErrStopped):
		return GivenUp
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.Is(err, ErrRefused):
		return Refused
	case errors.Is(err, ErrRemoteReset):
		return RemoteReset
	}
	return Reset
}
