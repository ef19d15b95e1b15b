package als

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"legate/wire"
)

const (
	callPath = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

	// The numbers of the fields of envoy.service.accesslog.v3.
	messageIdentifier = 1 // of StreamAccessLogsMessage
	messageHTTP       = 2
	messageTCP        = 3
	identifierNode    = 1
	identifierName    = 2
	logEntry          = 1 // of HTTPAccessLogEntries, and of TCPAccessLogEntries
	nodeID            = 1
	nodeCluster       = 2
	nodeAgent         = 6
	nodeVersion       = 7

	patience = 5 * time.Second // for a batch
	lastWord = time.Second     // for the service to have taken the last one
)

// A stream is a call to a log service that lasts: it is made when there is something to
// tell, and once more after it has ended.
type stream struct {
	to         Opener
	authority  string
	identifier []byte // the first message's
	batch      protowire.Number

	link    wire.Link     // nil for none
	over    chan struct{} // closed once the service has ended the call, or it broke
	pending []byte        // what goes before the next batch
	body    []byte
}

func newStream(s *Settings, to Opener) *stream {
	node := protowire.AppendString(protowire.AppendTag(nil, nodeID, protowire.BytesType), s.Node)
	node = protowire.AppendString(protowire.AppendTag(node, nodeCluster, protowire.BytesType), s.Cluster)
	node = protowire.AppendString(protowire.AppendTag(node, nodeAgent, protowire.BytesType), "legate")
	node = protowire.AppendString(protowire.AppendTag(node, nodeVersion, protowire.BytesType), s.Version)
	id := appendMessage(nil, identifierNode, node)
	id = protowire.AppendString(protowire.AppendTag(id, identifierName, protowire.BytesType), s.Name)
	st := &stream{to: to, authority: s.Authority, identifier: appendMessage(nil, messageIdentifier, id), batch: messageHTTP}
	if s.TCP {
		st.batch = messageTCP
	}
	return st
}

// Send implements relay.Sender. Where a call that has lasted turns out to have ended,
// another one is made.
func (s *stream) Send(entries []byte, _ int) error {
	if s.link != nil {
		select {
		case <-s.over:
			s.drop()
		default:
			if s.write(entries) == nil {
				return nil
			}
		}
	}
	if err := s.begin(); err != nil {
		return err
	}
	return s.write(entries)
}

// begin makes a call.
func (s *stream) begin() error {
	link, err := s.to.Open()
	if err != nil {
		return fmt.Errorf("call the log service: %w", err)
	}
	var head wire.Head
	var edits wire.Edits
	head.BuildRequest("POST", s.authority, callPath, "content-type", "application/grpc")
	head.NoBody, head.Length = false, wire.LengthUnknown
	edits.Set(wire.FieldTE, []byte("trailers"))
	if err = link.WriteHead(&head, &edits, wire.LengthUnknown); err == nil {
		err = link.Flush()
	}
	if err != nil {
		link.Abort()
		link.Release()
		return fmt.Errorf("call the log service: %w", err)
	}
	s.link, s.over = link, make(chan struct{})
	go listen(link, s.over)
	s.pending = s.identifier
	return nil
}

// write sends a batch, and the identifier before it where a call has just begun. On
// failure the call has ended.
func (s *stream) write(entries []byte) error {
	size := len(s.pending) + protowire.SizeTag(s.batch) + protowire.SizeBytes(len(entries))
	b := binary.BigEndian.AppendUint32(append(s.body[:0], 0), uint32(size)) //nolint:gosec // because a batch is bounded
	b = appendMessage(append(b, s.pending...), s.batch, entries)
	s.body, s.pending = b, nil

	limit := time.AfterFunc(patience, s.link.Abort)
	_, err := s.link.WriteBody(b)
	if err == nil {
		err = s.link.Flush()
	}
	if !limit.Stop() && err == nil {
		err = errSlow
	}
	if err != nil {
		s.link.Abort()
		<-s.over
		s.drop()
		return fmt.Errorf("tell the log service: %w", err)
	}
	return nil
}

var errSlow = errors.New("it takes nothing")

// drop lets go of a call that has ended.
func (s *stream) drop() {
	s.link.Abort()
	s.link.Release()
	s.link = nil
}

// end says that nothing more comes, and waits a moment for the service to have taken it.
func (s *stream) end() {
	if s.link == nil {
		return
	}
	limit := time.AfterFunc(lastWord, s.link.Abort)
	if s.link.EndRequest(nil) != nil {
		s.link.Abort()
	}
	<-s.over
	limit.Stop()
	s.link.Release()
	s.link = nil
}

// listen waits for the end of a call: a log service says nothing before that.
func listen(link wire.Link, over chan<- struct{}) {
	defer close(over)
	var head wire.Head
	for head.Status < 200 {
		if err := link.ReadHead(&head, time.Time{}, nil); err != nil {
			return
		}
	}
	var b [512]byte
	for !head.NoBody && !link.Done() {
		if _, err := link.ReadBody(b[:], time.Time{}, nil); err != nil {
			return
		}
	}
}
