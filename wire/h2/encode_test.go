package h2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"legate/wire"
)

// unpack decodes a block to "name: value|…", with "!" before fields that are never to
// be indexed.
func unpack(t *testing.T, p []byte) string {
	t.Helper()
	fields, err := hpack.NewDecoder(4096, nil).DecodeFull(p)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range fields {
		if f.Sensitive {
			b.WriteByte('!')
		}
		b.WriteString(f.Name + ": " + f.Value + "|")
	}
	return b.String()
}

func TestEncodeRequest(t *testing.T) {
	for _, row := range []struct {
		name   string
		method string
		target string
		fields []string
		edit   func(e *wire.Edits)
		length int64
		want   string
	}{
		{"ordinary", "GET", "/a?b", []string{"Accept", "*/*"}, nil, 0, ":method: GET|:scheme: https|:path: /a?b|:authority: h|accept: */*|"},
		{"post", "POST", "/", nil, nil, 300, ":method: POST|:scheme: https|:path: /|:authority: h|content-length: 300|"},
		{"unknown length", "PUT", "/", nil, nil, wire.LengthUnknown, ":method: PUT|:scheme: https|:path: /|:authority: h|"},
		{"connection's fields stay", "GET", "/", []string{"Connection", "x", "Keep-Alive", "1", "TE", "gzip", "Host", "h", "Transfer-Encoding", "chunked", "Upgrade", "x", "Proxy-Connection", "y"}, nil, 0, ":method: GET|:scheme: https|:path: /|:authority: h|"},
		{"secrets are never indexed", "GET", "/", []string{"Authorization", "Bearer x", "Cookie", "a=b"}, nil, 0, ":method: GET|:scheme: https|:path: /|:authority: h|!authorization: Bearer x|!cookie: a=b|"},
		{"edits", "GET", "/old?q", []string{"X-A", "1", "X-B", "2"}, func(e *wire.Edits) {
			e.Path, e.Host = []byte("/new"), []byte("other")
			e.DropName([]byte("x-a"))
			e.AddName([]byte("x-c"), []byte("3"))
			e.Set(wire.FieldTE, []byte("trailers"))
		}, 0, ":method: GET|:scheme: https|:path: /new?q|:authority: other|x-b: 2|x-c: 3|te: trailers|"},
		{"new query", "GET", "/old?q", nil, func(e *wire.Edits) {
			e.Path, e.Query, e.HasQuery = []byte("/new"), []byte("r=s"), true
		}, 0, ":method: GET|:scheme: https|:path: /new?r=s|:authority: h|"},
		{"long value", "GET", "/", []string{"X-Long", strings.Repeat("v", 300)}, nil, 0, ":method: GET|:scheme: https|:path: /|:authority: h|x-long: " + strings.Repeat("v", 300) + "|"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h wire.Head
			h.BuildRequest(row.method, "h", row.target, row.fields...)
			var e wire.Edits
			if row.edit != nil {
				row.edit(&e)
			}
			if got := unpack(t, appendRequest(nil, &h, &e, true, row.length)); got != row.want {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}

func TestEncodeAnswer(t *testing.T) {
	for status, want := range map[int]string{
		200: ":status: 200|x: y|content-length: 3|", 204: ":status: 204|x: y|", 206: ":status: 206|x: y|content-length: 3|",
		103: ":status: 103|x: y|", 304: ":status: 304|x: y|content-length: 3|", 400: ":status: 400|x: y|content-length: 3|",
		404: ":status: 404|x: y|content-length: 3|", 500: ":status: 500|x: y|content-length: 3|",
		418: ":status: 418|x: y|content-length: 3|", 42: ":status: 500|x: y|",
	} {
		var h wire.Head
		h.BuildRequest("GET", "h", "/", "X", "y", "Connection", "close", "Content-Length", "7")
		if got := unpack(t, appendAnswer(nil, status, &h, nil, 3)); got != want {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

func TestEncodeTrailer(t *testing.T) {
	var h wire.Head
	h.BuildRequest("GET", "h", "/", "Grpc-Status", "0", "Content-Length", "1", "Transfer-Encoding", "x", "Authorization", "y", "X-Sum", "1")
	if got, want := unpack(t, appendTrailer(nil, &h)), "grpc-status: 0|x-sum: 1|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is decoded can be encoded, and is then the same.
func TestEncodeWhatWasDecoded(t *testing.T) {
	var a, b wire.Head
	in := get("x-a", "1", "cookie", "a", "cookie", "b", "content-length", "3")
	if fault, err := newDecoder(1000, 50).decode(&a, requestBlock, pack(in...)); fault != nil || err != nil {
		t.Fatal(fault, err)
	}
	if fault, err := newDecoder(1000, 50).decode(&b, requestBlock, appendRequest(nil, &a, nil, true, a.Length)); fault != nil || err != nil {
		t.Fatal(fault, err)
	}
	if describe(&a) != describe(&b) || b.Length != 3 {
		t.Errorf("%q became %q", describe(&a), describe(&b))
	}
}

func TestAllocsEncode(t *testing.T) {
	if raceEnabled {
		t.Skip("counts allocations")
	}
	var h wire.Head
	h.BuildRequest("GET", "h", "/a?b", "Accept", "*/*", "X-A", "1", "User-Agent", "test", "Content-Type", "text/plain")
	var e wire.Edits
	e.Set(wire.FieldServer, []byte("envoy"))
	e.AddName([]byte("x-new"), []byte("1"))
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		out = appendAnswer(out[:0], 200, &h, &e, 300)
		out = appendRequest(out[:0], &h, &e, true, 0)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSplitHeaders(t *testing.T) {
	for _, row := range []struct {
		name   string
		length int
		want   string // "type flags length", …
	}{
		{"fits", 10, "1 5 10"},
		{"exactly", 16, "1 5 16"},
		{"one more", 17, "1 1 16, 9 4 1"},
		{"three frames", 40, "1 1 16, 9 0 16, 9 4 8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out := append([]byte("before"), make([]byte, frameHeader)...)
			for i := range row.length {
				out = append(out, byte(i))
			}
			out = splitHeaders(out, len("before"), 7, true, 16)
			var frames []string
			var block []byte
			for p := out[len("before"):]; len(p) > 0; {
				n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
				frames = append(frames, strings.Join([]string{itoa(p[3]), itoa(p[4]), itoa(byte(n))}, " "))
				if p[8] != 7 {
					t.Errorf("stream %d", p[8])
				}
				block = append(block, p[frameHeader:frameHeader+n]...)
				p = p[frameHeader+n:]
			}
			if got := strings.Join(frames, ", "); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			for i := range block {
				if block[i] != byte(i) {
					t.Fatalf("byte %d of the block is %d", i, block[i])
				}
			}
		})
	}
}

func itoa(b byte) string {
	if b >= 10 {
		return string([]byte{'0' + b/10, '0' + b%10})
	}
	return string([]byte{'0' + b})
}
