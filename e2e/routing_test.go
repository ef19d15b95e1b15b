package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// served is the verdict on a request that the upstream answered.
var served = verdict{"proxy", "", 200}

var (
	noRoute       = verdict{"match", "no_route", 404}
	httpsRedirect = verdict{"match", "https_redirect", 301}
)

func TestRedirects(t *testing.T) {
	t.Parallel()
	const to = "foobar.com"
	g := start(t, setup{manifests: everyone +
		mapping("n", "/n/", to, "host_redirect: true") +
		mapping("n-2", "/n-2/", to, "host_redirect: true", "case_sensitive: false") +
		mapping("n-3", "/n-3/foo/", to, "host_redirect: true", "path_redirect: /redirect/", "redirect_response_code: 302") +
		mapping("n-4", "/n-4/foo/bar/baz", to, "host_redirect: true", "prefix_redirect: /foobar/baz", "redirect_response_code: 307") +
		mapping("n-5", `"/n-5/assets/([a-f0-9]{12})/images"`, to, "host_redirect: true", "prefix_regex: true", "redirect_response_code: 308",
			`regex_redirect: {pattern: "/n-5/assets/([a-f0-9]{12})/images", substitution: '/images/\1'}`) +
		mapping("n-6", "/n-6/", "https://other.example", "host_redirect: true", "redirect_response_code: 303")})
	for _, c := range []struct {
		target, location string
		status           int
	}{
		{"/n/anything?itworked=true", "http://foobar.com/n/anything?itworked=true", 301},
		{"/N/anything", "", 404},
		{"/N-2/Anything", "http://foobar.com/N-2/Anything", 301},
		{"/n-3/foo/anything", "http://foobar.com/redirect/", 302},
		{"/n-4/foo/bar/baz/anything", "http://foobar.com/foobar/baz/anything", 307},
		{"/n-5/assets/abcd0000f123/images?itworked=true", "http://foobar.com/images/abcd0000f123?itworked=true", 308},
		{"/n-5/assets/abcd0000f12/images", "", 404},
		{"/n-6/x", "http://other.example/n-6/x", 303},
	} {
		a := g.send(t, request{target: c.target})
		want := verdict{"proxy", "redirect", c.status}
		if c.status == 404 {
			want = noRoute
		}
		if got := g.verdict(t, a); got != want {
			t.Errorf("%s: got %v, want %v", c.target, got, want)
		}
		if got := a.Header.Get("Location"); got != c.location || len(a.body) != 0 {
			t.Errorf("%s: Location %q and %d bytes of body, want %q and none", c.target, got, len(a.body), c.location)
		}
	}
}

// hostCase is one row of the tables of Hosts: who asks, and what comes of it.
type hostCase struct {
	secure       bool
	host, target string
	want         verdict
}

func (c hostCase) check(t *testing.T, g *gateway) {
	t.Helper()
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	a, err := g.try(t, request{secure: c.secure, host: c.host, target: c.target})
	if err != nil {
		t.Errorf("%s://%s%s: %v", scheme, c.host, c.target, err)
		return
	}
	if got := g.verdict(t, a); got != c.want {
		t.Errorf("%s://%s%s: got %v, want %v", scheme, c.host, c.target, got, c.want)
	}
	if c.want == httpsRedirect && a.Header.Get("Location") != "https://"+c.host+c.target {
		t.Errorf("%s://%s%s: Location %q", scheme, c.host, c.target, a.Header.Get("Location"))
	}
}

func tlsHost(name, hostname, secret string, more ...string) string {
	fields := append([]string{fmt.Sprintf("hostname: %q", hostname), "tlsSecret: {name: " + secret + "}"}, more...)
	return manifest("Host", name, "{"+strings.Join(fields, ", ")+"}")
}

const (
	route  = "requestPolicy: {insecure: {action: Route}}"
	reject = "requestPolicy: {insecure: {action: Reject}}"
)

func TestWildcardHosts(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: authority.issue(t, "fallback.test").secret("any") +
		authority.issue(t, "*.domain.com").secret("wild") +
		authority.issue(t, "a.domain.com").secret("exact") +
		tlsHost("any", "*", "any") + tlsHost("wild", "*.domain.com", "wild", route) + tlsHost("exact", "a.domain.com", "exact") +
		mapping("foo", "/foo/", echo(t, "foo"))})
	for _, c := range []hostCase{
		{true, "a.domain.com", "/foo/", served},
		{true, "wc.domain.com", "/foo/", served},
		{true, "127.0.0.1", "/foo/", served},
		{false, "a.domain.com", "/foo/", httpsRedirect},
		{false, "wc.domain.com", "/foo/", served},
		{false, "127.0.0.1", "/foo/", httpsRedirect},
		{false, "127.0.0.1", "/foo/bar?a=b", httpsRedirect},
		{false, "a.domain.com", "/bar/", noRoute}, // a path without a Mapping is not redirected
	} {
		c.check(t, g)
	}
}

func TestHostsWithSelectors(t *testing.T) {
	t.Parallel()
	service := echo(t, "any")
	labelled := func(name, labels, spec string) string {
		return fmt.Sprintf("---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: %s, labels: {%s}}\nspec: {%s, service: %s}\n",
			name, labels, spec, service)
	}
	var manifests strings.Builder
	for i, policy := range []string{route, "requestPolicy: {}", reject} {
		n := i + 1
		manifests.WriteString(authority.issue(t, fmt.Sprintf("host-%d.test", n)).secret(fmt.Sprintf("cert-%d", n)) +
			tlsHost(fmt.Sprintf("host-%d", n), fmt.Sprintf("host-%d.test", n), fmt.Sprintf("cert-%d", n), policy,
				fmt.Sprintf(`mappingSelector: {matchLabels: {to-%d: "yes"}}`, n)) +
			labelled(fmt.Sprintf("own-%d", n), fmt.Sprintf(`to-%d: "yes"`, n), fmt.Sprintf(`hostname: "host-%d.test", prefix: /own-%d/`, n, n)))
	}
	manifests.WriteString(labelled("shared", `to-1: "yes", to-2: "yes", to-3: "yes"`, `hostname: "*", prefix: /shared/`) +
		labelled("acme", `to-3: "yes"`, `hostname: "*", prefix: /.well-known/acme-challenge/, rewrite: ""`))
	g := start(t, setup{manifests: manifests.String()})

	rejected := verdict{"match", "insecure_rejected", 404}
	cases := []hostCase{
		{false, "host-1.test", "/own-1/", served}, {false, "host-1.test", "/shared/", served}, {false, "host-1.test", "/own-2/", noRoute},
		{false, "host-2.test", "/own-2/", httpsRedirect}, {false, "host-2.test", "/shared/", httpsRedirect}, {false, "host-2.test", "/own-1/", noRoute},
		{false, "host-3.test", "/own-3/", rejected}, {false, "host-3.test", "/shared/", rejected},
		{false, "host-3.test", "/.well-known/acme-challenge/x", served},
		{false, "host-1.test", "/.well-known/acme-challenge/x", noRoute}, {false, "host-2.test", "/.well-known/acme-challenge/x", noRoute},
	}
	for n := 1; n <= 3; n++ {
		host := fmt.Sprintf("host-%d.test", n)
		cases = append(cases, hostCase{true, host, fmt.Sprintf("/own-%d/", n), served}, hostCase{true, host, "/shared/", served},
			hostCase{true, host, fmt.Sprintf("/own-%d/", n%3+1), noRoute})
		c, err := g.dial(t, request{secure: true, host: host})
		must(t, err)
		if cn := c.state.PeerCertificates[0].Subject.CommonName; cn != host {
			t.Errorf("the certificate for %s is %s's", host, cn)
		}
		c.Close()
	}
	for _, c := range cases {
		c.check(t, g)
	}
	if a := g.send(t, request{host: "host-3.test", target: "/.well-known/acme-challenge/x"}); a.saw == nil || a.saw.Target != "/.well-known/acme-challenge/x" {
		t.Errorf("the challenge came as %+v", a.saw)
	}
}

func TestNamesThatNobodyServes(t *testing.T) {
	t.Parallel()
	service := echo(t, "any")
	g := start(t, setup{manifests: authority.issue(t, "tls-context-host-1").secret("one") +
		manifest("Host", "any", `{hostname: "*"}`) + tlsHost("one", "tls-context-host-1", "one", route) +
		mapping("foo", "/foo/", service)})
	for _, c := range []hostCase{
		{false, "nonmatching.test", "/foo/x", httpsRedirect},
		{false, "nonmatching.test", "/bar/x", noRoute},
		{false, "tls-context-host-1", "/foo/x", served},
		{true, "tls-context-host-1", "/foo/x", served},
		{true, "TLS-Context-Host-1", "/foo/x", served},
	} {
		c.check(t, g)
	}
	if c, err := dialTLS(g.secure, "nonmatching.test"); err == nil {
		c.Close()
		t.Error("a handshake for a name without a certificate succeeds")
	}
	// A request for another Host on a connection for this one finds no Host.
	c, err := dialTLS(g.secure, "tls-context-host-1")
	must(t, err)
	defer c.Close()
	a, err := c.exchange(request{host: "nonmatching.test", target: "/foo/x"})
	must(t, err)
	if got, want := g.verdict(t, a), (verdict{"match", "no_host", 404}); got != want {
		t.Errorf("another Host's name: got %v, want %v", got, want)
	}

	only := start(t, setup{manifests: manifest("Host", "one", "{hostname: one.test, "+route+"}") + mapping("foo", "/foo/", service)})
	for _, c := range []hostCase{
		{false, "one.test", "/foo/x", served},
		{false, "ONE.test", "/foo/x", served},
		{false, "two.test", "/foo/x", verdict{"match", "no_host", 404}},
		{false, "one.test:8080", "/foo/x", verdict{"match", "no_host", 404}}, // the port is part of the name
	} {
		c.check(t, only)
	}
}

func TestCanaryWeights(t *testing.T) {
	t.Parallel()
	stable, canary := echo(t, "stable"), echo(t, "canary")
	manifests := everyone
	for _, w := range []int{0, 10, 50, 100} {
		prefix := fmt.Sprintf("/w%d/", w)
		manifests += mapping(fmt.Sprintf("stable-%d", w), prefix, stable) +
			mapping(fmt.Sprintf("a-canary-%d", w), prefix, canary, fmt.Sprintf("weight: %d", w))
	}
	g := start(t, setup{manifests: manifests})
	for _, w := range []int{0, 10, 50, 100} {
		n := 10_000
		if w%100 == 0 {
			n = 1000 // one that strays is found as well among few
		}
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			got := 0
			c := g.connect(t)
			for range n {
				must(t, c.SetDeadline(time.Now().Add(30*time.Second))) // of each, as many take long
				a, err := c.exchange(request{target: fmt.Sprintf("/w%d/x", w)})
				must(t, err)
				if a.saw.Service == "canary" {
					got++
				}
			}
			p := float64(w) / 100
			// Five standard deviations: one run in two million strays further.
			if want, slack := p*float64(n), 5*math.Sqrt(p*(1-p)*float64(n)); math.Abs(float64(got)-want) > slack {
				t.Errorf("weight %d: %d of %d requests, want %.0f±%.0f", w, got, n, want, slack)
			}
		})
	}
}

// A pathCase says what becomes of a request; upstream is the target that the service
// sees, "" if the request does not get there.
type pathCase struct {
	request
	want     verdict
	upstream string
	original string // X-Envoy-Original-Path
}

func (c pathCase) check(t *testing.T, g *gateway) {
	t.Helper()
	a := g.send(t, c.request)
	name := fmt.Sprintf("%s %s %q", or(c.method, "GET"), c.target, c.header)
	if got := g.verdict(t, a); got != c.want {
		t.Errorf("%s: got %v, want %v", name, got, c.want)
		return
	}
	if c.upstream == "" {
		return
	}
	if a.saw == nil || a.saw.Target != c.upstream {
		t.Errorf("%s: the service saw %+v, want target %q", name, a.saw, c.upstream)
		return
	}
	if got := a.saw.Header.Get("X-Envoy-Original-Path"); got != c.original {
		t.Errorf("%s: x-envoy-original-path %q, want %q", name, got, c.original)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone +
		mapping("slash", "/slash/", up) +
		mapping("bare", "/bare", up) +
		mapping("keep", "/keep/", up, `rewrite: ""`) +
		mapping("v2", "/to-v2/", up, "rewrite: /v2/") +
		mapping("exact", "/exact", up, "prefix_exact: true", "rewrite: /x") +
		mapping("regex", `"/re.*"`, up, "prefix_regex: true") +
		mapping("regex-keep", `"/rk[0-9]+/.*"`, up, "prefix_regex: true", `rewrite: ""`) +
		mapping("swap", "/foo/", up, "regex_rewrite: {pattern: /foo/baz, substitution: /baz/foo}") +
		mapping("groups", "/list/", up, `regex_rewrite: {pattern: "/list/([0-9]*)/of", substitution: '/bar/\1'}`) +
		mapping("fold", "/Fold/", up, "case_sensitive: false") +
		mapping("x", "/x/", up)})
	get := func(target string) request { return request{target: target} }
	for _, c := range []pathCase{
		{get("/slash/bar?x=1"), served, "/bar?x=1", "/slash/bar?x=1"},
		{get("/slash/"), served, "/", "/slash/"},
		{get("/slash"), noRoute, "", ""},
		{get("/Slash/"), noRoute, "", ""},
		{get("/bare/bar"), served, "//bar", "/bare/bar"},
		{get("/barebar"), served, "/bar", "/barebar"},
		{get("/bare?q"), served, "/?q", "/bare?q"},
		{get("/keep/bar?x=1&y"), served, "/keep/bar?x=1&y", ""},
		{get("/to-v2/bar"), served, "/v2/bar", "/to-v2/bar"},
		{get("/exact"), served, "/x", "/exact"},
		{get("/exact/"), noRoute, "", ""},
		{get("/exactly"), noRoute, "", ""},
		{get("/red/bar"), served, "/", "/red/bar"},
		{get("/rk12/bar"), served, "/rk12/bar", ""},
		{get("/rk/bar"), noRoute, "", ""},
		{get("/foo/bar"), served, "/foo/bar", "/foo/bar"},
		{get("/foo/baz"), served, "/baz/foo", "/foo/baz"},
		{get("/ffoo/"), noRoute, "", ""},
		{get("/list/123456789/of"), served, "/bar/123456789", "/list/123456789/of"},
		{get("/fOLD/a"), served, "/a", "/fOLD/a"},
		{get("/need-normalization/../x/"), served, "/", "/x/"},
		{get("/../../x/%7Ea%2fb"), served, "/~a%2fb", "/x/~a%2fb"},
		{get("/need/%2e%2E/x/%41"), served, "/A", "/x/A"},
		{get(`/need\..\x/y`), served, "/y", "/x/y"},
		{get("/x//y"), served, "//y", "/x//y"},
		{get("/x/%00"), verdict{"accept", "bad_path", 400}, "", ""},
		{get("/x/%zz"), verdict{"accept", "bad_path", 400}, "", ""},
		{request{method: "OPTIONS", target: "/slash/"}, served, "/", "/slash/"},
		{request{method: "BREW", target: "/slash/"}, served, "/", "/slash/"},
	} {
		c.check(t, g)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone +
		mapping("query", "/query/", up, `regex_query_parameters: {test_param: "^[a-z].*"}`) +
		mapping("query-is", "/query-is/", up, `query_parameters: {v: "1"}`) +
		"---\napiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: present}\nspec: {prefix: /present/, service: \"" + up + "\", query_parameters: {p: true}}\n" +
		mapping("method", "/method/", up, "method: POST") +
		mapping("methods", "/methods/", up, "method: (PUT|PATCH)", "method_regex: true") +
		mapping("header", "/header/", up, `headers: {x-demo: "yes"}`) +
		mapping("regex-header", "/regex-header/", up, `regex_headers: {x-demo: "v[0-9]+"}`) +
		mapping("high", "/conf", up, "precedence: 1", "rewrite: /high") +
		mapping("low", "/conflict/", up, "rewrite: /low") +
		"---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: no-host}\nspec: {prefix: /no-host/, service: \"" + up + "\"}\n" +
		"---\napiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: old}\nspec: {prefix: /old/, service: \"" + up + "\"}\n" +
		mapping("theirs", "/theirs/", up, "ambassador_id: [other]") +
		mapping("ours", "/ours/", up, "ambassador_id: [other, default]") +
		mapping("by-host", "/by/", up, `rewrite: /any`) +
		manifest("Mapping", "by-name", `{hostname: "b.test", prefix: /by/, service: "`+up+`", rewrite: /b}`) +
		manifest("Mapping", "by-suffix", `{hostname: "*.c.test", prefix: /by/, service: "`+up+`", rewrite: /c}`) +
		manifest("Mapping", "by-regex", `{host: "d[0-9]+\\.test", host_regex: true, prefix: /by/, service: "`+up+`", rewrite: /d}`)})
	to := func(method, host, target string, header ...string) request {
		return request{method: method, host: host, target: target, header: header}
	}
	for _, c := range []pathCase{
		{to("", "", "/query/?test_param=hello"), served, "/?test_param=hello", "/query/?test_param=hello"},
		{to("", "", "/query/?test_param=HeLlO"), noRoute, "", ""},
		{to("", "", "/query/"), noRoute, "", ""},
		{to("", "", "/query-is/?a&v=1"), served, "/?a&v=1", "/query-is/?a&v=1"},
		{to("", "", "/query-is/?v=2"), noRoute, "", ""},
		{to("", "", "/present/?p=anything"), served, "/?p=anything", "/present/?p=anything"},
		{to("", "", "/present/?q=1"), noRoute, "", ""},
		{to("POST", "", "/method/"), served, "/", "/method/"},
		{to("GET", "", "/method/"), noRoute, "", ""},
		{to("PATCH", "", "/methods/"), served, "/", "/methods/"},
		{to("PATCHED", "", "/methods/"), noRoute, "", ""},
		{to("", "", "/header/", "X-Demo: yes"), served, "/", "/header/"},
		{to("", "", "/header/", "X-Demo: Yes"), noRoute, "", ""},
		{to("", "", "/header/"), noRoute, "", ""},
		{to("", "", "/regex-header/", "x-demo: v12"), served, "/", "/regex-header/"},
		{to("", "", "/regex-header/", "x-demo: v12x"), noRoute, "", ""},
		{to("", "", "/conflict/"), served, "/highlict/", "/conflict/"},
		{to("", "", "/no-host/"), noRoute, "", ""},
		{to("", "", "/old/"), served, "/", "/old/"},
		{to("", "", "/theirs/"), noRoute, "", ""},
		{to("", "", "/ours/"), served, "/", "/ours/"},
		{to("", "a.test", "/by/"), served, "/any", "/by/"},
		{to("", "B.test", "/by/"), served, "/b", "/by/"},
		{to("", "x.y.c.test", "/by/"), served, "/c", "/by/"},
		{to("", "c.test", "/by/"), served, "/any", "/by/"},
		{to("", "d42.test", "/by/"), served, "/d", "/by/"},
	} {
		c.check(t, g)
	}
}

func TestTimeoutsShownToTheService(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone +
		mapping("own", "/own/", up, "timeout_ms: 5001") + mapping("none", "/none/", up, "timeout_ms: 0") + mapping("default", "/default/", up)})
	for target, want := range map[string]string{"/own/": "5001", "/none/": "", "/default/": "3000"} {
		a := g.send(t, request{target: target})
		if got := a.saw.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"); got != want {
			t.Errorf("%s: x-envoy-expected-rq-timeout-ms %q, want %q", target, got, want)
		}
	}
	g.replace(everyone + module("cluster_request_timeout_ms: 4321") + mapping("default", "/default/", up))
	a := g.send(t, request{target: "/default/"})
	if got := a.saw.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"); got != "4321" {
		t.Errorf("the Module's timeout is shown as %q, want 4321", got)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	plain, secure := echo(t, "plain"), serveTLS(t, "secure.test", echoHandler("secure"))
	g := start(t, setup{
		args: []string{"--resolve", "foo.team=" + plain, "--resolve", "foo=" + plain, "--resolve", "secure.test=" + secure, "--resolve", "foo.team:443=" + secure},
		manifests: everyone + authority.issue(t, "unused.test").secret("ca") +
			manifest("TLSContext", "to-secure", "{sni: secure.test}") +
			mapping("own", "/own/", "foo") +
			"---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: team, namespace: team}\nspec: {hostname: '*', prefix: /team/, service: foo}\n" +
			"---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: team-tls, namespace: team}\nspec: {hostname: '*', prefix: /team-tls/, service: 'https://foo'}\n" +
			mapping("tls", "/tls/", "https://secure.test", "host_rewrite: inner.test") +
			mapping("context", "/context/", "secure.test", "tls: to-secure") +
			mapping("rewrite", "/rewrite/", "foo", "auto_host_rewrite: true")})
	for _, c := range []struct {
		target, service, host, sni string
	}{
		{"/own/", "plain", defaultHost, ""},
		{"/team/", "plain", defaultHost, ""},
		{"/team-tls/", "secure", defaultHost, ""},
		{"/tls/", "secure", "inner.test", ""},
		{"/context/", "secure", defaultHost, "secure.test"},
		{"/rewrite/", "plain", "foo", ""},
	} {
		a := g.send(t, request{target: c.target})
		if got := g.verdict(t, a); got != served {
			t.Errorf("%s: got %v", c.target, got)
			continue
		}
		if a.saw.Service != c.service || a.saw.Host != c.host || a.saw.SNI != c.sni {
			t.Errorf("%s: got service %q host %q SNI %q, want %q %q %q", c.target, a.saw.Service, a.saw.Host, a.saw.SNI, c.service, c.host, c.sni)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone + manifest("Host", "redirecting", "{hostname: r.test}") + mapping("root", "/", up)})
	health := verdict{"match", "health_check", 200}
	for path, body := range map[string]string{
		"/ambassador/v0/check_ready": "Ambassador is ready and waiting\n",
		"/ambassador/v0/check_alive": "Ambassador is alive and well\n",
	} {
		if status, got := g.operator(path); status != 200 || got != body {
			t.Errorf("admin port, %s: %d %q", path, status, got)
		}
		a := g.send(t, request{target: path})
		if got := g.verdict(t, a); got != health || string(a.body) != body {
			t.Errorf("listener, %s: %v %q", path, got, a.body)
		}
		a = g.send(t, request{target: path, host: "r.test"})
		if got := g.verdict(t, a); got != httpsRedirect {
			t.Errorf("listener, %s on a Host that redirects: %v", path, got)
		}
	}
	g.replace(everyone + mapping("swallows", "/", up, "precedence: 10"))
	a := g.send(t, request{target: "/ambassador/v0/check_ready"})
	if got := g.verdict(t, a); got != served {
		t.Errorf("a Mapping / of precedence 10 leaves check_ready to %v, want the service", got)
	}
	if status, _ := g.operator("/ambassador/v0/check_ready"); status != 200 {
		t.Errorf("admin port beside that Mapping: %d", status)
	}
	g.replace(everyone + module("readiness_probe: {enabled: false}") + mapping("x", "/x/", up))
	if a = g.send(t, request{target: "/ambassador/v0/check_ready"}); g.verdict(t, a) != noRoute {
		t.Errorf("a readiness probe that is off answers %v", g.verdict(t, a))
	}
	if a = g.send(t, request{target: "/ambassador/v0/check_alive"}); g.verdict(t, a) != health {
		t.Errorf("the liveness probe beside it answers %v", g.verdict(t, a))
	}
}

func TestVersionsOfHTTP(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up)})
	for _, c := range []struct {
		name string
		request
		want verdict
	}{
		{"1.0", request{proto: "HTTP/1.0", target: "/x/"}, verdict{"accept", "http10_disabled", 426}},
		{"2.0 in a request line", request{proto: "HTTP/2.0", target: "/x/"}, verdict{"accept", "version_unsupported", 505}},
		{"no Host", request{host: "-", target: "/x/"}, verdict{"accept", "bad_host", 400}},
		{"two Hosts", request{target: "/x/", header: []string{"Host: other.test"}}, verdict{"accept", "bad_host", 400}},
		{"the Host in the target", request{target: "http://gate.test/x/"}, served},
		{"another Host in the target", request{target: "http://other.test/x/"}, verdict{"accept", "bad_host", 400}},
		{"CONNECT", request{method: "CONNECT", target: "gate.test:443"}, verdict{"accept", "method_unsupported", 501}},
		{"two lengths", request{target: "/x/", header: []string{"Content-Length: 1", "Content-Length: 2"}}, verdict{"accept", "bad_framing", 400}},
		{"length and chunked", request{method: "POST", target: "/x/", header: []string{"Content-Length: 5", "Transfer-Encoding: chunked"}, body: "0\r\n\r\n"}, verdict{"accept", "bad_framing", 400}},
		{"unknown coding", request{method: "POST", target: "/x/", header: []string{"Transfer-Encoding: gzip, chunked"}, body: "0\r\n\r\n"}, verdict{"accept", "bad_framing", 400}},
		{"space before colon", request{target: "/x/", header: []string{"X-A : b"}}, verdict{"accept", "bad_request", 400}},
		{"folded line", request{target: "/x/", header: []string{"X-A: b", " c"}}, verdict{"accept", "bad_request", 400}},
		{"upgrade", request{target: "/x/", header: []string{"Connection: upgrade", "Upgrade: websocket"}}, verdict{"proxy", "upgrade_refused", 403}},
	} {
		a := g.send(t, c.request)
		if got := g.verdict(t, a); got != c.want || a.StatusCode != c.want.Status {
			t.Errorf("%s: record %v, answer %d, want %v", c.name, got, a.StatusCode, c.want)
		}
	}
	g.replace(everyone + module("enable_http10: true") + mapping("x", "/x/", up))
	a := g.send(t, request{proto: "HTTP/1.0", target: "/x/"})
	if got := g.verdict(t, a); got != served {
		t.Errorf("HTTP/1.0 once it is enabled: got %v", got)
	}
	a = g.send(t, request{proto: "HTTP/1.0", host: "-", target: "/x/"})
	if a.StatusCode != 400 {
		t.Errorf("HTTP/1.0 without Host: got %d, want 400", a.StatusCode)
	}
}

func TestNamesByDNS(t *testing.T) {
	t.Parallel()
	one, two := echo(t, "one"), echo(t, "two")
	zone := newZone(t)
	zone.set("one.shop.", hostOf(one))
	g := start(t, setup{args: []string{"--dns", zone.addr}, manifests: everyone +
		mapping("one", "/one/", "one.shop:"+portOf(one)) +
		mapping("late", "/late/", "late.shop:"+portOf(two))})
	if a := g.send(t, request{target: "/one/"}); g.verdict(t, a) != served || a.saw.Service != "one" {
		t.Errorf("a name in DNS: got %v", g.verdict(t, a))
	}
	a := g.send(t, request{target: "/late/"})
	if got, want := g.verdict(t, a), (verdict{"proxy", "no_endpoints", 503}); got != want || string(a.body) != "no healthy upstream" {
		t.Errorf("a name that DNS does not know: got %v %q, want %v", got, a.body, want)
	}
	zone.set("late.shop.", hostOf(two))
	eventually(t, 20*time.Second, "the new name is served", func() bool {
		return g.send(t, request{target: "/late/"}).StatusCode == 200
	})
	zone.fail(true) // the last addresses go on when DNS does not answer
	if a := g.send(t, request{target: "/one/"}); g.verdict(t, a) != served {
		t.Errorf("while DNS fails: got %v", g.verdict(t, a))
	}
}
