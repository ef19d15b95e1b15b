package h1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"legate/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A network makes connected pairs; the first end of each is the engine's.
type network func(t testing.TB) (ours net.Conn, theirs duplex)

// loopback makes pairs of real sockets.
func loopback(t testing.TB) (ours net.Conn, theirs duplex) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := far.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is not TCP", far)
	}
	return near, tcp
}

// dripping makes pairs in memory over which the engine is given step bytes at a time.
func dripping(step int) network {
	return func(testing.TB) (net.Conn, duplex) { return memPair(step) }
}

// A relay is a handler that forwards every request over a link to an endpoint, one
// connection kept for the next, in the manner of the gateway: heads first, bodies as
// they come. With gather it reads a body whole before it sends any of it, so that
// what it sends does not depend on how the bytes came.
type relay struct {
	t      testing.TB
	net    network
	serve  func(nc duplex) // the endpoint's side of a connection
	gather bool

	wg      sync.WaitGroup
	kept    *Link
	dialled int
	judged  []judgement // the requests sent whole, as the engine understood them
	refused []*wire.ProtocolError
	failed  []error // what links said
}

// A judgement is what is understood of a request.
type judgement struct {
	Method, Target, Host, Body string
	Fields, Trailer            string // sorted lines
}

func (r *relay) Idle(l *Link) bool {
	r.kept = l
	return true
}

func (r *relay) Closed(*Link) {}

// open returns a link: the one that is kept, if it is alive.
func (r *relay) open() *Link {
	if l := r.kept; l != nil {
		r.kept = nil
		if l.Alive() {
			return l
		}
		_ = l.Close()
	}
	r.dialled++
	ours, theirs := r.net(r.t)
	r.wg.Go(func() {
		defer theirs.Close()
		r.serve(theirs)
	})
	return NewLink(wire.NewConn(ours), nil, "endpoint", r)
}

// end closes what is kept and waits for every endpoint.
func (r *relay) end() {
	if r.kept != nil {
		_ = r.kept.Close()
	}
	r.wg.Wait()
}

func (r *relay) Refuse(s wire.Stream, _ *wire.Head, err *wire.ProtocolError) {
	r.refused = append(r.refused, err)
	s.CloseAfter()
	_ = s.WriteHead(err.Status(), nil, nil, 0)
	_ = s.End(nil)
}

func (r *relay) Serve(s wire.Stream, req *wire.Head) {
	if err := req.NormalizePath(wire.PathRules{}); err != nil {
		r.Refuse(s, req, err)
		return
	}
	l := r.open()
	defer l.Release()
	j := judge(req)
	err := r.send(l, s, req, &j)
	if perr, ok := errors.AsType[*wire.ProtocolError](err); ok {
		l.Abort()
		r.Refuse(s, req, perr)
		return
	}
	if err != nil {
		l.Abort()
		s.Abort()
		return
	}
	r.judged = append(r.judged, j)
	r.answer(l, s)
}

// send forwards the request. An error that is not the link's is the client's.
func (r *relay) send(l *Link, s wire.Stream, req *wire.Head, j *judgement) error {
	if err := l.WriteHead(req, nil, req.Length); err != nil {
		return err
	}
	if !req.NoBody && !r.gather {
		if err := l.Flush(); err != nil {
			return err
		}
	}
	var whole []byte
	b := wire.Large.Get()
	defer wire.Large.Put(b)
	for !req.NoBody {
		n, err := s.ReadBody(b)
		whole = append(whole, b[:n]...)
		if !r.gather && n > 0 {
			if _, err := l.WriteBody(b[:n]); err != nil {
				return err
			}
			if err := l.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if r.gather {
		if _, err := l.WriteBody(whole); err != nil {
			return err
		}
	}
	j.Body, j.Trailer = string(whole), lines(s.Trailer(), wire.NotInTrailer)
	return l.EndRequest(s.Trailer())
}

// answer carries the answer back, or says 502.
func (r *relay) answer(l *Link, s wire.Stream) {
	var resp wire.Head
	for {
		if err := l.ReadHead(&resp, time.Time{}, nil); err != nil {
			r.failed = append(r.failed, err)
			l.Abort()
			_ = s.WriteHead(502, nil, nil, 0)
			_ = s.End(nil)
			return
		}
		if err := s.WriteHead(resp.Status, &resp, nil, resp.Length); err != nil {
			r.t.Errorf("write head: %v", err)
		}
		if resp.Status >= 200 {
			break
		}
		_ = s.Flush()
	}
	var err error
	if !resp.NoBody {
		err = copyBody(l, s)
	}
	if err != nil {
		r.failed = append(r.failed, err)
		s.Abort()
		l.Abort()
		return
	}
	_ = s.End(l.Trailer())
}

func copyBody(l *Link, s wire.Stream) error {
	b := wire.Large.Get()
	defer wire.Large.Put(b)
	for {
		n, err := l.ReadBody(b, time.Time{}, nil)
		if n > 0 {
			if _, err := s.WriteBody(b[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || err == nil && l.Done() {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// judge notes what the engine understood, framing and connection fields aside.
func judge(req *wire.Head) judgement {
	target := string(req.Path())
	if q, ok := req.Query(); ok {
		target += "?" + string(q)
	}
	return judgement{
		Method: string(req.MethodName()),
		Target: target,
		Host:   string(req.Host()),
		Fields: lines(req, wire.HopByHop|1<<wire.FieldHost),
	}
}

// lines returns the fields of h, but those in skip, sorted by name.
func lines(h *wire.Head, skip wire.FieldSet) string {
	if h == nil {
		return ""
	}
	header := http.Header{}
	for i := range h.Len() {
		id, name, value := h.Line(i)
		if id == wire.FieldOther || !skip.Has(id) {
			header.Add(string(name), string(value))
		}
	}
	return sorted(header)
}

// sorted writes the fields by name. net/http makes a Cache-Control of an old Pragma:
// with one neither is told.
func sorted(h http.Header) string {
	var out strings.Builder
	if h.Get("Pragma") != "" {
		h.Del("Cache-Control")
	}
	_ = h.Write(&out) // a strings.Builder takes everything
	return out.String()
}

// A recorder is an endpoint that keeps every byte it is sent, and the requests that
// net/http finds in them. It answers each with its number.
type recorder struct {
	mu   sync.Mutex
	raw  []byte
	seen []judgement
}

func (rec *recorder) serve(nc duplex) {
	br := bufio.NewReaderSize(io.TeeReader(nc, recordTo{rec}), 64<<10)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			break
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			break
		}
		rec.mu.Lock()
		rec.seen = append(rec.seen, fromOracle(req, body))
		n := strconv.Itoa(len(rec.seen))
		rec.mu.Unlock()
		answer := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(n)) + "\r\n\r\n"
		if req.Method != http.MethodHead {
			answer += n
		}
		if _, err := io.WriteString(nc, answer); err != nil {
			break
		}
	}
	_ = nc.CloseWrite()
	_, _ = io.Copy(recordTo{rec}, br) // what could not be read as a request counts too
}

type recordTo struct{ rec *recorder }

func (w recordTo) Write(p []byte) (int, error) {
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	w.rec.raw = append(w.rec.raw, p...)
	return len(p), nil
}

// fromOracle is a judgement by net/http.
func fromOracle(req *http.Request, body []byte) judgement {
	h := req.Header.Clone()
	h.Del("Content-Length")
	return judgement{
		Method: req.Method, Target: req.RequestURI, Host: req.Host, Body: string(body),
		Fields: sorted(h), Trailer: sorted(req.Trailer),
	}
}

// converse sends in to the engine over a connection of its own, in which r answers,
// and returns all that came back.
func converse(t testing.TB, r *relay, lim Limits, in string) string {
	t.Helper()
	ours, theirs := r.net(t)
	srv := NewServer(r, lim, time.Now)
	done := make(chan struct{})
	srv.Start(wire.NewConn(ours), nil, wire.Peer{}, func() { close(done) })
	if _, ok := theirs.(*memConn); ok || len(in) < 4<<10 {
		_, _ = io.WriteString(theirs, in) // fails where the engine has refused already
		_ = theirs.CloseWrite()
	} else {
		go func() {
			_, _ = io.WriteString(theirs, in)
			_ = theirs.CloseWrite()
		}()
	}
	out, err := io.ReadAll(theirs)
	if err != nil {
		out = append(out, "[reset]"...)
	}
	_ = theirs.Close()
	<-done
	r.end()
	return string(out)
}
