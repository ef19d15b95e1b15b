package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// A script is what a client sends.
type script func(p *peer)

func TestServerFrames(t *testing.T) {
	const asked = "x-asked=GET example.com /a?b=c"
	post := append([]string{":method", "POST"}, get()[2:]...)
	ok := "1 HEADERS :status=200 " + asked + " content-length=0 end"
	for _, row := range []struct {
		name string
		send script
		want []string
	}{
		{"a request", func(p *peer) { p.head(1, true, get()...) }, []string{ok}},
		{"a body in pieces", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteData(1, false, []byte("abc"))
			_ = p.WriteDataPadded(1, true, []byte("def"), make([]byte, 9))
		}, []string{"1 HEADERS :status=200 x-asked=POST example.com /a?b=c content-length=6", "1 DATA abcdef end"}},
		{"a head in CONTINUATION", func(p *peer) {
			block := pack(get()...)
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:5], EndStream: true})
			_ = p.WriteContinuation(1, false, block[5:9])
			_ = p.WriteContinuation(1, true, block[9:])
		}, []string{ok}},
		{"a trailer", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteData(1, false, []byte("abc"))
			p.head(1, true, "x-sum", "6")
		}, []string{"1 HEADERS :status=200 x-asked=POST example.com /a?b=c x-trailer=6 content-length=3", "1 DATA abc end"}},
		{"priorities are ignored", func(p *peer) {
			_ = p.WritePriority(3, http2.PriorityParam{StreamDep: 1, Weight: 7})
			p.head(1, true, get()...)
		}, []string{ok}},
		{"an unknown frame is ignored", func(p *peer) {
			_ = p.WriteRawFrame(0xbe, 0xff, 1, []byte("?"))
			p.head(1, true, get()...)
		}, []string{ok}},

		{"a malformed head", func(p *peer) {
			p.head(1, true, get("connection", "close")...)
			p.want("1 HEADERS :status=400 content-length=0 end", "1 RST PROTOCOL_ERROR")
			p.head(3, true, get()...)
		}, []string{"3" + ok[1:]}},
		{"a head over the limit", func(p *peer) {
			block := pack(get("x", strings.Repeat("y", 70_000))...)
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true})
			for block = block[16000:]; len(block) > 16000; block = block[16000:] {
				_ = p.WriteContinuation(1, false, block[:16000])
			}
			_ = p.WriteContinuation(1, true, block)
			p.want("1 HEADERS :status=431 content-length=0 end")
			p.block.Reset()
			p.head(3, true, get()...)
		}, []string{"3" + ok[1:]}},
		{"less DATA than promised", func(p *peer) {
			p.head(1, false, append(post, "content-length", "5")...)
			_ = p.WriteData(1, true, []byte("abc"))
		}, []string{"1 RST PROTOCOL_ERROR"}},
		{"more DATA than promised", func(p *peer) {
			p.head(1, false, append(post, "content-length", "2")...)
			_ = p.WriteData(1, false, []byte("abc"))
		}, []string{"1 RST PROTOCOL_ERROR"}},
		{"no DATA though promised", func(p *peer) { p.head(1, true, append(post, "content-length", "2")...) },
			[]string{"1 HEADERS :status=400 content-length=0 end", "1 RST PROTOCOL_ERROR"}},
		{"a trailer that goes on", func(p *peer) {
			p.head(1, false, post...)
			p.head(1, false, "x-sum", "6")
		}, []string{"1 RST PROTOCOL_ERROR"}},
		{"a pseudo-field in a trailer", func(p *peer) {
			p.head(1, false, post...)
			p.head(1, true, ":path", "/")
		}, []string{"1 RST PROTOCOL_ERROR"}},
		{"a stream that depends on itself", func(p *peer) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack(get()...), EndStream: true, EndHeaders: true,
				Priority: http2.PriorityParam{StreamDep: 1}})
		}, []string{"1 HEADERS :status=400 content-length=0 end", "1 RST PROTOCOL_ERROR"}},
		{"a window over its limit", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteWindowUpdate(1, 1<<31-1)
		}, []string{"1 RST FLOW_CONTROL_ERROR"}},
		{"DATA after the end", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteData(1, true, nil)
			_ = p.WriteData(1, true, []byte("abc"))
		}, nil},

		{"an even stream", func(p *peer) { p.head(2, true, get()...) }, []string{"GOAWAY 0 PROTOCOL_ERROR"}},
		{"a stream out of order", func(p *peer) {
			p.head(5, false, post...)
			p.head(3, true, get()...)
		}, []string{"GOAWAY 5 PROTOCOL_ERROR"}},
		{"DATA on a stream that was never opened", func(p *peer) { _ = p.WriteData(1, true, nil) }, []string{"GOAWAY 0 PROTOCOL_ERROR"}},
		{"the connection's window over its limit", func(p *peer) { _ = p.WriteWindowUpdate(0, 1<<31-1) }, []string{"GOAWAY 0 FLOW_CONTROL_ERROR"}},
		{"a window over its limit by SETTINGS", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteWindowUpdate(1, 1<<31-1-65535)
			_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65536})
		}, []string{"GOAWAY 1 FLOW_CONTROL_ERROR"}},
		{"a push", func(p *peer) {
			_ = p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, []string{"GOAWAY 0 PROTOCOL_ERROR"}},
		{"a frame too large", func(p *peer) { _ = p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrameSize+1)) }, []string{"GOAWAY 0 FRAME_SIZE_ERROR"}},
		{"a block that cannot be decoded", func(p *peer) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x80, 1}, EndStream: true, EndHeaders: true})
		}, []string{"GOAWAY 1 COMPRESSION_ERROR"}},
		{"something between a head's frames", func(p *peer) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack(get()...), EndStream: true})
			_ = p.WritePing(false, [8]byte{})
		}, []string{"GOAWAY 0 PROTOCOL_ERROR"}},
		{"padding beyond the frame", func(p *peer) {
			p.head(1, false, post...)
			_ = p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1})
		}, []string{"GOAWAY 1 PROTOCOL_ERROR"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serving(t, handling{serve: echoing}, nil)
			p := s.speak(t)
			p.AllowIllegalWrites = true
			row.send(p)
			if row.want == nil {
				got := p.describe(p.next())
				if !strings.Contains(got, "STREAM_CLOSED") && !strings.HasPrefix(got, "1 HEADERS") {
					t.Errorf("got %s", got)
				}
				return
			}
			p.want(row.want...)
		})
	}
}

// What one client does wrong, or does to keep us busy, is bounded and counted; others
// are served meanwhile.
func TestServerAbuse(t *testing.T) {
	post := append([]string{":method", "POST"}, get()[2:]...)
	for _, row := range []struct {
		kind Abuse
		send func(p *peer, i int) error // until it fails
	}{
		{RapidReset, func(p *peer, i int) error {
			id := uint32(2*i + 1)
			p.head(id, false, post...)
			return p.WriteRSTStream(id, http2.ErrCodeCancel)
		}},
		{ContinuationFlood, func(p *peer, i int) error {
			if i == 0 {
				return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack("x", "y")})
			}
			return p.WriteContinuation(1, false, pack("x", "y"))
		}},
		{ContinuationFlood, func(p *peer, i int) error {
			if i == 0 {
				return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack("x", "y")})
			}
			return p.WriteContinuation(1, false, make([]byte, 16000))
		}},
		{PingFlood, func(p *peer, _ int) error { return p.WritePing(false, [8]byte{}) }},
		{SettingsFlood, func(p *peer, _ int) error { return p.WriteSettings() }},
		{EmptyFrames, func(p *peer, i int) error {
			if i == 0 {
				p.head(1, false, post...)
			}
			return p.WriteData(1, false, nil)
		}},
		{EmptyFrames, func(p *peer, _ int) error { return p.WritePriority(1, http2.PriorityParam{StreamDep: 3}) }},
		{EmptyFrames, func(p *peer, _ int) error { return p.WriteRawFrame(0xbe, 0, 0, nil) }},
		{TinyWindows, func(p *peer, i int) error {
			if i == 0 {
				p.head(1, false, post...)
			}
			return p.WriteWindowUpdate(1, 1)
		}},
	} {
		t.Run(row.kind.String(), func(t *testing.T) {
			s := serving(t, handling{serve: echoing}, nil)
			other := s.client(t)
			p := s.speak(t)
			p.AllowIllegalWrites = true
			before := heap()
			sent := make(chan int)
			go func() {
				i := 0
				for ; i < 1_000_000 && row.send(p, i) == nil; i++ {
				}
				sent <- i
			}()
			goAway := ""
			for goAway == "" {
				f, err := p.ReadFrame()
				if err != nil {
					break
				}
				if g, ok := f.(*http2.GoAwayFrame); ok {
					goAway = g.ErrCode.String()
				}
			}
			resp, err := other.Get("http://" + s.addr + "/")
			if err != nil || resp.StatusCode != 200 {
				t.Errorf("another client got %v", err)
			} else {
				_ = resp.Body.Close()
			}
			_ = p.nc.Close()
			n := <-sent
			if s.watch.abuses[row.kind].Load() != 1 {
				t.Errorf("counted %d after %d frames; %q", s.watch.abuses[row.kind].Load(), n, goAway)
			}
			if goAway != "" && goAway != "ENHANCE_YOUR_CALM" {
				t.Errorf("got GOAWAY %s", goAway)
			}
			if grown := heap() - before; grown > 4<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

// A client that resets what it asked for never has more handlers at work than streams
// allowed.
func TestServerBoundsHandlers(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{}, 1000)
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		begun <- struct{}{}
		<-release
		s.Abort()
	}}, func(l *Limits) { l.MaxStreams = 10 })
	p := s.speak(t)
	for i := range 10 {
		p.head(uint32(2*i+1), true, get()...)
		<-begun
		_ = p.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	}
	p.head(21, true, get()...)
	p.want("21 RST REFUSED_STREAM")
	close(release)
}

// What a client does not read is not made.
func TestServerSlowReader(t *testing.T) {
	wrote := make(chan int, 1)
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		_ = s.WriteHead(200, nil, nil, wire.LengthUnknown)
		n, b := 0, make([]byte, 10_000)
		for {
			if _, err := s.WriteBody(b); err != nil {
				wrote <- n
				s.Abort()
				return
			}
			n += len(b)
		}
	}}, func(l *Limits) { l.StreamIdle = 50 * time.Millisecond })
	p := s.speak(t)
	p.head(1, true, get()...)
	if n := <-wrote; n > initialWindow {
		t.Errorf("%d bytes were taken of which the client allowed %d", n, initialWindow)
	}
}

// A stream that is not read keeps no other from being served.
func TestServerStreamsDoNotWaitForEachOther(t *testing.T) {
	s := serving(t, handling{serve: func(s wire.Stream, req *wire.Head) {
		_ = s.WriteHead(200, nil, nil, wire.LengthUnknown)
		n := 10
		if string(req.Target()) == "/long" {
			n = 200_000
		}
		if _, err := s.WriteBody(make([]byte, n)); err != nil {
			s.Abort()
			return
		}
		_ = s.End(nil)
	}}, nil)
	p := s.speak(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	long := append(get()[:6:6], ":path", "/long")
	p.head(1, true, long...)
	p.want("1 HEADERS :status=200", "1 DATA 100 bytes")
	p.head(3, true, get()...)
	p.want("3 HEADERS :status=200", "3 DATA "+string(make([]byte, 10))+" end")
}

func TestServerInterimAndTrailer(t *testing.T) {
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		_ = s.WriteHead(103, nil, nil, 0)
		_ = s.Flush()
		_ = s.WriteHead(200, nil, nil, wire.LengthUnknown)
		_, _ = s.WriteBody([]byte("abc"))
		var trailer wire.Head
		trailer.BuildRequest("", "", "", "grpc-status", "0", "content-length", "9")
		_ = s.End(&trailer)
	}}, nil)
	p := s.speak(t)
	p.head(1, true, get()...)
	p.want("1 HEADERS :status=103", "1 HEADERS :status=200", "1 DATA abc", "1 HEADERS grpc-status=0 end")
}

// An answer that comes before its request is whole lets a short rest come, and stops a
// long one.
func TestServerEarlyAnswer(t *testing.T) {
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		_ = s.WriteHead(413, nil, nil, 0)
		_ = s.End(nil)
	}}, nil)
	post := append([]string{":method", "POST"}, get()[2:]...)
	p := s.speak(t)
	p.head(1, false, post...)
	p.want("1 HEADERS :status=413 content-length=0 end")
	_ = p.WriteData(1, true, []byte("abc"))
	p.head(3, false, post...)
	p.want("3 HEADERS :status=413 content-length=0 end")
	for range 9 {
		_ = p.WriteData(3, false, make([]byte, 16<<10))
	}
	p.want("3 RST NO_ERROR")
	p.head(5, true, get()...)
	p.want("5 HEADERS :status=413 content-length=0 end")
}

func TestServerDrain(t *testing.T) {
	release := make(chan struct{})
	s := serving(t, handling{serve: func(s wire.Stream, req *wire.Head) {
		<-release
		echoing(s, req)
	}}, nil)
	p := s.speak(t)
	p.head(1, true, get()...)
	_, _ = p.ReadFrame() // SETTINGS: the connection is served
	s.srv.Drain()
	p.want("GOAWAY 2147483647 NO_ERROR")
	p.head(3, true, get()...) // was under way
	p.want("GOAWAY 3 NO_ERROR")
	p.head(5, true, get()...)
	p.want("5 RST REFUSED_STREAM")
	close(release)
	// Who writes for one stream writes what there is of the other, too: an answer's end may come
	// with its head or after it.
	got := map[string]bool{}
	for ended := 0; ended < 2; {
		said := p.describe(p.next())
		got[strings.TrimSuffix(said, " end")] = true
		if strings.HasSuffix(said, " end") {
			ended++
		}
	}
	for _, id := range []string{"1", "3"} {
		if !got[id+" HEADERS :status=200 x-asked=GET example.com /a?b=c content-length=0"] {
			t.Errorf("stream %s was not served: %v", id, got)
		}
	}
	if f, err := p.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, %v; want the end", f, err)
	}
	s.srv.Wait()
}

func TestServerEndsConnections(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(l *Limits)
		send   script
		want   string
	}{
		{"of age", func(l *Limits) { l.MaxAge = 50 * time.Millisecond }, func(*peer) {}, "GOAWAY 2147483647 NO_ERROR"},
		{"idle", func(l *Limits) { l.IdleTimeout = 50 * time.Millisecond }, func(*peer) {}, "GOAWAY 0 NO_ERROR"},
		{"a head that is not completed", func(l *Limits) { l.HeadTimeout = 50 * time.Millisecond }, func(p *peer) {
			p.quiet = true
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack(get()...)})
		}, "GOAWAY 0 ENHANCE_YOUR_CALM"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serving(t, handling{serve: echoing}, row.change)
			p := s.speak(t)
			row.send(p)
			p.want(row.want)
			for {
				if _, err := p.ReadFrame(); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A client that does not answer while a request is in hand is given up.
func TestServerAsksWhetherTheClientIsThere(t *testing.T) {
	gone := make(chan error, 1)
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		_, err := s.ReadBody(make([]byte, 1))
		gone <- err
		s.Abort()
	}}, func(l *Limits) { l.PingAfter, l.PingTimeout = 30*time.Millisecond, 30*time.Millisecond })
	p := s.speak(t)
	p.head(1, false, append([]string{":method", "POST"}, get()[2:]...)...)
	if err := <-gone; err == nil {
		t.Error("the body was read")
	}
}

func TestServerNoPreface(t *testing.T) {
	s := serving(t, handling{serve: echoing}, nil)
	resp, err := http.Get("http://" + s.addr + "/")
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("HTTP/1.1 was answered: %v", resp.Status)
	}
}

// Ten bodies at once go through one connection's windows, each whole.
func TestServerTurns(t *testing.T) {
	s := serving(t, handling{serve: func(s wire.Stream, req *wire.Head) {
		_ = s.WriteHead(200, nil, nil, wire.LengthUnknown)
		b := []byte(strings.Repeat(string(req.Target()[1:2]), 10_000))
		for range 50 {
			if _, err := s.WriteBody(b); err != nil {
				s.Abort()
				return
			}
		}
		_ = s.End(nil)
	}}, nil)
	c := s.client(t)
	done := make(chan error, 10)
	for i := range 10 {
		go func() {
			resp, err := c.Get(fmt.Sprintf("http://%s/%d", s.addr, i))
			if err != nil {
				done <- err
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err == nil && string(got) != strings.Repeat(fmt.Sprint(i), 500_000) {
				err = fmt.Errorf("body %d is not whole: %d bytes", i, len(got))
			}
			done <- err
		}()
	}
	for range 10 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
