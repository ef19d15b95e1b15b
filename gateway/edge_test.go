package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"legate/config"
)

// A row of the tables of an edge: who asks how, and what becomes of it. A wanted value
// of "" means that the service sees no such field; "*" that it does, whatever it says.
type edgeRow struct {
	name   string
	from   string   // the peer, by a PROXY header
	header []string // of the request
	client string   // client_ip in the record
	want   map[string]string
}

// edgeCase is a gateway that the rows are tried on.
type edgeCase struct {
	name     string
	module   []string
	hops     int
	internal []netip.Prefix
	rows     []edgeRow
}

// asked sends one request by the way of a PROXY header and returns what came of it.
func (g *gate) asked(from, host, target string, header ...string) (answer, record) {
	g.t.Helper()
	family, to := "TCP4", "10.0.0.1"
	if strings.Contains(from, ":") {
		family, to = "TCP6", "fd00::1"
	}
	c := g.dial()
	defer c.Close()
	c.say(fmt.Sprintf("PROXY %s %s %s 5000 80\r\nGET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", family, from, to, target, host, fieldLines(header)))
	return c.hear("GET"), g.next()
}

func fieldLines(header []string) string {
	var b strings.Builder
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

// behindProxy is a World whose only Listener reads PROXY headers.
func behindProxy(manifests string, change func(*config.Listener)) config.World {
	w := read(manifests)
	l := &w.Listeners[0]
	l.Stack = []config.Protocol{config.ProtoPROXY, config.ProtoHTTP, config.ProtoTCP}
	change(l)
	return w
}

const (
	xff       = "X-Forwarded-For"
	xfp       = "X-Forwarded-Proto"
	external  = "X-Envoy-External-Address"
	internal  = "X-Envoy-Internal"
	requestID = "X-Request-Id"
)

// Where the address comes from, who counts as internal, and what either may say.
var edgeCases = []edgeCase{
	{name: "use_remote_address, by default, no proxies in front", rows: []edgeRow{
		{"external", "198.51.100.7", nil, "198.51.100.7", map[string]string{xff: "198.51.100.7", xfp: "http", external: "198.51.100.7", internal: "", requestID: "*"}},
		{"external over IPv6", "2001:db8::7", nil, "2001:db8::7", map[string]string{xff: "2001:db8::7", external: "2001:db8::7", internal: ""}},
		{"external that claims", "198.51.100.7", []string{"X-Forwarded-For: 10.0.0.9", "X-Forwarded-Proto: https", "X-Envoy-Internal: true", "X-Envoy-External-Address: 1.2.3.4"}, "198.51.100.7",
			map[string]string{xff: "10.0.0.9, 198.51.100.7", xfp: "http", external: "198.51.100.7", internal: ""}},
		{"private", "10.1.2.3", nil, "10.1.2.3", map[string]string{xff: "10.1.2.3", external: "", internal: "true"}},
		{"private of 172.16", "172.16.0.1", nil, "172.16.0.1", map[string]string{internal: "true"}},
		{"beside 172.16", "172.32.0.1", nil, "172.32.0.1", map[string]string{internal: "", external: "172.32.0.1"}},
		{"private of 192.168", "192.168.1.1", nil, "192.168.1.1", map[string]string{internal: "true"}},
		{"loopback", "127.0.0.1", nil, "127.0.0.1", map[string]string{internal: "true"}},
		{"private of IPv6", "fd12::1", nil, "fd12::1", map[string]string{internal: "true", external: ""}},
		{"loopback of IPv6", "::1", nil, "::1", map[string]string{internal: "true"}},
		{"shared space is not private", "100.64.0.1", nil, "100.64.0.1", map[string]string{internal: "", external: "100.64.0.1"}},
		{"private and forwarded", "10.1.2.3", []string{"X-Forwarded-For: 10.0.0.9"}, "10.1.2.3", map[string]string{xff: "10.0.0.9, 10.1.2.3", internal: "", external: "10.1.2.3"}},
		{"private with an empty list", "10.1.2.3", []string{"X-Forwarded-For:"}, "10.1.2.3", map[string]string{internal: ""}},
		{"id of an external caller", "198.51.100.7", []string{"X-Request-Id: mine"}, "198.51.100.7", map[string]string{requestID: "*fresh"}},
		{"id of an internal caller", "10.1.2.3", []string{"X-Request-Id: mine"}, "10.1.2.3", map[string]string{requestID: "mine"}},
		{"an internal caller without an id", "10.1.2.3", nil, "10.1.2.3", map[string]string{requestID: "*"}},
		{"controls of an external caller", "198.51.100.7", controlsOf("x"), "198.51.100.7", controlsSeen("")},
		{"controls of an internal caller", "10.1.2.3", controlsOf("x"), "10.1.2.3", controlsSeen("x")},
		{"what others are told", "198.51.100.7", []string{"X-Forwarded-Host: a.test", "X-Forwarded-Port: 444", "X-Real-Ip: 1.2.3.4"}, "198.51.100.7",
			map[string]string{"X-Forwarded-Host": "a.test", "X-Forwarded-Port": "444", "X-Real-Ip": "1.2.3.4"}},
		{"a certificate that is claimed", "10.1.2.3", []string{"X-Forwarded-Client-Cert: By=me"}, "10.1.2.3", map[string]string{"X-Forwarded-Client-Cert": ""}},
	}},
	{name: "preserve_external_request_id", module: []string{"preserve_external_request_id: true"}, rows: []edgeRow{
		{"id of an external caller", "198.51.100.7", []string{"X-Request-Id: mine"}, "198.51.100.7", map[string]string{requestID: "mine"}},
		{"none to preserve", "198.51.100.7", nil, "198.51.100.7", map[string]string{requestID: "*"}},
	}},
	{name: "one trusted proxy", hops: 1, rows: []edgeRow{
		{"it names the client", "10.1.2.3", []string{"X-Forwarded-For: 198.51.100.7"}, "198.51.100.7", map[string]string{xff: "198.51.100.7, 10.1.2.3", external: "198.51.100.7", internal: ""}},
		{"the client claims", "10.1.2.3", []string{"X-Forwarded-For: 1.2.3.4, 198.51.100.7"}, "198.51.100.7", map[string]string{xff: "1.2.3.4, 198.51.100.7, 10.1.2.3", external: "198.51.100.7"}},
		{"in two lines", "10.1.2.3", []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 198.51.100.7"}, "198.51.100.7", map[string]string{xff: "1.2.3.4, 198.51.100.7, 10.1.2.3"}},
		{"it names nobody", "203.0.113.1", nil, "203.0.113.1", map[string]string{xff: "203.0.113.1", external: "203.0.113.1"}},
		{"it names nobody, from inside", "10.1.2.3", nil, "10.1.2.3", map[string]string{internal: "true"}},
		{"it names nonsense", "203.0.113.1", []string{"X-Forwarded-For: 198.51.100.7, unknown"}, "203.0.113.1", map[string]string{xff: "198.51.100.7, unknown, 203.0.113.1"}},
		{"it names an address with a port", "10.1.2.3", []string{"X-Forwarded-For: 198.51.100.7:4711"}, "198.51.100.7", nil},
		{"it names IPv6 in brackets with a port", "10.1.2.3", []string{"X-Forwarded-For: [2001:db8::7]:4711"}, "2001:db8::7", nil},
		{"it says https", "10.1.2.3", []string{"X-Forwarded-Proto: https"}, "10.1.2.3", map[string]string{xfp: "https"}},
		{"it says http", "10.1.2.3", []string{"X-Forwarded-Proto: http"}, "10.1.2.3", map[string]string{xfp: "http"}},
		{"it says nothing", "10.1.2.3", nil, "10.1.2.3", map[string]string{xfp: "http"}},
		{"it says an empty text", "10.1.2.3", []string{"X-Forwarded-Proto:"}, "10.1.2.3", map[string]string{xfp: "http"}},
	}},
	{name: "two trusted proxies", hops: 2, rows: []edgeRow{
		{"the second names the first, which names the client", "10.1.2.3", []string{"X-Forwarded-For: 198.51.100.7, 203.0.113.1"}, "198.51.100.7", map[string]string{external: "198.51.100.7"}},
		{"the client claims", "10.1.2.3", []string{"X-Forwarded-For: 1.2.3.4, 198.51.100.7,203.0.113.1"}, "198.51.100.7", map[string]string{xff: "1.2.3.4, 198.51.100.7,203.0.113.1, 10.1.2.3"}},
		{"too few", "203.0.113.9", []string{"X-Forwarded-For: 203.0.113.1"}, "203.0.113.9", map[string]string{external: "203.0.113.9"}},
	}},
	{name: "use_remote_address: false", module: []string{"use_remote_address: false"}, rows: []edgeRow{
		{"nothing is appended", "203.0.113.1", []string{"X-Forwarded-For: 198.51.100.7"}, "198.51.100.7", map[string]string{xff: "198.51.100.7", external: "", internal: ""}},
		{"the last counts", "203.0.113.1", []string{"X-Forwarded-For: 1.2.3.4, 198.51.100.7"}, "198.51.100.7", map[string]string{xff: "1.2.3.4, 198.51.100.7"}},
		{"none", "203.0.113.1", nil, "203.0.113.1", map[string]string{xff: "", xfp: "http", external: "", internal: ""}},
		{"none, from inside", "10.1.2.3", nil, "10.1.2.3", map[string]string{xff: "", internal: ""}},
		{"one private", "203.0.113.1", []string{"X-Forwarded-For: 10.0.0.9"}, "10.0.0.9", map[string]string{internal: "true"}},
		{"two private", "203.0.113.1", []string{"X-Forwarded-For: 10.0.0.9, 10.0.0.8"}, "10.0.0.8", map[string]string{internal: ""}},
		{"nonsense", "203.0.113.1", []string{"X-Forwarded-For: 10.0.0.9,"}, "203.0.113.1", map[string]string{internal: ""}},
		{"proto is trusted", "203.0.113.1", []string{"X-Forwarded-Proto: https"}, "203.0.113.1", map[string]string{xfp: "https"}},
		{"internal is claimed", "203.0.113.1", []string{"X-Envoy-Internal: true"}, "203.0.113.1", map[string]string{internal: ""}},
		{"an external address told by who is in front", "203.0.113.1", []string{"X-Envoy-External-Address: 198.51.100.7"}, "203.0.113.1", map[string]string{external: "198.51.100.7"}},
		{"id", "203.0.113.1", []string{"X-Request-Id: mine"}, "203.0.113.1", map[string]string{requestID: "mine"}},
		{"controls", "203.0.113.1", []string{"X-Envoy-Retry-On: 5xx", "X-Envoy-Max-Retries: 9", "X-Envoy-Decorator-Operation: op"}, "203.0.113.1",
			map[string]string{"X-Envoy-Retry-On": "", "X-Envoy-Max-Retries": "", "X-Envoy-Decorator-Operation": "op"}},
	}},
	{name: "use_remote_address: false, one trusted proxy", module: []string{"use_remote_address: false"}, hops: 1, rows: []edgeRow{
		{"the one before the last", "203.0.113.1", []string{"X-Forwarded-For: 198.51.100.7, 10.0.0.8"}, "198.51.100.7", map[string]string{xff: "198.51.100.7, 10.0.0.8"}},
		{"too few", "203.0.113.1", []string{"X-Forwarded-For: 10.0.0.9"}, "203.0.113.1", map[string]string{internal: ""}},
	}},
	{name: "internal_address_config", internal: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}, rows: []edgeRow{
		{"named", "198.51.100.7", nil, "198.51.100.7", map[string]string{internal: "true", external: ""}},
		{"named, of IPv6", "2001:db8::7", nil, "2001:db8::7", map[string]string{internal: "true"}},
		{"private, not named", "10.1.2.3", nil, "10.1.2.3", map[string]string{internal: "", external: "10.1.2.3"}},
		{"loopback, not named", "127.0.0.1", nil, "127.0.0.1", map[string]string{internal: ""}},
	}},
	{name: "internal_address_config that names nobody", internal: []netip.Prefix{}, rows: []edgeRow{
		{"private", "10.1.2.3", nil, "10.1.2.3", map[string]string{internal: "", external: "10.1.2.3"}},
	}},
}

// steering are the headers that steer Envoy, which only callers inside may send.
var steering = []string{"Retry-On", "Retry-Grpc-On", "Max-Retries", "Upstream-Rq-Timeout-Ms", "Upstream-Rq-Per-Try-Timeout-Ms", "Upstream-Rq-Timeout-Alt-Response",
	"Upstream-Alt-Stat-Name", "Retriable-Status-Codes", "Retriable-Header-Names", "Hedge-On-Per-Try-Timeout", "Force-Trace", "Ip-Tags", "Decorator-Operation",
	"Downstream-Service-Cluster", "Downstream-Service-Node"}

func controlsOf(value string) (header []string) {
	for _, name := range steering {
		header = append(header, "X-Envoy-"+name+": "+value)
	}
	return header
}

func controlsSeen(value string) map[string]string {
	seen := map[string]string{}
	for _, name := range steering {
		seen["X-Envoy-"+name] = value
	}
	return seen
}

func TestEdge(t *testing.T) {
	for _, c := range edgeCases {
		t.Run(c.name, func(t *testing.T) {
			up, seen := seeing(t, plainOK)
			g := newGate(t)
			g.Apply(t.Context(), behindProxy(everyone+settings(c.module...)+mapping("x", "/", up), func(l *config.Listener) {
				l.L7Depth, l.Internal = c.hops, c.internal
			}))
			for _, row := range c.rows {
				_, rec := g.asked(row.from, "example.com", "/", row.header...)
				if rec.verdict != served || rec.ClientIP != row.client {
					t.Errorf("%s: got %v by %q, want it served, by %q", row.name, rec.verdict, rec.ClientIP, row.client)
					continue
				}
				row.check(t, (<-seen).Header, rec.ID)
			}
		})
	}
}

func (row *edgeRow) check(t *testing.T, got http.Header, id string) {
	t.Helper()
	for field, want := range row.want {
		value := strings.Join(got.Values(field), "|")
		switch want {
		case "*":
			want = id
		case "*fresh":
			if want = id; id == "mine" {
				t.Errorf("%s: the client's id is kept", row.name)
			}
		}
		if value != want {
			t.Errorf("%s: the service sees %s %q, want %q", row.name, field, value, want)
		}
	}
}

// Whether a request is secure, and what becomes of one that is not: each sentence about
// securityModel and requestPolicy.insecure is a row.
func TestSecurity(t *testing.T) {
	redirected, rejected, missing := verdict{"match", "https_redirect", 301}, verdict{"match", "insecure_rejected", 404}, verdict{"match", "no_route", 404}
	health := verdict{"match", "health_check", 200}
	policy := func(action string) string {
		return "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: h}\nspec: {hostname: \"*\", requestPolicy: {insecure: {action: " + action + ", additionalPort: 8080}}}\n"
	}
	const sent, proto = "X-Forwarded-Proto: ", "X-Forwarded-Proto: https"
	for _, c := range []struct {
		name     string
		model    config.SecurityModel
		hops     int
		policy   string
		host     string
		target   string
		header   string
		want     verdict
		location string
	}{
		{"XFP judges by the transport", config.XFP, 0, "Redirect", "a.test", "/x/", "", redirected, "https://a.test/x/"},
		{"XFP trusts nobody without l7Depth", config.XFP, 0, "Redirect", "a.test", "/x/", proto, redirected, "https://a.test/x/"},
		{"XFP trusts a proxy in front", config.XFP, 1, "Redirect", "a.test", "/x/", proto, served, ""},
		{"the proxy says http", config.XFP, 1, "Redirect", "a.test", "/x/", sent + "http", redirected, "https://a.test/x/"},
		{"the proxy says nothing", config.XFP, 1, "Redirect", "a.test", "/x/", "", redirected, "https://a.test/x/"},
		{"the proxy says HTTPS, which is not https", config.XFP, 1, "Redirect", "a.test", "/x/", sent + "HTTPS", redirected, "https://a.test/x/"},
		{"the proxy says both", config.XFP, 1, "Redirect", "a.test", "/x/", proto + "\r\n" + sent + "http", redirected, "https://a.test/x/"},
		{"the proxy says a list", config.XFP, 1, "Redirect", "a.test", "/x/", sent + "https, http", redirected, "https://a.test/x/"},
		{"SECURE is always secure", config.Secure, 0, "Redirect", "a.test", "/x/", "", served, ""},
		{"SECURE whatever is said", config.Secure, 1, "Reject", "a.test", "/x/", sent + "http", served, ""},
		{"INSECURE never is", config.Insecure, 0, "Redirect", "a.test", "/x/", "", redirected, "https://a.test/x/"},
		{"INSECURE whatever is said", config.Insecure, 1, "Redirect", "a.test", "/x/", proto, redirected, "https://a.test/x/"},
		{"Route serves", config.XFP, 0, "Route", "a.test", "/x/", "", served, ""},
		{"Reject knows no route", config.XFP, 0, "Reject", "a.test", "/x/", "", rejected, ""},
		{"Reject, securely", config.XFP, 1, "Reject", "a.test", "/x/", proto, served, ""},
		{"the query stays", config.XFP, 0, "Redirect", "a.test", "/x/y?a=b&c", "", redirected, "https://a.test/x/y?a=b&c"},
		{"an empty query stays", config.XFP, 0, "Redirect", "a.test", "/x/?", "", redirected, "https://a.test/x/?"},
		{"port 80 goes", config.XFP, 0, "Redirect", "a.test:80", "/x/", "", redirected, "https://a.test/x/"},
		{"port 443 stays", config.XFP, 0, "Redirect", "a.test:443", "/x/", "", redirected, "https://a.test:443/x/"},
		{"another port stays", config.XFP, 0, "Redirect", "a.test:8080", "/x/", "", redirected, "https://a.test:8080/x/"},
		{"port 80 of IPv6 goes", config.XFP, 0, "Redirect", "[::1]:80", "/x/", "", redirected, "https://[::1]/x/"},
		{"port 80 that belongs to https stays", config.Insecure, 1, "Redirect", "a.test:80", "/x/", proto, redirected, "https://a.test:80/x/"},
		{"the path before it is rewritten", config.XFP, 0, "Redirect", "a.test", "/rewritten/y", "", redirected, "https://a.test/rewritten/y"},
		{"the path once it is normal", config.XFP, 0, "Redirect", "a.test", "/z/../x/%7Ea", "", redirected, "https://a.test/x/~a"},
		{"a path without a Mapping is not redirected", config.XFP, 0, "Redirect", "a.test", "/nowhere", "", missing, ""},
		{"a path without a Mapping is not rejected", config.XFP, 0, "Reject", "a.test", "/nowhere", "", missing, ""},
		{"host_redirect comes after https", config.XFP, 0, "Redirect", "a.test", "/moved/", "", redirected, "https://a.test/moved/"},
		{"host_redirect, securely", config.XFP, 1, "Redirect", "a.test", "/moved/", proto, verdict{"proxy", "redirect", 301}, "https://other.test/moved/"},
		{"host_redirect where insecure is routed", config.XFP, 0, "Route", "a.test", "/moved/", "", verdict{"proxy", "redirect", 301}, "http://other.test/moved/"},
		{"a closed route is redirected before it refuses", config.XFP, 0, "Redirect", "a.test", "/closed/", "", redirected, "https://a.test/closed/"},
		{"ACME is answered where others are redirected", config.XFP, 0, "Redirect", "a.test", "/.well-known/acme-challenge/t", "", served, ""},
		{"ACME is answered where others are rejected", config.XFP, 0, "Reject", "a.test", "/.well-known/acme-challenge/t", "", served, ""},
		{"ACME is answered on INSECURE", config.Insecure, 0, "Reject", "a.test", "/.well-known/acme-challenge/t", "", served, ""},
		{"what only begins like ACME is not", config.XFP, 0, "Redirect", "a.test", "/.well-known/other", "", redirected, "https://a.test/.well-known/other"},
		{"a condition on the proto holds besides", config.XFP, 0, "Route", "a.test", "/only-http/", "", served, ""},
		{"a condition on the proto that fails", config.XFP, 1, "Route", "a.test", "/only-http/", proto, missing, ""},
		{"probes are redirected too", config.XFP, 0, "Redirect", "a.test", "/ambassador/v0/check_ready", "", redirected, "https://a.test/ambassador/v0/check_ready"},
		{"probes are rejected too", config.XFP, 0, "Reject", "a.test", "/ambassador/v0/check_alive", "", rejected, ""},
		{"probes where insecure is routed", config.XFP, 0, "Route", "a.test", "/ambassador/v0/check_ready", "", health, ""},
		{"probes, securely", config.Secure, 0, "Reject", "a.test", "/ambassador/v0/check_alive", "", health, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			g := newGate(t)
			g.Apply(t.Context(), behindProxy(policy(c.policy)+mapping("x", "/x/", up, "add_response_headers: {x-mapping: x}")+
				mapping("well-known", "/.well-known/", up)+mapping("acme", "/.well-known/acme-challenge/", up)+
				mapping("rewritten", "/rewritten/", up, "rewrite: /inner/")+mapping("moved", "/moved/", "other.test", "host_redirect: true")+
				mapping("closed", "/closed/", up, "jwt: broken")+mapping("only-http", "/only-http/", up, "headers: {x-forwarded-proto: http}"),
				func(l *config.Listener) { l.L7Depth, l.Security = c.hops, c.model }))
			a, rec := g.asked("198.51.100.7", c.host, c.target, c.header)
			if rec.verdict != c.want || a.StatusCode != c.want.Status || a.Header.Get("Location") != c.location {
				t.Fatalf("got %v, status %d, Location %q; want %v, %q", rec.verdict, a.StatusCode, a.Header.Get("Location"), c.want, c.location)
			}
			if c.want == redirected && a.body != "" {
				t.Errorf("a redirect has the body %q", a.body)
			}
			if kept := strings.Contains(c.target, "/x/") && c.want.Status != 404; (a.Header.Get("X-Mapping") == "x") != kept {
				t.Errorf("the Mapping's add_response_headers: %q", a.Header.Get("X-Mapping"))
			}
		})
	}
}

// A Listener that can serve nothing stays closed and says so; those beside it serve.
func TestIdleListeners(t *testing.T) {
	shop := "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: h, namespace: shop, labels: {tier: front}}\nspec: {hostname: \"*\", requestPolicy: {insecure: {action: Route}}}\n"
	const disabled = "hostBinding: No matching Hosts/TCPMappings found, disabling!; its port is not bound"
	for _, c := range []struct {
		name  string
		hosts string
		l     config.Listener
		want  string // "" if it serves
	}{
		{"all namespaces", shop, config.Listener{FromAll: true}, ""},
		{"its own namespace", shop, config.Listener{Meta: config.Meta{Namespace: "shop"}}, ""},
		{"another namespace", shop, config.Listener{Meta: config.Meta{Namespace: "default"}}, disabled},
		{"labels that fit", shop, config.Listener{FromAll: true, Selector: map[string]string{"tier": "front"}}, ""},
		{"labels that do not", shop, config.Listener{FromAll: true, Selector: map[string]string{"tier": "back"}}, disabled},
		{"labels of which one does not", shop, config.Listener{FromAll: true, Selector: map[string]string{"tier": "front", "a": "b"}}, disabled},
		{"labels in its own namespace", shop, config.Listener{Meta: config.Meta{Namespace: "shop"}, Selector: map[string]string{"tier": "front"}}, ""},
		{"labels in another namespace", shop, config.Listener{Meta: config.Meta{Namespace: "default"}, Selector: map[string]string{"tier": "front"}}, disabled},
		{"no Host at all", "", config.Listener{Meta: config.Meta{Namespace: "default"}, Selector: map[string]string{"tier": "back"}}, ""},
		{"HTTP/3", shop, config.Listener{FromAll: true, Stack: []config.Protocol{config.ProtoTLS, config.ProtoHTTP, config.ProtoUDP}},
			"protocolStack: HTTP/3 is not served; the port is not bound for UDP and no alt-svc is sent, so clients stay with the Listener for TCP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			w := read(c.hosts + mapping("x", "/", up))
			c.l.Kind, c.l.Name = "Listener", "tried"
			if c.l.Stack == nil {
				c.l.Stack = []config.Protocol{config.ProtoHTTP, config.ProtoTCP}
			}
			w.Listeners = []config.Listener{c.l}
			g := newGate(t)
			problem := ""
			for _, p := range g.Apply(t.Context(), w) {
				if p.Ref.Kind == "Listener" {
					problem = strings.TrimPrefix(p.String(), "Listener/tried."+c.l.Namespace+": ")
					problem = strings.TrimPrefix(problem, "Listener/tried: ")
				}
			}
			if problem != c.want {
				t.Fatalf("got %q, want %q", problem, c.want)
			}
			if c.want != "" {
				if len(g.Addresses()) > 0 || len(g.ports) > 0 {
					t.Error("its port is bound")
				}
				return
			}
			if _, rec := g.get("/"); rec.verdict != served {
				t.Errorf("got %v", rec.verdict)
			}
		})
	}
}

// A Module of the time before Listeners says what comes to the ports that are assumed.
func TestImplicitListeners(t *testing.T) {
	for _, c := range []struct {
		module string
		proxy  bool
		hops   int
	}{
		{"", false, 0},
		{"use_proxy_proto: true", true, 0},
		{"use_proxy_proto: false", false, 0},
		{"xff_num_trusted_hops: 2", false, 2},
	} {
		w := read(everyone + settings(c.module))
		w.Listeners = nil
		for _, l := range withImplicitListeners(w).Listeners {
			if l.Has(config.ProtoPROXY) != c.proxy || l.L7Depth != c.hops || l.Has(config.ProtoTLS) != (l.Port == 8443) {
				t.Errorf("%q: %+v", c.module, l)
			}
		}
		w.Listeners = []config.Listener{plain(1)}
		if l := withImplicitListeners(w).Listeners[0]; l.Has(config.ProtoPROXY) || l.L7Depth != 0 {
			t.Errorf("%q changes a Listener: %+v", c.module, l)
		}
	}
}

// settings are a Module with these settings; without any there is none.
func settings(list ...string) string {
	if strings.Join(list, "") == "" {
		return ""
	}
	return module(list...)
}
