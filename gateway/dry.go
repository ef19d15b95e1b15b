package gateway

import (
	"errors"
	"io"
	"time"

	"legate/wire"
)

// A dryStream is the stream of a request that is only asked about: it has no body, no
// client, and nowhere to send an answer.
type dryStream struct {
	peer  wire.Peer
	start time.Time
}

var errDry = errors.New("nothing is sent on behalf of a request that is only asked about")

func (s *dryStream) Peer() *wire.Peer                                    { return &s.peer }
func (s *dryStream) Start() time.Time                                    { return s.start }
func (s *dryStream) ReadBody([]byte) (int, error)                        { return 0, io.EOF }
func (s *dryStream) Ready() bool                                         { return true }
func (s *dryStream) Trailer() *wire.Head                                 { return nil }
func (s *dryStream) WriteHead(int, *wire.Head, *wire.Edits, int64) error { return errDry }
func (s *dryStream) WriteBody([]byte) (int, error)                       { return 0, errDry }
func (s *dryStream) Flush() error                                        { return errDry }
func (s *dryStream) End(*wire.Head) error                                { return errDry }
func (s *dryStream) Abort()                                              {}
func (s *dryStream) CloseAfter()                                         {}
func (s *dryStream) Gone() bool                                          { return false }
func (s *dryStream) StopReading()                                        {}
func (s *dryStream) SetIdle(time.Duration)                               {}
func (s *dryStream) BytesIn() int64                                      { return 0 }
func (s *dryStream) BytesOut() int64                                     { return 0 }
func (s *dryStream) Tunnel(*wire.Head, *wire.Edits, wire.Link) error     { return errDry }
