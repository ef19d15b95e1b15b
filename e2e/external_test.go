package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

func filterUses(name string, uses ...string) string {
	return manifest("FilterPolicy", name, "{rules: [{path: /target/*, filters: ["+strings.Join(uses, ", ")+"]}]}")
}

// An External Filter asks like an AuthService, where a rule says so.
func TestExternalFilter(t *testing.T) {
	t.Parallel()
	j, up, i := startJudge(t), echo(t, "up"), startIssuer(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	checks := &checker{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, checks)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	secure := serveTLS(t, "auth.test", j)
	mappings := everyone + mapping("target", "/target/", up) + mapping("open", "/open/", up)
	g := start(t, setup{manifests: mappings, args: []string{"--resolve", "auth.test=" + secure}})
	external := func(service string, more ...string) string {
		return manifest("Filter", "asks", "{External: {"+strings.Join(append([]string{fmt.Sprintf("auth_service: %q", service)}, more...), ", ")+"}}") + filterUses("p", "{name: asks}")
	}
	token := "Authorization: Bearer " + i.token(t, nil)
	denied := func(status int) verdict { return verdict{"authn", "auth_denied", status} }
	failed := func(status int) verdict { return verdict{"authn", "auth_error", status} }
	jwt := manifest("Filter", "jwt", fmt.Sprintf("{JWT: {jwksURI: %q}}", i.url+"/keys"))
	for _, spec := range []struct {
		name, manifests string
		rows            []judgement
	}{
		{"HTTP", external(j.addr, "path_prefix: /extauth", "allowed_request_headers: [x-tenant]", "allowed_authorization_headers: [X-Foo, X-User]"), []judgement{
			{"refused", request{target: "/target/401?q=1", header: []string{"X-Tenant: t", "Baz: 1"}}, denied(401), func(t *testing.T, a answer, asked []judged) {
				t.Helper()
				q := asked[0]
				if q.line != "GET /extauth/target/401?q=1 gate.test " || q.length != "0" || q.header.Get("X-Tenant") != "t" || q.header.Get("Baz") != "" || q.header.Get("Traceparent") != "" {
					t.Errorf("asked %q %v", q.line, q.header)
				}
				if a.Header.Get("X-Foo") != "foo" || a.Header.Get("X-Bar") != "" || a.Header.Get("Content-Type") != "text/plain" || string(a.body) != `{"no":"entry"}` {
					t.Errorf("the client got %v %q", a.Header, a.body)
				}
			}},
			{"redirected", request{target: "/target/302"}, denied(302), func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if a.Header.Get("Location") != "foo" || len(a.Header["Set-Cookie"]) != 3 {
					t.Errorf("the client got %v", a.Header)
				}
			}},
			{"let pass", request{target: "/target/x", header: []string{"X-Secret: 1", "X-User: root"}}, served, func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if h := a.saw.Header; h.Get("X-User") != "alice" || h.Get("X-Secret") != "" || h.Get("X-Not-Listed") != "" || h.Get("Authorization") != "Bearer minted-token" {
					t.Errorf("the service saw %v", h)
				}
			}},
			{"failed", request{target: "/target/500"}, failed(403), func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if len(a.body) > 0 {
					t.Errorf("the client got %q", a.body)
				}
			}},
			{"no rule", request{target: "/open/401"}, served, nobody},
		}},
		{"status_on_error", external(j.addr, "status_on_error: {code: 503}"), []judgement{{"failed", request{target: "/target/500"}, failed(503), nil}}},
		{"failure_mode_allow", external(j.addr, "failure_mode_allow: true"), []judgement{{"failed, and passes", request{target: "/target/500"}, served, nil}}},
		{"timeout_ms", external(raw(t, func(*service) { <-over }), "timeout_ms: 200"), []judgement{{"stalled", request{target: "/target/x"}, failed(403), nil}}},
		{"include_body", external(j.addr, "include_body: {max_bytes: 7, allow_partial: true}"), []judgement{
			{"cut off for the judge, whole for the service", request{method: "POST", target: "/target/x", body: "message_body"}, served, sees("message", 12)},
		}},
		{"tlsConfig", external("https://auth.test", "tlsConfig: {caCertificate: {fromSecret: {name: ca}}}") + authorityTo("ca"), []judgement{
			{"vouched for", request{target: "/target/401"}, denied(401), nil},
		}},
		{"TLS of nobody's", external("https://auth.test"), []judgement{{"not vouched for", request{target: "/target/x"}, failed(403), nobody}}},
		{"gRPC", external(ln.Addr().String(), "proto: grpc", "protocol_version: v3"), []judgement{
			{"refused, all headers", request{target: "/target/denied"}, denied(401), func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if a.Header.Get("X-Any") != "1" || a.Header.Get("X-Other") != "2" || a.Header.Get("Content-Type") != "application/json" || string(a.body) != `{"who":"are you"}` {
					t.Errorf("the client got %v %q", a.Header, a.body)
				}
			}},
			{"let pass by gRPC", request{target: "/target/x?token=1"}, served, func(t *testing.T, a answer, _ []judged) {
				t.Helper()
				if a.saw.Header.Get("X-User") != "alice" || a.saw.Target != "/x?user=alice" || a.Header.Get("X-From-Auth") != "1" {
					t.Errorf("the service saw %s %v, the client %v", a.saw.Target, a.saw.Header, a.Header)
				}
			}},
		}},
		{"gRPC, as v2", external(ln.Addr().String(), "proto: grpc", "v3ProtocolVersion: v2"), []judgement{{"spoken as v3", request{target: "/target/denied"}, denied(401), nil}}},
		{"then JWT", external(j.addr, "allowed_authorization_headers: [x-user]") + jwt + filterUses("p", "{name: asks}", "{name: jwt}"), []judgement{
			{"the token that the first one brings is judged", request{target: "/target/x", header: []string{token}}, verdict{"authn", "token_malformed", 401}, nil},
		}},
		{"JWT, then it", external(j.addr) + jwt + filterUses("p", "{name: jwt}", "{name: asks}"), []judgement{
			{"refused before", request{target: "/target/x"}, verdict{"authn", "token_missing", 401}, nobody},
			{"and asked after", request{target: "/target/401", header: []string{token}}, denied(401), nil},
		}},
		{"or JWT", external(j.addr) + jwt + filterUses("p", "{name: asks, onDeny: continue, onAllow: break}", "{name: jwt}"), []judgement{
			{"the refusal is thrown away", request{target: "/target/401", header: []string{token}}, served, nil},
			{"and the other's counts", request{target: "/target/401"}, verdict{"authn", "token_missing", 401}, nil},
		}},
	} {
		g.replace(mappings + spec.manifests)
		for _, row := range spec.rows {
			t.Run(spec.name+"/"+row.name, func(t *testing.T) {
				j.asked()
				a := g.send(t, row.request)
				if got := g.verdict(t, a); got != row.want || a.StatusCode != row.want.Status {
					t.Fatalf("got %v (%d) %q, want %v", got, a.StatusCode, a.body, row.want)
				}
				if row.check != nil {
					row.check(t, a, j.asked())
				}
			})
		}
	}
	t.Run("metrics", func(t *testing.T) {
		_, text := g.operator("/metrics")
		for _, name := range []string{"allowed", "denied", "error", `rq_class{class="2xx"}`, `rq_status{status="200"}`} {
			if !strings.Contains(text, "\nambassador_edge_stack_external_filter_"+name+" ") {
				t.Errorf("there is no ambassador_edge_stack_external_filter_%s", name)
			}
		}
	})
	g.noSecrets(t, strings.Split(token, ".")[2], "minted-token")
}

// authorityTo is a Secret of an authority, as External Filters name it.
func authorityTo(name string) string {
	return certificate{cert: authority.pem()}.secret(name)
}

// Who asks, who is asked and what is counted come in an order that manifests rely on.
func TestOrderOfProcessing(t *testing.T) {
	t.Parallel()
	j, i := startJudge(t), startIssuer(t)
	g := start(t, setup{manifests: everyone +
		module(`ip_deny: [{remote: 203.0.113.9}], use_remote_address: false`) +
		mapping("api", "/api/", echo(t, "api"), `cors: {origins: ["https://a.test"]}`, `labels: {ambassador: [{g: [{request_headers: {key: user, header_name: x-user}}]}]}`,
			`add_request_headers: {x-seen: {value: "%REQ(x-user)%", append: false}}`, `jwt: {requireToken: true, injectRequestHeaders: [{name: x-last, value: "{{ .token.sub }}"}]}`) +
		mapping("gold", "/api/", echo(t, "gold"), "headers: {x-user: alice}", `labels: {ambassador: [{g: [{request_headers: {key: user, header_name: x-user}}]}]}`) +
		manifest("RateLimit", "rl", `{domain: ambassador, limits: [{pattern: [{user: bob}], rate: 0, unit: day}]}`) +
		manifest("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, injectRequestHeaders: [{name: X-User, value: "{{ .token.sub }}"}]}}`, i.url+"/keys")) +
		manifest("Filter", "mint", `{Mint: {}}`) +
		manifest("FilterPolicy", "p", "{rules: [{path: /api/*, filters: [{name: jwt}, {name: mint}]}]}") +
		authService("auth", j.addr, "allowed_request_headers: [x-user]")})
	token := func(sub string) string { return "Authorization: Bearer " + i.token(t, map[string]any{"sub": sub}) }
	from := func(ip string) string { return "X-Forwarded-For: " + ip }
	for _, row := range []judgement{
		{"an address that is denied comes before CORS", request{method: "OPTIONS", target: "/api/x", header: []string{from("203.0.113.9"), "Origin: https://a.test", "Access-Control-Request-Method: GET"}}, verdict{"accept", "address_denied", 403}, nobody},
		{"CORS before Filters", request{method: "OPTIONS", target: "/api/x", header: []string{"Origin: https://a.test", "Access-Control-Request-Method: GET"}}, verdict{"cors", "preflight", 200}, nobody},
		{"Filters before AuthServices", request{target: "/api/401"}, verdict{"authn", "token_missing", 401}, nobody},
		{"which see what Filters say", request{target: "/api/401", header: []string{token("carol"), "X-User: root"}}, verdict{"authn", "auth_denied", 401}, func(t *testing.T, _ answer, asked []judged) {
			t.Helper()
			if len(asked) != 1 || asked[0].header.Get("X-User") != "carol" {
				t.Errorf("asked %v", asked)
			}
		}},
		{"AuthServices before limits", request{target: "/api/401", header: []string{token("bob")}}, verdict{"authn", "auth_denied", 401}, nil},
		{"limits by what Filters say", request{target: "/api/x", header: []string{token("bob"), "X-User: carol"}}, verdict{"limit", "over_limit", 429}, nil},
		{"headers after all", request{target: "/api/x", header: []string{token("carol")}}, served, func(t *testing.T, a answer, _ []judged) {
			t.Helper()
			if h := a.saw.Header; a.saw.Service != "api" || h.Get("X-Seen") != "carol" || h.Get("X-Last") != "carol" || h.Get("X-User") != "carol" || decoded(t, bearer(a))["iss"] != "ambassador-jwt-issuer" {
				t.Errorf("%s saw %v", a.saw.Service, h)
			}
		}},
		{"the route once more before the service", request{target: "/api/x", header: []string{token("alice")}}, served, func(t *testing.T, a answer, _ []judged) {
			t.Helper()
			if a.saw.Service != "gold" || a.saw.Header.Get("X-Seen") != "" {
				t.Errorf("%s saw %v", a.saw.Service, a.saw.Header)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			j.asked()
			a := g.send(t, row.request)
			got := g.log.next(t, a.from, func(r *record) bool { return r.verdict == row.want || r.RequestID == a.id })
			if got.verdict != row.want || a.StatusCode != row.want.Status {
				t.Fatalf("got %v (%d) %s, want %v", got.verdict, a.StatusCode, a.body, row.want)
			}
			if row.check != nil {
				row.check(t, a, j.asked())
			}
		})
	}
	minted := 0
	for _, line := range g.log.text() {
		if strings.Contains(line, `"event":"token_minted"`) {
			minted++
		}
	}
	if minted > 2 {
		t.Errorf("%d tokens were made for the two requests that got through", minted)
	}
}

// Keys of programs that change count from then on.
func TestKeysThatChange(t *testing.T) {
	t.Parallel()
	manifests := func(keys string) string {
		return everyone + mapping("target", "/target/", echo(t, "up")) + manifest("Filter", "key", "{APIKey: {keys: [{secretName: keys}]}}") + filterUses("p", "{name: key}") +
			"---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {" + keys + "}\n"
	}
	g := start(t, setup{manifests: manifests("a: the-first-key")})
	expect := func(key string, want verdict) {
		t.Helper()
		if v := g.verdict(t, g.send(t, request{target: "/target/x", header: []string{"X-API-Key: " + key}})); v != want {
			t.Errorf("%s: got %v, want %v", key, v, want)
		}
	}
	unknown := verdict{"authn", "api_key_unknown", 403}
	expect("the-first-key", served)
	expect("the-second-key", unknown)
	g.replace(manifests("a: the-first-key, b: the-second-key"))
	expect("the-first-key", served)
	expect("the-second-key", served)
	g.replace(manifests("b: the-second-key"))
	expect("the-first-key", unknown)
	expect("the-second-key", served)
	g.noSecrets(t, "the-first-key", "the-second-key")
}
