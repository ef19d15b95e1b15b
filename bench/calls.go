package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// The upstream of the gRPC rows speaks HTTP/2 in the clear, with prior knowledge, and
// is as cheap as the other: one goroutine and one buffer a connection, an answer made
// beforehand, one write for all that one read brought. It answers whatever is called
// with one message and status 0, and so need not read header blocks at all.

const (
	frameData         = 0x0 // RFC 9113, section 6
	frameHeaders      = 0x1
	frameSettings     = 0x4
	framePing         = 0x6
	frameWindowUpdate = 0x8

	flagEndStream  = 0x1 // of DATA and HEADERS
	flagAck        = 0x1 // of SETTINGS and PING
	flagEndHeaders = 0x4

	frameHead = 9 // length, type, flags, stream
	maxFrame  = 16 << 10
)

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// message is one gRPC message on the wire: not compressed, and 64 bytes long.
func message() []byte {
	const length = 64
	return append([]byte{0, 0, 0, 0, length}, bytes.Repeat([]byte("m"), length)...)
}

// serveCalls answers on l until it is closed.
func serveCalls(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		s := &callConn{c: c, answer: cannedCall(), buf: make([]byte, 4*maxFrame), window: 65_535}
		go s.serve()
	}
}

// cannedCall is a whole answer, for stream 0: head, message, trailers.
func cannedCall() []byte {
	const contentType, status = "application/grpc", "grpc-status"
	// Literals without indexing: RFC 7541, section 6.2.2. 0x88 is ":status: 200", 0x0f 0x10 the name of "content-type".
	head := append([]byte{0x88, 0x0f, 0x10, byte(len(contentType))}, contentType...)
	trailer := append(append([]byte{0x00, byte(len(status))}, status...), 1, '0')
	b := appendFrame(nil, frameHeaders, flagEndHeaders, head)
	b = appendFrame(b, frameData, 0, message())
	return appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, trailer)
}

// appendFrame adds a frame for stream 0.
func appendFrame(b []byte, kind, flags byte, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

type callConn struct {
	c       net.Conn
	answer  []byte
	buf     []byte // buf[r:w] is read and not yet used
	r, w    int
	out     []byte
	window  int      // what the peer still takes on this connection
	waiting []uint32 // streams whose answer it does not take yet
	unsaid  int      // what we took and have not said so
}

func (s *callConn) serve() {
	defer s.c.Close()
	preface := make([]byte, len(h2Preface))
	if _, err := io.ReadFull(s.c, preface); err != nil || string(preface) != h2Preface {
		return
	}
	s.out = appendFrame(nil, frameSettings, 0, nil)
	for {
		if err := s.frames(); err != nil {
			return
		}
		if _, err := s.c.Write(s.out); err != nil {
			return // the peer is done, or broken; nobody to tell
		}
		s.out = s.out[:0]
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
		n, err := s.c.Read(s.buf[s.w:])
		if s.w += n; err != nil {
			return
		}
	}
}

// frames takes every whole frame of the buffer.
func (s *callConn) frames() error {
	for s.w-s.r >= frameHead {
		f := s.buf[s.r:s.w]
		length := int(f[0])<<16 | int(f[1])<<8 | int(f[2])
		if length > maxFrame {
			return errors.New("frame too large")
		}
		if len(f) < frameHead+length {
			break
		}
		s.frame(f[3], f[4], binary.BigEndian.Uint32(f[5:]), f[frameHead:frameHead+length])
		s.r += frameHead + length
	}
	return nil
}

func (s *callConn) frame(kind, flags byte, stream uint32, payload []byte) {
	switch {
	case kind == frameSettings && flags&flagAck == 0:
		s.out = appendFrame(s.out, frameSettings, flagAck, nil)
	case kind == framePing && flags&flagAck == 0:
		s.out = appendFrame(s.out, framePing, flagAck, payload)
	case kind == frameWindowUpdate && stream == 0 && len(payload) == 4:
		s.window += int(binary.BigEndian.Uint32(payload))
		waiting := s.waiting
		s.waiting = s.waiting[:0]
		for _, stream := range waiting {
			s.call(stream)
		}
	case kind == frameData:
		s.took(len(payload))
		fallthrough
	case kind == frameHeaders:
		if flags&flagEndStream != 0 {
			s.call(stream)
		}
	}
}

// took gives back window of the connection: seldom, as it costs the peer a frame. A
// stream's own is never used up by one message.
func (s *callConn) took(n int) {
	if s.unsaid += n; s.unsaid >= 32<<10 {
		s.out = appendFrame(s.out, frameWindowUpdate, 0, binary.BigEndian.AppendUint32(nil, uint32(s.unsaid)))
		s.unsaid = 0
	}
}

// call answers the call on stream, now or when the connection's window allows.
func (s *callConn) call(stream uint32) {
	n := len(message())
	if s.window < n {
		s.waiting = append(s.waiting, stream)
		return
	}
	s.window -= n
	at := len(s.out)
	s.out = append(s.out, s.answer...)
	for at < len(s.out) {
		length := int(s.out[at])<<16 | int(s.out[at+1])<<8 | int(s.out[at+2])
		binary.BigEndian.PutUint32(s.out[at+5:], stream)
		at += frameHead + length
	}
}
