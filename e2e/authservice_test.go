package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// A judge is an auth service over HTTP that answers by the path it is asked about, and
// keeps what it was asked.
type judge struct {
	addr string
	mu   sync.Mutex
	seen []judged
}

type judged struct {
	line   string // method, target, Host, body
	header http.Header
	length string
}

func startJudge(t testing.TB) *judge {
	t.Helper()
	j := &judge{}
	j.addr = serve(t, j)
	return j
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	j.mu.Lock()
	j.seen = append(j.seen, judged{fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Host, body), r.Header, r.Header.Get("Content-Length")})
	j.mu.Unlock()
	h := w.Header()
	switch path := strings.TrimPrefix(r.URL.Path, "/extauth"); {
	case strings.HasSuffix(path, "/401"):
		h.Set("X-Foo", "foo")
		h.Set("X-Bar", "bar")
		h.Set("WWW-Authenticate", "Bearer")
		h.Set("Content-Type", "application/json")
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"no":"entry"}`)
	case strings.HasSuffix(path, "/302"):
		h.Set("Location", "foo")
		h["Set-Cookie"] = []string{"a=1", "b=2", "c=3"}
		w.WriteHeader(302)
	case strings.HasSuffix(path, "/500"):
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "a trace that is nobody's business")
	case strings.HasSuffix(path, "/201"):
		w.WriteHeader(201)
	default:
		h.Set("X-User", "alice")
		h.Set("Authorization", "Bearer minted-token")
		h.Set("X-Not-Listed", "1")
		h.Set("X-Envoy-Auth-Headers-To-Remove", "x-secret")
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "nobody reads this")
	}
}

// asked returns what the service was asked since the last time.
func (j *judge) asked() []judged {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.seen
	j.seen = nil
	return all
}

// A judgement is what becomes of a request, and what else is to be looked at.
type judgement struct {
	name string
	request
	want  verdict
	check func(t *testing.T, a answer, asked []judged)
}

func authService(name, service string, more ...string) string {
	return manifest("AuthService", name, "{"+strings.Join(append([]string{`auth_service: "` + service + `"`}, more...), ", ")+"}")
}

// What Ambassador's own tests ask of an AuthService over HTTP, through the real binary.
func TestAuthServiceOverHTTP(t *testing.T) {
	t.Parallel()
	j, up := startJudge(t), echo(t, "up")
	mappings := everyone + mapping("target", "/target/", up) + mapping("open", "/open/", up, "bypass_auth: true") + mapping("ws", "/ws/", up, "allow_upgrade: [websocket]") + mapping("away", "/away/", "away.test", "host_redirect: true") +
		mapping("cors", "/cors/", up, `cors: {origins: ["https://a.test"], methods: [PUT]}`)
	g := start(t, setup{manifests: mappings})
	secret := []string{"Authorization: Bearer client-token", "Cookie: session=client-cookie", "X-Secret: 1", "X-Forwarded-Proto: https", "Baz: 2", "User-Agent: e2e"}
	denied := func(status int) verdict { return verdict{"authn", "auth_denied", status} }
	for _, spec := range []struct {
		name string
		auth string
		rows []judgement
	}{
		{"prefix and lists", authService("auth", j.addr, "path_prefix: /extauth", "allowed_authorization_headers: [X-Foo, X-User]"), []judgement{
			{"refused", request{target: "/target/401?q=1", header: secret}, denied(401), func(t *testing.T, a answer, asked []judged) {
				t.Helper()
				q := asked[0]
				if q.line != "GET /extauth/target/401?q=1 gate.test " || q.length != "0" || q.header.Get("Baz") != "" || q.header.Get("X-Forwarded-For") != "127.0.0.1" ||
					q.header.Get("User-Agent") != "e2e" || q.header.Get("X-Forwarded-Proto") != "http" || q.header.Get("X-Request-Id") != "" {
					t.Errorf("the service was asked %q %v", q.line, q.header)
				}
				if a.Header.Get("Server") != "envoy" || a.Header.Get("X-Foo") != "foo" || a.Header.Get("X-Bar") != "" || a.Header.Get("WWW-Authenticate") != "Bearer" ||
					a.Header.Get("Content-Type") != "text/plain" || string(a.body) != `{"no":"entry"}` {
					t.Errorf("the client got %v %q", a.Header, a.body)
				}
			}},
			{"sent elsewhere with three cookies", request{target: "/target/302"}, denied(302), func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if got := a.Header["Set-Cookie"]; a.Header.Get("Location") != "foo" || len(got) != 3 || got[0] != "a=1" || got[2] != "c=3" {
					t.Errorf("got %v", a.Header)
				}
			}},
			{"201 is a refusal", request{target: "/target/201"}, denied(201), nil},
			{"let pass", request{target: "/target/x", header: secret}, served, func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				h := a.saw.Header
				if h.Get("Authorization") != "Bearer minted-token" || h.Get("X-User") != "alice" || h.Get("X-Secret") != "" || h.Get("X-Not-Listed") != "" || h.Get("Baz") != "2" || h.Get("Cookie") == "" {
					t.Errorf("the service saw %v", h)
				}
				if a.Header.Get("X-User") != "" || a.Header.Get("Authorization") != "" {
					t.Errorf("the client saw %v", a.Header)
				}
			}},
			{"its own failure is not shown", request{target: "/target/500"}, verdict{"authn", "auth_error", 403}, func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if len(a.body) > 0 {
					t.Errorf("the client got %q", a.body)
				}
			}},
			{"a POST without include_body", request{method: "POST", target: "/target/x", body: "content"}, served, func(t *testing.T, a answer, asked []judged) {
				t.Helper()
				if asked[0].line != "POST /extauth/target/x gate.test " || a.saw.Body != 7 {
					t.Errorf("asked %q, the service saw %d bytes", asked[0].line, a.saw.Body)
				}
			}},
			{"nobody is asked about bypass_auth", request{target: "/open/401"}, served, nobody},
			{"nobody is asked about redirects", request{target: "/away/401"}, verdict{"proxy", "redirect", 301}, nobody},
			{"nobody is asked about health", request{target: "/ambassador/v0/check_ready"}, verdict{"match", "health_check", 200}, nobody},
			{"nobody is asked about preflights", request{method: "OPTIONS", target: "/cors/401", header: []string{"Origin: https://a.test", "Access-Control-Request-Method: PUT"}}, verdict{"cors", "preflight", 200}, nobody},
			{"a page may read a refusal", request{target: "/cors/401", header: []string{"Origin: https://a.test"}}, denied(401), func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if a.Header.Get("Access-Control-Allow-Origin") != "https://a.test" {
					t.Errorf("got %v", a.Header)
				}
			}},
			{"a WebSocket's handshake is judged", request{target: "/target/401", header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}}, denied(401), func(t *testing.T, _ answer, asked []judged) {
				t.Helper()
				if asked[0].header.Get("Upgrade") != "" || asked[0].header.Get("Connection") != "" {
					t.Errorf("asked %v", asked[0].header)
				}
			}},
		}},
		{"status_on_error", authService("auth", j.addr, "path_prefix: /extauth", "status_on_error: {code: 503}"), []judgement{{"failed", request{target: "/target/500"}, verdict{"authn", "auth_error", 503}, nil}}},
		{"failure_mode_allow", authService("auth", j.addr, "path_prefix: /extauth", "failure_mode_allow: true"), []judgement{{"failed, and passes as it was", request{target: "/target/500", header: secret}, served, func(t *testing.T, a answer, _ []judged) {
			t.Helper()
			if a.saw.Header.Get("Authorization") != "Bearer client-token" || a.saw.Header.Get("X-Secret") != "1" {
				t.Errorf("the service saw %v", a.saw.Header)
			}
		}}}},
		{"the beginning of bodies", authService("auth", j.addr, "include_body: {max_bytes: 7, allow_partial: true}"), []judgement{
			{"cut off for the judge, whole for the service", request{method: "POST", target: "/target/x", body: "message_body"}, served, sees("message", 12)},
			{"of unknown length", request{method: "POST", target: "/target/x", header: []string{"Transfer-Encoding: chunked"}, body: "7\r\nmessage\r\n5\r\n_body\r\n0\r\n\r\n"}, served, sees("message", 12)},
			{"of a long one", request{method: "POST", target: "/target/x", body: strings.Repeat("longest", 100_000)}, served, sees("longest", 700_000)},
			{"a short one", request{method: "POST", target: "/target/x", body: "x"}, served, sees("x", 1)},
		}},
		{"bodies and WebSockets", authService("auth", j.addr, "allow_request_body: true"), []judgement{
			{"a WebSocket passes", request{target: "/ws/x", header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}}, served, func(t *testing.T, _ answer, asked []judged) {
				t.Helper()
				if len(asked) != 1 || asked[0].line != "GET /ws/x gate.test " || asked[0].length != "0" {
					t.Errorf("asked %v", asked)
				}
			}},
		}},
		{"whole bodies only", authService("auth", j.addr, "include_body: {max_bytes: 7, allow_partial: false}"), []judgement{
			{"that fits", request{method: "POST", target: "/target/x", body: "message"}, served, sees("message", 7)},
			{"too long", request{method: "POST", target: "/target/x", body: "message_"}, verdict{"authn", "body_too_large", 413}, tooLarge},
			{"too long without saying so", request{method: "POST", target: "/target/x", header: []string{"Transfer-Encoding: chunked"}, body: "8\r\nmessage_\r\n0\r\n\r\n"}, verdict{"authn", "body_too_large", 413}, tooLarge},
		}},
		{"misconfigured", authService("auth", j.addr, "proto: grpc"), []judgement{
			{"closed", request{target: "/target/x", header: []string{"X-Request-Id: the-id"}}, verdict{"authn", "auth_misconfigured", 500}, func(t *testing.T, a answer, asked []judged) {
				t.Helper()
				want := "{\n  \"message\": \"the auth AuthService is misconfigured; see the logs for more information\",\n  \"request_id\": \"the-id\",\n  \"status_code\": 500\n}\n"
				if string(a.body) != want || a.Header.Get("Content-Type") != "application/json" || len(asked) > 0 {
					t.Errorf("got %q, %v, asked %d", a.body, a.Header, len(asked))
				}
			}},
			{"health is not", request{target: "/ambassador/v0/check_alive"}, verdict{"match", "health_check", 200}, nil},
		}},
	} {
		g.replace(mappings + spec.auth)
		for _, row := range spec.rows {
			t.Run(spec.name+"/"+row.name, func(t *testing.T) {
				j.asked()
				a := g.send(t, row.request)
				if hasField(row.header, "x-request-id") {
					a.id = "the-id"
				}
				if got := g.verdict(t, a); got != row.want || a.StatusCode != row.want.Status {
					t.Fatalf("got %v (%d) %q, want %v", got, a.StatusCode, a.body, row.want)
				}
				if row.check != nil {
					row.check(t, a, j.asked())
				}
			})
		}
	}
	for _, line := range append(g.log.text(), g.errors.all()...) {
		for _, word := range []string{"client-token", "client-cookie", "minted-token"} {
			if strings.Contains(line, word) {
				t.Errorf("%s is in a log: %s", word, line)
			}
		}
	}
}

func nobody(t *testing.T, _ answer, asked []judged) {
	t.Helper()
	if len(asked) > 0 {
		t.Errorf("asked %q", asked[0].line)
	}
}

func sees(shown string, bytes int64) func(*testing.T, answer, []judged) {
	return func(t *testing.T, a answer, asked []judged) {
		t.Helper()
		if len(asked) != 1 || asked[0].line != "POST /target/x gate.test "+shown || a.saw == nil || a.saw.Body != bytes {
			t.Errorf("asked %v, the service saw %+v", asked, a.saw)
		}
	}
}

func tooLarge(t *testing.T, a answer, asked []judged) {
	t.Helper()
	if string(a.body) != "Payload Too Large" || a.Header.Get("Content-Type") != "text/plain" || !a.Close || len(asked) > 0 {
		t.Errorf("got %q, %v, asked %d", a.body, a.Header, len(asked))
	}
}

// Replicas take turns, also those that are behind one TLSContext.
func TestAuthServiceReplicas(t *testing.T) {
	t.Parallel()
	one, two, up := startJudge(t), startJudge(t), echo(t, "up")
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up) + authService("a", one.addr) + authService("b", two.addr)})
	for range 20 {
		if a := g.send(t, request{target: "/x/"}); a.StatusCode != 200 {
			t.Fatalf("got %d", a.StatusCode)
		}
	}
	if n, m := len(one.asked()), len(two.asked()); n != 10 || m != 10 {
		t.Errorf("asked %d and %d times, want 10 and 10", n, m)
	}
	secure := serveTLS(t, "auth.test", one)
	g.replace(everyone + mapping("x", "/x/", up) + authService("a", secure, "tls: to-auth") + certificate{cert: authority.pem()}.secret("ca") + manifest("TLSContext", "to-auth", "{ca_secret: ca, sni: auth.test}"))
	if a := g.send(t, request{target: "/x/"}); a.StatusCode != 200 || len(one.asked()) != 1 {
		t.Errorf("over TLS: got %d", a.StatusCode)
	}
}

// A service that fails in every way delays nobody longer than timeout_ms, opens nothing,
// and is asked again once it is well.
func TestAuthServiceOutages(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	refused := verdict{"authn", "auth_error", 403}
	g := start(t, setup{manifests: everyone})
	for _, row := range []struct {
		name, addr string
		limit      time.Duration
	}{
		{"stalled", raw(t, func(*service) { <-over }), 4 * time.Second},
		{"stalled in its answer", raw(t, func(s *service) { s.request(); s.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"); <-over }), 4 * time.Second},
		{"slow", raw(t, func(s *service) {
			s.request()
			for range 1000 {
				s.say("HTTP/1.1 200 OK\r\n"[:1])
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}), 4 * time.Second},
		{"garbage", raw(t, func(s *service) { s.request(); s.say("\x16\x03\x01\x02\x00 what?\r\n\r\n") }), time.Second},
		{"reset", raw(t, func(s *service) { s.request(); s.reset() }), time.Second},
		{"closed", raw(t, func(s *service) { s.request() }), time.Second},
		{"a giant answer", says(t, "HTTP/1.1 403 No\r\nContent-Length: 1073741824\r\n\r\n"+strings.Repeat("x", 1<<20)), time.Second},
		{"two lengths", says(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n"), time.Second},
		{"nobody there", loopback(freePorts(t, 1)[0]), time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			g.replace(everyone + mapping("x", "/x/", up) + authService("auth", row.addr, "timeout_ms: 400"))
			for range 3 {
				begun := time.Now()
				a := g.send(t, request{target: "/x/"})
				if got := g.verdict(t, a); got != refused || len(a.body) > 0 {
					t.Errorf("got %v %q, want %v", got, a.body, refused)
				}
				if took := time.Since(begun); took > patience(row.limit) {
					t.Errorf("took %v", took)
				}
			}
		})
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	j := &judge{}
	srv := &http.Server{Handler: j}
	go func() { _ = srv.Serve(ln) }()
	g.replace(everyone + mapping("x", "/x/", up) + authService("auth", ln.Addr().String()))
	expect := func(want verdict) {
		t.Helper()
		if got := g.verdict(t, g.send(t, request{target: "/x/"})); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect(served)
	must(t, srv.Close())
	expect(refused)
	ln, err = net.Listen("tcp", ln.Addr().String())
	must(t, err)
	srv = &http.Server{Handler: j}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	expect(served)
}

// No more is asked at once than circuit_breakers allow; the rest is an error.
func TestAuthServiceLimits(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	auth := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up")) + authService("auth", auth, "circuit_breakers: [{max_requests: 2}]", "status_on_error: {code: 503}")})
	count := map[int]int{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for range 5 {
				a, err := g.try(t, request{target: "/x/"})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				count[a.StatusCode]++
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if count[200] == 0 || count[503] == 0 || count[200]+count[503] != 50 || most.Load() > 2 {
		t.Errorf("got %v, and %d at once", count, most.Load())
	}
	eventually(t, 10*time.Second, "every refusal is on record", func() bool { return g.log.count(verdict{"authn", "auth_error", 503}) == count[503] })
}

// AuthServices come, change and go while requests never stop: each is judged by one of
// them, none fails, none gets past.
func TestAuthServiceReloadUnderLoad(t *testing.T) {
	t.Parallel()
	one, two, up := startJudge(t), startJudge(t), echo(t, "up")
	config := func(n int) string {
		auth := authService("auth", one.addr, "path_prefix: /extauth", "allowed_authorization_headers: [x-user]", fmt.Sprintf("timeout_ms: %d", 20_000+n))
		if n%2 == 1 {
			auth = authService("auth", two.addr, "allowed_authorization_headers: [x-user]", "timeout_ms: 20000")
		}
		return everyone + mapping("x", "/x/", up, "timeout_ms: 20000", fmt.Sprintf("rewrite: /g%d/", n)) + auth
	}
	g := start(t, setup{manifests: config(0)})
	var stop atomic.Bool
	var clients sync.WaitGroup
	failures := make(chan error, 16)
	for i := range 4 {
		clients.Go(func() {
			c := g.connect(t)
			for n := 0; !stop.Load(); n++ {
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				r, want := request{target: "/x/ok", header: []string{"X-User: forged"}}, 200
				if n%3 == i%3 {
					r.target, want = "/x/401", 401
				}
				a, err := c.exchange(r)
				if err == nil && (a.StatusCode != want || want == 200 && a.saw.Header.Get("X-User") != "alice") {
					err = fmt.Errorf("%s: got %d %q", r.target, a.StatusCode, a.body)
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	for n := range 60 {
		g.replace(config(n + 1))
	}
	stop.Store(true)
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if len(one.asked()) == 0 || len(two.asked()) == 0 {
		t.Error("one of the services was never asked")
	}
}

// A checker is an auth service over gRPC that answers by the path it is asked about.
type checker struct {
	authv3.UnimplementedAuthorizationServer
	mu   sync.Mutex
	seen []*authv3.AttributeContext
}

func (s *checker) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Attributes)
	s.mu.Unlock()
	h := r.Attributes.Request.Http
	header := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	}
	if strings.Contains(h.Path, "/denied") {
		return &authv3.CheckResponse{Status: &status.Status{Code: 16}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 401}, Body: `{"who":"are you"}`,
			Headers: []*corev3.HeaderValueOption{header("content-type", "application/json"), header("x-any", "1"), header("x-other", "2")},
		}}}, nil
	}
	values, err := structpb.NewStruct(map[string]any{"user": "alice"})
	if err != nil {
		return nil, err
	}
	return &authv3.CheckResponse{DynamicMetadata: values, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{header("x-user", "alice")}, HeadersToRemove: []string{"x-secret"},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			header("x-from-auth", "1"),
			acting(header("date", "never"), corev3.HeaderValueOption_ADD_IF_ABSENT), acting(header("x-absent", "2"), corev3.HeaderValueOption_ADD_IF_ABSENT),
			acting(header("server", "judge"), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS), acting(header("x-nobody", "3"), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS),
		},
		QueryParametersToSet: []*corev3.QueryParameter{{Key: "user", Value: "alice"}}, QueryParametersToRemove: []string{"token"},
	}}}, nil
}

func acting(o *corev3.HeaderValueOption, a corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	o.AppendAction = a
	return o
}

func TestAuthServiceOverGRPC(t *testing.T) {
	t.Parallel()
	s, up := &checker{}, echo(t, "up")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, s)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "auth_context_extensions: {tier: gold}") + mapping("kept", "/kept/", up, `rewrite: ""`) +
		mapping("all", "/asked/", up) + mapping("alices", "/asked/", up, `query_parameters: {user: alice}`, "rewrite: /alices/") +
		module(`envoy_log_type: json, envoy_log_format: {stage: "%RESPONSE_CODE_DETAILS%", user: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%", all: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%"}`) +
		authService("auth", ln.Addr().String(), "proto: grpc", "protocol_version: v3", "include_body: {max_bytes: 4, allow_partial: true}")})
	a := g.send(t, request{method: "POST", target: "/x/a?token=secret-token&b=2", header: []string{"X-Secret: 1", "X-User: forged"}, body: "content"})
	if a.saw == nil || a.saw.Target != "/a?b=2&user=alice" || a.saw.Header.Get("X-User") != "alice" || a.saw.Header.Get("X-Secret") != "" || a.saw.Body != 7 || a.Header.Get("X-From-Auth") != "1" {
		t.Errorf("got %d %v %q", a.StatusCode, a.Header, a.body)
	}
	if h := a.Header; h.Get("Date") == "never" || h.Get("X-Absent") != "2" || h.Get("Server") != "judge" || h.Get("X-Nobody") != "" {
		t.Errorf("what depends on the answer: %v", h)
	}
	if a := g.send(t, request{target: "/kept/?token=secret-token"}); a.saw == nil || a.saw.Target != "/kept/?user=alice" {
		t.Errorf("where the path stays: %q", a.body)
	}
	if a := g.send(t, request{target: "/asked/for?user=bob"}); a.saw == nil || a.saw.Target != "/alices/for?user=alice" {
		t.Errorf("where the query leads elsewhere: %q", a.body)
	}
	d := g.send(t, request{target: "/x/denied"})
	if d.StatusCode != 401 || string(d.body) != `{"who":"are you"}` || d.Header.Get("Content-Type") != "application/json" || d.Header.Get("X-Any") != "1" || d.Header.Get("X-Other") != "2" {
		t.Errorf("got %d %v %q", d.StatusCode, d.Header, d.body)
	}
	s.mu.Lock()
	seen := s.seen[0]
	s.mu.Unlock()
	h := seen.Request.Http
	if h.Path != "/x/a?token=secret-token&b=2" || h.Method != "POST" || h.Host != "gate.test" || h.Scheme != "http" || h.Protocol != "HTTP/1.1" || h.Body != "cont" || h.Size != 7 ||
		h.Headers["x-envoy-auth-partial-body"] != "true" || h.Headers["x-forwarded-for"] != "127.0.0.1" || seen.ContextExtensions["tier"] != "gold" ||
		seen.Source.Address.GetSocketAddress().GetAddress() != "127.0.0.1" || loopback(int(seen.Destination.Address.GetSocketAddress().GetPortValue())) != g.clear {
		t.Errorf("the service was asked %v", seen)
	}
	eventually(t, 10*time.Second, "the log says what the service left", func() bool {
		text := strings.Join(g.log.text(), "\n")
		return strings.Contains(text, `"user":"alice"`) && strings.Contains(text, `{\"user\":\"alice\"}`)
	})
	srv.Stop()
	if a := g.send(t, request{target: "/x/"}); a.StatusCode != 403 || len(a.body) > 0 {
		t.Errorf("without the service: %d %q", a.StatusCode, a.body)
	}
}
