package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"legate/e2e/redistest"
)

// A limiter is a RateLimitService that lets nothing pass whose labels say so, as that of
// Ambassador's own tests does.
type limiter struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	asked atomic.Int64
}

func (l *limiter) ShouldRateLimit(_ context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	l.asked.Add(1)
	for _, d := range r.Descriptors {
		for _, e := range d.Entries {
			if e.Key == "x-ambassador-test-allow" && e.Value != "true" {
				return &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OVER_LIMIT, RawBody: []byte(`{"wait":true}`),
					ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "Hello", Value: "Foo"}, {Key: "content-type", Value: "application/json"}}}, nil
			}
		}
	}
	return &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}, nil
}

// serve has l answer at addr until the server is stopped.
func (l *limiter) serve(t testing.TB, addr string, opts ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	must(t, err)
	s := grpc.NewServer(opts...)
	ratelimitv3.RegisterRateLimitServiceServer(s, l)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return s, ln.Addr().String()
}

func rateLimitService(service string, more ...string) string {
	return manifest("RateLimitService", "limits", "{"+strings.Join(append([]string{`service: "` + service + `"`}, more...), ", ")+"}")
}

const allowLabels = `labels: {ambassador: [{g: [{request_headers: {key: kat-req-rls-allow, header_name: kat-req-rls-allow}}, {request_headers: {key: x-ambassador-test-allow, header_name: x-ambassador-test-allow}}]}]}`

var overLimit = verdict{"limit", "over_limit", 429}

// What Ambassador's own tests ask of a RateLimitService, through the real binary.
func TestRateLimitService(t *testing.T) {
	t.Parallel()
	l, up := &limiter{}, echo(t, "up")
	_, addr := l.serve(t, "127.0.0.1:0")
	cert := authority.issue(t, "limits.test")
	_, secure := l.serve(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert.pair}})))
	context := manifest("TLSContext", "to-limits", "{ca_secret: ca, sni: limits.test, alpn_protocols: h2}")
	ours, other := certificate{cert: authority.pem()}.secret("ca"), certificate{cert: authority.issue(t, "other.test").cert}.secret("ca")
	first, second := "kat-req-rls-allow: over", "x-ambassador-test-allow: over"
	base := everyone + mapping("x", "/x/", up, allowLabels)
	g := start(t, setup{manifests: base})
	for _, world := range []struct {
		name, service string
		rows          []judgement
	}{
		{"2.5 in the clear", rateLimitService(addr, "protocol_version: v3", "timeout_ms: 5000"), []judgement{
			{"1 neither header", request{target: "/x/"}, served, nil},
			{"2 only the first", request{target: "/x/", header: []string{first}}, served, nil},
			{"3 both", request{target: "/x/", header: []string{first, second}}, overLimit, nil},
			{"3 both, and it passes", request{target: "/x/", header: []string{first, "x-ambassador-test-allow: true"}}, served, nil},
		}},
		{"2.5 4 protocol v2", rateLimitService(addr, "protocol_version: v2"), []judgement{{"both", request{target: "/x/", header: []string{first, second}}, served, nil}}},
		{"2.5 4 no protocol", rateLimitService(addr), []judgement{{"both", request{target: "/x/", header: []string{first, second}}, served, nil}}},
		{"2.5 5 over TLS", rateLimitService(secure, "protocol_version: v3", "timeout_ms: 5000", "tls: to-limits") + context + ours, []judgement{
			{"both", request{target: "/x/", header: []string{first, second}}, overLimit, nil},
		}},
		{"over TLS, by somebody else", rateLimitService(secure, "protocol_version: v3", "timeout_ms: 5000", "tls: to-limits", "failure_mode_deny: true") + context + other, []judgement{
			{"both", request{target: "/x/", header: []string{first, second}}, verdict{"limit", "limit_store_down", 500}, nil},
		}},
	} {
		g.replace(base + world.service)
		for _, row := range world.rows {
			t.Run(world.name+"/"+row.name, func(t *testing.T) {
				before := l.asked.Load()
				a := g.send(t, row.request)
				got := g.verdict(t, a)
				if got.Stage != row.want.Stage || got.Reason != row.want.Reason || a.StatusCode != row.want.Status {
					t.Fatalf("got %v (%d) %q, want %v", got, a.StatusCode, a.body, row.want)
				}
				asked := row.want == overLimit || row.name == "3 both, and it passes"
				if (l.asked.Load() > before) != asked {
					t.Errorf("the service was asked %d times", l.asked.Load()-before)
				}
				if row.want == overLimit && (a.Header.Get("Hello") != "Foo" || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Envoy-Ratelimited") != "true" || string(a.body) != `{"wait":true}`) {
					t.Errorf("got %v %q", a.Header, a.body)
				}
			})
		}
	}
	g.audited(t, "rate_limited")
}

// A service that fails in every way delays nobody longer than its 20 ms, and requests pass
// or do not as its failure_mode_deny says; once it is back it decides again.
func TestRateLimitServiceOutages(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	base := everyone + mapping("x", "/x/", up, "labels: {ambassador: [{g: [a]}]}")
	g := start(t, setup{manifests: base})
	for _, row := range []struct{ name, addr string }{
		{"stalled", raw(t, func(*service) { <-over })},
		{"garbage", says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")},
		{"a TLS alert", says(t, "\x15\x03\x01\x00\x02\x02\x28")},
		{"reset", raw(t, func(s *service) { s.reset() })},
		{"nobody there", loopback(freePorts(t, 1)[0])},
	} {
		for _, deny := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deny %v", row.name, deny), func(t *testing.T) {
				want := verdict{"proxy", "limit_store_down", 200}
				if deny {
					want = verdict{"limit", "limit_store_down", 500}
				}
				g.replace(base + rateLimitService(row.addr, "protocol_version: v3", fmt.Sprintf("failure_mode_deny: %v", deny)))
				for range 3 {
					begun := time.Now()
					a := g.send(t, request{target: "/x/"})
					got := g.verdict(t, a)
					if a.StatusCode != want.Status || got.Stage != want.Stage || deny && (got != want || len(a.body) > 0) {
						t.Errorf("got %v %q, want %v", got, a.body, want)
					}
					if took := time.Since(begun); took > patience(time.Second) {
						t.Errorf("took %v", took)
					}
				}
			})
		}
	}
}

// The service is killed and comes back while requests never stop: each is answered, by the
// service's word as long as there is one.
func TestRateLimitServiceKilledUnderLoad(t *testing.T) {
	t.Parallel()
	l, up := &limiter{}, echo(t, "up")
	s, addr := l.serve(t, "127.0.0.1:0")
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, allowLabels) + rateLimitService(addr, "protocol_version: v3", "timeout_ms: 2000")})
	ask := request{target: "/x/", header: []string{"kat-req-rls-allow: over", "x-ambassador-test-allow: over"}}
	var stop atomic.Bool
	var clients sync.WaitGroup
	var refused, passed atomic.Int64
	for range 4 {
		clients.Go(func() {
			c := g.connect(t)
			for !stop.Load() {
				switch a, err := c.exchange(ask); {
				case err != nil:
					t.Error(err)
					return
				case a.StatusCode == 429:
					refused.Add(1)
				case a.StatusCode == 200:
					passed.Add(1)
				default:
					t.Errorf("got %d", a.StatusCode)
				}
			}
		})
	}
	settled := func(what string, grows, rests *atomic.Int64) {
		t.Helper()
		eventually(t, 15*time.Second, what, func() bool {
			n, m := grows.Load(), rests.Load()
			eventually(t, 15*time.Second, "requests are answered", func() bool { return grows.Load()+rests.Load() > n+m+20 })
			return grows.Load() > n && rests.Load() == m
		})
	}
	settled("requests are refused", &refused, &passed)
	s.Stop()
	settled("requests pass without the service", &passed, &refused)
	l.serve(t, addr)
	settled("requests are refused again", &refused, &passed)
	stop.Store(true)
	clients.Wait()
	g.errors.await(t, `rate limits cannot be asked for.*RateLimitService default/limits`)
	g.errors.await(t, `rate limits can be asked for again`)
}

// Envoy's own service, with a Redis of its own, is asked and obeyed: by the group that is
// over, with its headers, and for as many requests as its own configuration says.
func TestEnvoysRateLimitService(t *testing.T) {
	t.Parallel()
	addr := envoysLimits(t, `
domain: shop
descriptors:
- {key: generic_key, value: few, rate_limit: {unit: day, requests_per_unit: 3}}
- {key: generic_key, value: orders, descriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 2}}]}
- {key: generic_key, value: none, rate_limit: {unit: day, requests_per_unit: 0}}
`)
	up := echo(t, "up")
	labels := func(name, specifiers string) string {
		return mapping(name, "/"+name+"/", up, "labels: {shop: [{g: ["+specifiers+"]}]}")
	}
	g := start(t, setup{manifests: everyone + labels("few", "few") + labels("orders", "orders, {request_headers: {key: user, header_name: x-user}}") + labels("none", "none") + labels("free", "free") +
		rateLimitService(addr, "protocol_version: v3", "domain: shop", "timeout_ms: 5000", "failure_mode_deny: true", "grpc: {use_resource_exhausted_code: true}")})
	for _, row := range []struct {
		target, header string
		want           string // statuses, one for each request
	}{
		{"/few/", "X-None: 1", "200 200 200 429 429"},
		{"/orders/", "X-User: ann", "200 200 429"},
		{"/orders/", "X-User: bob", "200 200 429"},
		{"/orders/", "X-None: 1", "200 200 200"},
		{"/none/", "X-None: 1", "429"},
		{"/free/", "X-None: 1", "200 200 200"},
	} {
		for n, want := range strings.Fields(row.want) {
			a := g.send(t, request{target: row.target, header: []string{row.header}})
			if got := fmt.Sprint(a.StatusCode); got != want {
				t.Errorf("%s %s, request %d: got %s, want %s", row.target, row.header, n+1, got, want)
			}
			if limited := a.Header.Get("RateLimit-Limit") != ""; limited != (row.target != "/free/" && (row.target != "/orders/" || row.header != "X-None: 1")) {
				t.Errorf("%s %s, request %d: got %v", row.target, row.header, n+1, a.Header)
			}
		}
	}
	if a := g.send(t, request{target: "/none/", header: []string{"Content-Type: application/grpc"}}); a.StatusCode != 200 || a.Header.Get("Grpc-Status") != "8" {
		t.Errorf("a client of gRPC got %d %v", a.StatusCode, a.Header)
	}
}

// envoysLimits starts Envoy's rate limit service with that configuration, beside a Redis,
// and returns where it is asked.
func envoysLimits(t testing.TB, config string) string {
	t.Helper()
	root, ports := t.TempDir(), freePorts(t, 3)
	must(t, os.MkdirAll(filepath.Join(root, "ratelimit", "config"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "ratelimit", "config", "config.yaml"), []byte(config), 0o600))
	cmd := exec.Command(outside(t, "ratelimit"))
	cmd.Env = []string{
		"USE_STATSD=false", "LOG_LEVEL=error", "RUNTIME_ROOT=" + root, "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_WATCH_ROOT=false", "LIMIT_RESPONSE_HEADERS_ENABLED=true",
		"HOST=127.0.0.1", "GRPC_HOST=127.0.0.1", "DEBUG_HOST=127.0.0.1", fmt.Sprintf("PORT=%d", ports[0]), fmt.Sprintf("GRPC_PORT=%d", ports[1]), fmt.Sprintf("DEBUG_PORT=%d", ports[2]),
		"REDIS_SOCKET_TYPE=tcp", "REDIS_TYPE=SINGLE", "REDIS_URL=" + redistest.Start(t).Addr, "BACKEND_TYPE=redis",
	}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, 15*time.Second, "Envoy's rate limit service is well", func() bool {
		resp, err := operators.Get("http://" + loopback(ports[0]) + "/healthcheck")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200 && listens(loopback(ports[1]))
	})
	return loopback(ports[1])
}

func listens(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
