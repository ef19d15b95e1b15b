package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2client speaks HTTP/2 frame by frame.
type h2client struct {
	*tls.Conn
	*http2.Framer
	connects bool // the gateway takes extended CONNECT
}

func (g *gateway) dialHTTP2(t testing.TB) *h2client {
	t.Helper()
	conn, err := tls.Dial("tcp", g.secure, &tls.Config{RootCAs: authority.pool, ServerName: defaultHost, NextProtos: []string{"h2"}})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(60*time.Second)))
	c := &h2client{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(t, second(io.WriteString(conn, http2.ClientPreface)))
	must(t, c.WriteSettings())
	for {
		f, err := c.ReadFrame()
		must(t, err)
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			v, ok := s.Value(http2.SettingEnableConnectProtocol)
			c.connects = ok && v == 1
			must(t, c.WriteSettingsAck())
			return c
		}
	}
}

// ask sends the head of a request on a stream; pairs are name, value, name, value…
func (c *h2client) ask(t testing.TB, stream uint32, pairs ...string) {
	t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		must(t, enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}))
}

// connect asks for a protocol by extended CONNECT.
func (c *h2client) connect(t testing.TB, stream uint32, protocol, path string) {
	t.Helper()
	c.ask(t, stream, ":method", "CONNECT", ":protocol", protocol, ":scheme", "https", ":path", path, ":authority", defaultHost,
		"sec-websocket-version", "13", "sec-websocket-protocol", "chat.v1, chat.v2")
}

// head reads the answer's head on a stream.
func (c *h2client) head(t testing.TB, stream uint32) (fields map[string]string, ended bool) {
	t.Helper()
	for {
		f, err := c.ReadFrame()
		must(t, err)
		if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamID == stream {
			fields = map[string]string{}
			for _, each := range h.Fields {
				fields[each.Name] = each.Value
			}
			return fields, h.StreamEnded()
		}
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			t.Fatalf("reset: %v", r.ErrCode)
		}
	}
}

// read reads DATA of a stream until there are n bytes, or its end.
func (c *h2client) read(t testing.TB, stream uint32, n int) (b []byte, ended bool) {
	t.Helper()
	for len(b) < n {
		f, err := c.ReadFrame()
		must(t, err)
		switch f := f.(type) {
		case *http2.DataFrame:
			if f.StreamID == stream {
				b = append(b, f.Data()...)
				ended = f.StreamEnded()
			}
		case *http2.RSTStreamFrame:
			t.Fatalf("reset: %v after %q", f.ErrCode, b)
		}
		if ended {
			return b, true
		}
	}
	return b, false
}

// message reads a short WebSocket message, in as many frames as its service likes, and
// says how many bytes they were.
func (c *h2client) message(t testing.TB, stream uint32) (text string, size int64) {
	t.Helper()
	var b []byte
	for at := 0; ; {
		for len(b) < at+2 || len(b) < at+2+int(b[at+1]) {
			more, _ := c.read(t, stream, 1)
			b = append(b, more...)
		}
		text += string(b[at+2 : at+2+int(b[at+1])])
		final := b[at]&0x80 != 0
		at += 2 + int(b[at+1])
		if final && at == len(b) {
			return text, int64(len(b))
		}
	}
}

// masked is one frame of a WebSocket client: final, with the mask 0, which changes nothing.
func masked(opcode byte, payload string) []byte {
	return append([]byte{0x80 | opcode, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// A browser that speaks HTTP/2 opens WebSockets as streams of the connection that it has
// (RFC 8441); the service speaks HTTP/1.1 and notices nothing.
func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel()
	for library, server := range chatServers {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{manifests: chatWorld(t, serve(t, server))})
			c := g.dialHTTP2(t)
			if !c.connects {
				t.Fatal("SETTINGS_ENABLE_CONNECT_PROTOCOL is not 1")
			}
			const streams = 5
			from := g.log.size()
			for i := range uint32(streams) { // several on one connection
				id := 2*i + 1
				c.connect(t, id, "websocket", fmt.Sprintf("/x/%d", id))
				head, ended := c.head(t, id)
				if head[":status"] != "200" || head["sec-websocket-protocol"] != "chat.v2" || head["sec-websocket-accept"] != "" || ended {
					t.Fatalf("got %v", head)
				}
			}
			for i := range uint32(streams) {
				id := 2*i + 1
				must(t, c.WriteData(id, false, masked(1, "hello")))
				text, out := c.message(t, id)
				if text != "hello" {
					t.Errorf("echo: got %q", text)
				}
				must(t, c.WriteData(id, false, masked(8, "\x10\xe1done"))) // close 4321
				got, ended := c.read(t, id, 4)
				if !strings.HasPrefix(string(got), "\x88") || !strings.Contains(string(got), "\x10\xe1") {
					t.Errorf("close: got %q", got)
				}
				for !ended {
					var more []byte
					more, ended = c.read(t, id, 1)
					got = append(got, more...)
				}
				must(t, c.WriteData(id, true, nil))
				rec := g.log.next(t, from, func(r *record) bool { return r.Path == fmt.Sprintf("/x/%d", id) })
				if rec.verdict != (verdict{"proxy", "", 200}) || rec.BytesIn != 23 || rec.BytesOut != out+int64(len(got)) {
					t.Errorf("record %+v", rec)
				}
			}
		})
	}
}

// What comes of an extended CONNECT when nothing is switched.
func TestExtendedConnectRefused(t *testing.T) {
	t.Parallel()
	up := raw(t, func(s *service) {
		for s.request() != nil {
			s.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad")
		}
	})
	g := start(t, setup{manifests: chatWorld(t, up)})
	c := g.dialHTTP2(t)
	for i, row := range []struct {
		protocol string
		want     verdict
		body     string
	}{
		{"connect-udp", verdict{"proxy", "upgrade_refused", 403}, ""},
		{"websocket", verdict{"proxy", "", 400}, "bad"},
	} {
		id := uint32(2*i + 1)
		from := g.log.size()
		c.connect(t, id, row.protocol, "/x/")
		head, ended := c.head(t, id)
		var body []byte
		if !ended {
			body, _ = c.read(t, id, 1<<10)
		}
		rec := g.log.next(t, from, func(*record) bool { return true })
		if head[":status"] != fmt.Sprint(row.want.Status) || string(body) != row.body || rec.verdict != row.want {
			t.Errorf("%s: got %v, %q, record %v", row.protocol, head, body, rec.verdict)
		}
	}
}

// At the deadline of a drain a tunnel's stream ends, and the service sees an orderly end.
func TestDrainOfTunnelsOverHTTP2(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	up := raw(t, func(s *service) {
		r := s.request()
		s.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tty\r\n\r\n" + r.Header.Get("Upgrade"))
		_, err := io.Copy(s, s.r)
		ended <- err
	})
	g := start(t, setup{args: []string{"--drain-timeout", "1s"}, manifests: chatWorld(t, up, "use_websocket: false") + mapping("tty", "/tty/", up, "allow_upgrade: [tty]")})
	c := g.dialHTTP2(t)
	from := g.log.size()
	c.connect(t, 1, "tty", "/tty/")
	if head, _ := c.head(t, 1); head[":status"] != "200" {
		t.Fatalf("got %v", head)
	}
	if got, _ := c.read(t, 1, 3); string(got) != "tty" {
		t.Errorf("the service was offered %q", got)
	}
	g.signal(syscall.SIGTERM)
	g.errors.await(t, `"msg":"draining"`)
	must(t, c.WriteData(1, false, []byte("still"))) // what is open can be used
	if got, _ := c.read(t, 1, 5); string(got) != "still" {
		t.Errorf("got %q", got)
	}
	if got, end := c.read(t, 1, 1); len(got) > 0 || !end {
		t.Errorf("the client's end: %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the service's end: %v", err)
	}
	rec := g.log.next(t, from, func(r *record) bool { return r.Path == "/tty/" })
	if rec.verdict != (verdict{"proxy", "draining", 200}) || rec.BytesIn != 5 || rec.BytesOut != 8 {
		t.Errorf("record %+v", rec)
	}
	if status := g.exit(t); status != 1 {
		t.Errorf("exit status %d, want 1: it was cut short", status)
	}
}
