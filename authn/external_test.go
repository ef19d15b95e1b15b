package authn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/config/decode"
	"legate/decision"
	"legate/upstream"
	"legate/wire"
)

// asking are Deps whose services are at the given addresses, by the host that objects
// name.
func asking(t testing.TB, at map[string]string) *Deps {
	t.Helper()
	var opts upstream.Options
	for name, addr := range at {
		o, err := upstream.ParseOverride(name + "=" + addr)
		if err != nil {
			t.Fatal(err)
		}
		opts.Resolve = append(opts.Resolve, o)
	}
	r, err := upstream.NewResolver(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	specs := upstream.NewSpecs(nil, &config.World{}, opts)
	open := func(spec upstream.Spec, problems []config.Problem) (wire.Asker, string, []config.Problem) {
		u := upstream.New(spec, r)
		u.Start()
		t.Cleanup(u.Retire)
		return u, spec.Address(), problems
	}
	return &Deps{
		Clock: time.Now,
		Audit: func(*decision.Event) {},
		AuthService: func(a *config.AuthService) (wire.Asker, string, []config.Problem) {
			return open(specs.OfAuthService(a))
		},
		External: func(m *config.Meta, a *config.ExternalAuth) (wire.Asker, string, []config.Problem) {
			return open(specs.OfExternal(m, a))
		},
	}
}

// authServices makes the AuthServices that text holds one.
func authServices(t testing.TB, deps *Deps, text string) (Filter, []config.Problem) {
	t.Helper()
	w := config.Merge(config.Options{}, decode.Bytes(decode.Options{}, "auth.yaml", []byte(text)))
	f, problems := NewAuthService(&w, deps)
	return f, append(w.Problems, problems...)
}

// authService is an AuthService with the given lines below its spec.
func authService(name string, lines ...string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: AuthService\nmetadata: {name: " + name + "}\nspec:\n  " + strings.Join(lines, "\n  ") + "\n"
}

// newCall is a request as filters see it.
func newCall(method, target string, fields ...string) *Call {
	head := &wire.Head{}
	head.BuildRequest(method, "shop.example:8443", target, fields...)
	c := &Call{
		Head: head, Edits: &wire.Edits{}, ToClient: &wire.Edits{}, Path: head.Path(), RequestID: []byte("id-1"),
		Peer: &wire.Peer{Remote: netip.MustParseAddrPort("203.0.113.7:4711"), Local: netip.MustParseAddrPort("10.0.0.1:8443")},
		Now:  time.Now(), Memory: new([]byte), Metadata: new(Metadata),
	}
	c.Edits.Set(wire.FieldXForwardedFor, []byte("203.0.113.7"))
	c.Edits.Set(wire.FieldXForwardedProto, []byte("http"))
	return c
}

// forwarded is what the upstream would receive.
func forwarded(c *Call) []string {
	var lines []string
	c.lines(func(f wire.Field, name, value []byte) {
		if f != wire.FieldOther {
			name = f.Bytes()
		}
		lines = append(lines, string(name)+": "+string(value))
	})
	slices.Sort(lines)
	return lines
}

// said is what the client would get.
func said(c *Call) string {
	r := &c.Reply
	lines := []string{fmt.Sprintf("%v %d %s", r.Reason, r.Status, r.ContentType)}
	for i := range r.Headers {
		lines = append(lines, r.Headers[i].FieldName()+": "+string(r.Headers[i].Value))
	}
	return strings.Join(append(lines, string(r.Body)), "|")
}

// A judge is an HTTP service that answers as it is told and tells what it was asked.
type judge struct {
	addr   string
	answer http.HandlerFunc // nil: 200
	seen   chan string
}

func startJudge(t testing.TB, answer http.HandlerFunc) *judge {
	t.Helper()
	j := &judge{answer: answer, seen: make(chan string, 64)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		lines := []string{fmt.Sprintf("%s %s %s %v %s", r.Method, r.RequestURI, r.Host, r.Header["Content-Length"], body)}
		for name, values := range r.Header {
			for _, v := range values {
				if name != "Content-Length" {
					lines = append(lines, strings.ToLower(name)+": "+v)
				}
			}
		}
		slices.Sort(lines[1:])
		select {
		case j.seen <- strings.Join(lines, "|"):
		default:
		}
		if j.answer != nil {
			j.answer(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	j.addr = srv.Listener.Addr().String()
	return j
}

func header(status int, body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		w.Header()["Date"] = nil
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// aBody is a body that is there.
type aBody string

func (b aBody) Peek(limit int) ([]byte, bool, error) {
	return []byte(b[:min(limit, len(b))]), len(b) <= limit, nil
}

// brokenBody is one whose client has gone.
type brokenBody struct{}

var errGone = errors.New("gone")

func (brokenBody) Peek(int) ([]byte, bool, error) { return nil, false, errGone }

func TestQuestionToAnHTTPService(t *testing.T) {
	const always = "|user-agent: test|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"
	for _, row := range []struct {
		name, spec string
		call       func() *Call
		want       string
	}{
		{"only what is always told", "path_prefix: /extauth", func() *Call {
			return newCall("GET", "/target/0", "user-agent", "test", "baz", "x", "accept", "*/*", "x-request-id", "1", "x-forwarded-proto", "https")
		}, "GET /extauth/target/0 shop.example:8443 [0] " + always},
		{"everything that is always told", "path_prefix: /a", func() *Call {
			return newCall("GET", "/", "user-agent", "test", "authorization", "Basic x", "cookie", "a=1", "cookie", "b=2", "from", "me@example.com",
				"proxy-authorization", "y", "x-forwarded-host", "other.example")
		}, "GET /a/ shop.example:8443 [0] |authorization: Basic x|cookie: a=1|cookie: b=2|from: me@example.com|proxy-authorization: y|user-agent: test" +
			"|x-forwarded-for: 203.0.113.7|x-forwarded-host: other.example|x-forwarded-proto: http"},
		{"what is allowed, in any case", `allowed_request_headers: [Origin, CONTENT-TYPE, X-Tenant, upgrade, connection]`, func() *Call {
			return newCall("GET", "/", "user-agent", "test", "origin", "https://a", "content-type", "text/css", "x-tenant", "1", "x-tenant", "2", "x-other", "3", "upgrade", "websocket")
		}, "GET / shop.example:8443 [0] |content-type: text/css|origin: https://a" + always + "|x-tenant: 1|x-tenant: 2"},
		{"the query, and no slash saved", "path_prefix: /auth/", func() *Call {
			return newCall("GET", "/api/x?y=1&z", "user-agent", "test")
		}, "GET /auth//api/x?y=1&z shop.example:8443 [0] " + always},
		{"no prefix at all", "proto: http", func() *Call { return newCall("DELETE", "/x?", "user-agent", "test") }, "DELETE /x? shop.example:8443 [0] " + always},
		{"a POST says that it has no body", "proto: http", func() *Call {
			c := newCall("POST", "/x", "user-agent", "test")
			c.Body = aBody("secret")
			return c
		}, "POST /x shop.example:8443 [0] " + always},
		{"a body", "include_body: {max_bytes: 6, allow_partial: false}", func() *Call {
			c := newCall("POST", "/x", "user-agent", "test")
			c.Body = aBody("secret")
			return c
		}, "POST /x shop.example:8443 [6] secret" + always},
		{"the beginning of a body", "include_body: {max_bytes: 7, allow_partial: true}", func() *Call {
			c := newCall("POST", "/x", "user-agent", "test")
			c.Body = aBody("message_body")
			return c
		}, "POST /x shop.example:8443 [7] message" + always},
		{"allow_request_body is its first 4096 bytes", "allow_request_body: true", func() *Call {
			c := newCall("POST", "/x", "user-agent", "test")
			c.Body = aBody(strings.Repeat("b", 5000))
			return c
		}, "POST /x shop.example:8443 [4096] " + strings.Repeat("b", 4096) + always},
		{"no body of who wants a WebSocket", "allow_request_body: true", func() *Call {
			c := newCall("GET", "/ws", "user-agent", "test", "upgrade", "websocket", "connection", "upgrade", "sec-websocket-key", "k")
			c.Head.UpgradeTo, c.Body = true, brokenBody{}
			return c
		}, "GET /ws shop.example:8443 [0] " + always},
		{"added headers replace the client's", "add_auth_headers: {X-Gate: legate, User-Agent: gate}", func() *Call {
			return newCall("GET", "/", "user-agent", "test", "x-gate", "forged")
		}, "GET / shop.example:8443 [0] |user-agent: gate|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http|x-gate: legate"},
		{"protocol_version of http", "protocol_version: v2", func() *Call { return newCall("GET", "/", "user-agent", "test") }, "GET / shop.example:8443 [0] " + always},
		{"which service is meant", "add_linkerd_headers: true", func() *Call { return newCall("GET", "/", "user-agent", "test") },
			"GET / shop.example:8443 [0] |l5d-dst-override: auth:3000" + always},
		{"what filters before it changed", "allowed_request_headers: [x-user]", func() *Call {
			c := newCall("GET", "/", "user-agent", "test", "x-user", "forged", "authorization", "Bearer old")
			c.Edits.SetName([]byte("x-user"), []byte("alice"))
			c.Edits.Set(wire.FieldAuthorization, []byte("Bearer new"))
			return c
		}, "GET / shop.example:8443 [0] |authorization: Bearer new" + always + "|x-user: alice"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := startJudge(t, nil)
			f, _ := authServices(t, asking(t, map[string]string{"auth:3000": j.addr}), authService("a", "auth_service: auth:3000", row.spec))
			if c := row.call(); f.Filter(c) != Allow {
				t.Fatalf("refused: %s", said(c))
			}
			if got := <-j.seen; got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestAnswerOfAnHTTPService(t *testing.T) {
	const plain = "x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"
	for _, row := range []struct {
		name, spec string
		answer     http.HandlerFunc
		out        Outcome
		want       string // what the upstream receives, or the client
	}{
		{"exactly 200 lets pass", "proto: http", header(200, "ignored", "x-user", "alice"), Allow, "accept: */*|authorization: Bearer client|x-a: 1|" + plain},
		{"its headers replace the client's", "allowed_authorization_headers: [X-A, X-New]", header(200, "", "authorization", "Bearer minted", "x-a", "2", "x-new", "3", "x-other", "4"), Allow,
			"accept: */*|authorization: Bearer minted|x-a: 2|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http|x-new: 3"},
		{"Set-Cookie and Location of a 200 go to the upstream", "proto: http", header(200, "", "set-cookie", "s=1", "location", "/x"), Allow,
			"accept: */*|authorization: Bearer client|location: /x|set-cookie: s=1|x-a: 1|" + plain},
		{"headers to remove", "proto: http", header(200, "", "x-envoy-auth-headers-to-remove", "X-A, authorization,, host, :path", "x-envoy-auth-headers-to-remove", "accept"), Allow, plain},
		{"nothing that frames the message", "allowed_authorization_headers: [host, content-length, transfer-encoding, connection]", header(200, "", "connection", "close"), Allow,
			"accept: */*|authorization: Bearer client|x-a: 1|" + plain},
		{"201 refuses", "proto: http", header(201, "made"), Deny, "auth_denied 201 text/plain|made"},
		{"204 refuses", "proto: http", header(204, ""), Deny, "auth_denied 204 |"},
		{"302 with three cookies", "proto: http", header(302, "", "location", "foo", "set-cookie", "a=1", "set-cookie", "b=2", "set-cookie", "c=3"), Deny,
			"auth_denied 302 |location: foo|set-cookie: a=1|set-cookie: b=2|set-cookie: c=3|"},
		{"only what is listed of a 401", "allowed_authorization_headers: [X-Foo]", header(401, "no", "x-foo", "foo", "x-bar", "bar", "www-authenticate", "Bearer"), Deny,
			"auth_denied 401 text/plain|www-authenticate: Bearer|x-foo: foo|no"},
		{"a type only where it is listed", "proto: http", header(403, "{}", "content-type", "application/json"), Deny, "auth_denied 403 text/plain|{}"},
		{"a type that is listed", "allowed_authorization_headers: [content-type]", header(403, "{}", "content-type", "application/json"), Deny, "auth_denied 403 application/json|{}"},
		{"very old lists are both", "allowed_headers: [X-Foo]", header(401, "", "x-foo", "foo"), Deny, "auth_denied 401 |x-foo: foo|"},
		{"404 refuses", "proto: http", header(404, "what"), Deny, "auth_denied 404 text/plain|what"},
		{"5xx is an error", "proto: http", header(500, "secret trace"), Deny, "auth_error 403 |"},
		{"with a status of its own", "status_on_error: {code: 503}", header(500, ""), Deny, "auth_error 503 |"},
		{"or lets pass, unmodified", "failure_mode_allow: true", header(503, "", "authorization", "x", "x-envoy-auth-headers-to-remove", "accept"), Allow,
			"accept: */*|authorization: Bearer client|x-a: 1|" + plain},
		{"a body over 1 MiB is an error", "proto: http", header(403, strings.Repeat("x", 1<<20+1)), Deny, "auth_error 403 |"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := startJudge(t, row.answer)
			f, _ := authServices(t, asking(t, map[string]string{"auth": j.addr}), authService("a", "auth_service: auth", row.spec))
			c := newCall("GET", "/x", "accept", "*/*", "authorization", "Bearer client", "x-a", "1")
			out := f.Filter(c)
			got := said(c)
			if out == Allow {
				got = strings.Join(forwarded(c), "|")
			}
			if out != row.out || got != row.want {
				t.Errorf("got  %v %.300s\nwant %v %s", out, got, row.out, row.want)
			}
			if row.out == Deny && c.Reply.By != "AuthService default/a" {
				t.Errorf("by %q", c.Reply.By)
			}
			if passed := c.Passed == decision.AuthError; passed != (row.out == Allow && strings.Contains(row.spec, "failure_mode_allow")) {
				t.Errorf("passed %v", c.Passed)
			}
		})
	}
}

func TestServicesThatCannotBeAsked(t *testing.T) {
	refused := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}()
	over := make(chan struct{})
	raw := func(answer string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = nc.Read(make([]byte, 4096))
				_, _ = io.WriteString(nc, answer)
				if answer == "" {
					<-over
				}
				nc.Close()
			}
		}()
		return ln.Addr().String()
	}
	silent := raw("")
	t.Cleanup(func() { close(over) })
	for _, row := range []struct{ name, addr, spec string }{
		{"nobody listens", refused, "proto: http"},
		{"it says nothing", silent, "timeout_ms: 150"},
		{"it speaks another language", raw("220 smtp.example ESMTP\r\n"), "proto: http"},
		{"it stops in the middle", raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"), "proto: http"},
		{"it answers HTTP/1.1 to a call of gRPC", raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "{proto: grpc, protocol_version: v3, timeout_ms: 500}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec := []string{"auth_service: auth", row.spec}
			if strings.HasPrefix(row.spec, "{") {
				spec = append([]string{"auth_service: auth"}, strings.Split(strings.Trim(row.spec, "{}"), ", ")...)
			}
			for _, open := range []bool{false, true} {
				var told []decision.Event
				deps := asking(t, map[string]string{"auth": row.addr})
				deps.Audit = func(e *decision.Event) { told = append(told, *e) }
				f, problems := authServices(t, deps, authService("a", append(spec, fmt.Sprintf("failure_mode_allow: %v", open))...))
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				c := newCall("GET", "/x")
				start := time.Now()
				out := f.Filter(c)
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("took %v", took)
				}
				switch {
				case open && (out != Allow || c.Passed != decision.AuthError):
					t.Errorf("failure_mode_allow: got %v %s", out, said(c))
				case !open && (out != Deny || said(c) != "auth_error 403 |" || c.Reply.Err == nil):
					t.Errorf("got %v %s, error %v", out, said(c), c.Reply.Err)
				}
				if len(told) != 1 || told[0].Kind != decision.AuthFailed || told[0].Allowed != open {
					t.Errorf("audited %+v", told)
				}
			}
		})
	}
}

func TestBodiesThatServicesMayNotSee(t *testing.T) {
	j := startJudge(t, nil)
	deps := asking(t, map[string]string{"auth": j.addr})
	for _, row := range []struct {
		name, partial string
		body          BodyReader
		length        int64
		want          string
	}{
		{"too long, and partial ones are not wanted", "false", aBody("12345678"), wire.LengthUnknown, "body_too_large 0 |"},
		{"announced too long, and not even read", "false", brokenBody{}, 8, "body_too_large 0 |"},
		{"the client goes in the middle", "true", brokenBody{}, wire.LengthUnknown, "client_gone 0 |"},
	} {
		f, _ := authServices(t, deps, authService("a", "auth_service: auth", "include_body: {max_bytes: 7, allow_partial: "+row.partial+"}"))
		c := newCall("POST", "/x")
		c.Body, c.Head.Length = row.body, row.length
		if out := f.Filter(c); out != Deny || said(c) != row.want {
			t.Errorf("%s: got %v %s, want %s", row.name, out, said(c), row.want)
		}
	}
	if len(j.seen) > 0 {
		t.Errorf("the service was asked all the same: %s", <-j.seen)
	}
}

func TestClientsThatDoNotWait(t *testing.T) {
	over := make(chan struct{})
	j := startJudge(t, func(http.ResponseWriter, *http.Request) { <-over })
	defer close(over)
	f, _ := authServices(t, asking(t, map[string]string{"auth": j.addr}), authService("a", "auth_service: auth", "failure_mode_allow: true"))
	c := newCall("GET", "/x")
	c.Tick = func(time.Time) (time.Time, bool) { return time.Time{}, false }
	if out := f.Filter(c); out != Deny || c.Reply.Reason != decision.ClientGone {
		t.Errorf("got %v %s", out, said(c))
	}
}

func TestNobodyIsAskedInPlay(t *testing.T) {
	j := startJudge(t, nil)
	f, _ := authServices(t, asking(t, map[string]string{"auth": j.addr}), authService("a", "auth_service: auth"))
	c := newCall("GET", "/x")
	c.Dry = true
	if f.Filter(c) != Allow || len(j.seen) > 0 {
		t.Error("a request that is only asked about was asked about")
	}
}

func TestSeveralAuthServices(t *testing.T) {
	j, k := startJudge(t, nil), startJudge(t, nil)
	at := map[string]string{"one": j.addr, "two": k.addr}
	broken := `auth_misconfigured 500 application/json|{
  "message": "the %s AuthService is misconfigured; see the logs for more information",
  "request_id": "id-1",
  "status_code": 500
}
`
	for _, row := range []struct {
		name     string
		objects  string
		want     string // what the services see, or the client
		problems []string
	}{
		{"both are asked", authService("a", "auth_service: one") + authService("b", "auth_service: two"), "both", nil},
		{"lists are joined, the first prefix counts, of the rest the last", authService("a", "auth_service: one", "path_prefix: /a", "allowed_request_headers: [x-1]", "timeout_ms: 7000", "add_auth_headers: {x-add: '1'}") +
			authService("b", "auth_service: two", "path_prefix: /b", "allowed_request_headers: [x-2]", "timeout_ms: 8000", "add_auth_headers: {x-add: '2'}"),
			"GET /a/x shop.example:8443 [0] |x-1: 1|x-2: 2|x-add: 2|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http",
			[]string{"/b.default: path_prefix", `before this one has "/a"; that one counts`, "timeout_ms", "add_auth_headers"}},
		{"another proto cannot stand in", authService("a", "auth_service: one") + authService("b", "auth_service: two", "proto: grpc", "protocol_version: v3"), fmt.Sprintf(broken, "a"), []string{"proto", "every route without bypass_auth answers 500"}},
		{"TLS cannot stand in for none", authService("a", "auth_service: one") + authService("b", "auth_service: https://two"), fmt.Sprintf(broken, "a"), []string{"tls"}},
		{"one that is broken closes", authService("a", "auth_service: one") + authService("b", "auth_service: two", "proto: smtp"), fmt.Sprintf(broken, "b"), []string{"proto: must be one of http, grpc"}},
		{"grpc without v3", authService("a", "auth_service: one", "proto: grpc"), fmt.Sprintf(broken, "a"), []string{"protocol_version"}},
		{"grpc with v2", authService("a", "auth_service: one", "proto: grpc", "protocol_version: v2"), fmt.Sprintf(broken, "a"), []string{"protocol_version"}},
		{"two ways to show a body", authService("a", "auth_service: one", "allow_request_body: true", "include_body: {max_bytes: 1, allow_partial: true}"), fmt.Sprintf(broken, "a"), []string{"include_body is given too"}},
		{"half an include_body", authService("a", "auth_service: one", "include_body: {max_bytes: 1}"), fmt.Sprintf(broken, "a"), []string{"include_body.allow_partial: is required"}},
		{"a TLSContext that is not there", authService("a", "auth_service: one", "tls: missing"), fmt.Sprintf(broken, "a"), []string{`TLSContext "missing" is not defined`}},
		{"no service at all", authService("a", "auth_service: ''"), fmt.Sprintf(broken, "a"), []string{"names no service", "nobody is named who could be asked"}},
		{"no service, but another's", authService("a", "auth_service: ''") + authService("b", "auth_service: two"), "GET /x shop.example:8443 [0] |x-forwarded-for: 203.0.113.7|x-forwarded-proto: http", []string{"names no service"}},
		{"a service that makes no sense", authService("a", "auth_service: 'a b'"), fmt.Sprintf(broken, "a"), []string{"auth_service"}},
		{"the gateway's own", authService("a", "auth_service: 127.0.0.1:8500", "proto: grpc") + authService("b", "auth_service: '[::1]:8500'"), "nobody", []string{"stands for the gateway's own filters"}},
		{"the gateway's own beside another", authService("a", "auth_service: localhost:8500", "proto: grpc") + authService("b", "auth_service: two"), "GET /x shop.example:8443 [0] |x-forwarded-for: 203.0.113.7|x-forwarded-proto: http", []string{"own filters"}},
		{"the Module of old", "apiVersion: getambassador.io/v2\nkind: Module\nmetadata: {name: authentication}\nspec: {config: {auth_service: one, allowed_headers: [x-1]}}\n",
			"GET /x shop.example:8443 [0] |x-1: 1|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, problems := authServices(t, asking(t, at), row.objects)
			var text strings.Builder
			for _, p := range problems {
				text.WriteString(p.String() + "\n")
			}
			for _, want := range row.problems {
				if !strings.Contains(text.String(), want) {
					t.Errorf("problems lack %q:\n%s", want, text.String())
				}
			}
			if row.problems == nil && len(problems) > 0 {
				t.Errorf("problems:\n%s", text.String())
			}
			if row.want == "nobody" {
				if f != nil {
					t.Error("somebody is asked")
				}
				return
			}
			if row.want == "both" {
				for range 20 {
					f.Filter(newCall("GET", "/x"))
				}
				if len(j.seen) != 10 || len(k.seen) != 10 {
					t.Errorf("asked %d and %d times, want 10 and 10", len(j.seen), len(k.seen))
				}
				for range 10 {
					<-j.seen
					<-k.seen
				}
				return
			}
			c := newCall("GET", "/x", "x-1", "1", "x-2", "2")
			var got string
			if f.Filter(c) == Deny {
				got = said(c)
			} else {
				select {
				case got = <-j.seen:
				case got = <-k.seen:
				}
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// Of several AuthServices the last one counts that says how long is waited.
func TestTimeoutsOfSeveralAuthServices(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want time.Duration
		told bool
	}{
		{"proto: http", "proto: http", 5 * time.Second, false},
		{"timeout_ms: 7000", "proto: http", 7 * time.Second, false},
		{"proto: http", "timeout_ms: 7000", 7 * time.Second, false},
		{"timeout_ms: 7000", "timeout_ms: 0", 7 * time.Second, false},
		{"timeout_ms: 7000", "timeout_ms: 7000", 7 * time.Second, false},
		{"timeout_ms: 7000", "timeout_ms: 8000", 8 * time.Second, true},
	} {
		f, problems := authServices(t, asking(t, nil), authService("a", "auth_service: one", row.a)+authService("b", "auth_service: two", row.b))
		if got := f.(*external).timeout; got != row.want || (len(problems) > 0) != row.told {
			t.Errorf("%s, %s: %v, want %v; problems %v", row.a, row.b, got, row.want, problems)
		}
	}
}

// Of several AuthServices any that lets pass on errors, or has a status for them, speaks
// for all.
func TestStickyFailures(t *testing.T) {
	gone := map[string]string{"one": "127.0.0.1:1", "two": "127.0.0.1:1"}
	for _, row := range []struct {
		a, b string
		out  Outcome
		want string
	}{
		{"failure_mode_allow: true", "failure_mode_allow: false", Allow, "- 0 |"},
		{"failure_mode_allow: false", "failure_mode_allow: true", Allow, "- 0 |"},
		{"status_on_error: {code: 503}", "proto: http", Deny, "auth_error 503 |"},
		{"proto: http", "status_on_error: {code: 502}", Deny, "auth_error 502 |"},
		{"proto: http", "proto: http", Deny, "auth_error 403 |"},
	} {
		f, _ := authServices(t, asking(t, gone), authService("a", "auth_service: one", row.a)+authService("b", "auth_service: two", row.b))
		for range 2 {
			c := newCall("GET", "/x")
			if out := f.Filter(c); out != row.out || row.out == Deny && said(c) != row.want {
				t.Errorf("%s, %s: got %v %s", row.a, row.b, out, said(c))
			}
		}
	}
}

func TestAllocsExternal(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	f := newExternal("AuthService a/b", &config.ExternalAuth{Timeout: time.Second}, []replica{{asker: fixedAnswer{}}}, nil, asking(t, nil))
	c := newCall("GET", "/x?y", "authorization", "Bearer client", "x-other", "1")
	memory := make([]byte, 0, 1024)
	one := func() {
		memory = memory[:0]
		c.Memory = &memory
		c.Edits.Reset()
		if f.Filter(c) != Allow {
			t.Fatal("refused")
		}
	}
	one()
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// fixedAnswer answers without a connection, so that only our side's allocations count.
type fixedAnswer struct{}

var fixedHead = func() *wire.Head {
	h := &wire.Head{}
	h.BuildRequest("GET", "x", "/", "authorization", "Bearer minted", "x-envoy-auth-headers-to-remove", "x-other")
	h.Status = 200
	return h
}()

func (fixedAnswer) Ask(q *wire.Question) error {
	q.Answer = *fixedHead
	return nil
}
