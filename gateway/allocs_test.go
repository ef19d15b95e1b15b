package gateway

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"legate/telemetry"
)

// deaf takes an access log and keeps nothing, so that only the gateway allocates.
func deaf(t testing.TB) func(*Options) {
	t.Helper()
	access := telemetry.NewAccessLog(io.Discard, telemetry.AccessLogOptions{Interval: time.Hour})
	t.Cleanup(func() {
		if err := access.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return func(o *Options) {
		o.AccessLog = func(string, string) *telemetry.AccessLog { return access }
	}
}

// echoing answers each read that ends in end with reply, and allocates nothing.
func echoing(t testing.TB, end, reply string) (addr string) {
	t.Helper()
	want, answer := []byte(end), []byte(reply)
	return service(t, func(p *peer) {
		b := make([]byte, 64<<10)
		for n := 0; ; {
			m, err := p.Read(b[n:])
			if err != nil {
				return
			}
			if n += m; bytes.HasSuffix(b[:n], want) {
				n = 0
				if _, err := p.Write(answer); err != nil {
					return
				}
			}
		}
	})
}

// TestAllocsServe holds the whole way of a request, over real sockets on both sides and
// with its record written, to no allocation.
func TestAllocsServe(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	issuer := newIDP(t)
	body := strings.Repeat("x", 300)
	const length = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 300\r\n\r\n"
	for name, tc := range map[string]struct {
		request, end, reply string
		fields              []string
	}{
		"GET":     {request("GET", "/r/x?q=1", "", "User-Agent: t", "Accept: */*"), "\r\n\r\n", length + body, nil},
		"POST":    {request("POST", "/r/x", strings.Repeat("y", 1000)), "yyy", length + body, nil},
		"chunked": {request("GET", "/r/x", ""), "\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n12c\r\n" + body + "\r\n0\r\n\r\n", nil},
		"headers": {
			request("GET", "/r/x", "", "X-Gone: 1", "X-Forwarded-For: 203.0.113.9"), "\r\n\r\n", length + body,
			[]string{"add_request_headers: {x-a: b, x-c: {value: d, append: false}}", "remove_request_headers: [x-gone]", "add_response_headers: {x-e: f}", "timeout_ms: 5000"},
		},
		"formats": {
			request("GET", "/r/x", "", "X_Gone: 1", "User-Agent: t"), "\r\n\r\n", strings.Replace(length, "content-type", "x-mine: 1\r\ncontent-type", 1) + body,
			[]string{`add_request_headers: {x-a: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(user-agent)%", x-c: {value: "%PROTOCOL%", append: false}}`,
				`add_response_headers: {x-e: "%UPSTREAM_HOST% %RESP(x-mine)%"}`},
		},
		"cors":     {request("GET", "/r/x", "", "Origin: https://a.example"), "\r\n\r\n", length + body, []string{fullCORS}},
		"limits":   {request("GET", "/r/x", "", "X-User: ann"), "\r\n\r\n", length + body, []string{`labels: {ambassador: [{g: [few, {request_headers: {key: user, header_name: x-user}}, remote_address]}]}`}},
		"asked":    {request("GET", "/r/x", "", "Authorization: Bearer client", "Accept: */*"), "\r\n\r\n", length + body, nil},
		"breaker":  {request("GET", "/r/x", ""), "\r\n\r\n", length + body, []string{"failure_breaker: {failure_ratio: 0.5}"}},
		"identity": {request("GET", "/r/x", "", identified(issuer)...), "\r\n\r\n", length + body, nil},
		"retries": {
			request("POST", "/r/x", strings.Repeat("y", 1000)), "yyy", length + body,
			[]string{"retry_policy: {retry_on: 5xx, num_retries: 3, per_try_timeout: 2s}", "circuit_breakers: [{max_requests: 10, max_connections: 10}]", "priority: high"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := echoing(t, tc.end, tc.reply)
			manifests := everyone
			if name == "formats" {
				manifests += module("proper_case: true", "headers_with_underscores_action: DROP_HEADER", "envoy_log_type: typed_json",
					`envoy_log_format: {t: "%START_TIME(%F %T.%3f)%", c: "%RESPONSE_CODE%", r: ["%RESP(content-type)%", "%TRAILER(x)%", "%UPSTREAM_LOCAL_ADDRESS%"], a: "%REQ(X-A)% %DOWNSTREAM_REMOTE_ADDRESS%"}`)
			}
			if name == "limits" {
				manifests += rateLimit("rl", `{pattern: [{generic_key: few}, {user: ""}], rate: 100000, unit: day}`)
			}
			if name == "asked" {
				manifests += object("AuthService", "auth", `{auth_service: "`+echoing(t, "\r\n\r\n", authAnswer)+`"}`)
			}
			if name == "identity" {
				manifests = identity(issuer, up)
			} else {
				manifests += mapping("r", "/r/", up, tc.fields...)
			}
			g := open(t, manifests+mapping("other", "/other/", up), deaf(t))
			c := g.dial()
			say, b := []byte(tc.request), make([]byte, 64<<10)
			once := func() {
				if _, err := c.Write(say); err != nil {
					t.Fatal(err)
				}
				for n := 0; !whole(b[:n]); {
					m, err := c.Read(b[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			for range 100 {
				once()
			}
			if n := testing.AllocsPerRun(500, once); n != 0 {
				t.Errorf("got %v allocations a request, want 0", n)
			}
			if !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) {
				t.Errorf("answered %.60q", b)
			}
		})
	}
}

// whole reports whether an answer that ends in 300 times x, chunked or not, is there.
func whole(b []byte) bool {
	b = bytes.TrimSuffix(b, []byte("\r\n0\r\n\r\n"))
	return bytes.HasSuffix(b, []byte("xxxxxxxxxx")) && bytes.Count(b, []byte("x")) >= 300
}

// TestAllocsRetry holds a request that is sent twice to no allocation.
func TestAllocsRetry(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	const answers = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nxxxxxxxxxxxx"
	up := service(t, func(p *peer) {
		b := make([]byte, 4096)
		say := []byte(answers)
		for n := 0; ; n++ {
			if _, err := p.Read(b); err != nil {
				return
			}
			part := say[:bytes.LastIndex(say, []byte("HTTP/"))]
			if n%2 == 1 {
				part = say[len(part):]
			}
			if _, err := p.Write(part); err != nil {
				return
			}
		}
	})
	g := open(t, everyone+cluster(up)+balanced("{policy: ring_hash, cookie: {name: sticky, ttl: 0s}}", "retry_policy: {retry_on: 5xx}"), deaf(t))
	c := g.dial()
	say, b := []byte(request("GET", "/r/x", "")), make([]byte, 64<<10)
	once := func() {
		if _, err := c.Write(say); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(b[:n], []byte("xxxxxxxxxxxx")); {
			m, err := c.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	for range 20 {
		once()
	}
	if n := testing.AllocsPerRun(50, once); n != 0 {
		t.Errorf("got %v allocations a request, want 0", n)
	}
}

// TestAllocsGzip holds a request whose answer is compressed to no allocation.
func TestAllocsGzip(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 300\r\n\r\n"+strings.Repeat("x", 300))
	g := open(t, everyone+module("gzip: {}")+mapping("r", "/r/", up), deaf(t))
	c := g.dial()
	say, b := []byte(request("GET", "/r/x", "", "Accept-Encoding: br;q=0.9, gzip;q=0.95")), make([]byte, 64<<10)
	once := func() {
		if _, err := c.Write(say); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(b[:n], []byte("\r\n0\r\n\r\n")); {
			m, err := c.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(500, once); n != 0 {
		t.Errorf("got %v allocations a request, want 0", n)
	}
	if !bytes.Contains(b, []byte("content-encoding: gzip")) {
		t.Errorf("answered %.200q", b)
	}
}
