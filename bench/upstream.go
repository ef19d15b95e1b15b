package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
)

// The upstream answers as cheaply as it can, so that what is measured is the
// proxy in front of it: one goroutine and one buffer a connection, answers made
// beforehand, one write each. It knows Content-Length only and refuses the rest.

const maxHead = 16 << 10

func upstreamMain(args []string) error {
	fs := flag.NewFlagSet("upstream", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:0", "where to speak HTTP/1.1")
	calls := fs.String("calls", "127.0.0.1:0", "where to answer gRPC")
	pours := fs.String("pours", "127.0.0.1:0", "where to pour bytes")
	_ = fs.Parse(args)
	failed := make(chan error, 3)
	go func() { failed <- listen(*addr, serveUpstream) }()
	go func() { failed <- listen(*calls, serveCalls) }()
	go func() { failed <- listen(*pours, servePours) }()
	return <-failed
}

// serveUpstream answers on l until it is closed.
func serveUpstream(l net.Listener) error {
	answers := cannedAnswers()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		s := &upstreamConn{c: c, answers: answers, buf: make([]byte, maxHead)}
		go s.serve()
	}
}

// cannedAnswers maps a request target to the whole answer, head and body.
func cannedAnswers() map[string][]byte {
	m := map[string][]byte{}
	for target, size := range map[string]int{"/300": 300, "/10k": 10 << 10, "/1m": 1 << 20} {
		body := bytes.Repeat([]byte("legate "), size/7+1)[:size]
		m[target] = append(answerHead(nil, "200 OK", size), body...)
	}
	return m
}

func answerHead(b []byte, status string, length int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = append(b, status...)
	b = append(b, "\r\nServer: upstream\r\nDate: Tue, 24 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\n"+
		"Cache-Control: no-store\r\nETag: \"33a64df551425fcc\"\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	return append(b, "\r\n\r\n"...)
}

type upstreamConn struct {
	c       net.Conn
	answers map[string][]byte
	buf     []byte // buf[r:w] is read and not yet used
	r, w    int
	out     []byte // echo answers are made here
}

func (s *upstreamConn) serve() {
	defer s.c.Close()
	for {
		head, err := s.readHead()
		if err != nil {
			return // the peer is done, or broken; nobody to tell
		}
		target, length, err := parseRequest(head)
		if err != nil {
			_, _ = s.c.Write(answerHead(nil, "400 Bad Request", 0))
			return
		}
		if string(target) == "/"+talkTarget {
			_ = s.talk(head) // until the peer has enough
			return
		}
		if err := s.answer(string(target), length); err != nil {
			return
		}
	}
}

// readHead returns the next head including its empty line; it is valid until
// the next read.
func (s *upstreamConn) readHead() ([]byte, error) {
	for {
		if i := bytes.Index(s.buf[s.r:s.w], []byte("\r\n\r\n")); i >= 0 {
			head := s.buf[s.r : s.r+i+4]
			s.r += i + 4
			return head, nil
		}
		if s.r > 0 {
			s.w = copy(s.buf, s.buf[s.r:s.w])
			s.r = 0
		}
		if s.w == len(s.buf) {
			return nil, errors.New("head too large")
		}
		n, err := s.c.Read(s.buf[s.w:])
		s.w += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

func (s *upstreamConn) answer(target string, length int) error {
	if target == "/echo" {
		return s.echo(length)
	}
	if err := s.body(io.Discard, length); err != nil {
		return err
	}
	a, ok := s.answers[target]
	if !ok {
		a = answerHead(nil, "404 Not Found", 0)
	}
	_, err := s.c.Write(a)
	return err
}

// echo takes the whole body before it answers: a proxy need not read an answer
// while it still sends.
func (s *upstreamConn) echo(length int) error {
	out := bytes.NewBuffer(answerHead(s.out[:0], "200 OK", length))
	if err := s.body(out, length); err != nil {
		return err
	}
	s.out = out.Bytes()
	_, err := s.c.Write(s.out)
	return err
}

// body moves length bytes of request body to dst: what is buffered first.
func (s *upstreamConn) body(dst io.Writer, length int) error {
	for length > 0 {
		if s.r == s.w {
			n, err := s.c.Read(s.buf)
			if n == 0 {
				return err
			}
			s.r, s.w = 0, n
		}
		n := min(length, s.w-s.r)
		_, _ = dst.Write(s.buf[s.r : s.r+n])
		s.r += n
		length -= n
	}
	return nil
}

// parseRequest returns the target and the body's length.
func parseRequest(head []byte) (target []byte, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	_, rest, ok1 := bytes.Cut(line, []byte(" "))
	target, _, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 {
		return nil, 0, fmt.Errorf("request line %q", line)
	}
	for len(fields) > 2 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		switch {
		case hasName(field, "content-length:"):
			length, err = strconv.Atoi(string(bytes.TrimSpace(field[len("content-length:"):])))
			if err != nil || length < 0 {
				return nil, 0, fmt.Errorf("field %q", field)
			}
		case hasName(field, "transfer-encoding:"):
			return nil, 0, errors.New("transfer-encoding is not known here")
		}
	}
	return target, length, nil
}

// hasName tells whether field begins with name, which is in lower case.
func hasName(field []byte, name string) bool {
	if len(field) < len(name) {
		return false
	}
	for i := range len(name) {
		if field[i]|0x20 != name[i]|0x20 {
			return false
		}
	}
	return true
}
