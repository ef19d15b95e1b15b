package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"legate/wire"
)

// An endpoint is the other end of a client's connection, frame by frame.
type endpoint struct {
	*http2.Framer
	nc  net.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
}

// scripted serves every connection as script says, once both sides have begun.
func scripted(t testing.TB, settings []http2.Setting, script func(e *endpoint)) (addr string) {
	t.Helper()
	return listen(t, func(nc net.Conn) {
		e := &endpoint{Framer: http2.NewFramer(nc, nc), nc: nc}
		e.enc = hpack.NewEncoder(&e.buf)
		e.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if _, err := io.CopyN(io.Discard, nc, int64(len(Preface))); err != nil {
			return
		}
		if e.WriteSettings(settings...) != nil {
			return
		}
		script(e)
		_, _ = io.Copy(io.Discard, nc) // until the client ends the connection
	})
}

// request waits for the next request's head and returns its stream; 0 at the end.
func (e *endpoint) request() uint32 {
	for {
		f, err := e.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.StreamID
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = e.WriteSettingsAck()
			}
		}
	}
}

// until waits for a frame that is wanted.
func (e *endpoint) until(wanted func(f http2.Frame) bool) bool {
	for {
		f, err := e.ReadFrame()
		if err != nil {
			return false
		}
		if wanted(f) {
			return true
		}
	}
}

// head sends fields: name, value, name, value…
func (e *endpoint) head(id uint32, end bool, fields ...string) {
	e.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = e.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	block := e.buf.Bytes()
	const most = 16 << 10
	first := min(len(block), most)
	_ = e.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:first], EndStream: end, EndHeaders: first == len(block)})
	for block = block[first:]; len(block) > 0; {
		n := min(len(block), most)
		_ = e.WriteContinuation(id, n == len(block), block[:n])
		block = block[n:]
	}
}

func (e *endpoint) data(id uint32, end bool, text string) { _ = e.WriteData(id, end, []byte(text)) }

// What an endpoint does, and what becomes of the exchange. The connection carries
// another afterwards, but where it is lost.
func TestAnswers(t *testing.T) {
	ok := func(e *endpoint, id uint32) {
		e.head(id, false, ":status", "200")
		e.data(id, true, "ok")
	}
	for _, row := range []struct {
		name   string
		answer func(e *endpoint, id uint32)
		method string
		want   wire.Outcome // of a failure
		body   string       // of a success
		lost   bool
	}{
		{"whole", ok, "POST", 0, "ok", false},
		{"length", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200", "content-length", "2")
			e.data(id, true, "ok")
		}, "POST", 0, "ok", false},
		{"trailers", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			e.data(id, false, "ok")
			e.head(id, true, "grpc-status", "0")
		}, "POST", 0, "ok", false},
		{"padded", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			_ = e.WriteDataPadded(id, true, []byte("ok"), make([]byte, 100))
		}, "POST", 0, "ok", false},
		{"nothing but a head", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "grpc-status", "0") }, "POST", 0, "", false},
		{"whole, and the rest of the request unwanted", func(e *endpoint, id uint32) {
			ok(e, id)
			_ = e.WriteRSTStream(id, http2.ErrCodeNo)
		}, "POST", 0, "ok", false},
		{"HEAD", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "content-length", "99") }, "HEAD", 0, "", false},
		{"large head", func(e *endpoint, id uint32) {
			e.head(id, true, ":status", "200", "x-a", strings.Repeat("x", 100<<10))
		}, "GET", 0, "", false},
		{"an end of its own", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			e.data(id, true, "")
		}, "GET", 0, "", false},

		{"refused", func(e *endpoint, id uint32) { _ = e.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, "POST", wire.Refused, "", false},
		{"reset", func(e *endpoint, id uint32) { _ = e.WriteRSTStream(id, http2.ErrCodeInternal) }, "POST", wire.RemoteReset, "", false},
		{"reset with a code of its own", func(e *endpoint, id uint32) { _ = e.WriteRSTStream(id, 0x99) }, "POST", wire.RemoteReset, "", false},
		{"reset within", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			e.data(id, false, "o")
			_ = e.WriteRSTStream(id, http2.ErrCodeCancel)
		}, "POST", wire.RemoteReset, "", false},
		{"no status", func(e *endpoint, id uint32) { e.head(id, true, "a", "b") }, "POST", wire.Mangled, "", false},
		{"two statuses", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", ":status", "200") }, "POST", wire.Mangled, "", false},
		{"status of letters", func(e *endpoint, id uint32) { e.head(id, true, ":status", "2oo") }, "POST", wire.Mangled, "", false},
		{"status 101", func(e *endpoint, id uint32) { e.head(id, true, ":status", "101") }, "POST", wire.Mangled, "", false},
		{"late pseudo-field", func(e *endpoint, id uint32) { e.head(id, true, "a", "b", ":status", "200") }, "POST", wire.Mangled, "", false},
		{"a request's pseudo-field", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", ":path", "/") }, "POST", wire.Mangled, "", false},
		{"upper case", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "X-A", "b") }, "POST", wire.Mangled, "", false},
		{"line end in a value", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "x-a", "b\r\nc: d") }, "POST", wire.Mangled, "", false},
		{"connection field", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "connection", "close") }, "POST", wire.Mangled, "", false},
		{"transfer-encoding", func(e *endpoint, id uint32) {
			e.head(id, true, ":status", "200", "transfer-encoding", "chunked")
		}, "POST", wire.Mangled, "", false},
		{"two lengths", func(e *endpoint, id uint32) {
			e.head(id, true, ":status", "200", "content-length", "0", "content-length", "0")
		}, "POST", wire.Mangled, "", false},
		{"too short", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200", "content-length", "3")
			e.data(id, true, "ok")
		}, "POST", wire.Mangled, "", false},
		{"too short before a trailer", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200", "content-length", "3")
			e.data(id, false, "ok")
			e.head(id, true, "a", "b")
		}, "POST", wire.Mangled, "", false},
		{"too long", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200", "content-length", "1")
			e.data(id, true, "ok")
		}, "POST", wire.Mangled, "", false},
		{"length without a body", func(e *endpoint, id uint32) { e.head(id, true, ":status", "200", "content-length", "1") }, "POST", wire.Mangled, "", false},
		{"HEAD with a body", func(e *endpoint, id uint32) { e.head(id, false, ":status", "200"); e.data(id, true, "ok") }, "HEAD", wire.Mangled, "", false},
		{"204 with a body", func(e *endpoint, id uint32) { e.head(id, false, ":status", "204"); e.data(id, true, "ok") }, "GET", wire.Mangled, "", false},
		{"a trailer that goes on", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			e.head(id, false, "a", "b")
		}, "POST", wire.Mangled, "", false},
		{"a trailer with a status", func(e *endpoint, id uint32) {
			e.head(id, false, ":status", "200")
			e.head(id, true, ":status", "200")
		}, "POST", wire.Mangled, "", false},
		{"interim that ends", func(e *endpoint, id uint32) { e.head(id, true, ":status", "103") }, "POST", wire.Mangled, "", false},
		{"interim without end", func(e *endpoint, id uint32) {
			for range 20 {
				e.head(id, false, ":status", "103")
			}
		}, "POST", wire.Mangled, "", false},
		{"head too large", func(e *endpoint, id uint32) {
			e.head(id, true, ":status", "200", "x-a", strings.Repeat("x", 140<<10))
		}, "POST", wire.TooLarge, "", false},
		{"too many fields", func(e *endpoint, id uint32) {
			fields := []string{":status", "200"}
			for range 300 {
				fields = append(fields, "a", "b")
			}
			e.head(id, true, fields...)
		}, "POST", wire.TooLarge, "", false},
		{"DATA before the head", func(e *endpoint, id uint32) { e.data(id, true, "ok") }, "POST", wire.Mangled, "", false},
		{"no frames", func(e *endpoint, _ uint32) { _, _ = io.WriteString(e.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "POST", wire.Mangled, "", true},
		{"a promise", func(e *endpoint, id uint32) {
			_ = e.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true})
		}, "POST", wire.Mangled, "", true},
		{"a stream that we did not open", func(e *endpoint, id uint32) { e.head(id+2, true, ":status", "200") }, "POST", wire.Mangled, "", true},
		{"a broken block", func(e *endpoint, id uint32) {
			_ = e.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		}, "POST", wire.Mangled, "", true},
		{"closed", func(e *endpoint, _ uint32) { e.nc.Close() }, "POST", wire.Reset, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := scripted(t, nil, func(e *endpoint) {
				for first := true; ; first = false {
					id := e.request()
					switch {
					case id == 0:
						return
					case first:
						row.answer(e, id)
					default:
						ok(e, id)
					}
				}
			})
			c, o := connect(t, addr, ClientOptions{})
			l := openLink(t, c)
			var resp wire.Head
			err := tryAsk(l, &resp, row.method, "/", "")
			for err == nil && resp.Status < 200 {
				err = l.ReadHead(&resp, soon(), nil)
			}
			var body string
			if err == nil {
				body, err = readAll(l)
			}
			switch {
			case row.want == 0 && !row.lost && (err != nil || body != row.body):
				t.Errorf("got %q %v", body, err)
			case (row.want != 0 || row.lost) && (err == nil || wire.OutcomeOf(err) != row.want):
				t.Errorf("got %v, outcome %d, want %d", err, wire.OutcomeOf(err), row.want)
			}
			if untouched := l.Untouched(); err != nil && untouched != (row.want == wire.Refused) {
				t.Errorf("untouched: %v", untouched)
			}
			l.Release()
			if row.lost {
				o.wait(t)
				return
			}
			l = openLink(t, c)
			ask(t, l, "GET", "/", "")
			if body, err := readAll(l); body != "ok" || err != nil {
				t.Errorf("the next exchange: got %q %v", body, err)
			}
			l.Release()
		})
	}
}

// An endpoint that does not begin as HTTP/2 does.
func TestNotHTTP2(t *testing.T) {
	for _, row := range []struct{ name, says string }{
		{"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"},
		{"nothing", ""},
		{"another frame", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"},
	} {
		addr := listen(t, func(nc net.Conn) { _, _ = io.WriteString(nc, row.says) })
		if c, _, err := tryConnect(t, addr, ClientOptions{}); err == nil || c != nil {
			t.Errorf("%s: got a connection", row.name)
		}
	}
}

// What an endpoint has not taken when it goes away can be sent again, and only that;
// what it has taken it finishes.
func TestGoAway(t *testing.T) {
	addr := scripted(t, nil, func(e *endpoint) {
		a, b := e.request(), e.request()
		_ = e.WriteGoAway(a, http2.ErrCodeNo, nil)
		e.head(a, false, ":status", "200")
		e.data(a, true, "a")
		_ = b
	})
	c, o := connect(t, addr, ClientOptions{})
	a, b, late := openLink(t, c), openLink(t, c), openLink(t, c)
	var all sync.WaitGroup
	sent := make(chan struct{})
	all.Go(func() {
		var resp wire.Head
		var req wire.Head
		req.BuildRequest("POST", "example.com", "/a")
		if err := errors.Join(a.WriteHead(&req, nil, 0), a.EndRequest(nil)); err != nil {
			t.Error(err)
		}
		close(sent)
		if err := a.ReadHead(&resp, soon(), nil); err != nil {
			t.Error(err)
		}
		if body, err := readAll(a); body != "a" || err != nil {
			t.Errorf("got %q %v", body, err)
		}
	})
	<-sent
	var resp wire.Head
	if err := tryAsk(b, &resp, "POST", "/b", ""); wire.OutcomeOf(err) != wire.Refused || !b.Untouched() {
		t.Errorf("got %v, want it refused", err)
	}
	if err := tryAsk(late, &resp, "POST", "/c", ""); wire.OutcomeOf(err) != wire.Refused || !late.Untouched() {
		t.Errorf("a request that came too late: got %v, want it refused", err)
	}
	all.Wait()
	if c.Open() != nil || !c.Leaving() {
		t.Error("a connection whose endpoint goes away takes an exchange")
	}
	for _, l := range []*Link{a, b, late} {
		l.Release()
	}
	o.wait(t)
}

// A cancelled exchange resets its stream and no other; a deadline that passes too.
func TestCancel(t *testing.T) {
	reset := make(chan http2.ErrCode, 2)
	addr := scripted(t, nil, func(e *endpoint) {
		for range 2 {
			id := e.request()
			e.until(func(f http2.Frame) bool {
				if f, ok := f.(*http2.RSTStreamFrame); ok && f.StreamID == id {
					reset <- f.ErrCode
					return true
				}
				return false
			})
		}
		id := e.request()
		e.head(id, true, ":status", "200")
	})
	c, _ := connect(t, addr, ClientOptions{})
	l := openLink(t, c)
	var req, resp wire.Head
	req.BuildRequest("POST", "example.com", "/")
	if err := errors.Join(l.WriteHead(&req, nil, wire.LengthUnknown), l.Flush()); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error)
	go func() { waits <- l.ReadHead(&resp, soon(), nil) }()
	l.Abort()
	if err := <-waits; wire.OutcomeOf(err) != wire.Reset {
		t.Errorf("who waited got %v", err)
	}
	if code := <-reset; code != http2.ErrCodeCancel {
		t.Errorf("got %v", code)
	}
	l.Release()

	l = openLink(t, c)
	if err := errors.Join(l.WriteHead(&req, nil, wire.LengthUnknown), l.Flush()); err != nil {
		t.Fatal(err)
	}
	asked := 0
	tick := func(by time.Time) (time.Time, bool) { asked++; return by, asked < 2 }
	l.Wake()
	if err := l.ReadHead(&resp, soon(), tick); !errors.Is(err, wire.ErrAbandoned) {
		t.Errorf("got %v", err)
	}
	l.Release()
	<-reset
	l = openLink(t, c)
	ask(t, l, "GET", "/", "")
	l.Release()
	if c.Leaving() {
		t.Error("the connection leaves")
	}
}

// An endpoint that is silent for as long as an exchange waited gets no other.
func TestSilence(t *testing.T) {
	addr := scripted(t, nil, func(e *endpoint) {
		e.head(e.request(), true, ":status", "200")
	})
	c, o := connect(t, addr, ClientOptions{})
	l := openLink(t, c)
	ask(t, l, "GET", "/", "") // what comes later is no part of the beginning
	l.Release()
	l = openLink(t, c)
	var req, resp wire.Head
	req.BuildRequest("GET", "example.com", "/")
	if err := errors.Join(l.WriteHead(&req, nil, 0), l.EndRequest(nil)); err != nil {
		t.Fatal(err)
	}
	if err := l.ReadHead(&resp, time.Now().Add(20*time.Millisecond), nil); wire.OutcomeOf(err) != wire.Timeout {
		t.Fatalf("got %v", err)
	}
	l.Abort()
	if !c.Leaving() || c.Open() != nil {
		t.Error("the connection takes another exchange")
	}
	l.Release()
	o.wait(t)
}

// PING finds out that an endpoint has gone without a word.
func TestKeepAlive(t *testing.T) {
	pinged := make(chan struct{}, 10)
	for _, answers := range []bool{true, false} {
		addr := scripted(t, nil, func(e *endpoint) {
			e.until(func(f http2.Frame) bool {
				if f, ok := f.(*http2.PingFrame); ok {
					if answers {
						_ = e.WritePing(true, f.Data)
					}
					select {
					case pinged <- struct{}{}:
					default:
					}
				}
				return false
			})
		})
		c, o := connect(t, addr, ClientOptions{PingAfter: 5 * time.Millisecond, PingIdle: true, PingTimeout: 50 * time.Millisecond})
		if !answers {
			o.wait(t)
			if !c.Leaving() {
				t.Error("a dead connection takes exchanges")
			}
			continue
		}
		for range 5 {
			<-pinged
		}
		if c.Leaving() {
			t.Error("an endpoint that answers was taken for dead")
		}
	}
}

// What a slow reader leaves unread is bounded by its window, and others go on.
func TestSlowReader(t *testing.T) {
	sent := make(chan int, 1)
	addr := scripted(t, nil, func(e *endpoint) {
		slow := e.request()
		e.head(slow, false, ":status", "200")
		piece := strings.Repeat("x", 16<<10)
		for n := 0; n < streamWindow; n += len(piece) {
			e.data(slow, false, piece)
		}
		for {
			id := e.request()
			if id == 0 {
				return
			}
			e.head(id, false, ":status", "200")
			for range 8 {
				e.data(id, false, piece)
			}
			e.data(id, true, "")
			select {
			case sent <- 0:
			default:
			}
		}
	})
	c, _ := connect(t, addr, ClientOptions{})
	slow := openLink(t, c)
	ask(t, slow, "GET", "/", "")
	for range 20 { // more than the connection's window in all
		l := openLink(t, c)
		ask(t, l, "GET", "/", "")
		if body, err := readAll(l); len(body) != 128<<10 || err != nil {
			t.Fatalf("got %d bytes, %v", len(body), err)
		}
		l.Release()
	}
	slow.mux.mu.Lock()
	if slow.in.size != streamWindow {
		t.Errorf("%d bytes are kept", slow.in.size)
	}
	slow.mux.mu.Unlock()
	slow.Release()
}

// The endpoint's windows bound what is sent, and an exchange that is given up lets go.
func TestWindows(t *testing.T) {
	addr := scripted(t, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 10}}, func(e *endpoint) {
		id := e.request()
		var got []byte
		take := func(n int) {
			e.until(func(f http2.Frame) bool {
				if f, ok := f.(*http2.DataFrame); ok {
					got = append(got, f.Data()...)
				}
				return len(got) >= n
			})
		}
		take(10)
		_ = e.WriteWindowUpdate(id, 5)
		take(15)
		e.head(id, false, ":status", "200")
		e.data(id, true, string(got))
	})
	c, _ := connect(t, addr, ClientOptions{})
	l := openLink(t, c)
	if l.Takes(11) || !l.Takes(10) {
		t.Error("what the endpoint takes is not told right")
	}
	var req, resp wire.Head
	req.BuildRequest("POST", "example.com", "/")
	if err := errors.Join(l.WriteHead(&req, nil, wire.LengthUnknown), l.Flush()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := l.WriteBody([]byte("0123456789abcdefghij"))
		done <- err
	}()
	if err := l.ReadHead(&resp, soon(), nil); err != nil {
		t.Fatal(err)
	}
	if body, err := readAll(l); body != "0123456789abcde" || err != nil {
		t.Errorf("got %q %v", body, err)
	}
	l.Abort()
	if err := <-done; err == nil {
		t.Error("what the endpoint has not taken was written")
	}
	l.Release()
}

// A connection whose endpoint says goodbye as it begins is one, and takes nothing.
func TestGoodbyeAtOnce(t *testing.T) {
	addr := listen(t, func(nc net.Conn) {
		var both bytes.Buffer
		f := http2.NewFramer(&both, nil)
		_ = f.WriteSettings()
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		_, _ = nc.Write(both.Bytes())
		_, _ = io.Copy(io.Discard, nc)
	})
	c, o := connect(t, addr, ClientOptions{})
	if c.Open() != nil {
		t.Error("it takes an exchange")
	}
	o.wait(t)
}

// An endpoint that sends more than the stream's window allows loses the stream.
func TestWindowExceeded(t *testing.T) {
	read, over := make(chan struct{}), make(chan http2.ErrCode, 1)
	addr := scripted(t, nil, func(e *endpoint) {
		id := e.request()
		e.head(id, false, ":status", "200")
		<-read
		for range streamWindow/10000 + 1 {
			e.data(id, false, strings.Repeat("x", 10000))
		}
		e.until(func(f http2.Frame) bool {
			if f, ok := f.(*http2.RSTStreamFrame); ok {
				over <- f.ErrCode
				return true
			}
			return false
		})
	})
	c, _ := connect(t, addr, ClientOptions{})
	l := openLink(t, c)
	ask(t, l, "GET", "/", "")
	close(read)
	if code := <-over; code != http2.ErrCodeFlowControl {
		t.Errorf("got %v", code)
	}
	if body, err := readAll(l); wire.OutcomeOf(err) != wire.Mangled || body != "" {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	l.Release()
}
