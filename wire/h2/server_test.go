package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"legate/wire"
)

// A watching notes what a server tells it.
type watching struct {
	open    atomic.Int64
	abuses  [NumAbuses]atomic.Int64
	abusive chan Abuse
}

func (w *watching) Opened(bool) { w.open.Add(1) }
func (w *watching) Closed(bool) { w.open.Add(-1) }
func (w *watching) Abused(a Abuse) {
	w.abuses[a].Add(1)
	select {
	case w.abusive <- a:
	default:
	}
}

// A handling answers by two functions; refuse may be nil.
type handling struct {
	serve  func(s wire.Stream, req *wire.Head)
	refuse func(err *wire.ProtocolError)
}

func (h handling) Serve(s wire.Stream, req *wire.Head) { h.serve(s, req) }

func (h handling) Refuse(s wire.Stream, _ *wire.Head, err *wire.ProtocolError) {
	if h.refuse != nil {
		h.refuse(err)
	}
	_ = s.WriteHead(err.Status(), nil, nil, 0)
	_ = s.End(nil)
}

// echoing answers with what was asked for: method, host, path and body.
func echoing(s wire.Stream, req *wire.Head) {
	body, err := wholeBody(s)
	if err != nil {
		s.Abort()
		return
	}
	var e wire.Edits
	e.AddName([]byte("x-asked"), fmt.Appendf(nil, "%s %s %s", req.MethodName(), req.Host(), req.Target()))
	if t := s.Trailer(); t != nil {
		v, _ := t.Find("x-sum")
		e.AddName([]byte("x-trailer"), v)
	}
	_ = s.WriteHead(200, nil, &e, int64(len(body)))
	_, _ = s.WriteBody(body)
	_ = s.End(nil)
}

func wholeBody(s wire.Stream) ([]byte, error) {
	var whole []byte
	b := make([]byte, 10000)
	for {
		n, err := s.ReadBody(b)
		whole = append(whole, b[:n]...)
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return whole, err
		}
	}
}

// A served is a running server.
type served struct {
	srv   *Server
	watch *watching
	addr  string
}

// serving starts a server on loopback that ends with the test.
func serving(t testing.TB, h wire.Handler, change func(l *Limits)) *served {
	t.Helper()
	lim := DefaultLimits()
	if change != nil {
		change(&lim)
	}
	w := &watching{abusive: make(chan Abuse, 1000)}
	srv := NewServer(h, w, lim, time.Now)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			srv.Start(wire.NewConn(nc), nil, wire.Peer{}, nil, func() {})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		accepting.Wait()
		srv.Abort()
		srv.Wait()
		if n := w.open.Load(); n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
	return &served{srv, w, ln.Addr().String()}
}

// client returns a client of net/http that speaks HTTP/2 in the clear.
func (s *served) client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// A peer speaks frames.
type peer struct {
	t  testing.TB
	nc net.Conn
	*http2.Framer
	quiet bool // confirms nothing
	block bytes.Buffer
	enc   *hpack.Encoder
	dec   *hpack.Decoder
}

// speak connects and exchanges the preface.
func (s *served) speak(t testing.TB, settings ...http2.Setting) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	p := &peer{t: t, nc: nc, Framer: http2.NewFramer(nc, nc), dec: hpack.NewDecoder(4096, nil)}
	p.enc = hpack.NewEncoder(&p.block)
	if _, err := io.WriteString(nc, Preface); err != nil {
		t.Fatal(err)
	}
	_ = p.WriteSettings(settings...)
	return p
}

// head sends a request's head.
func (p *peer) head(id uint32, end bool, fields ...string) {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndStream: end, EndHeaders: true})
}

// next returns the next frame that is neither SETTINGS, PING nor WINDOW_UPDATE.
func (p *peer) next() http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("reading: %v", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && !p.quiet {
				_ = p.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() && !p.quiet {
				_ = p.WritePing(true, f.Data)
			}
		case *http2.WindowUpdateFrame:
		default:
			return f
		}
	}
}

// want reads the frames to come and compares them with their descriptions.
func (p *peer) want(frames ...string) {
	p.t.Helper()
	for _, want := range frames {
		if got := p.describe(p.next()); got != want {
			p.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func (p *peer) describe(f http2.Frame) string {
	end := func(on bool) string {
		if on {
			return " end"
		}
		return ""
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		fields, err := p.dec.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			p.t.Fatal(err)
		}
		var b strings.Builder
		for _, h := range fields {
			fmt.Fprintf(&b, " %s=%s", h.Name, h.Value)
		}
		return fmt.Sprintf("%d HEADERS%s%s", f.StreamID, b.String(), end(f.StreamEnded()))
	case *http2.DataFrame:
		if len(f.Data()) > 20 {
			return fmt.Sprintf("%d DATA %d bytes%s", f.StreamID, len(f.Data()), end(f.StreamEnded()))
		}
		return fmt.Sprintf("%d DATA %s%s", f.StreamID, f.Data(), end(f.StreamEnded()))
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("%d RST %v", f.StreamID, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v", f.LastStreamID, f.ErrCode)
	}
	return fmt.Sprintf("%T", f)
}

func TestServerExchanges(t *testing.T) {
	s := serving(t, handling{serve: echoing}, nil)
	c := s.client(t)
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/", ""}, {"GET", "/a?b", ""}, {"HEAD", "/", ""}, {"POST", "/", "abc"},
		{"POST", "/long", strings.Repeat("long", 300_000)}, {"PURGE", "/x", ""},
	} {
		req, _ := http.NewRequest(row.method, "http://"+s.addr+row.path, strings.NewReader(row.body))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := row.method + " " + s.addr + " " + row.path; err != nil || resp.Header.Get("X-Asked") != want || string(got) != row.body || resp.ProtoMajor != 2 {
			t.Errorf("%s: got %q, %d bytes, %v", want, resp.Header.Get("X-Asked"), len(got), err)
		}
	}
}

func TestServerConcurrent(t *testing.T) {
	s := serving(t, handling{serve: echoing}, nil)
	c := s.client(t)
	body := strings.Repeat("x", 300_000)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			resp, err := c.Post("http://"+s.addr+"/"+fmt.Sprint(i), "", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
