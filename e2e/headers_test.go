package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// uuid is the form of an id that the gateway makes.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// A fieldCase says what the service sees of a request's header. A wanted value of ""
// means that the field is not there; "*" that it is, whatever it says.
type fieldCase struct {
	name string
	request
	want map[string]string
}

func (c fieldCase) check(t *testing.T, g *gateway) {
	t.Helper()
	a := g.send(t, c.request)
	if got := g.verdict(t, a); got != served {
		t.Errorf("%s: got %v, want %v", c.name, got, served)
		return
	}
	for field, want := range c.want {
		got := strings.Join(a.saw.Header.Values(field), "|")
		if want == "*" && got != "" {
			continue
		}
		if got != want {
			t.Errorf("%s: the service saw %s %q, want %q", c.name, field, got, want)
		}
	}
}

func TestHeadersAtTheEdge(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone + authority.issue(t, "gate.test").secret("cert") +
		tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", up)})
	const xff = "X-Forwarded-For: 198.51.100.7"
	get := func(header ...string) request { return request{target: "/x/", header: header} }
	for _, c := range []fieldCase{
		{"internal request", get("X-Request-Id: mine"), map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "mine",
			"X-Envoy-Internal": "true", "X-Envoy-External-Address": "", "X-Envoy-Original-Path": "/x/",
		}},
		{"external request", get(xff, "X-Envoy-Retry-On: 5xx", "x-envoy-upstream-rq-timeout-ms: 1", "X-Envoy-Internal: true", "X-Envoy-Original-Path: /evil", "X-Envoy-Expected-Rq-Timeout-Ms: 9", "x-envoy-other: kept"), map[string]string{
			"X-Forwarded-For": "198.51.100.7, 127.0.0.1", "X-Envoy-Internal": "", "X-Envoy-External-Address": "127.0.0.1",
			"X-Envoy-Retry-On": "", "X-Envoy-Upstream-Rq-Timeout-Ms": "", "X-Envoy-Original-Path": "/x/", "X-Envoy-Expected-Rq-Timeout-Ms": "3000", "X-Envoy-Other": "kept",
		}},
		{"controls of an internal caller", get("X-Envoy-Retry-On: 5xx"), map[string]string{"X-Envoy-Retry-On": "5xx"}},
		{"two lines of XFF", get(xff, "X-Forwarded-For: 203.0.113.9"), map[string]string{"X-Forwarded-For": "198.51.100.7, 203.0.113.9, 127.0.0.1"}},
		{"a claimed proto", get("X-Forwarded-Proto: https"), map[string]string{"X-Forwarded-Proto": "http"}},
		{"a claimed certificate", get("X-Forwarded-Client-Cert: By=me"), map[string]string{"X-Forwarded-Client-Cert": ""}},
		{"over TLS", request{target: "/x/", secure: true}, map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}},
		{"hop by hop", get("Connection: keep-alive, X-Mine, close", "Keep-Alive: timeout=5", "X-Mine: 1", "X-Yours: 2", "Proxy-Connection: keep-alive", "TE: gzip, trailers", "Upgrade: h2c"), map[string]string{
			"X-Mine": "", "X-Yours": "2", "Keep-Alive": "", "Proxy-Connection": "", "Upgrade": "", "Te": "trailers",
		}},
		{"doubled fields", get("Accept: a", "Accept: b", "Cookie: c=1", "Authorization: Bearer x"), map[string]string{"Accept": "a|b", "Cookie": "c=1", "Authorization": "Bearer x"}},
	} {
		c.check(t, g)
	}
	a := g.send(t, get(xff, "X-Request-Id: forged"))
	if !uuid.MatchString(a.saw.Header.Get("X-Request-Id")) {
		t.Errorf("an external request's id is %q, want a new one", a.saw.Header.Get("X-Request-Id"))
	}
	g.replace(everyone + module("preserve_external_request_id: true") + mapping("x", "/x/", up))
	fieldCase{"preserved id", get(xff, "X-Request-Id: theirs"), map[string]string{"X-Request-Id": "theirs"}}.check(t, g)
	g.replace(everyone + module("use_remote_address: false") + mapping("x", "/x/", up))
	fieldCase{"use_remote_address: false", get(xff, "X-Forwarded-Proto: https"), map[string]string{"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}}.check(t, g)
	g.replace(everyone + module("suppress_envoy_headers: true") + mapping("x", "/x/", up))
	fieldCase{"suppressed", get(), map[string]string{"X-Envoy-Original-Path": "", "X-Envoy-Expected-Rq-Timeout-Ms": ""}}.check(t, g)
	if a := g.send(t, get()); a.Header.Get("X-Envoy-Upstream-Service-Time") != "" {
		t.Error("the service time is shown although Envoy's headers are suppressed")
	}
}

func TestTrustedHops(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	g := start(t, setup{bare: true, manifests: manifest("Host", "any", `{hostname: "*"}`) + mapping("x", "/x/", echo(t, "up")) +
		manifest("Listener", "trusting", strings.ReplaceAll("{port: PORT, protocol: HTTP, securityModel: XFP, l7Depth: 1, hostBinding: {namespace: {from: ALL}}}", "PORT", portOf(loopback(port))))})
	g.clear = loopback(port)
	a := g.send(t, request{target: "/x/", header: []string{"X-Forwarded-For: 192.0.2.1, 198.51.100.7", "X-Forwarded-Proto: https"}})
	if got := g.record(t, a); got.verdict != served || got.ClientIP != "198.51.100.7" {
		t.Errorf("one trusted hop: got %v from %s, want it served, from 198.51.100.7", got.verdict, got.ClientIP)
	}
	if got := a.saw.Header.Get("X-Envoy-External-Address"); got != "198.51.100.7" {
		t.Errorf("x-envoy-external-address %q", got)
	}
	for _, proto := range []string{"X-Forwarded-Proto: http", "X-Other: 1"} {
		a = g.send(t, request{target: "/x/", header: []string{proto}})
		if got := g.verdict(t, a); got != httpsRedirect {
			t.Errorf("%s: got %v, want %v", proto, got, httpsRedirect)
		}
	}
}

func TestSecurityModels(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	model := func(name, model string, port int) string {
		return manifest("Listener", name, "{port: "+portOf(loopback(port))+", protocol: HTTP, securityModel: "+model+", hostBinding: {namespace: {from: ALL}}}")
	}
	g := start(t, setup{bare: true, manifests: manifest("Host", "any", `{hostname: "*"}`) + mapping("x", "/x/", echo(t, "up")) +
		model("always", "SECURE", ports[0]) + model("never", "INSECURE", ports[1])})
	for i, want := range []verdict{served, httpsRedirect} {
		g.clear = loopback(ports[i])
		a := g.send(t, request{target: "/x/", header: []string{"X-Forwarded-Proto: https"}})
		if got := g.verdict(t, a); got != want {
			t.Errorf("port %d: got %v, want %v", i, got, want)
		}
	}
}

func TestHeadersOfMappings(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone +
		mapping("edit", "/edit/", up, `add_request_headers: {x-more: "1", x-only: {value: "2", append: false}}`,
			"remove_request_headers: [x-gone, x-set]", `host_rewrite: inner.test`) +
		mapping("set", "/set/", up, `remove_request_headers: [x-set]`, `add_request_headers: {x-set: new}`)})
	for _, c := range []fieldCase{
		{"append", request{target: "/edit/", header: []string{"X-More: 0", "X-Only: 0", "X-Only: 1", "X-Gone: 1"}}, map[string]string{"X-More": "0|1", "X-Only": "2", "X-Gone": ""}},
		{"add where nothing was", request{target: "/edit/"}, map[string]string{"X-More": "1", "X-Only": "2"}},
		{"remove and add", request{target: "/set/", header: []string{"X-Set: old"}}, map[string]string{"X-Set": "new"}},
	} {
		c.check(t, g)
	}
	if a := g.send(t, request{target: "/edit/"}); a.saw.Host != "inner.test" {
		t.Errorf("host_rewrite: the service saw Host %q", a.saw.Host)
	}
}

func TestHeadersOfAnswers(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Server", "theirs")
		h.Set("X-Gone", "1")
		h.Set("X-Only", "theirs")
		h.Set("X-More", "theirs")
		h.Set("X-Envoy-Upstream-Service-Time", "99999")
		h.Set("X-Envoy-Secret", "1")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
	}))
	undated := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n\r\nok")
	manifests := everyone + mapping("plain", "/plain/", up) + mapping("undated", "/undated/", undated) +
		mapping("old", "/old/", "shop.example", "host_redirect: true") +
		mapping("edit", "/edit/", up, `add_response_headers: {x-more: ours, x-only: {value: ours, append: false}}`,
			"remove_response_headers: [x-gone, x-envoy-upstream-service-time]")
	g := start(t, setup{manifests: manifests})
	check := func(target string, want map[string]string) {
		t.Helper()
		a := g.send(t, request{target: target})
		for field, want := range want {
			if got := strings.Join(a.Header.Values(field), "|"); got != want && (want != "*" || got == "") {
				t.Errorf("%s: %s %q, want %q", target, field, got, want)
			}
		}
	}
	check("/plain/", map[string]string{"Server": "envoy", "Date": "*", "X-Gone": "1", "X-Hop": "", "X-Envoy-Secret": "", "Set-Cookie": "a=1|b=2"})
	check("/edit/", map[string]string{"X-Gone": "", "X-Only": "ours", "X-More": "theirs|ours", "X-Envoy-Upstream-Service-Time": ""})
	check("/undated/", map[string]string{"Date": "*", "Keep-Alive": "", "Connection": ""})
	check("/nowhere", map[string]string{"Server": "envoy", "Date": "*", "X-Envoy-Upstream-Service-Time": "", "Content-Length": "0"})
	a := g.send(t, request{target: "/plain/"})
	if ms, err := time.ParseDuration(a.Header.Get("X-Envoy-Upstream-Service-Time") + "ms"); err != nil || ms > 10*time.Second {
		t.Errorf("x-envoy-upstream-service-time: %v, %v", ms, err)
	}
	g.replace(manifests + module("server_name: test"))
	for _, target := range []string{"/plain/", "/old/", "/nowhere", "/ambassador/v0/check_ready"} {
		check(target, map[string]string{"Server": "test"})
	}
}

func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + module("max_request_headers_kb: 30") + mapping("x", "/x/", echo(t, "up"))})
	for _, c := range []struct {
		kb   int
		want verdict
	}{
		{29, served},
		{31, verdict{"accept", "header_too_large", 431}},
		{4000, verdict{"accept", "header_too_large", 431}},
	} {
		a := g.send(t, request{target: "/x/", header: []string{"X-Large: " + strings.Repeat("x", c.kb<<10)}})
		if got := g.verdict(t, a); got != c.want || a.StatusCode != c.want.Status {
			t.Errorf("%d KiB: record %v, answer %d, want %v", c.kb, got, a.StatusCode, c.want)
		}
	}
	a := g.send(t, request{target: "/x/", header: strings.Split(strings.Repeat("A: b\n", 3000)+"C: d", "\n")})
	if got, want := g.verdict(t, a), (verdict{"accept", "too_many_headers", 431}); got != want {
		t.Errorf("3,000 lines: got %v, want %v", got, want)
	}
	a = g.send(t, request{target: "/x/"})
	if got := g.verdict(t, a); got != served {
		t.Errorf("the next request: got %v", got)
	}
}
