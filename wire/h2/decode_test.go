package h2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"legate/wire"
)

// pack encodes fields given as name, value, name, value…
func pack(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// get are the pseudo-fields of an ordinary request, with more fields behind.
func get(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "example.com", ":path", "/a?b=c"}, more...)
}

// describe renders a head as an HTTP/1.1 peer would see it.
func describe(h *wire.Head) string {
	q, hasQuery := h.Query()
	s := fmt.Sprintf("%s %s", h.MethodName(), h.Path())
	if hasQuery {
		s += "?" + string(q)
	}
	s += " " + string(h.Host())
	if h.Status != 0 {
		s = fmt.Sprint(h.Status)
	}
	lines := h.AppendLines(nil, wire.HopByHop|1<<wire.FieldHost, nil)
	return strings.ReplaceAll(s+"\r\n"+string(lines), "\r\n", "|")
}

// without returns fields without those of that name.
func without(name string, fields []string) (left []string) {
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != name {
			left = append(left, fields[i], fields[i+1])
		}
	}
	return left
}

func TestDecodeRequest(t *testing.T) {
	for _, row := range []struct {
		name   string
		fields []string
		want   string
		fault  *wire.ProtocolError
	}{
		{"ordinary", get("accept", "*/*", "x-a", "1"), "GET /a?b=c example.com|accept: */*|x-a: 1|", nil},
		{"no query", []string{":method", "PURGE", ":scheme", "http", ":path", "/", ":authority", "a:80"}, "PURGE / a:80|", nil},
		{"empty query", []string{":method", "GET", ":scheme", "http", ":path", "/?", ":authority", "a"}, "GET /? a|", nil},
		{"asterisk", []string{":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a"}, "OPTIONS * a|", nil},
		{"host alone", without(":authority", get("host", "b.example")), "GET /a?b=c b.example|", nil},
		{"host repeats", get("host", "EXAMPLE.com:443"), "GET /a?b=c example.com|", nil},
		{"cookie crumbs", get("cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3"), "GET /a?b=c example.com|x: y|cookie: a=1; b=2; c=3|", nil},
		{"one cookie", get("cookie", "a=1; b=2"), "GET /a?b=c example.com|cookie: a=1; b=2|", nil},
		{"te trailers", get("te", "trailers"), "GET /a?b=c example.com|", nil},
		{"white space around a value", get("x", " \tv\t "), "GET /a?b=c example.com|x: v|", nil},
		{"empty value", get("x", ""), "GET /a?b=c example.com|x: |", nil},
		{"obs-text", get("x", "\xe4"), "GET /a?b=c example.com|x: \xe4|", nil},
		{"extended CONNECT", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "a", "sec-websocket-version", "13"}, "GET /chat a|sec-websocket-version: 13|", nil},

		{"upper case name", get("X-A", "1"), "", errFieldName},
		{"empty name", get("", "1"), "", errFieldName},
		{"colon in a name", get("x:y", "1"), "", errFieldName},
		{"space in a name", get("x y", "1"), "", errFieldName},
		{"CRLF in a name", get("x: 1\r\ny", "1"), "", errFieldName},
		{"NUL in a name", get("x\x00", "1"), "", errFieldName},
		{"CR in a value", get("x", "1\r"), "", errFieldValue},
		{"LF in a value", get("x", "1\ny: 2"), "", errFieldValue},
		{"CRLF in a value", get("x", "1\r\ny: 2"), "", errFieldValue},
		{"NUL in a value", get("x", "1\x00"), "", errFieldValue},
		{"DEL in a value", get("x", "1\x7f"), "", errFieldValue},
		{"connection", get("connection", "close"), "", errConnectionField},
		{"proxy-connection", get("proxy-connection", "close"), "", errConnectionField},
		{"keep-alive", get("keep-alive", "1"), "", errConnectionField},
		{"transfer-encoding", get("transfer-encoding", "chunked"), "", errConnectionField},
		{"upgrade", get("upgrade", "h2c"), "", errConnectionField},
		{"te gzip", get("te", "gzip"), "", errTE},
		{"te trailers and more", get("te", "trailers", "te", "gzip"), "", errTE},
		{"unknown pseudo-field", get(":x", "1"), "", errPseudoUnknown},
		{"status in a request", get(":status", "200"), "", errPseudoUnknown},
		{"method twice", get(":method", "GET"), "", errPseudoTwice},
		{"path twice", get(":path", "/"), "", errPseudoTwice},
		{"authority twice", get(":authority", "example.com"), "", errPseudoTwice},
		{"late pseudo-field", []string{":method", "GET", ":scheme", "https", "x", "y", ":path", "/", ":authority", "a"}, "", errPseudoLate},
		{"no method", without(":method", get()), "", errPseudoMissing},
		{"no scheme", without(":scheme", get()), "", errPseudoMissing},
		{"no path", without(":path", get()), "", errPseudoMissing},
		{"empty method", []string{":method", "", ":scheme", "http", ":path", "/", ":authority", "a"}, "", errMethod},
		{"space in the method", []string{":method", "GET /x", ":scheme", "http", ":path", "/", ":authority", "a"}, "", errMethod},
		{"empty scheme", []string{":method", "GET", ":scheme", "", ":path", "/", ":authority", "a"}, "", errScheme},
		{"empty path", []string{":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"}, "", errTarget},
		{"relative path", []string{":method", "GET", ":scheme", "http", ":path", "a", ":authority", "a"}, "", errTarget},
		{"asterisk for GET", []string{":method", "GET", ":scheme", "http", ":path", "*", ":authority", "a"}, "", errTarget},
		{"absolute path", []string{":method", "GET", ":scheme", "http", ":path", "http://a/", ":authority", "a"}, "", errTarget},
		{"space in the path", []string{":method", "GET", ":scheme", "http", ":path", "/ HTTP/1.1", ":authority", "a"}, "", errTarget},
		{"CRLF in the path", []string{":method", "GET", ":scheme", "http", ":path", "/\r\nx: y", ":authority", "a"}, "", errTarget},
		{"no authority", without(":authority", get()), "", errNoAuthority},
		{"empty authority", []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", ""}, "", errAuthority},
		{"user in the authority", []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a"}, "", errAuthority},
		{"CRLF in the authority", []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a\r\nx: y"}, "", errAuthority},
		{"two hosts", without(":authority", get("host", "a", "host", "a")), "", errTwoHosts},
		{"bad host", without(":authority", get("host", "a b")), "", errAuthority},
		{"host disagrees", get("host", "b.example"), "", errHostDisagrees},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "a:443"}, "", errConnect},
		{"protocol without CONNECT", get(":protocol", "websocket"), "", errProtocol},
		{"protocol of a GET", []string{":method", "GET", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "a"}, "", errProtocol},
		{"malformed protocol", []string{":method", "CONNECT", ":protocol", "a b", ":scheme", "http", ":path", "/", ":authority", "a"}, "", errProtocol},
		{"extended CONNECT without a path", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a"}, "", errPseudoMissing},
		{"upgrade beside the protocol", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "a", "upgrade", "x"}, "", errConnectionField},
		{"two lengths", get("content-length", "1", "content-length", "1"), "", errTwoLengths},
		{"list of lengths", get("content-length", "1, 1"), "", errLength},
		{"signed length", get("content-length", "+1"), "", errLength},
		{"too many lines", get(strings.Split(strings.Repeat("x,y,", 51)[:203], ",")...), "", errTooManyLines},
		{"head over the limit", get("x", strings.Repeat("y", 1001)), "", errHeadTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDecoder(1000, 50)
			var h wire.Head
			fault, err := d.decode(&h, requestBlock, pack(row.fields...))
			if err != nil || fault != row.fault {
				t.Fatalf("got %v, %v; want %v", fault, err, row.fault)
			}
			if got := describe(&h); fault == nil && got != row.want {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
			// The table of the connection is as it was: the next request is understood.
			if fault, err := d.decode(&h, requestBlock, pack(get()...)); fault != nil || err != nil {
				t.Errorf("the next request: %v, %v", fault, err)
			}
		})
	}
}

// A head is measured as HTTP/1.1 would send its fields.
func TestDecodeLimit(t *testing.T) {
	fields := get("x", "")
	size := 0
	for i := 0; i < len(fields); i += 2 {
		size += len(fields[i]) + len(": ") + len(fields[i+1]) + len("\r\n")
	}
	for extra, want := range map[int]*wire.ProtocolError{0: nil, 1: errHeadTooLarge} {
		var h wire.Head
		fault, err := newDecoder(1000, 50).decode(&h, requestBlock, pack(get("x", strings.Repeat("y", 1000-size+extra))...))
		if fault != want || err != nil {
			t.Errorf("%d over the limit: got %v, %v", extra, fault, err)
		}
	}
}

func TestDecodeExtendedConnect(t *testing.T) {
	var h wire.Head
	fault, err := newDecoder(1000, 50).decode(&h, requestBlock, pack(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a"))
	if fault != nil || err != nil {
		t.Fatal(fault, err)
	}
	if !h.UpgradeTo || string(h.Get(wire.FieldUpgrade)) != "websocket" || h.Method() != wire.GET || h.Major != 2 {
		t.Errorf("upgrade %v to %q by %s, HTTP/%d", h.UpgradeTo, h.Get(wire.FieldUpgrade), h.MethodName(), h.Major)
	}
}

func TestDecodeAnswerAndTrailer(t *testing.T) {
	for _, row := range []struct {
		name   string
		kind   block
		fields []string
		want   string
		fault  *wire.ProtocolError
	}{
		{"answer", answerBlock, []string{":status", "200", "content-length", "5", "set-cookie", "a", "set-cookie", "b"}, "200|set-cookie: a|set-cookie: b|", nil},
		{"interim", answerBlock, []string{":status", "103", "link", "</a>"}, "103|link: </a>|", nil},
		{"no status", answerBlock, []string{"a", "b"}, "", errPseudoMissing},
		{"status twice", answerBlock, []string{":status", "200", ":status", "200"}, "", errPseudoTwice},
		{"switching protocols", answerBlock, []string{":status", "101"}, "", errStatus},
		{"two digits", answerBlock, []string{":status", "20"}, "", errStatus},
		{"letters", answerBlock, []string{":status", "2xx"}, "", errStatus},
		{"path in an answer", answerBlock, []string{":status", "200", ":path", "/"}, "", errPseudoUnknown},
		{"connection in an answer", answerBlock, []string{":status", "200", "connection", "close"}, "", errConnectionField},
		{"trailer", trailerBlock, []string{"grpc-status", "0", "grpc-message", ""}, "  |grpc-status: 0|grpc-message: |", nil},
		{"pseudo-field in a trailer", trailerBlock, []string{":status", "200"}, "", errPseudoUnknown},
		{"trailer over its limit", trailerBlock, []string{"x", strings.Repeat("y", maxTrailerBytes)}, "", errHeadTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h wire.Head
			fault, err := newDecoder(60<<10, 100).decode(&h, row.kind, pack(row.fields...))
			if err != nil || fault != row.fault {
				t.Fatalf("got %v, %v; want %v", fault, err, row.fault)
			}
			if got := describe(&h); fault == nil && got != row.want {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}

func TestDecodeLosesTheConnection(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []byte
		code http2.ErrCode
	}{
		{"index beyond the table", []byte{0xff, 0x80, 0x01}, http2.ErrCodeCompression},
		{"block that breaks off", []byte{0x40, 0x0a, 'x'}, http2.ErrCodeCompression},
		{"table larger than allowed", []byte{0x3f, 0xe1, 0xff, 0x03}, http2.ErrCodeCompression},
		{"field far over the limit", pack("x", strings.Repeat("y", 3000)), http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h wire.Head
			_, err := newDecoder(1000, 50).decode(&h, requestBlock, row.in)
			if lost, ok := errors.AsType[*ConnError](err); !ok || lost.Code != row.code {
				t.Errorf("got %v, want %v", err, row.code)
			}
		})
	}
}

// A block that nobody waits for still fills the table.
func TestDecodeUnwantedBlock(t *testing.T) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	_ = e.WriteField(hpack.HeaderField{Name: "x-known", Value: "later"})
	d := newDecoder(1000, 50)
	if fault, err := d.decode(nil, requestBlock, b.Bytes()); fault != nil || err != nil {
		t.Fatal(fault, err)
	}
	b.Reset()
	for i, f := range get("x-known", "later") {
		if i%2 == 0 {
			_ = e.WriteField(hpack.HeaderField{Name: f, Value: get("x-known", "later")[i+1]})
		}
	}
	var h wire.Head
	if fault, err := d.decode(&h, requestBlock, b.Bytes()); fault != nil || err != nil || !strings.Contains(describe(&h), "x-known: later") {
		t.Errorf("got %q, %v, %v", describe(&h), fault, err)
	}
}

// What many references to one large field would expand to is never held.
func TestDecodeBomb(t *testing.T) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	_ = e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 4000)})
	for range 100_000 {
		_ = e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 4000)})
	}
	var h wire.Head
	fault, err := newDecoder(60<<10, 100).decode(&h, requestBlock, b.Bytes())
	if fault != errHeadTooLarge || err != nil {
		t.Fatal(fault, err)
	}
	if n := cap(h.Buffer()); n > 200<<10 {
		t.Errorf("the head grew to %d bytes", n)
	}
}

// A request like the last needs no memory.
func TestAllocsDecode(t *testing.T) {
	if raceEnabled {
		t.Skip("counts allocations")
	}
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	d := newDecoder(60<<10, 100)
	var h wire.Head
	fields := get("user-agent", "test", "accept", "*/*", "x-a", "1", "cookie", "a=1", "cookie", "b=2")
	send := func() {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		if fault, err := d.decode(&h, requestBlock, b.Bytes()); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
	}
	send()
	if n := testing.AllocsPerRun(100, send); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
