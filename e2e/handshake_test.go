package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A visit is a TLS connection that is made, asks once and ends.
type visit struct {
	state tls.ConnectionState
	answer
}

// visit asks for name with settings of the client's own.
func (g *gateway) visit(t testing.TB, name string, change func(*tls.Config)) (visit, error) {
	t.Helper()
	config := &tls.Config{ServerName: name, RootCAs: authority.pool}
	change(config)
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", g.secure, config)
	if err != nil {
		return visit{}, err
	}
	client := newClient(c)
	defer client.Close()
	from := g.log.size()
	a, err := client.exchange(request{host: name, target: "/x/"})
	a.from = from
	return visit{c.ConnectionState(), a}, err
}

func version(v uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }
}

func TestVersionsOfTLS(t *testing.T) {
	t.Parallel()
	cert := authority.issue(t, "gate.test", "strict.test", "old.test")
	g := start(t, setup{manifests: cert.secret("cert") + tlsHost("gate", "gate.test", "cert") +
		tlsHost("strict", "strict.test", "cert", "tls: {min_tls_version: v1.3}") +
		tlsHost("old", "old.test", "cert", "tls: {max_tls_version: v1.2}") +
		mapping("x", "/x/", echo(t, "up"))})
	for _, c := range []struct {
		name    string
		version uint16
		want    string // as the record says; "" for no connection
	}{
		{"gate.test", tls.VersionTLS13, "TLSv1.3"},
		{"gate.test", tls.VersionTLS12, "TLSv1.2"},
		{"gate.test", tls.VersionTLS11, ""},
		{"strict.test", tls.VersionTLS13, "TLSv1.3"},
		{"strict.test", tls.VersionTLS12, ""},
		{"old.test", tls.VersionTLS13, ""},
		{"old.test", tls.VersionTLS12, "TLSv1.2"},
	} {
		v, err := g.visit(t, c.name, version(c.version))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s by %s: a connection came about", c.name, tls.VersionName(c.version))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s by %s: %v", c.name, tls.VersionName(c.version), err)
			continue
		}
		if rec := g.record(t, v.answer); rec.verdict != served || rec.TLS != c.want || v.saw.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s by %s: %v, tls %q", c.name, tls.VersionName(c.version), rec.verdict, rec.TLS)
		}
	}
}

// Which certificate is shown is the name's alone; a name that nobody serves gets none.
func TestNamesInHandshakes(t *testing.T) {
	t.Parallel()
	exact, wild, other := authority.issue(t, "a.domain.test"), authority.issue(t, "*.domain.test"), authority.issue(t, "other.test")
	hosts := tlsHost("exact", "a.domain.test", "exact") + tlsHost("wild", "*.domain.test", "wild") + tlsHost("other", "other.test", "other")
	rest := exact.secret("exact") + wild.secret("wild") + other.secret("other") + mapping("x", "/x/", echo(t, "up"))
	fallback := authority.issue(t, "fallback.test")
	g := start(t, setup{manifests: hosts + rest})
	shown := func(name string) int64 {
		t.Helper()
		v, err := g.visit(t, name, func(c *tls.Config) { c.InsecureSkipVerify = true })
		if err != nil {
			return 0
		}
		return v.state.PeerCertificates[0].SerialNumber.Int64()
	}
	for name, want := range map[string]int64{
		"a.domain.test": exact.serial, "A.Domain.TEST": exact.serial, "b.domain.test": wild.serial, "other.test": other.serial,
		"nobody.test": 0, "domain.test": 0, "": 0,
	} {
		if got := shown(name); got != want {
			t.Errorf("SNI %q: certificate %d, want %d", name, got, want)
		}
	}
	if a := g.send(t, request{host: "a.domain.test", target: "/x/"}); g.verdict(t, a) != httpsRedirect {
		t.Errorf("in the clear beside it: %v", g.verdict(t, a))
	}
	// With a Host for every name it is that one's certificate that is shown to the rest.
	g.replace(hosts + rest + fallback.secret("any") + tlsHost("any", "*", "any"))
	for name, want := range map[string]int64{"a.domain.test": exact.serial, "nobody.test": fallback.serial, "": fallback.serial} {
		if got := shown(name); got != want {
			t.Errorf("beside Host *, SNI %q: certificate %d, want %d", name, got, want)
		}
	}
}

// A session goes on over changes of the configuration, but gets nobody around what the
// Host asks of its clients now.
func TestResumption(t *testing.T) {
	t.Parallel()
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			t.Parallel()
			up := echo(t, "up")
			cert := authority.issue(t, "gate.test").secret("cert")
			rest := cert + tlsHost("gate", "gate.test", "cert") + mapping("x", "/x/", up)
			g := start(t, setup{manifests: rest})
			cache := tls.NewLRUClientSessionCache(8)
			remembering := func(c *tls.Config) { version(v)(c); c.ClientSessionCache = cache }
			resumes := func(after string, want bool) {
				t.Helper()
				got, err := g.visit(t, "gate.test", remembering)
				if err != nil {
					t.Fatalf("%s: %v", after, err)
				}
				if got.state.DidResume != want || g.verdict(t, got.answer) != served {
					t.Errorf("%s: resumed is %v, want %v; %v", after, got.state.DidResume, want, g.verdict(t, got.answer))
				}
			}
			resumes("first", false)
			resumes("second", true)
			g.replace(rest + mapping("y", "/y/", up))
			resumes("after a change of routes", true)
			if _, err := g.visit(t, "gate.test", version(v)); err != nil {
				t.Errorf("a client without a session: %v", err)
			}
			g.replace(cert + authority.issue(t, "client.test").secret("clients") + mapping("x", "/x/", up) +
				tlsHost("gate", "gate.test", "cert", "tls: {ca_secret: clients, cert_required: true}"))
			if a, err := g.visit(t, "gate.test", remembering); err == nil {
				t.Errorf("a session from before a certificate is required of clients: %v", g.verdict(t, a.answer))
			}
		})
	}
}

// A port for TLS tells HTTP in the clear by its first byte and serves it as such; what
// is neither ends the connection and nothing else.
func TestCleartextOnTLSPort(t *testing.T) {
	t.Parallel()
	cert := authority.issue(t, "gate.test", "open.test")
	g := start(t, setup{manifests: cert.secret("cert") + tlsHost("gate", "gate.test", "cert") + tlsHost("open", "open.test", "cert", route) +
		mapping("x", "/x/", echo(t, "up"))})
	ask := func(host string) answer {
		t.Helper()
		c := g.silent(t, "")
		from := g.log.size()
		a, err := c.exchange(request{host: host, target: "/x/"})
		must(t, err)
		a.from = from
		return a
	}
	if a := ask("gate.test"); g.verdict(t, a) != httpsRedirect {
		t.Errorf("a Host that redirects: %v", g.verdict(t, a))
	}
	if a := ask("open.test"); g.verdict(t, a) != served || a.saw.Header.Get("X-Forwarded-Proto") != "http" || g.record(t, a).TLS != "" {
		t.Errorf("a Host that routes: %v", g.verdict(t, a))
	}
	for _, garbage := range []string{"\x16 this is no handshake" + strings.Repeat("!", 5000), "\x16\x03\x01\xff\xff" + strings.Repeat("\x00", 70000), "\x80\x2e\x01\x00\x02", "\x00"} {
		c := g.silent(t, "")
		_, _ = io.WriteString(c, garbage)      // it may be refused before it is all there
		_ = c.Conn.(*net.TCPConn).CloseWrite() // as above
		if said := c.ended(t); strings.HasPrefix(said, "HTTP/1.1 2") {
			t.Errorf("garbage %.10q is answered %q", garbage, said)
		}
	}
	if v, err := g.visit(t, "gate.test", func(*tls.Config) {}); err != nil || g.verdict(t, v.answer) != served {
		t.Errorf("after garbage: %v %v", g.verdict(t, v.answer), err)
	}
}
