package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pipe is one end of a connection whose directions end apart.
type pipe interface {
	net.Conn
	CloseWrite() error
}

// greeter is a TCP service that says its name, then repeats what it hears until the
// client's end, and then says goodbye. With conf it does so over TLS.
func greeter(t testing.TB, name string, conf *tls.Config) (addr string) {
	t.Helper()
	return serveTCP(t, conf, func(c pipe) {
		_, _ = io.WriteString(c, name+" ")
		_, _ = io.Copy(c, c)
		_, _ = io.WriteString(c, " bye")
	})
}

// serveTCP serves connections, over TLS if conf is not nil, and closes each in order
// when handle returns.
func serveTCP(t testing.TB, conf *tls.Config, handle func(pipe)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				c := pipe(nc.(*net.TCPConn))
				if conf != nil {
					c = tls.Server(nc, conf)
				}
				handle(c)
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// tcpMapping renders a TCPMapping; more are further fields of its spec.
func tcpMapping(name string, port int, service string, more ...string) string {
	fields := append([]string{fmt.Sprintf("port: %d", port), "service: " + service}, more...)
	return manifest("TCPMapping", name, "{"+strings.Join(fields, ", ")+"}")
}

// dialTCP connects to a port of the gateway.
func dialTCP(t testing.TB, port int) pipe {
	t.Helper()
	c, err := net.Dial("tcp", loopback(port))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience(20*time.Second))))
	return c.(*net.TCPConn)
}

// dialSNI connects to a port of the gateway with TLS.
func dialSNI(t testing.TB, port int, name string) (pipe, error) {
	t.Helper()
	c := tls.Client(dialTCP(t, port), &tls.Config{ServerName: name, RootCAs: authority.pool, InsecureSkipVerify: name == "", NextProtos: []string{"h2", "http/1.1"}})
	return c, c.Handshake()
}

// talk says text, ends its direction, and returns all that is answered. Then it closes:
// a session of TLS that has ended leaves the connection under it.
func talk(t testing.TB, c pipe, text string) string {
	t.Helper()
	must(t, second(io.WriteString(c, text)))
	must(t, c.CloseWrite())
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %q: %v", b, err)
	}
	_ = c.Close()
	return string(b)
}

// ofRoute finds a TCPMapping's record.
func ofRoute(name string) func(*record) bool {
	return func(r *record) bool { return r.Protocol == "tcp" && r.Route == name+".default" }
}

func serverTLS(c certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.pair}}
}

// A port without host is carried as it is: the client's end goes up and the service's
// comes down, TLS passes through untouched, and every connection leaves its record.
func TestTCPWholePort(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 3)
	inside := authority.issue(t, "inside.test")
	g := start(t, setup{manifests: tcpMapping("plain", ports[0], greeter(t, "plain", nil)) +
		tcpMapping("through", ports[1], greeter(t, "through", serverTLS(inside))) +
		tcpMapping("originating", ports[2], "https://"+greeter(t, "tls", serverTLS(inside)))})
	for _, tc := range []struct {
		route string
		dial  func() (pipe, error)
		want  string
	}{
		{"plain", func() (pipe, error) { return dialTCP(t, ports[0]), nil }, "plain hello bye"},
		{"through", func() (pipe, error) { return dialSNI(t, ports[1], "inside.test") }, "through hello bye"},
		{"originating", func() (pipe, error) { return dialTCP(t, ports[2]), nil }, "tls hello bye"},
	} {
		from := g.log.size()
		c, err := tc.dial()
		must(t, err)
		if got := talk(t, c, "hello"); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.route, got, tc.want)
		}
		r := g.log.next(t, from, ofRoute(tc.route))
		if r.verdict != (verdict{"proxy", "", 0}) || r.By != "TCPMapping default/"+tc.route || r.Endpoint == "" || r.ClientIP != "127.0.0.1" || r.TLS != "" {
			t.Errorf("%s: got %+v", tc.route, r)
		}
		if tc.route == "plain" && (r.BytesIn != 5 || r.BytesOut != int64(len(tc.want))) {
			t.Errorf("%s: got %d in, %d out", tc.route, r.BytesIn, r.BytesOut)
		}
	}
}

// A connection's line obeys envoy_log_format, too; what only requests have is missing.
func TestTCPLogFormat(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	up := greeter(t, "plain", nil)
	log := filepath.Join(t.TempDir(), "access.log")
	start(t, setup{manifests: tcpMapping("plain", port, up) + module("envoy_log_type: typed_json, envoy_log_path: "+log+
		`, envoy_log_format: {route: "%ROUTE_NAME%", host: "%UPSTREAM_HOST%", in: "%BYTES_RECEIVED%", out: "%BYTES_SENT%", flags: "%RESPONSE_FLAGS%", code: "%RESPONSE_CODE%", method: "%REQ(:METHOD)%", client: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}`)})
	if got := talk(t, dialTCP(t, port), "hello"); got != "plain hello bye" {
		t.Errorf("got %q", got)
	}
	fileHolds(t, log, fmt.Sprintf(`{"route":"plain.default","host":%q,"in":5,"out":15,"flags":"-","code":0,"method":null,"client":"127.0.0.1"}`, up))
}

// Names choose among the TCPMappings of a port and the Hosts of its Listener. TLS is
// terminated with the certificate of a Host that covers the name or of a TLSContext
// that lists it.
func TestTCPByServerName(t *testing.T) {
	t.Parallel()
	own := freePorts(t, 1)[0]
	inside := authority.issue(t, "inside.test")
	g := start(t, setup{})
	shared := mustPort(t, g.secure)
	g.replace(everyone + authority.issue(t, "*.test", "gate.test").secret("wild") + authority.issue(t, "context.test").secret("context") +
		tlsHost("gate", "*.test", "wild", route) + mapping("x", "/x/", echo(t, "up")) +
		manifest("TLSContext", "ctx", "{hosts: [context.test], secret: context}") +
		tcpMapping("a", own, greeter(t, "a", nil), "host: a.test") +
		tcpMapping("b", own, "https://"+greeter(t, "b", serverTLS(inside)), "host: B.test") +
		tcpMapping("c", own, greeter(t, "c", nil), "host: context.test") +
		tcpMapping("beside", shared, greeter(t, "beside", nil), "host: tcp.test") +
		tcpMapping("nobody", own, greeter(t, "nobody", nil), "host: elsewhere.example"))

	for _, tc := range []struct {
		port       int
		name, want string
	}{
		{own, "a.test", "a hello bye"},
		{own, "A.TEST", "a hello bye"},
		{own, "b.test", "b hello bye"},
		{own, "context.test", "c hello bye"},
		{shared, "tcp.test", "beside hello bye"},
	} {
		from := g.log.size()
		c, err := dialSNI(t, tc.port, tc.name)
		must(t, err)
		if p := c.(*tls.Conn).ConnectionState().NegotiatedProtocol; p != "" {
			t.Errorf("%s: agreed on %q, which nobody asked the service", tc.name, p)
		}
		if got := talk(t, c, "hello"); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		r := g.log.next(t, from, func(r *record) bool { return r.Protocol == "tcp" })
		if r.TLS != "TLSv1.3" || !strings.EqualFold(r.Host, tc.name) || r.BytesIn != 5 || r.BytesOut != int64(len(tc.want)) {
			t.Errorf("%s: got %+v", tc.name, r)
		}
	}
	if a := g.send(t, request{secure: true, target: "/x/"}); a.StatusCode != 200 {
		t.Errorf("the Host beside: status %d", a.StatusCode)
	}
	for _, name := range []string{"c.test", "elsewhere.example", ""} {
		from := g.log.size()
		if _, err := dialSNI(t, own, name); err == nil {
			t.Errorf("%q was served", name)
		}
		r := g.log.next(t, from, func(r *record) bool { return r.Protocol == "tcp" })
		if r.verdict != (verdict{"match", "no_route", 0}) || r.Host != name || r.ClientIP != "127.0.0.1" {
			t.Errorf("%q: got %+v", name, r)
		}
	}
	from := g.log.size()
	if got := talk(t, dialTCP(t, own), "GET / HTTP/1.1\r\n\r\n"); got != "" {
		t.Errorf("in the clear: got %q", got)
	}
	if r := g.log.next(t, from, func(r *record) bool { return r.Protocol == "tcp" }); r.verdict != (verdict{"match", "no_route", 0}) {
		t.Errorf("in the clear: got %+v", r)
	}
	type routeView struct {
		Name, Protocol, Hostname string
		Port, Share              int
	}
	if got := view[[]routeView](g, "routes"); !slices.Contains(got, routeView{"b.default", "tcp", "b.test", own, 100}) {
		t.Errorf("routes: got %+v", got)
	}
	var said []string
	for _, p := range g.problems() {
		said = append(said, p.Text)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "TCPMapping/nobody.default: host: No matching TLSContext found, disabling!") {
		t.Errorf("problems:\n%s", text)
	}
}

func mustPort(t testing.TB, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	must(t, err)
	return a.Port
}

// A service that cannot be reached ends the connection in order, and says why.
func TestTCPUpstreamFails(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 4)
	clear := greeter(t, "clear", nil)
	g := start(t, setup{manifests: tcpMapping("refused", ports[0], loopback(freePorts(t, 1)[0])) +
		tcpMapping("nowhere", ports[1], "no-such-host.invalid:1") +
		tcpMapping("no-tls", ports[2], "https://"+serveTCP(t, nil, func(c pipe) { _, _ = io.WriteString(c, "220 no TLS\r\n") })) +
		tcpMapping("full", ports[3], clear, "circuit_breakers: [{max_connections: 1}]")})
	held := dialTCP(t, ports[3])
	must(t, second(io.ReadFull(held, make([]byte, len("clear ")))))
	for i, tc := range []struct{ route, reason string }{
		{"refused", "dial_refused"}, {"nowhere", "no_endpoints"}, {"no-tls", "tls_failed"}, {"full", "upstream_overflow"},
	} {
		from := g.log.size()
		if got := talk(t, dialTCP(t, ports[i]), "hello"); got != "" {
			t.Errorf("%s: got %q", tc.route, got)
		}
		if r := g.log.next(t, from, ofRoute(tc.route)); r.verdict != (verdict{"proxy", tc.reason, 0}) {
			t.Errorf("%s: got %+v", tc.route, r)
		}
	}
	must(t, held.CloseWrite())
	if b, err := io.ReadAll(held); err != nil || string(b) != " bye" {
		t.Errorf("the connection that was there: got %q, %v", b, err)
	}
	eventually(t, 5*time.Second, "there is room again", func() bool {
		return talk(t, dialTCP(t, ports[3]), "hello") == "clear hello bye"
	})
}

// What breaks one side breaks the other.
func TestTCPResets(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	accepted := make(chan pipe, 1)
	stay := make(chan struct{})
	defer close(stay)
	g := start(t, setup{manifests: tcpMapping("x", port, serveTCP(t, nil, func(c pipe) {
		_, _ = io.WriteString(c, "hello")
		accepted <- c
		<-stay
	}))})
	for _, tc := range []struct {
		name, reason  string
		broken, other func(client, service pipe) pipe
	}{
		{"by the client", "client_gone", func(c, _ pipe) pipe { return c }, func(_, s pipe) pipe { return s }},
		{"by the service", "upstream_reset", func(_, s pipe) pipe { return s }, func(c, _ pipe) pipe { return c }},
	} {
		from := g.log.size()
		client := dialTCP(t, port)
		must(t, second(io.ReadFull(client, make([]byte, 5))))
		service := <-accepted
		b := tc.broken(client, service).(*net.TCPConn)
		must(t, b.SetLinger(0))
		must(t, b.Close())
		o := tc.other(client, service)
		must(t, o.SetReadDeadline(time.Now().Add(patience(10*time.Second))))
		if _, err := o.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the other side saw %v", tc.name, err)
		}
		if r := g.log.next(t, from, ofRoute("x")); r.verdict != (verdict{"proxy", tc.reason, 0}) || r.BytesOut != 5 {
			t.Errorf("%s: got %+v", tc.name, r)
		}
	}
}

// hold opens a tunnel to a greeter and waits until it stands.
func hold(t testing.TB, c pipe, greeting string) pipe {
	t.Helper()
	b := make([]byte, len(greeting)+1)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != greeting+" " {
		t.Fatalf("got %q, %v; want %q", b, err, greeting)
	}
	return c
}

// echoes writes text and waits for it to come back.
func echoes(t testing.TB, c pipe, text string) {
	t.Helper()
	must(t, second(io.WriteString(c, text)))
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("got %q, %v; want %q", b, err, text)
	}
}

// A tunnel that rests ends, in order and on both sides.
func TestTCPIdle(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	ended := make(chan error, 2)
	up := serveTCP(t, nil, func(c pipe) {
		_, _ = io.WriteString(c, "up ")
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	g := start(t, setup{manifests: authority.issue(t, "idle.test").secret("cert") + tlsHost("idle", "idle.test", "cert") +
		tcpMapping("clear", ports[0], up, "idle_timeout_ms: 300") +
		tcpMapping("secure", ports[1], up, "host: idle.test", "idle_timeout_ms: 300")})
	secure, err := dialSNI(t, ports[1], "idle.test")
	must(t, err)
	for route, c := range map[string]pipe{"clear": dialTCP(t, ports[0]), "secure": secure} {
		hold(t, c, "up")
		if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
			t.Errorf("%s: got %q, %v; want the end", route, b, err)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Errorf("%s: the service saw %v", route, err)
		}
		if r := g.log.next(t, 0, ofRoute(route)); r.verdict != (verdict{"proxy", "tunnel_idle", 0}) {
			t.Errorf("%s: got %+v", route, r)
		}
	}
}

// Tunnels outlive two hundred configurations; what they change is for connections that
// come later, and a port whose last TCPMapping goes lets its tunnels end by themselves.
func TestTCPOutlivesReloads(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	first, later := greeter(t, "first", nil), greeter(t, "later", nil)
	cert := authority.issue(t, "kept.test").secret("cert") + tlsHost("kept", "kept.test", "cert")
	manifests := func(n int, up string) string {
		return cert + tcpMapping("clear", ports[0], up, fmt.Sprintf("idle_timeout_ms: %d", 60_000+n)) +
			tcpMapping("secure", ports[1], up, "host: kept.test", fmt.Sprintf("weight: %d", n%101)) + everyone
	}
	g := start(t, setup{manifests: manifests(0, first), args: []string{"--log-level", "warn"}})
	var held []pipe
	for range 20 {
		secure, err := dialSNI(t, ports[1], "kept.test")
		must(t, err)
		held = append(held, hold(t, dialTCP(t, ports[0]), "first"), hold(t, secure, "first"))
	}
	for n := 1; n <= 200; n++ {
		g.replace(manifests(n, []string{first, later}[n%2]))
		c := held[n%len(held)]
		must(t, c.SetDeadline(time.Now().Add(patience(20*time.Second))))
		echoes(t, c, fmt.Sprintf("after %d changes", n))
	}
	g.replace(manifests(201, later))
	if got := talk(t, dialTCP(t, ports[0]), "hello"); got != "later hello bye" {
		t.Errorf("in the end: got %q", got)
	}
	g.replace(everyone)
	for i, c := range held {
		must(t, c.SetDeadline(time.Now().Add(patience(20*time.Second))))
		if got := talk(t, c, "hello"); got != "hello bye" {
			t.Errorf("tunnel %d: got %q", i, got)
		}
	}
	eventually(t, 10*time.Second, "the port is closed", func() bool {
		c, err := net.Dial("tcp", loopback(ports[0]))
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	eventually(t, 10*time.Second, "every tunnel has left a record that it ended well", func() bool {
		return g.log.count(verdict{"proxy", "", 0}) == len(held)+1
	})
}

// A drain waits for tunnels, and at its deadline ends what is left in order.
func TestTCPDrain(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	saw := make(chan error, 2)
	up := serveTCP(t, nil, func(c pipe) {
		_, _ = io.WriteString(c, "up ")
		_, err := io.Copy(c, c)
		saw <- err
	})
	g := start(t, setup{args: []string{"--drain-timeout", "2s"}, manifests: authority.issue(t, "drain.test").secret("cert") +
		tlsHost("drain", "drain.test", "cert") + tcpMapping("clear", ports[0], up) + tcpMapping("secure", ports[1], up, "host: drain.test")})
	secure, err := dialSNI(t, ports[1], "drain.test")
	must(t, err)
	clear := hold(t, dialTCP(t, ports[0]), "up")
	hold(t, secure, "up")
	g.signal(syscall.SIGTERM)
	g.errors.await(t, `"draining"`)
	echoes(t, clear, "while it drains")
	echoes(t, secure, "while it drains")
	for route, c := range map[string]pipe{"clear": clear, "secure": secure} {
		if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
			t.Errorf("%s: got %q, %v; want the end", route, b, err)
		}
		_ = c.Close()
		if err := <-saw; err != nil {
			t.Errorf("%s: the service saw %v", route, err)
		}
		if r := g.log.next(t, 0, ofRoute(route)); r.verdict != (verdict{"proxy", "draining", 0}) {
			t.Errorf("%s: got %+v", route, r)
		}
	}
	if status := g.exit(t); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
}

// Connections are dealt out by weight.
func TestTCPWeights(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	start(t, setup{manifests: tcpMapping("a", port, greeter(t, "a", nil)) + tcpMapping("b", port, greeter(t, "b", nil), "weight: 20") +
		tcpMapping("none", port, greeter(t, "none", nil), "weight: 0")})
	const n = 400
	count := map[string]int{}
	for range n {
		name, _, _ := strings.Cut(talk(t, dialTCP(t, port), "x"), " ")
		count[name]++
	}
	// Five standard deviations of a binomial distribution around 80.
	if b := count["b"]; b < 40 || b > 120 || count["a"] != n-b {
		t.Errorf("got %v of %d, want about 80 of b and the rest of a", count, n)
	}
}

// A PROXY header in front tells whose connection it is, and goes no further.
func TestTCPBehindPROXY(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	stack := func(name string, port int, stack string) string {
		return manifest("Listener", name, fmt.Sprintf("{port: %d, protocolStack: %s, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}", port, stack))
	}
	g := start(t, setup{manifests: everyone + authority.issue(t, "proxy.test").secret("cert") + tlsHost("proxy", "proxy.test", "cert") +
		stack("raw", ports[0], "[PROXY, TCP]") + stack("tls", ports[1], "[TLS, PROXY, TCP]") +
		tcpMapping("clear", ports[0], greeter(t, "clear", nil)) + tcpMapping("secure", ports[1], greeter(t, "secure", nil), "host: proxy.test")})
	const header = "PROXY TCP4 203.0.113.7 203.0.113.8 1234 443\r\n"
	for i, route := range []string{"clear", "secure"} {
		from := g.log.size()
		c := dialTCP(t, ports[i])
		must(t, second(io.WriteString(c, header)))
		if route == "secure" {
			c = tls.Client(c, &tls.Config{ServerName: "proxy.test", RootCAs: authority.pool})
		}
		if got, want := talk(t, c, "hello"), route+" hello bye"; got != want {
			t.Errorf("%s: got %q, want %q", route, got, want)
		}
		if r := g.log.next(t, from, ofRoute(route)); r.ClientIP != "203.0.113.7" || r.BytesIn != 5 {
			t.Errorf("%s: got %+v", route, r)
		}
	}
}
