package h2

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
	"legate/wire/h1"
)

// A discarding owns links that are used once.
type discarding struct{}

func (discarding) Idle(*h1.Link) bool { return false }
func (discarding) Closed(*h1.Link)    {}

// downgrade sends req, with body, as HTTP/1.1 and returns the bytes that the endpoint sees.
func downgrade(t testing.TB, req *wire.Head, body []byte) string {
	t.Helper()
	near, far := net.Pipe()
	seen := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(far)
		seen <- string(b)
	}()
	l := h1.NewLink(wire.NewConn(near), nil, "endpoint", discarding{})
	err := l.WriteHead(req, nil, req.Length)
	if err == nil && !req.NoBody {
		_, err = l.WriteBody(body)
	}
	if err == nil {
		err = l.EndRequest(nil)
	}
	if err == nil {
		err = l.Flush()
	}
	if err != nil {
		t.Error(err)
	}
	var resp wire.Head
	go func() { _ = l.ReadHead(&resp, time.Now().Add(50*time.Millisecond), nil) }() // what waits for the answer goes out with the wait
	time.AfterFunc(100*time.Millisecond, l.Abort)
	return <-seen
}

// What HTTP/2 can hold and HTTP/1.1 reads otherwise never gets past us: such requests are
// refused, and their stream is reset.
func TestDowngradeSmuggling(t *testing.T) {
	const second = "GET /admin HTTP/1.1\r\nHost: internal\r\n\r\n"
	raw := func(method, scheme, path, authority string, more ...string) []string {
		return append([]string{":method", method, ":scheme", scheme, ":path", path, ":authority", authority}, more...)
	}
	post := func(more ...string) []string { return raw("POST", "https", "/", "a", more...) }
	for _, row := range []struct {
		name   string
		fields []string
		body   string
	}{
		{"request in a value", post("x", "1\r\n\r\n"+second), ""},
		{"line in a value", post("x", "1\r\ntransfer-encoding: chunked"), second},
		{"LF in a value", post("x", "1\ntransfer-encoding: chunked"), second},
		{"CR in a value", post("x", "1\rtransfer-encoding: chunked"), second},
		{"NUL in a value", post("x", "1\x00"), ""},
		{"line at a value's end", post("x", "1\r\n"), ""},
		{"line at a value's beginning", post("x", "\r\ny: 1"), ""},
		{"control in a value", post("x", "\x01"), ""},
		{"request in a name", post("x: 1\r\n\r\n"+second, "1"), ""},
		{"line in a name", post("x: 1\r\ntransfer-encoding", "chunked"), second},
		{"colon in a name", post("transfer-encoding:chunked", "1"), second},
		{"colon at a name's end", post("transfer-encoding:", "chunked"), second},
		{"space at a name's end", post("transfer-encoding ", "chunked"), second},
		{"space at a name's beginning", post(" transfer-encoding", "chunked"), second},
		{"tab in a name", post("transfer\tencoding", "chunked"), second},
		{"NUL in a name", post("transfer-encoding\x00", "chunked"), second},
		{"high byte in a name", post("transfer-encoding\xff", "chunked"), second},
		{"empty name", post("", "transfer-encoding: chunked"), second},
		{"upper case", post("Transfer-Encoding", "chunked"), second},
		{"transfer-encoding", post("transfer-encoding", "chunked"), "0\r\n\r\n" + second},
		{"transfer-encoding, obscured", post("transfer-encoding", "xchunked"), second},
		{"connection", post("connection", "x-forwarded-for"), ""},
		{"connection: keep-alive, content-length", post("connection", "content-length"), ""},
		{"proxy-connection", post("proxy-connection", "close"), ""},
		{"keep-alive", post("keep-alive", "timeout=5"), ""},
		{"upgrade", post("upgrade", "h2c"), ""},
		{"te", post("te", "chunked"), ""},
		{"length too short", post("content-length", "0"), second},
		{"length too long", post("content-length", "1000"), "x"},
		{"two lengths", post("content-length", "0", "content-length", "40"), second},
		{"list of lengths", post("content-length", "0, 40"), second},
		{"signed length", post("content-length", "+0"), second},
		{"length with a line", post("content-length", "0\r\n"), second},
		{"length in hex", post("content-length", "0x0"), second},
		{"request in the method", raw("GET / HTTP/1.1\r\nHost: internal\r\n\r\nGET", "https", "/", "a"), ""},
		{"space in the method", raw("GET /admin", "https", "/", "a"), ""},
		{"line in the method", raw("GET\r\n", "https", "/", "a"), ""},
		{"request in the path", raw("GET", "https", "/ HTTP/1.1\r\nHost: internal\r\n\r\nGET /admin", "a"), ""},
		{"version in the path", raw("GET", "https", "/ HTTP/1.1", "a"), ""},
		{"line in the path", raw("GET", "https", "/\r\nx: y", "a"), ""},
		{"tab in the path", raw("GET", "https", "/\tHTTP/1.1", "a"), ""},
		{"path without a slash", raw("GET", "https", "@internal/", "a"), ""},
		{"absolute path", raw("GET", "https", "http://internal/", "a"), ""},
		{"line in the authority", raw("GET", "https", "/", "a\r\nx: y"), ""},
		{"path in the authority", raw("GET", "https", "/", "a/admin"), ""},
		{"user in the authority", raw("GET", "https", "/", "a@internal"), ""},
		{"space in the authority", raw("GET", "https", "/", "a internal"), ""},
		{"another host", raw("GET", "https", "/", "a", "host", "internal"), ""},
		{"two hosts", raw("GET", "https", "/", "a", "host", "a", "host", "internal"), ""},
		{"line in the scheme", raw("GET", "https://internal/\r\n", "/", "a"), ""},
		{"pseudo-field twice", raw("GET", "https", "/", "a", ":path", "/admin"), ""},
		{"late pseudo-field", []string{":method", "GET", ":scheme", "https", "x", "y", ":path", "/", ":authority", "a"}, ""},
		{"pseudo-field of an answer", raw("GET", "https", "/", "a", ":status", "200"), ""},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "internal:22"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serving(t, handling{serve: func(s wire.Stream, req *wire.Head) {
				if _, err := wholeBody(s); err == nil { // only what came whole would be sent
					t.Errorf("sent on: %q", req.Buffer())
				}
				s.Abort()
			}}, nil)
			p := s.speak(t)
			p.AllowIllegalWrites = true
			p.head(1, row.body == "", row.fields...)
			if row.body != "" {
				_ = p.WriteData(1, true, []byte(row.body))
			}
			for {
				switch f := p.next().(type) {
				case *http2.RSTStreamFrame:
					return
				case *http2.HeadersFrame:
					if got := p.describe(f); strings.Contains(got, ":status=501") {
						return // CONNECT, which breaks no rule
					} else if !strings.Contains(got, ":status=400") {
						t.Fatalf("got %s", got)
					}
				}
			}
		})
	}
}

// What does get past us is one request to HTTP/1.1, and the same.
func TestDowngrade(t *testing.T) {
	for _, row := range []struct {
		fields []string
		body   string
		want   string
	}{
		{get(), "", "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\n\r\n"},
		{get("x", " 1 ", "cookie", "a", "y", "", "cookie", "b"), "", "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\nx: 1\r\ny: \r\ncookie: a; b\r\n\r\n"},
		{append([]string{":method", "POST"}, get("content-length", "3")[2:]...), "abc", "POST /a?b=c HTTP/1.1\r\nhost: example.com\r\ncontent-length: 3\r\n\r\nabc"},
		{append([]string{":method", "POST"}, get()[2:]...), "abc", "POST /a?b=c HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	} {
		var h wire.Head
		if fault, err := newDecoder(60<<10, 100).decode(&h, requestBlock, pack(row.fields...)); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
		h.NoBody = row.body == ""
		if h.NoBody {
			h.Length = 0
		}
		if got := downgrade(t, &h, []byte(row.body)); got != row.want {
			t.Errorf("got  %q\nwant %q", got, row.want)
		}
	}
}

// FuzzDowngrade decodes any field block; what is accepted must be, to net/http as an
// HTTP/1.1 server, exactly one request, with the same method, target, host and fields.
func FuzzDowngrade(f *testing.F) {
	f.Add(pack(get("x", "1", "cookie", "a", "cookie", "b", "te", "trailers")...))
	f.Add(pack(get("x", "1\r\ny: 2", "content-length", "3")...))
	f.Add(pack(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a"))
	f.Fuzz(func(t *testing.T, block []byte) {
		var h wire.Head
		fault, err := newDecoder(60<<10, 100).decode(&h, requestBlock, block)
		if fault != nil || err != nil {
			return
		}
		head := append(append(h.MethodName(), ' '), h.Target()...)
		head = append(append(head, " HTTP/1.1\r\nhost: "...), h.Host()...)
		head = append(h.AppendLines(append(head, '\r', '\n'), wire.HopByHop|1<<wire.FieldHost, nil), '\r', '\n')
		br := bufio.NewReader(bytes.NewReader(head))
		req, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(err.Error(), "parse ") {
				return // what a target may hold is for the gateway's own rules to say
			}
			t.Fatalf("%v in %q", err, head)
		}
		if br.Buffered() > 0 || req.Method != string(h.MethodName()) || req.RequestURI != string(h.Target()) || req.Host != string(h.Host()) {
			t.Errorf("%q became %s %s %s, and %d bytes are left", head, req.Method, req.RequestURI, req.Host, br.Buffered())
		}
		if req.ContentLength != 0 || len(req.TransferEncoding) > 0 {
			t.Errorf("%q has a body", head)
		}
		lines := 0
		for _, values := range req.Header {
			lines += len(values)
		}
		want := 0
		for i := range h.Len() {
			if id, _, _ := h.Line(i); id == wire.FieldOther || !(wire.HopByHop | 1<<wire.FieldHost).Has(id) {
				want++
			}
		}
		if lines != want {
			t.Errorf("%q has %d fields, and had %d", head, lines, want)
		}
	})
}

// FuzzServer gives the server any bytes behind the preface: it answers or ends, keeps no
// handler and never fails itself.
func FuzzServer(f *testing.F) {
	var seed bytes.Buffer
	fr := http2.NewFramer(&seed, nil)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: pack(get()...), EndHeaders: true})
	_ = fr.WriteData(1, true, []byte("abc"))
	_ = fr.WriteWindowUpdate(0, 10)
	_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
	f.Add(seed.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		srv := NewServer(handling{serve: echoing}, &watching{abusive: make(chan Abuse, 1)}, DefaultLimits(), time.Now)
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		ended := make(chan struct{})
		srv.Start(wire.NewConn(near), nil, wire.Peer{}, nil, func() { close(ended) })
		_, _ = io.WriteString(far, Preface)
		_, _ = far.Write(data)
		_ = far.Close()
		<-ended
		srv.Wait()
	})
}
