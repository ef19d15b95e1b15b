package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// peer starts what serves a listener and returns its address.
func peer(t *testing.T, serve func(net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = serve(l)
		close(ended)
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// net/http's own client understands the answers to calls, their trailers too, also
// where the connection's window has to grow many times for them.
func TestCallsAreAnswered(t *testing.T) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	addr := peer(t, serveCalls)
	for i := range 3000 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+called+"Unary", bytes.NewReader(message()))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/grpc" || !bytes.Equal(got, message()) {
			t.Fatalf("call %d: %d %v %q, %v", i, resp.StatusCode, resp.Header, got, err)
		}
		if status := resp.Trailer.Get("Grpc-Status"); status != "0" {
			t.Fatalf("call %d: status %q", i, status)
		}
	}
}

// Where the peer's window is used up, answers wait for it, and none is lost.
func TestCallsWaitForTheWindow(t *testing.T) {
	s := &callConn{answer: cannedCall(), window: len(message()) + 1}
	for stream := uint32(1); stream < 9; stream += 2 {
		s.frame(frameHeaders, flagEndStream, stream, nil)
	}
	if got := len(s.out); got != len(s.answer) {
		t.Fatalf("%d bytes went out, want one answer of %d", got, len(s.answer))
	}
	s.frame(frameWindowUpdate, 0, 0, []byte{0, 0, 0, byte(2 * len(message()))})
	if got := len(s.out); got != 3*len(s.answer) || len(s.waiting) != 1 {
		t.Fatalf("%d bytes went out and %d answers wait; want three answers of %d and one that waits", got, len(s.waiting), len(s.answer))
	}
	s.frame(frameWindowUpdate, 0, 0, []byte{0, 0, 1, 0})
	if got := len(s.out); got != 4*len(s.answer) || len(s.waiting) != 0 {
		t.Fatalf("%d bytes went out and %d answers wait; want all four", got, len(s.waiting))
	}
}

// A talker's messages pass through a proxy that is not ours.
func TestTalkersAreEchoed(t *testing.T) {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: startUpstream(t)})
	front := peer(t, func(l net.Listener) error { return http.Serve(l, proxy) })
	c, err := dialTalker(front, nil, "/"+talkTarget)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 200 {
		if err := c.converse(); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if _, err := dialTalker(front, nil, "/300"); err == nil {
		t.Error("a target that is no WebSocket was taken for one")
	}
}

func TestPoursArrive(t *testing.T) {
	pours := peer(t, servePours)
	front := peer(t, func(l net.Listener) error { return forward(l, pours) })
	for name, way := range map[string]func(*net.TCPConn) (int64, error){"down": pourOneDown, "up": pourOneUp} {
		n, err := pourOne(front, time.Now().Add(100*time.Millisecond), way)
		if err != nil || n < spout {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	gone := peer(t, func(l net.Listener) error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		return c.Close()
	})
	if n, err := pourOne(gone, time.Now().Add(10*time.Second), pourOneDown); err == nil {
		t.Errorf("%d bytes came from an upstream that closed, and nobody minded", n)
	}
}

// Every row that the profile's mix names is there, and has a load.
func TestTheMixIsOfLoads(t *testing.T) {
	if got := mixed(&options{}); len(got) != len(mix) {
		t.Errorf("%d loads, want those of %v", len(got), mix)
	}
	for _, r := range rows() {
		for _, name := range mix {
			if r.name == name && r.load == nil {
				t.Errorf("%s has no load", name)
			}
		}
	}
}
