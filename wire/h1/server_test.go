package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"legate/wire"
)

// echo answers every request with its method, path and body.
type echo struct{}

func (echo) Serve(s wire.Stream, req *wire.Head) {
	var e wire.Edits
	e.Add(wire.FieldContentType, []byte("text/plain"))
	e.AddName([]byte("x-path"), req.Path())
	length := req.Length
	if err := s.WriteHead(200, nil, &e, length); err != nil {
		s.Abort()
		return
	}
	b := make([]byte, 1000)
	for {
		n, err := s.ReadBody(b)
		if n > 0 {
			if _, err := s.WriteBody(b[:n]); err != nil {
				s.Abort()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.Abort()
			return
		}
	}
	_ = s.End(s.Trailer())
}

func (echo) Refuse(s wire.Stream, _ *wire.Head, err *wire.ProtocolError) {
	_ = s.WriteHead(err.Status(), nil, nil, 0)
	_ = s.End(nil)
}

// startServer serves h on a loopback port until the test ends.
func startServer(t testing.TB, h wire.Handler, lim Limits) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, lim, time.Now)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go s.ServeConn(wire.NewConn(nc), nil, wire.Peer{})
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		s.Abort()
		s.Wait()
	})
	return s, ln.Addr().String()
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServerPipelinesInOrder(t *testing.T) {
	_, addr := startServer(t, echo{}, DefaultLimits())
	c := dial(t, addr)
	var in strings.Builder
	for i := range 50 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", i)
		case 2:
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nX-T: 1\r\n\r\n", i)
		}
	}
	go func() { _, _ = io.WriteString(c, in.String()) }()
	br := bufio.NewReader(c)
	for i := range 50 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		want := []string{"", "abc", "abc"}[i%3]
		if got := resp.Header.Get("X-Path"); got != fmt.Sprintf("/%d", i) || string(body) != want {
			t.Fatalf("answer %d: path %q body %q, want body %q", i, got, body, want)
		}
		if i%3 == 2 && resp.Trailer.Get("X-T") != "1" {
			t.Fatalf("answer %d: trailer %v", i, resp.Trailer)
		}
	}
}

func TestServerStreamsLargeBodiesBothWays(t *testing.T) {
	_, addr := startServer(t, echo{}, DefaultLimits())
	const size = 5 << 20
	for _, chunked := range []bool{false, true} {
		body := io.Reader(strings.NewReader(strings.Repeat("x", size)))
		if chunked {
			body = io.MultiReader(body)
		}
		resp, err := http.Post("http://"+addr+"/big", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || n != size {
			t.Fatalf("chunked %v: got %d bytes, %v", chunked, n, err)
		}
	}
}

// A client that has just been answered, and is about to ask again when the drain begins, is
// served once more and told to go elsewhere.
func TestDrainServesWhoeverIsAboutToAsk(t *testing.T) {
	s, addr := startServer(t, echo{}, DefaultLimits())
	c := dial(t, addr)
	br := bufio.NewReader(c)
	ask := func() (closes bool) {
		t.Helper()
		if _, err := io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.Close
	}
	if ask() {
		t.Fatal("closed before the drain")
	}
	s.Drain()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := br.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after a round trip's time: %v, want an open connection", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if !ask() {
		t.Error("the answer does not say that the connection ends")
	}
	s.Wait()
}

func TestDrainServesWhatIsOnItsWay(t *testing.T) {
	s, addr := startServer(t, echo{}, DefaultLimits())
	idle := dial(t, addr)
	if _, err := io.WriteString(idle, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.Close {
		t.Fatalf("before the drain: %v %v", resp, err)
	}
	s.Drain()
	if _, err := br.ReadByte(); err != io.EOF {
		t.Fatalf("an idle connection should end cleanly, got %v", err)
	}
	s.Wait()
}
