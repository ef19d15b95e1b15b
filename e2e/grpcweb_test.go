package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	numbers "encoding/binary"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const testService = "/grpc.testing.TestService/"

// grpcService starts grpc-go's interop service in the clear.
func grpcService(t testing.TB) (addr string) {
	t.Helper()
	cmd := exec.Command(outside(t, "grpc-interop-server"))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line)
}

// The messages of grpc.testing.TestService, written down by hand: protobuf's wire format
// needs no generated code for a handful of fields.
type protoMessage []byte

func (m protoMessage) number(field int, n uint64) protoMessage {
	return numbers.AppendUvarint(numbers.AppendUvarint(m, uint64(field)<<3), n)
}

func (m protoMessage) bytes(field int, b []byte) protoMessage {
	return append(numbers.AppendUvarint(numbers.AppendUvarint(m, uint64(field)<<3|2), uint64(len(b))), b...)
}

// simpleRequest asks for a payload of that size, or for a failure.
func simpleRequest(size uint64, code uint64, text string) protoMessage {
	m := protoMessage{}.number(2, size).bytes(3, protoMessage{}.bytes(2, []byte("what the client says")))
	if code != 0 {
		m = m.bytes(7, protoMessage{}.number(1, code).bytes(2, []byte(text)))
	}
	return m
}

// streamRequest asks for payloads of those sizes, so far apart.
func streamRequest(apart time.Duration, sizes ...uint64) (m protoMessage) {
	for _, size := range sizes {
		m = m.bytes(2, protoMessage{}.number(1, size).number(2, uint64(apart.Microseconds())))
	}
	return m
}

// payload is the answer's: field 1 of it, in it field 2.
func payload(t testing.TB, message []byte) []byte {
	t.Helper()
	return field(t, field(t, message, 1), 2)
}

// field returns a field of bytes.
func field(t testing.TB, message []byte, number uint64) []byte {
	t.Helper()
	for rest := message; len(rest) > 0; {
		key, n := numbers.Uvarint(rest)
		value, m := numbers.Uvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 {
			t.Fatalf("%x is no message", message)
		}
		rest = rest[n+m:]
		if key&7 == 2 {
			if key>>3 == number {
				return rest[:value]
			}
			rest = rest[value:]
		}
	}
	return nil
}

func framed(flag byte, message []byte) []byte {
	return append(numbers.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

// A webCaller calls services as a page in a browser does.
type webCaller struct {
	*http.Client
	url  string
	text bool
}

// A webReply is an answer that is read frame by frame.
type webReply struct {
	*http.Response
	frames io.Reader
	trail  map[string]string // once a frame with a trailer came, or the head told it all
}

func (c webCaller) call(t testing.TB, method string, message []byte) *webReply {
	t.Helper()
	contentType, body := "application/grpc-web+proto", framed(0, message)
	if c.text {
		contentType = "application/grpc-web-text"
		// Padded in the middle, as by a client that encodes what it has just made.
		body = []byte(base64.StdEncoding.EncodeToString(body[:1]) + base64.StdEncoding.EncodeToString(body[1:]))
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", c.url+method, bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", contentType)
	req.Host = defaultHost
	req.Header.Set("X-Grpc-Web", "1")
	resp, err := c.Do(req)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(got, strings.TrimSuffix(contentType, "+proto")) {
		t.Fatalf("status %d, content type %q", resp.StatusCode, got)
	}
	r := &webReply{Response: resp, frames: resp.Body}
	if c.text {
		r.frames = &quanta{r: bufio.NewReader(resp.Body)}
	}
	if status := resp.Header.Get("Grpc-Status"); status != "" {
		r.trail = map[string]string{"grpc-status": status, "grpc-message": resp.Header.Get("Grpc-Message")}
	}
	return r
}

// quanta decodes base64 that may be padded anywhere.
type quanta struct {
	r    *bufio.Reader
	left []byte
}

func (q *quanta) Read(p []byte) (int, error) {
	if len(q.left) == 0 {
		var four [4]byte
		if _, err := io.ReadFull(q.r, four[:]); err != nil {
			return 0, err
		}
		var err error
		if q.left, err = base64.StdEncoding.DecodeString(string(four[:])); err != nil {
			return 0, err
		}
	}
	n := copy(p, q.left)
	q.left = q.left[n:]
	return n, nil
}

// next returns the next message; nil once the trailer has come, or none will.
func (r *webReply) next(t testing.TB) []byte {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(r.frames, head[:]); err != nil {
		if !errors.Is(err, io.EOF) || r.trail == nil {
			t.Fatalf("the answer ends with %v, trailer %v", err, r.trail)
		}
		return nil
	}
	b := make([]byte, numbers.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r.frames, b); err != nil {
		t.Fatal(err)
	}
	if head[0]&0x80 == 0 {
		return b
	}
	r.trail = map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		r.trail[name] = strings.TrimSpace(value)
	}
	if rest, err := io.ReadAll(r.frames); err != nil || len(rest) > 0 {
		t.Errorf("behind the trailer: %q, %v", rest, err)
	}
	return nil
}

// A page in a browser calls a real service of gRPC: in both forms of gRPC-Web, over
// HTTP/1.1 and over HTTP/2.
func TestGRPCWeb(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + authority.issue(t, defaultHost).secret("cert") + tlsHost("gate", defaultHost, "cert", route) +
		module("enable_grpc_web: true, grpc_stats: {all_methods: true}") +
		mapping("grpc", testService, grpcService(t), "grpc: true", `rewrite: ""`, "timeout_ms: 20000")})
	over := &http.Client{Transport: &http.Transport{TLSClientConfig: chatTLS(), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	over.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"h2"} //nolint:forcetypeassert // made above
	t.Cleanup(over.CloseIdleConnections)
	for _, c := range []struct {
		name  string
		major int
		webCaller
	}{
		{"binary over HTTP/1.1", 1, webCaller{operators, "http://" + g.clear, false}},
		{"text over HTTP/1.1", 1, webCaller{operators, "http://" + g.clear, true}},
		{"binary over HTTP/2", 2, webCaller{over, "https://" + g.secure, false}},
		{"text over HTTP/2", 2, webCaller{over, "https://" + g.secure, true}},
	} {
		t.Run(c.name, func(t *testing.T) { tryGRPCWeb(t, c.major, c.webCaller) })
	}
	for _, line := range []string{
		`legate_grpc_requests_total{grpc_status="0",method="UnaryCall",service="grpc.testing.TestService"} 4`,
		`legate_grpc_requests_total{grpc_status="7",method="UnaryCall",service="grpc.testing.TestService"} 4`,
		`legate_grpc_requests_total{grpc_status="12",method="other",service="other"} 4`,
		`legate_grpc_messages_total{direction="response",method="StreamingOutputCall",service="grpc.testing.TestService"} 12`,
	} {
		eventually(t, 10*time.Second, "the metrics have "+line, func() bool {
			_, metrics := g.operator("/metrics") // the last call is counted when its client has all of it
			return strings.Contains(metrics, line+"\n")
		})
	}
}

func tryGRPCWeb(t *testing.T, major int, c webCaller) {
	t.Helper()
	unary := c.call(t, testService+"UnaryCall", simpleRequest(200_000, 0, ""))
	if got := payload(t, unary.next(t)); len(got) != 200_000 || unary.ProtoMajor != major {
		t.Errorf("unary: %d bytes over HTTP/%d", len(got), unary.ProtoMajor)
	}
	if unary.next(t) != nil || unary.trail["grpc-status"] != "0" {
		t.Errorf("unary: trailer %v", unary.trail)
	}

	failed := c.call(t, testService+"UnaryCall", simpleRequest(1, 7, "not for you"))
	if failed.next(t) != nil || failed.trail["grpc-status"] != "7" || failed.trail["grpc-message"] != "not for you" {
		t.Errorf("failure: trailer %v", failed.trail)
	}

	nobody := c.call(t, testService+"NoSuchCall", nil)
	if nobody.next(t) != nil || nobody.trail["grpc-status"] != "12" {
		t.Errorf("no such method: trailer %v", nobody.trail)
	}

	const apart = 150 * time.Millisecond
	stream := c.call(t, testService+"StreamingOutputCall", streamRequest(apart, 31, 70_000, 5))
	var first time.Time
	for i, size := range []int{31, 70_000, 5} {
		if got := payload(t, stream.next(t)); len(got) != size {
			t.Errorf("message %d of the stream: %d bytes, want %d", i, len(got), size)
		}
		if i == 0 {
			first = time.Now()
		}
	}
	if took := time.Since(first); took < apart {
		t.Errorf("the last message came %v after the first: they were held back", took)
	}
	if stream.next(t) != nil || stream.trail["grpc-status"] != "0" {
		t.Errorf("stream: trailer %v", stream.trail)
	}
}

// A client of HTTP/1.1 that knows nothing of trailers calls a real service of gRPC.
func TestGRPCBridge(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + module("enable_grpc_http11_bridge: true") +
		mapping("grpc", testService, grpcService(t), "grpc: true", `rewrite: ""`)})
	for _, c := range []struct {
		method  string
		message []byte
		status  int
		code    string
		size    int
	}{
		{"UnaryCall", simpleRequest(1000, 0, ""), 200, "0", 1000},
		{"UnaryCall", simpleRequest(1000, 9, "not so"), 503, "9", 0},
		{"NoSuchCall", nil, 503, "12", 0},
		{"StreamingOutputCall", streamRequest(0, 10), 200, "0", 10},
	} {
		a := g.send(t, request{method: "POST", target: testService + c.method, header: []string{"Content-Type: application/grpc"}, body: string(framed(0, c.message))})
		if got, want := g.verdict(t, a), (verdict{"proxy", "", c.status}); got != want || a.StatusCode != c.status || a.Header.Get("Grpc-Status") != c.code ||
			len(a.Trailer) > 0 || a.ContentLength != int64(len(a.body)) {
			t.Errorf("%s: got %v, %d %v", c.method, got, a.StatusCode, a.Header)
		}
		if c.size > 0 && len(payload(t, a.body[5:])) != c.size {
			t.Errorf("%s: %d bytes", c.method, len(a.body))
		}
		if c.code == "9" && a.Header.Get("Grpc-Message") != "not so" {
			t.Errorf("%s: message %q", c.method, a.Header.Get("Grpc-Message"))
		}
	}
}
