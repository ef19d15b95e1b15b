package gateway

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/upstream"
)

// three are three services on loopback; each answers as reply says.
func three(t testing.TB, reply string) (list []string) {
	t.Helper()
	for range 3 {
		list = append(list, service(t, func(p *peer) {
			for r, _ := p.request(); r != nil; r, _ = p.request() {
				p.say(reply)
			}
		}))
	}
	return list
}

// cluster is a Service web, port 80, whose endpoints are addrs.
func cluster(addrs ...string) string {
	var b strings.Builder
	b.WriteString("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets:\n")
	for _, a := range addrs {
		host, port, _ := net.SplitHostPort(a)
		fmt.Fprintf(&b, "- {addresses: [{ip: %s}], ports: [{port: %s}]}\n", host, port)
	}
	return b.String()
}

// balanced is a Mapping /r/ to the Service web with that load balancer.
func balanced(lb string, fields ...string) string {
	return mapping("r", "/r/", "web", append(fields, "resolver: endpoint", "load_balancer: "+lb)...)
}

// endpointsOf makes n requests with those fields and counts the endpoints they got.
func (g *gate) endpointsOf(n int, header ...string) map[string]int {
	g.t.Helper()
	count := map[string]int{}
	for range n {
		a, r := g.get("/r/x", header...)
		if a.StatusCode != 200 {
			g.t.Fatalf("got %d, %+v", a.StatusCode, r)
		}
		count[r.Endpoint]++
	}
	return count
}

// Headers are those that requests have once it is decided about them: what a client says that
// was replaced counts for nothing.
func TestAffinityByWhatWasDecided(t *testing.T) {
	up := three(t, plainOK)
	auth, _ := tierJudge(t)
	for _, row := range []struct {
		name, path, header string
		endpoints          int // that requests of many users get
	}{
		{"as the client sent it", "/r/x", "x-tier", 3},
		{"replaced", "/r/tier-gold", "x-tier", 1},
		{"made of the request", "/r/tier-%d", "x-tier", 3},
		{"that the Mapping adds", "/r/x", "x-mapping", 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+object("AuthService", "auth", `{auth_service: "`+auth+`", allowed_authorization_headers: [x-tier]}`)+cluster(up...)+
				balanced("{policy: ring_hash, header: "+row.header+"}", "add_request_headers: {x-mapping: everybody}"))
			count := map[string]int{}
			for i := range 40 {
				a, r := g.get(strings.ReplaceAll(row.path, "%d", fmt.Sprint(i)), fmt.Sprintf("X-Tier: u%d", i))
				if a.StatusCode != 200 {
					t.Fatalf("got %d, %+v", a.StatusCode, r)
				}
				count[r.Endpoint]++
			}
			if len(count) != row.endpoints {
				t.Errorf("got %v, want %d endpoints", count, row.endpoints)
			}
		})
	}
}

func TestAffinity(t *testing.T) {
	up := three(t, plainOK)
	for _, row := range []struct {
		name, lb string
		same     []string // fields of requests that belong together
		spread   bool     // requests without them go anywhere
	}{
		{"header", "{policy: ring_hash, header: X-User}", []string{"x-user: alice"}, true},
		{"header by maglev", "{policy: maglev, header: x-user}", []string{"X-User: bob"}, true},
		{"two lines of a header", "{policy: maglev, header: x-user}", []string{"X-User: bob", "X-User: carol"}, true},
		{"host", "{policy: ring_hash, header: Host}", nil, false},
		{"cookie", "{policy: ring_hash, cookie: {name: sticky}}", []string{"Cookie: a=b; sticky=s1; c=d"}, true},
		{"cookie of a second line", "{policy: maglev, cookie: {name: sticky}}", []string{"Cookie: a=b", `Cookie: sticky="s1"`}, true},
		{"source address", "{policy: ring_hash, source_ip: true}", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+cluster(up...)+balanced(row.lb))
			if got := g.endpointsOf(12, row.same...); len(got) != 1 {
				t.Errorf("requests that belong together got %v", got)
			}
			if got := g.endpointsOf(60); row.spread && len(got) != 3 {
				t.Errorf("requests that do not got %v", got)
			}
		})
	}
}

// Different keys get different endpoints, and the same ones from every gateway.
func TestAffinityAgrees(t *testing.T) {
	up := three(t, plainOK)
	a := open(t, everyone+cluster(up...)+balanced("{policy: ring_hash, header: x-user}"))
	b := open(t, everyone+cluster(up[1], up[2], up[0])+balanced("{policy: ring_hash, header: x-user}"))
	seen := map[string]bool{}
	for i := range 50 {
		user := fmt.Sprintf("X-User: user-%d", i)
		_, x := a.get("/r/", user)
		_, y := b.get("/r/", user)
		if x.Endpoint != y.Endpoint {
			t.Errorf("%s got %s and %s", user, x.Endpoint, y.Endpoint)
		}
		seen[x.Endpoint] = true
	}
	if len(seen) != 3 {
		t.Errorf("50 users got %v", seen)
	}
}

// A client without the cookie gets one, which brings it back to the endpoint that it
// had with its first request.
func TestAffinityCookie(t *testing.T) {
	up := three(t, "HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 2\r\n\r\nok")
	for _, row := range []struct{ cookie, want string }{
		{"{name: sticky, ttl: 60s, path: /shop}", `^sticky="[0-9a-f]{16}"; Max-Age=60; Path=/shop; HttpOnly$`},
		{"{name: sticky, ttl: 1500ms}", `^sticky="[0-9a-f]{16}"; Max-Age=2; HttpOnly$`},
		{"{name: sticky, ttl: 0s, path: /}", `^sticky="[0-9a-f]{16}"; Path=/; HttpOnly$`},
		{"{name: sticky, path: /}", ``},
	} {
		g := open(t, everyone+cluster(up...)+balanced("{policy: ring_hash, cookie: "+row.cookie+"}"))
		for range 10 {
			a, first := g.get("/r/")
			set := slices.DeleteFunc(a.Header["Set-Cookie"], func(s string) bool { return s == "own=1" })
			if len(a.Header["Set-Cookie"]) == len(set) {
				t.Fatalf("%s: the service's own cookie is missing: %q", row.cookie, a.Header["Set-Cookie"])
			}
			if row.want == "" {
				if len(set) > 0 {
					t.Fatalf("%s: got %q", row.cookie, set)
				}
				continue
			}
			if len(set) != 1 || !regexp.MustCompile(row.want).MatchString(set[0]) {
				t.Fatalf("%s: got %q, want %s", row.cookie, set, row.want)
			}
			cookies, err := http.ParseSetCookie(set[0])
			if err != nil {
				t.Fatal(err)
			}
			again, r := g.get("/r/", "Cookie: "+cookies.Name+`="`+cookies.Value+`"`)
			if r.Endpoint != first.Endpoint {
				t.Errorf("%s: got %s, then %s", row.cookie, first.Endpoint, r.Endpoint)
			}
			if len(again.Header["Set-Cookie"]) != 1 {
				t.Errorf("%s: got another cookie: %q", row.cookie, again.Header["Set-Cookie"])
			}
		}
	}
}

// What asks for a balancer that there cannot be is dropped.
func TestLoadBalancerRefused(t *testing.T) {
	up := three(t, plainOK)
	for _, lb := range []string{
		"{policy: rr}", "{policy: round_robin, cookie: {name: a}}", "{policy: least_request, cookie: {name: a}}",
		"{policy: ring_hash, header: a, source_ip: true}", "{policy: ring_hash}",
	} {
		g := open(t, everyone+cluster(up...)+balanced(lb))
		if _, r := g.get("/r/"); (r.verdict != verdict{"match", "no_route", 404}) {
			t.Errorf("%s: got %+v", lb, r.verdict)
		}
	}
	g := open(t, everyone+mapping("r", "/r/", up[0], "load_balancer: {policy: least_request}"))
	if _, r := g.get("/r/"); (r.verdict != verdict{"match", "no_route", 404}) {
		t.Errorf("without endpoints: got %+v", r.verdict)
	}
}

// Endpoints that come and go move requests; a request in flight ends with the one it has.
func TestEndpointsMove(t *testing.T) {
	held := make(chan struct{})
	slow := service(t, func(p *peer) {
		if r, _ := p.request(); r != nil {
			<-held
			p.say(plainOK)
		}
	})
	quick := three(t, plainOK)[0]
	g := open(t, everyone+cluster(slow)+balanced("{policy: round_robin}"))
	c := g.dial()
	c.say(request("GET", "/r/", ""))
	g.waitFor("the request is under way", func() bool { return g.metrics.InFlight.Value() == 1 })
	g.Apply(t.Context(), withListener(g, everyone+cluster(quick)+balanced("{policy: round_robin}")))
	if _, r := g.get("/r/"); r.Endpoint != quick || r.verdict != served {
		t.Errorf("after the change: got %+v", r)
	}
	close(held)
	if a := c.hear("GET"); a.StatusCode != 200 || a.err != nil {
		t.Errorf("the request in flight got %d %v", a.StatusCode, a.err)
	}
	if r := g.next(); r.Endpoint != slow {
		t.Errorf("the request in flight had %s", r.Endpoint)
	}
	g.Apply(t.Context(), withListener(g, everyone+balanced("{policy: round_robin}")))
	if a, r := g.get("/r/"); (r.verdict != verdict{"proxy", "no_endpoints", 503}) || a.body != "no healthy upstream" {
		t.Errorf("without endpoints: got %+v %q", r.verdict, a.body)
	}
}

// withListener reads manifests and keeps the Listener that g has.
func withListener(g *gate, manifests string) config.World {
	w := read(manifests)
	w.Listeners = g.snap.Load().world.Listeners
	return w
}

// waitFor asks until a condition holds, which must be soon.
func (g *gate) waitFor(what string, holds func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("not so: %s", what)
		}
	}
}

func TestLinkerd(t *testing.T) {
	up, seen := seeing(t, plainOK)
	all, err := upstream.ParseOverride("*=" + up)
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(o *Options) { o.Upstream.Resolve = []upstream.Override{all} }
	module := "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {name: ambassador}\nspec: {config: {add_linkerd_headers: true}}\n"
	for _, row := range []struct {
		manifest string
		want     string
	}{
		{mapping("r", "/r/", "orders.shop:8080"), ""},
		{mapping("r", "/r/", "orders.shop:8080", "add_linkerd_headers: true"), "orders.shop:8080"},
		{module + mapping("r", "/r/", "orders.shop"), "orders.shop:80"},
		{module + mapping("r", "/r/", "orders.shop", "add_linkerd_headers: false"), ""},
	} {
		g := open(t, everyone+row.manifest, resolve)
		c := g.dial()
		c.say(request("GET", "/r/", "", "X-Probe: 1"))
		c.hear("GET")
		if s := <-seen; strings.Join(s.Header.Values("L5d-Dst-Override"), ",") != row.want {
			t.Errorf("%s: got %q, want %q", row.manifest, s.Header.Values("L5d-Dst-Override"), row.want)
		}
	}
}
