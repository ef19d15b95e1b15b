package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// flawed are certificates of one authority, each with what its name says. other is another
// authority's.
func flawed(t testing.TB, a *ca, other *ca, wrong x509.ExtKeyUsage) map[string]certificate {
	t.Helper()
	as := func(change func(*x509.Certificate)) certificate { return a.issueAs(t, change, "peer.test") }
	return map[string]certificate{
		"right":    as(func(*x509.Certificate) {}),
		"wrong CA": other.issue(t, "peer.test"),
		"expired": as(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}),
		"not yet valid": as(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }),
		"wrong usage":   as(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{wrong} }),
		"revoked":       as(func(*x509.Certificate) {}),
	}
}

// Clients prove who they are, or hear why they do not, and the log says it too. Not one of
// their requests gets through.
func TestClientsAreJudged(t *testing.T) {
	t.Parallel()
	stranger := newAuthority()
	certs := flawed(t, authority, stranger, x509.ExtKeyUsageServerAuth)
	soon := time.Now().Add(time.Hour)
	host := func(name, list string) string {
		return authority.issue(t, name+".test").secret("cert-"+name) +
			tlsHost(name, name+".test", "cert-"+name, "tls: {ca_secret: ca, cert_required: true, crl_secret: "+list+"}")
	}
	g := start(t, setup{args: []string{"--log-level", "debug"}, manifests: opaque("ca", "tls.crt", authority.pem()) +
		opaque("current", "crl.pem", append(stranger.list(t, soon), authority.list(t, soon, certs["revoked"])...)) +
		opaque("old", "crl.pem", authority.list(t, time.Now().Add(-time.Hour))) +
		opaque("others", "crl.pem", stranger.list(t, soon)) +
		host("current", "current") + host("old", "old") + host("others", "others") +
		mapping("x", "/x/", echo(t, "up"))})
	for _, c := range []struct {
		shows, host string
		alerts      [2]string // of TLS 1.2 and 1.3; "" for none
		says        string    // the log
		counter     string
	}{
		{"none", "current", [2]string{"handshake failure", "certificate required"}, "client didn't provide a certificate", "fail_verify_no_cert"},
		{"wrong CA", "current", [2]string{"unknown certificate authority", "unknown certificate authority"}, "certificate signed by unknown authority", "fail_verify_error"},
		{"expired", "current", [2]string{"expired certificate", "expired certificate"}, "certificate has expired or is not yet valid", "fail_verify_error"},
		{"not yet valid", "current", [2]string{"expired certificate", "expired certificate"}, "certificate has expired or is not yet valid", "fail_verify_error"},
		{"wrong usage", "current", [2]string{"bad certificate", "bad certificate"}, "certificate specifies an incompatible key usage", "fail_verify_error"},
		{"revoked", "current", [2]string{"bad certificate", "bad certificate"}, "the certificate is revoked", "fail_verify_error"},
		{"right", "old", [2]string{"bad certificate", "bad certificate"}, "is out of date", "fail_verify_error"},
		{"right", "others", [2]string{"bad certificate", "bad certificate"}, "there is no list of what the certificate's authority has revoked", "fail_verify_error"},
		{"right", "current", [2]string{}, "", ""},
	} {
		for i, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			name, requests, said := fmt.Sprintf("%s at %s by %s", c.shows, c.host, tls.VersionName(v)), g.log.size(), len(g.errors.all())
			counted := g.listenerCounter(c.counter)
			got, err := g.visit(t, c.host+".test", func(conf *tls.Config) {
				version(v)(conf)
				if shown, ok := certs[c.shows]; ok {
					conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown.pair, nil }
				}
			})
			switch alert := c.alerts[i]; {
			case alert == "" && err != nil:
				t.Errorf("%s: %v", name, err)
			case alert == "":
				if verdict := g.verdict(t, got.answer); verdict != served {
					t.Errorf("%s: %v", name, verdict)
				}
			case err == nil || !strings.Contains(err.Error(), alert):
				t.Errorf("%s: got %v, want %q", name, err, alert)
			default:
				eventually(t, 10*time.Second, name+" is told of as "+c.says, func() bool {
					return strings.Contains(strings.Join(g.errors.all()[said:], "\n"), c.says) && g.listenerCounter(c.counter) == counted+1
				})
				if n := g.log.size(); n != requests {
					t.Errorf("%s: %d requests got through", name, n-requests)
				}
			}
		}
	}
}

// listenerCounter is how often the port for TLS has refused clients for one of Envoy's
// reasons.
func (g *gateway) listenerCounter(name string) int {
	g.t.Helper()
	if name == "" {
		return 0
	}
	_, text := g.operator("/metrics")
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^envoy_listener_ssl_`+name+`\{.*\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		var each int
		_, err := fmt.Sscan(m[1], &each)
		must(g.t, err)
		n += each
	}
	return n
}

// Services prove who they are, and the gateway does to them; where one of them fails, no
// request is sent, and its record says that TLS was the reason.
func TestServicesAreJudged(t *testing.T) {
	t.Parallel()
	stranger := newAuthority()
	certs := flawed(t, authority, stranger, x509.ExtKeyUsageClientAuth)
	soon := time.Now().Add(time.Hour)
	asked := map[string]string{} // service by what it shows, or what it asks for
	for name, c := range certs {
		asked[name] = answering(t, &tls.Config{Certificates: []tls.Certificate{c.pair}})
	}
	pool := authority.pool
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		asked[tls.VersionName(v)] = answering(t, &tls.Config{
			Certificates: []tls.Certificate{certs["right"].pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: v, MaxVersion: v})
	}
	rows := []struct {
		service, settings string
		served            bool
	}{
		{"right", "ca_secret: ca, crl_secret: current", true},
		{"wrong CA", "ca_secret: ca", false},
		{"expired", "ca_secret: ca", false},
		{"not yet valid", "ca_secret: ca", false},
		{"wrong usage", "ca_secret: ca", false},
		{"revoked", "ca_secret: ca, crl_secret: current", false},
		{"revoked", "ca_secret: ca", true}, // nobody says so
		{"expired", "", true},              // nobody looks
		{"right", "ca_secret: ca, crl_secret: old", false},
		{"right", "ca_secret: ca, crl_secret: others", false},
		{"TLS 1.2", "secret: client", true},
		{"TLS 1.2", "secret: strange", false},
		{"TLS 1.2", "", false},
		{"TLS 1.3", "secret: client", true},
		{"TLS 1.3", "secret: strange", false},
		{"TLS 1.3", "", false},
	}
	var manifests strings.Builder
	for i, c := range rows {
		name := fmt.Sprintf("r%d", i)
		manifests.WriteString(manifest("TLSContext", name, "{"+c.settings+"}") + mapping(name, "/"+name+"/", asked[c.service], "tls: "+name))
	}
	g := start(t, setup{manifests: everyone + opaque("ca", "tls.crt", authority.pem()) +
		authority.issue(t, "client.test").secret("client") + stranger.issue(t, "client.test").secret("strange") +
		opaque("current", "crl.pem", append(stranger.list(t, soon), authority.list(t, soon, certs["revoked"])...)) +
		opaque("old", "crl.pem", authority.list(t, time.Now().Add(-time.Hour))) +
		opaque("others", "crl.pem", stranger.list(t, soon)) + manifests.String()})
	for i, c := range rows {
		want := verdict{"proxy", "tls_failed", 503}
		if c.served {
			want = served
		}
		for _, method := range []string{"GET", "POST"} {
			r := request{method: method, target: fmt.Sprintf("/r%d/", i)}
			if method == "POST" {
				r.body = "content"
			}
			if got := g.verdict(t, g.send(t, r)); got != want {
				t.Errorf("%s that is %s, with {%s}: got %v, want %v", method, c.service, c.settings, got, want)
			}
		}
	}
}

// answering is a service with settings of TLS.
func answering(t testing.TB, conf *tls.Config) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = conf
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A list of revoked certificates counts from the moment it is there, for new handshakes of
// either side; connections go on. One that is broken changes nothing.
func TestRevocationIsLive(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "crl.pem")
	shown, server := authority.issue(t, "client.test"), authority.issue(t, "server.test")
	soon := time.Now().Add(time.Hour)
	write := func(text []byte) {
		t.Helper()
		must(t, os.WriteFile(file+".next", text, 0o600))
		must(t, os.Rename(file+".next", file))
	}
	write(authority.list(t, soon))
	g := start(t, setup{manifests: opaque("ca", "tls.crt", authority.pem()) + authority.issue(t, "gate.test").secret("cert") +
		tlsHost("gate", "gate.test", "cert", route, "tls: {ca_secret: ca, cert_required: true, crl_file: "+file+"}") +
		manifest("TLSContext", "up", "{ca_secret: ca, crl_file: "+file+"}") +
		mapping("x", "/x/", echo(t, "up")) + mapping("up", "/up/", answering(t, &tls.Config{Certificates: []tls.Certificate{server.pair}}), "tls: up")})
	dial := func() (*client, error) {
		c, err := tls.Dial("tcp", g.secure, &tls.Config{ServerName: "gate.test", RootCAs: authority.pool, Certificates: []tls.Certificate{shown.pair}})
		if err != nil {
			return nil, err
		}
		to := newClient(c)
		_, err = to.exchange(request{target: "/x/"})
		return to, err
	}
	old, err := dial()
	must(t, err)
	defer old.Close()
	fails := func() bool {
		c, err := dial()
		if err == nil {
			c.Close()
		}
		return err != nil
	}
	toService := func() verdict { return g.verdict(t, g.send(t, request{target: "/up/"})) }
	if got := toService(); got != served {
		t.Fatalf("before anything is revoked: %v", got)
	}
	write(authority.list(t, soon, shown))
	eventually(t, 20*time.Second, "the client's certificate is revoked", fails)
	if got := toService(); got != served {
		t.Errorf("a client's certificate is revoked, and a service: %v", got)
	}
	write(authority.list(t, soon, server))
	eventually(t, 20*time.Second, "the client's certificate is good again, and the service's is not", func() bool {
		return !fails() && toService() == verdict{"proxy", "tls_failed", 503}
	})
	write([]byte("noise"))
	eventually(t, 20*time.Second, "a broken list is a Problem", func() bool {
		stale := 0
		for _, p := range g.problems() {
			if p.Effect == "object_stale" && strings.Contains(p.Text, "crl_file: "+file) {
				stale++
			}
		}
		return stale == 2
	})
	if fails() || toService() != (verdict{"proxy", "tls_failed", 503}) {
		t.Error("a broken list changes who is revoked")
	}
	write(authority.list(t, soon))
	eventually(t, 20*time.Second, "nobody is revoked", func() bool { return toService() == served && len(g.problems()) == 0 })
	if a, err := old.exchange(request{target: "/x/"}); err != nil || g.verdict(t, a) != served {
		t.Errorf("a connection from before: %v", err)
	}
}
