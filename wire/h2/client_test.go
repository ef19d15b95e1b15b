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

	"legate/wire"
)

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// An owner notes what a client tells it.
type owner struct {
	rested atomic.Int32
	closed chan struct{}
}

func newOwner() *owner { return &owner{closed: make(chan struct{})} }

func (o *owner) Rested() { o.rested.Add(1) }
func (o *owner) Closed() { close(o.closed) }

func (o *owner) wait(t *testing.T) {
	t.Helper()
	select {
	case <-o.closed:
	case <-time.After(patience):
		t.Fatal("the connection does not close")
	}
}

// listen serves every connection with handle and closes it afterwards.
func listen(t testing.TB, handle func(nc net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	var conns sync.Map
	done.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Store(nc, nil)
			done.Go(func() {
				defer nc.Close()
				handle(nc)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Range(func(nc, _ any) bool { nc.(net.Conn).Close(); return true })
		done.Wait()
	})
	return ln.Addr().String()
}

// serveHTTP2 serves h in the clear with net/http, by HTTP/2 only.
func serveHTTP2(t testing.TB, conf http.HTTP2Config, h http.HandlerFunc) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, HTTP2: &conf, Protocols: new(http.Protocols), ReadHeaderTimeout: patience}
	srv.Protocols.SetUnencryptedHTTP2(true)
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Close()
		done.Wait()
	})
	return ln.Addr().String()
}

// connect begins HTTP/2 with addr.
func connect(t testing.TB, addr string, opts ClientOptions) (*Client, *owner) {
	t.Helper()
	c, o, err := tryConnect(t, addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

func tryConnect(t testing.TB, addr string, opts ClientOptions) (*Client, *owner, error) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	o := newOwner()
	c, err := NewClient(wire.NewConn(nc), nil, addr, o, time.Now().Add(patience), opts)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, o, err
}

func openLink(t testing.TB, c *Client) *Link {
	t.Helper()
	l := c.Open()
	if l == nil {
		t.Fatal("the connection takes no exchange")
	}
	return l
}

// soon is a deadline that only a defect lets pass.
func soon() time.Time { return time.Now().Add(patience) }

// ask sends a request with a body and returns the answer's head.
func ask(t testing.TB, l *Link, method, target, body string, fields ...string) *wire.Head {
	t.Helper()
	resp := new(wire.Head)
	if err := tryAsk(l, resp, method, target, body, fields...); err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return resp
}

func tryAsk(l *Link, resp *wire.Head, method, target, body string, fields ...string) error {
	var req wire.Head
	req.BuildRequest(method, "example.com", target, fields...)
	length := int64(len(body))
	if err := l.WriteHead(&req, nil, length); err != nil {
		return err
	}
	if _, err := l.WriteBody([]byte(body)); err != nil {
		return err
	}
	if err := l.EndRequest(nil); err != nil {
		return err
	}
	return l.ReadHead(resp, soon(), nil)
}

// readAll reads the rest of an answer.
func readAll(l *Link) (string, error) {
	var out bytes.Buffer
	b := make([]byte, 1000)
	for {
		n, err := l.ReadBody(b, soon(), nil)
		out.Write(b[:n])
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
	}
}

func TestClientExchanges(t *testing.T) {
	addr := serveHTTP2(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Saw", fmt.Sprint(r.Method, " ", r.Host, " ", r.URL.RawQuery, " ", r.Header.Get("X-A"), " ", r.ContentLength))
			_, _ = w.Write(body)
		case "/trailers":
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte("message"))
			w.Header().Set("Grpc-Status", "0")
		case "/early":
			w.Header().Set("Link", "</x>")
			w.WriteHeader(103)
			w.WriteHeader(204)
		}
	})
	c, o := connect(t, addr, ClientOptions{})

	l := openLink(t, c)
	h := ask(t, l, "POST", "/echo?q=1", "hello", "X-A", "b")
	body, err := readAll(l)
	saw, _ := h.Find("x-saw")
	if h.Status != 200 || body != "hello" || err != nil || string(saw) != "POST example.com q=1 b 5" || h.Major != 2 || h.Length != 5 {
		t.Errorf("got %d %q %v %q length %d", h.Status, body, err, saw, h.Length)
	}
	if l.Reused() || l.Endpoint() != addr || !l.Done() {
		t.Error("the first link: reused, or not done")
	}
	l.Release()

	l = openLink(t, c)
	ask(t, l, "GET", "/trailers", "")
	rest, err := readAll(l)
	trailer := l.Trailer()
	if rest != "message" || err != nil || trailer == nil || !l.Reused() {
		t.Fatalf("got %q %v, trailer %v", rest, err, trailer)
	}
	if v, _ := trailer.Find("grpc-status"); string(v) != "0" {
		t.Errorf("got grpc-status %q", v)
	}
	l.Release()

	l = openLink(t, c)
	h = ask(t, l, "GET", "/early", "")
	if v, _ := h.Find("link"); h.Status != 103 || string(v) != "</x>" {
		t.Errorf("got %d %q, want the interim answer", h.Status, v)
	}
	if err := l.ReadHead(h, soon(), nil); err != nil || h.Status != 204 || !h.NoBody || !l.Done() {
		t.Errorf("got %v %d", err, h.Status)
	}
	l.Release()

	l.Release()
	if c.Streams() != 0 || o.rested.Load() != 3 {
		t.Errorf("%d streams, rested %d times", c.Streams(), o.rested.Load())
	}
	c.Retire()
	o.wait(t)
	if c.Open() != nil {
		t.Error("a retired connection takes an exchange")
	}
}

// Big bodies both ways at once, over many streams.
func TestClientConcurrent(t *testing.T) {
	addr := serveHTTP2(t, http.HTTP2Config{MaxConcurrentStreams: 50}, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	c, _ := connect(t, addr, ClientOptions{})
	if c.MaxStreams() != 50 {
		t.Fatalf("got room for %d", c.MaxStreams())
	}
	want := strings.Repeat("0123456789abcdef", 1<<16) // a MiB
	var all sync.WaitGroup
	for range 20 {
		l := openLink(t, c)
		all.Go(func() {
			defer l.Release()
			var req, resp wire.Head
			req.BuildRequest("POST", "example.com", "/")
			if err := l.WriteHead(&req, nil, wire.LengthUnknown); err != nil {
				t.Error(err)
				return
			}
			if err := l.Flush(); err != nil {
				t.Error(err)
			}
			var up sync.WaitGroup
			up.Go(func() {
				if _, err := l.WriteBody([]byte(want)); err != nil {
					t.Error(err)
				}
				if err := l.EndRequest(nil); err != nil {
					t.Error(err)
				}
			})
			if err := l.ReadHead(&resp, soon(), nil); err != nil {
				t.Error(err)
			}
			if got, err := readAll(l); got != want || err != nil {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			up.Wait()
		})
	}
	all.Wait()
	if c.Streams() != 0 {
		t.Errorf("%d streams are left", c.Streams())
	}
}
