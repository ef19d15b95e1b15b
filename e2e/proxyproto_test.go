package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a load balancer writes before a connection of 198.51.100.7:56269 to 10.0.0.1:443.
const (
	headerV1 = "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r\n"
	headerV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbb"
	// The same through a VPC endpoint, with other extensions around its name.
	headerAWS = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x34\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbb" +
		"\x01\x00\x02h2" + "\xea\x00\x17\x01vpce-08d2bf15fac5001c9" + "\x04\x00\x06\x00\x00\x00\x00\x00\x00"
	headerLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	headerV6    = "PROXY TCP6 2001:db8::7 2001:db8::1 56269 443\r\n"
	unknown     = "PROXY UNKNOWN\r\n"
)

// stacked is a Listener with a stack of its own.
func stacked(name string, port int, stack string) string {
	return manifest("Listener", name, fmt.Sprintf("{port: %d, protocolStack: [%s], securityModel: XFP, hostBinding: {namespace: {from: ALL}}}", port, stack))
}

// introduced is a connection on which header has been sent, and on which TLS has been
// spoken if secure.
func introduced(t testing.TB, addr, header string, secure bool) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, header)
	must(t, err)
	if !secure {
		return newClient(c)
	}
	s := tls.Client(c, &tls.Config{ServerName: defaultHost, RootCAs: authority.pool})
	must(t, s.SetDeadline(time.Now().Add(30*time.Second)))
	must(t, s.Handshake())
	return newClient(s)
}

// proxied is the count of connections whose header had that outcome.
func (g *gateway) proxied(addr, outcome string) int {
	g.t.Helper()
	_, metrics := g.operator("/metrics")
	m := regexp.MustCompile(fmt.Sprintf(`legate_proxy_protocol_total\{listener="%s",outcome="%s"\} (\d+)`, portOf(addr), outcome)).FindStringSubmatch(metrics)
	if m == nil {
		g.t.Fatalf("no count of %s on %s", outcome, addr)
	}
	n, err := strconv.Atoi(m[1])
	must(g.t, err)
	return n
}

// Wherever PROXY stands in the stack, the header comes first; the address in it is the
// client's, in the clear and over TLS.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 5)
	manifests := authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", echo(t, "up")) +
		listener("short", "HTTPPROXY", ports[0]) + listener("shorts", "HTTPSPROXY", ports[1]) +
		stacked("first", ports[2], "PROXY, TLS, HTTP, TCP") + stacked("second", ports[3], "TLS, PROXY, HTTP, TCP") + stacked("third", ports[4], "TLS, HTTP, PROXY, TCP")
	g := start(t, setup{bare: true, manifests: manifests})
	for i, port := range ports {
		for _, secure := range []bool{false, true} {
			if secure && i == 0 {
				continue
			}
			for _, c := range []struct{ name, header, client, endpoint string }{
				{"v1", headerV1, "198.51.100.7", ""},
				{"v1 of IPv6", headerV6, "2001:db8::7", ""},
				{"v1 unknown", unknown, "127.0.0.1", ""},
				{"v2", headerV2, "198.51.100.7", ""},
				{"v2 local", headerLocal, "127.0.0.1", ""},
				{"v2 of AWS", headerAWS, "198.51.100.7", "vpce-08d2bf15fac5001c9"},
			} {
				conn := introduced(t, loopback(port), c.header, secure)
				for range 2 { // every request of the connection has that client
					from := g.log.size()
					a, err := conn.exchange(request{target: "/x/"})
					must(t, err)
					a.from = from
					rec := g.record(t, a)
					if rec.verdict != served || rec.ClientIP != c.client || rec.VPCEndpoint != c.endpoint || (rec.TLS != "") != secure {
						t.Errorf("stack %d, %s, TLS %v: record %+v", i, c.name, secure, rec)
					}
					external := c.client
					if external == "127.0.0.1" {
						external = ""
					}
					if a.saw.Header.Get("X-Forwarded-For") != c.client || a.saw.Header.Get("X-Envoy-External-Address") != external {
						t.Errorf("stack %d, %s, TLS %v: the service saw %v", i, c.name, secure, a.saw.Header)
					}
				}
			}
		}
	}
	for outcome, want := range map[string]int{"v1": 6, "v2": 4, "local": 2, "missing": 0, "absent": 0} {
		if got := g.proxied(loopback(ports[2]), outcome); got != want {
			t.Errorf("%d connections counted as %s, want %d", got, outcome, want)
		}
	}
}

// What the header says holds for every stream of HTTP/2, over TLS and in the clear.
func TestProxyProtocolBeforeHTTP2(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	g := start(t, setup{bare: true, manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
		mapping("x", "/x/", echo(t, "up")) + stacked("proxy", port, "PROXY, TLS, HTTP, TCP")})
	for _, scheme := range []string{"http", "https"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(scheme == "https")
		protocols.SetUnencryptedHTTP2(scheme == "http")
		transport := &http.Transport{
			Protocols:       protocols,
			TLSClientConfig: &tls.Config{RootCAs: authority.pool},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", loopback(port))
				if err == nil {
					_, err = io.WriteString(c, headerAWS)
				}
				return c, err
			},
		}
		defer transport.CloseIdleConnections()
		for range 3 {
			from := g.log.size()
			resp, err := transport.RoundTrip(httptest.NewRequest("GET", scheme+"://gate.test/x/", nil))
			must(t, err)
			var saw seen
			must(t, json.NewDecoder(resp.Body).Decode(&saw))
			resp.Body.Close()
			rec := g.log.next(t, from, func(*record) bool { return true })
			if rec.verdict != served || resp.Proto != "HTTP/2.0" || rec.ClientIP != "198.51.100.7" || rec.VPCEndpoint != "vpce-08d2bf15fac5001c9" {
				t.Errorf("%s, %s: record %+v", scheme, resp.Proto, rec)
			}
			if saw.Header.Get("X-Forwarded-For") != "198.51.100.7" || saw.Header.Get("X-Forwarded-Proto") != scheme {
				t.Errorf("%s: the service saw %v", scheme, saw.Header)
			}
		}
	}
	if n := g.proxied(loopback(port), "v2"); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// Two sides that disagree are told apart, and the log says what to change: once, not
// for every connection.
func TestProxyProtocolDisagreements(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	g := start(t, setup{manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", echo(t, "up")) +
		stacked("proxy", ports[0], "PROXY, TLS, HTTP, TCP") + listener("plain", "HTTPPROXY", ports[1])})
	get := "GET /x/ HTTP/1.1\r\nHost: gate.test\r\n\r\n"
	for _, addr := range []string{loopback(ports[0]), loopback(ports[1])} {
		for range 20 {
			if said := introduced(t, addr, get, false).ended(t); said != "" {
				t.Errorf("without a header: %q", said)
			}
		}
		if got := g.proxied(addr, "missing"); got != 20 {
			t.Errorf("%d connections counted as missing, want 20", got)
		}
		introduced(t, addr, "PROXY nonsense\r\n"+get, false).ended(t)
		introduced(t, addr, headerV2[:20], false).Close()
		for _, outcome := range []string{"malformed", "truncated"} {
			eventually(t, 10*time.Second, outcome+" is counted", func() bool { return g.proxied(addr, outcome) == 1 })
		}
	}
	unexpected := verdict{"accept", "proxy_header_unexpected", 400}
	n := 0
	for _, addr := range []string{g.clear, g.secure} {
		for _, c := range []struct{ name, sent string }{
			{"v1", headerV1 + get},
			{"v2", headerV2 + get},
			{"v1 before a handshake", headerV1 + "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500)},
			{"v2 before a handshake", headerV2 + "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500)},
		} {
			conn := introduced(t, addr, c.sent, false)
			_ = conn.Conn.(*net.TCPConn).CloseWrite() // it may be refused already
			if said := conn.ended(t); !strings.HasPrefix(said, "HTTP/1.1 400 Bad Request\r\n") {
				t.Errorf("%s where none is read: %q", c.name, said)
			}
			n++
		}
	}
	// A second header is no more expected than a first where none is.
	if said := introduced(t, loopback(ports[1]), headerV1+headerV1+get, false).ended(t); !strings.HasPrefix(said, "HTTP/1.1 400 ") {
		t.Errorf("a second header: %q", said)
	}
	eventually(t, 10*time.Second, "all of them are on record", func() bool { return g.log.count(unexpected) == n+1 })
	for pattern, want := range map[string]int{
		`"connection closed for its PROXY header".*"outcome":"missing".*the two sides disagree: turn the PROXY protocol on`: 2, // one per port
		`"connection closed for its PROXY header".*"outcome":"malformed"`:                                                   2,
		`"request refused: a PROXY header is not expected".*the two sides disagree: put PROXY first`:                        1,
	} {
		g.errors.await(t, pattern)
		lines := 0
		for _, line := range g.errors.all() {
			if regexp.MustCompile(pattern).MatchString(line) {
				lines++
			}
		}
		if lines > 3*want { // a slow machine may take longer than the log is quiet for
			t.Errorf("%d lines like %s, want %d", lines, pattern, want)
		}
	}
	if a := g.send(t, request{target: "/x/", secure: true}); g.verdict(t, a) != served {
		t.Errorf("after all that: %v", g.verdict(t, a))
	}
}

// While a load balancer is being changed both kinds of connection are served, and who
// is not trusted cannot claim to be somebody else.
func TestProxyProtocolOptional(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	manifests := authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", echo(t, "up")) +
		stacked("proxy", port, "PROXY, TLS, HTTP, TCP")
	g := start(t, setup{bare: true, manifests: manifests, env: []string{"LEGATE_PROXY_PROTOCOL_TRUST=10.0.0.0/8,127.0.0.1"}, args: []string{"--proxy-protocol", "optional"}})
	for _, secure := range []bool{false, true} {
		for header, client := range map[string]string{"": "127.0.0.1", headerV1: "198.51.100.7", headerV2: "198.51.100.7"} {
			from := g.log.size()
			a, err := introduced(t, loopback(port), header, secure).exchange(request{target: "/x/"})
			must(t, err)
			a.from = from
			if rec := g.record(t, a); rec.verdict != served || rec.ClientIP != client {
				t.Errorf("%q, TLS %v: record %+v", header, secure, rec)
			}
		}
	}
	stranger := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for header, answered := range map[string]bool{"": true, headerV1: false, headerV2: false} {
		c, err := stranger.Dial("tcp", loopback(port))
		must(t, err)
		defer c.Close()
		_, err = io.WriteString(c, header+"GET /x/ HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\n\r\n")
		must(t, err)
		if said := newClient(c).ended(t); strings.HasPrefix(said, "HTTP/1.1 200 OK\r\n") != answered || !answered && said != "" {
			t.Errorf("a stranger, %q: %q", header, said)
		}
	}
	for outcome, want := range map[string]int{"absent": 3, "v1": 2, "v2": 2, "untrusted": 2, "missing": 0} {
		if got := g.proxied(loopback(port), outcome); got != want {
			t.Errorf("%d connections counted as %s, want %d", got, outcome, want)
		}
	}
	g.errors.await(t, `"outcome":"untrusted","from":"127.0.0.9".*--proxy-protocol-trust`)
}

func TestProxyProtocolFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--proxy-protocol", "off"}, {"--proxy-protocol-trust", "10.0.0.0/33"}, {"--proxy-protocol-trust", "lb.example"}} {
		p := run(t, nil, exec.Command(binary, append([]string{"run", "-f", t.TempDir()}, args...)...))
		if status := p.exit(t); status != 2 {
			t.Errorf("%q: status %d, want 2", args, status)
		}
		p.errors.await(t, `^legate run: `+args[0]+`: must be `)
	}
}

// HAProxy is who wrote the specification.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	haproxy := outside(t, "haproxy")
	ports := freePorts(t, 4)
	g := start(t, setup{bare: true, manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
		mapping("x", "/x/", echo(t, "up")) + stacked("proxy", ports[0], "PROXY, TLS, HTTP, TCP")})
	var config strings.Builder
	config.WriteString("defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n")
	sends := []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"}
	for i, send := range sends {
		fmt.Fprintf(&config, "listen l%d\n bind %s\n unique-id-format %%{+X}o\\ %%ci:%%cp\n server s %s %s check\n", i, loopback(ports[i+1]), loopback(ports[0]), send)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	must(t, os.WriteFile(file, []byte(config.String()), 0o600))
	run(t, nil, exec.Command(haproxy, "-db", "-f", file)).judged = true
	client := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 8)}}
	for i, send := range sends {
		for _, secure := range []bool{false, true} {
			var c net.Conn
			eventually(t, 10*time.Second, "HAProxy accepts", func() (up bool) {
				var err error
				c, err = client.Dial("tcp", loopback(ports[i+1]))
				return err == nil
			})
			defer c.Close()
			if secure {
				c = tls.Client(c, &tls.Config{ServerName: defaultHost, RootCAs: authority.pool})
			}
			from := g.log.size()
			a, err := newClient(c).exchange(request{target: "/x/"})
			if err != nil {
				t.Errorf("%s, TLS %v: %v", send, secure, err)
				continue
			}
			a.from = from
			if rec := g.record(t, a); rec.verdict != served || rec.ClientIP != "127.0.0.8" {
				t.Errorf("%s, TLS %v: record %+v", send, secure, rec)
			}
		}
	}
	if n := g.proxied(loopback(ports[0]), "malformed"); n != 0 {
		t.Errorf("%d of HAProxy's headers are malformed", n)
	}
}

// A thousand connections that a load balancer holds rest without a buffer, whether their
// clients have asked for something yet or not: they cost what others cost.
func TestIdleProxiedConnections(t *testing.T) {
	const count, slack = 1000, 2 << 10 // half the smallest buffer
	ports := freePorts(t, 2)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	manifests := everyone + listener("proxy", "HTTPPROXY", ports[0]) + listener("plain", "HTTP", ports[1]) + mapping("x", "/x/", up)
	cost := func(port int, header string) int64 {
		g := start(t, setup{plain: true, bare: true, manifests: manifests})
		ask := func(c *client) {
			t.Helper()
			if a, err := c.exchange(request{target: "/x/"}); err != nil || a.StatusCode != 200 {
				t.Fatalf("answer %v, %v", a.Response, err)
			}
		}
		for range 50 { // what it needs for any connection at all
			c := introduced(t, loopback(port), header, false)
			ask(c)
			c.Close()
		}
		empty := g.memory("VmRSS")
		clients := make([]*client, count)
		for i := range clients {
			clients[i] = introduced(t, loopback(port), header, false)
			if i%2 == 0 {
				ask(clients[i])
			}
		}
		ask(introduced(t, loopback(port), header, false)) // all those before it are there
		each := (g.memory("VmRSS") - empty) / count
		for _, c := range clients {
			ask(c)
		}
		g.end(t)
		return each
	}
	proxied, plain := cost(ports[0], headerAWS), cost(ports[1], "")
	for n := 0; n < 3 && proxied > plain+slack; n++ { // resident memory has the collector's pace in it: the least of a few is theirs
		proxied, plain = min(proxied, cost(ports[0], headerAWS)), min(plain, cost(ports[1], ""))
	}
	t.Logf("%d idle connections: %d bytes each behind a PROXY header, %d without", count, proxied, plain)
	if proxied > plain+slack {
		t.Errorf("an idle connection costs %d bytes behind a PROXY header, %d without", proxied, plain)
	}
}

// A Listener whose stack changes goes on with its port; connections from before end as
// they began.
func TestStackChanges(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	addr := loopback(port)
	rest := everyone + mapping("x", "/x/", echo(t, "up"))
	g := start(t, setup{bare: true, manifests: rest + listener("l", "HTTP", port)})
	old := introduced(t, addr, "", false)
	for _, stack := range []struct{ protocol, header, client string }{
		{"HTTPPROXY", headerV1, "198.51.100.7"},
		{"HTTPSPROXY", headerV2, "198.51.100.7"},
		{"HTTPS", "", "127.0.0.1"},
		{"HTTP", "", "127.0.0.1"},
	} {
		if a, err := old.exchange(request{target: "/x/"}); err != nil || a.StatusCode != 200 {
			t.Fatalf("before %s: %v", stack.protocol, err)
		}
		_, err := old.Write([]byte("POST /x/ HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 2\r\n\r\n1")) // still on its way
		must(t, err)
		g.replace(rest + listener("l", stack.protocol, port))
		_, err = old.Write([]byte("2"))
		must(t, err)
		if a, err := old.answer("", "POST"); err != nil || a.StatusCode != 200 {
			t.Errorf("to %s: the request that was on its way: %v", stack.protocol, err)
		}
		old = introduced(t, addr, stack.header, false)
		from := g.log.size()
		a, err := old.exchange(request{target: "/x/"})
		must(t, err)
		a.from = from
		if rec := g.log.next(t, from, func(r *record) bool { return r.Method == "GET" && r.RequestID == a.id }); rec.verdict != served || rec.ClientIP != stack.client {
			t.Errorf("%s: record %+v", stack.protocol, rec)
		}
	}
}

// HTTP/3 is not served: the Listener for TCP on its port is, and nobody is told of more.
func TestListenersThatAreNotServed(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	g := start(t, setup{bare: true, manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", echo(t, "up")) +
		stacked("a-http3", ports[0], "TLS, HTTP, UDP") + listener("https", "HTTPS", ports[0]) +
		manifest("Listener", "idle", fmt.Sprintf("{port: %d, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}, selector: {matchLabels: {tier: none}}}}", ports[1]))})
	g.secure = loopback(ports[0])
	a := g.send(t, request{target: "/x/", secure: true})
	if g.verdict(t, a) != served || a.Header.Get("Alt-Svc") != "" {
		t.Errorf("got %v, alt-svc %q", g.verdict(t, a), a.Header.Get("Alt-Svc"))
	}
	if c, err := net.Dial("tcp", loopback(ports[1])); err == nil {
		c.Close()
		t.Error("a Listener without Hosts has its port")
	}
	want := map[string]string{"a-http3": "HTTP/3 is not served", "idle": "No matching Hosts/TCPMappings found, disabling!"}
	for _, p := range g.problems() {
		if p.Message != want[p.Name] {
			t.Errorf("%s: %s", p.Name, p.Message)
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("no Problem says %v", want)
	}
}

// TCPMappings know their clients by the header too, and their services may speak first.
func TestProxyProtocolBeforeTCP(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	g := start(t, setup{manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert") +
		stacked("whole", ports[0], "PROXY, TCP") + tcpMapping("plain", ports[0], greeter(t, "plain", nil)) +
		stacked("named", ports[1], "TLS, PROXY, TCP") + tcpMapping("ended", ports[1], greeter(t, "ended", nil), "host: gate.test")})
	for i, route := range []string{"plain", "ended"} {
		for _, header := range []string{headerV1, headerAWS} {
			from := g.log.size()
			c := introduced(t, loopback(ports[i]), header, i == 1)
			if said := talk(t, c.Conn.(pipe), "hello"); said != route+" hello bye" {
				t.Errorf("%s: %q", route, said)
			}
			if rec := g.log.next(t, from, ofRoute(route)); rec.ClientIP != "198.51.100.7" || rec.Reason != "" || (rec.VPCEndpoint != "") != (header == headerAWS) {
				t.Errorf("%s: record %+v", route, rec)
			}
		}
		if said := introduced(t, loopback(ports[i]), "hello", false).ended(t); said != "" {
			t.Errorf("%s, without a header: %q", route, said)
		}
		if got := g.proxied(loopback(ports[i]), "missing"); got != 1 {
			t.Errorf("%s: %d counted as missing, want 1", route, got)
		}
	}
}
