// Package rpc calls methods of gRPC that take one message and return one, over any
// wire.Asker. It knows no message: they are bytes, as protobuf encodes them.
package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"legate/wire"
)

// An Error is a call's status that is not OK: the service answered, and refused.
type Error struct {
	Code    int    // of gRPC
	Message string // for operators
}

func (e *Error) Error() string { return fmt.Sprintf("gRPC status %d: %q", e.Code, e.Message) }

// Errors of an answer that is none of gRPC's.
var (
	errStatus     = errors.New("the answer's HTTP status is not 200")
	errType       = errors.New("the answer's content type is not gRPC's")
	errNoStatus   = errors.New("the answer ends without a gRPC status")
	errFrame      = errors.New("the answer is not one message")
	errCompressed = errors.New("the answer is compressed, unasked")
)

// prefix is the length of what goes before a message: whether it is compressed, and how
// long it is.
const prefix = 5

// Begin makes q a call of method, "/package.Service/Method", without a message. The
// message is appended to what Begin returns, and handed to Call.
func Begin(q *wire.Question, authority []byte, method string, limit time.Duration, room []byte) []byte {
	q.Begin(methodPost, authority)
	q.Target(nil, []byte(method), nil, false)
	q.Limit = limit
	q.Add([]byte("content-type"), []byte("application/grpc"))
	q.Add([]byte("grpc-timeout"), append(strconv.AppendInt(nil, max(limit.Milliseconds(), 1), 10), 'm'))
	q.Edits.Set(wire.FieldTE, valueTrailers)
	return append(room[:0], make([]byte, prefix)...)
}

var (
	methodPost    = []byte("POST")
	valueTrailers = []byte("trailers")
)

// Call asks with what Begin began and returns the answer's message, which is valid until
// q.Release. An *Error is a refusal of the service's; any other error means that it
// could not be asked, or cannot be understood.
func Call(to wire.Asker, q *wire.Question, message []byte) ([]byte, error) {
	binary.BigEndian.PutUint32(message[1:prefix], uint32(len(message)-prefix)) //nolint:gosec // because what is asked is a request's head and a part of its body
	q.Body = message
	if err := to.Ask(q); err != nil {
		return nil, err
	}
	a := &q.Answer
	if a.Status != 200 {
		return nil, fmt.Errorf("%w, it is %d", errStatus, a.Status)
	}
	if !isGRPC(a.Get(wire.FieldContentType)) {
		return nil, errType
	}
	if err := status(q); err != nil {
		return nil, err
	}
	b := q.Content
	switch {
	case len(b) < prefix || binary.BigEndian.Uint32(b[1:prefix]) != uint32(len(b)-prefix): //nolint:gosec // because Question.Most bounds it
		return nil, errFrame
	case b[0] != 0:
		return nil, errCompressed
	}
	return b[prefix:], nil
}

// status reads how the call ended: in the trailer, or in a head that is all of the answer.
func status(q *wire.Question) error {
	at := &q.Answer
	if q.Trailer != nil {
		at = q.Trailer
	}
	text, ok := at.Find("grpc-status")
	if !ok {
		return errNoStatus
	}
	code, err := strconv.Atoi(string(text))
	switch {
	case err != nil:
		return errNoStatus
	case code == 0:
		return nil
	}
	message, _ := at.Find("grpc-message")
	return &Error{Code: code, Message: string(message)}
}

var typeGRPC = []byte("application/grpc")

func isGRPC(v []byte) bool {
	if len(v) < len(typeGRPC) || !wire.EqualFold(v[:len(typeGRPC)], typeGRPC) {
		return false
	}
	return len(v) == len(typeGRPC) || v[len(typeGRPC)] == '+' || v[len(typeGRPC)] == ';'
}
