package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// A pebble is Let's Encrypt's test authority, which looks at names on two ports of this
// machine and rejects a fifth of all good nonces.
type pebble struct {
	url   string
	roots *x509.CertPool // of what it signs
	trust string         // file of its server's certificate
}

func startPebble(t testing.TB, httpPort, tlsPort int, env ...string) *pebble {
	t.Helper()
	argv := append([]string{
		"env", fmt.Sprintf("HTTP_PORT=%d", httpPort), fmt.Sprintf("TLS_PORT=%d", tlsPort), "LIFE=600", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20",
	}, env...)
	p := &pebble{url: companion(t, append(argv, outside(t, "pebble"))...), roots: x509.NewCertPool(), trust: filepath.Join(t.TempDir(), "ca.pem")}
	must(t, os.WriteFile(p.trust, []byte(p.get(t, "/control/ca")), 0o600))
	if !p.roots.AppendCertsFromPEM([]byte(p.get(t, "/control/root"))) {
		t.Fatal("pebble has no root")
	}
	return p
}

func (p *pebble) get(t testing.TB, path string) string {
	t.Helper()
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := c.Get(p.url + path)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(text)
}

// orders is how many orders were made.
func (p *pebble) orders(t testing.TB) int {
	t.Helper()
	counts := map[string]int{}
	must(t, json.Unmarshal([]byte(p.get(t, "/control/counts")), &counts))
	finalized := 0
	for path, n := range counts {
		if strings.HasPrefix(path, "/finalize-order/") {
			finalized += min(n, 1) // nonces are rejected
		}
	}
	return finalized
}

// rejected is how many requests it did not look at.
func (p *pebble) rejected(t testing.TB) int {
	t.Helper()
	counts := map[string]int{}
	must(t, json.Unmarshal([]byte(p.get(t, "/control/counts")), &counts))
	return counts["rejected"]
}

// host is a Host whose certificate is ordered.
func (p *pebble) host(name, hostname, more string) string {
	return fmt.Sprintf("---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: %s}\nspec:\n  hostname: %s\n  acmeProvider: {authority: %q, email: ops@example.com}\n%s",
		name, hostname, p.url+"/dir", more)
}

// setup runs a gateway that trusts p and keeps what is ordered in folder.
func (p *pebble) setup(httpPort, tlsPort int, folder, manifests string) setup {
	return setup{
		bare: true, manifests: listener("http", "HTTP", httpPort) + listener("https", "HTTPS", tlsPort) + manifests,
		args: []string{"--acme-storage", folder}, env: []string{"SSL_CERT_FILE=" + p.trust},
	}
}

// startAt starts a gateway whose Listeners have the ports.
func startAt(t testing.TB, s setup, httpPort, tlsPort int) *gateway {
	t.Helper()
	g := start(t, s)
	g.clear, g.secure = loopback(httpPort), loopback(tlsPort)
	return g
}

// shown is the leaf that a handshake for name brings, verified; nil where it fails.
func (p *pebble) shown(addr, name string) (*x509.Certificate, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, &tls.Config{ServerName: name, RootCAs: p.roots})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// await waits for a certificate for name other than old.
func (p *pebble) await(t testing.TB, g *gateway, name string, old *x509.Certificate) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	eventually(t, 90*time.Second, "a certificate is served for "+name, func() bool {
		got, err := p.shown(g.secure, name)
		if err == nil && (old == nil || !got.Equal(old)) {
			leaf = got
		}
		return leaf != nil
	})
	return leaf
}

type certificateView struct {
	Host, Hostname string
	Names          []string
	Issuer, Serial string
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
	Source, From   string
	OCSP           struct {
		Status, Error string
		Must          bool `json:"must_staple"`
		Ends          time.Time
	}
	Order struct {
		State, Authority string
		PhaseCompleted   string `json:"phase_completed"`
		Error            string
		Retry            time.Time
	}
}

func (g *gateway) certificate(hostname string) (found certificateView) {
	g.t.Helper()
	for _, c := range view[[]certificateView](g, "certificates") {
		if c.Hostname == hostname {
			found = c
		}
	}
	return found
}

// A certificate is ordered by either challenge, on the Listeners that serve everything else.
// The Host redirects, and a Mapping for everything would have the path; neither gets to see it.
func TestOrderCertificate(t *testing.T) {
	for _, c := range challenges {
		t.Run(c.name, func(t *testing.T) {
			ports := freePorts(t, 4)
			http, tls := c.asked(ports)
			p := startPebble(t, http, tls)
			up := echo(t, "up")
			g := startAt(t, p.setup(ports[0], ports[1], t.TempDir(),
				p.host("shop", "shop.example.com", "")+mapping("all", "/", up)), ports[0], ports[1])
			leaf := p.await(t, g, "shop.example.com", nil)
			if got := g.certificate("shop.example.com"); got.Order.State != "Ready" || !got.NotAfter.Equal(leaf.NotAfter) || got.Order.PhaseCompleted != "ACMECertificateChallenge" ||
				got.Source != "ACME" || got.From != p.url+"/dir" || got.Serial != serialOf(leaf) {
				t.Errorf("/api/v1/certificates says %+v", got)
			}
			if c.http {
				r := g.log.next(t, 0, func(r *record) bool { return r.Reason == "acme_challenge" })
				if r.verdict != (verdict{"accept", "acme_challenge", 200}) {
					t.Errorf("the challenge was answered with %+v", r.verdict)
				}
			}
			for path, want := range map[string]verdict{
				"/.well-known/acme-challenge/" + strings.Repeat("x", 43): {"match", "https_redirect", 301},
				"/": {"match", "https_redirect", 301},
			} {
				before := g.log.size()
				g.send(t, request{host: "shop.example.com", target: path})
				if got := g.log.next(t, before, func(r *record) bool { return r.Path == path }); got.verdict != want {
					t.Errorf("%s: %+v, want %+v", path, got.verdict, want)
				}
			}
		})
	}
}

// A challenge is a way in which an authority is shown that a name is ours, and where of it the
// authority looks: where nobody listens it cannot be by the other one.
type challenge struct {
	name      string
	http, tls bool
}

var challenges = []challenge{{"HTTP-01", true, false}, {"TLS-ALPN-01", false, true}}

// asked are the ports at which the authority looks; the gateway has the first two of ports.
func (c challenge) asked(ports []int) (http, tls int) {
	http, tls = ports[0], ports[1]
	if !c.http {
		http = ports[2]
	}
	if !c.tls {
		tls = ports[3]
	}
	return http, tls
}

// shake keeps clients making handshakes for name, and reports how many there were and those that
// failed once it is told to stop.
func (p *pebble) shake(t testing.TB, g *gateway, name string) (stop func() int64) {
	t.Helper()
	var done atomic.Int64
	end := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond) // leaves the processor to those that renew
			defer pace.Stop()
			for {
				select {
				case <-end:
					return
				case <-pace.C:
				}
				if _, err := p.shown(g.secure, name); err != nil {
					t.Errorf("a handshake failed: %v", err)
				}
				done.Add(1)
			}
		})
	}
	stop = sync.OnceValue(func() int64 {
		close(end)
		clients.Wait()
		return done.Load()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// Certificates are renewed when two thirds of their life are over, and a revoked one is replaced
// as soon as the authority says so, by either challenge, for which it looks anew each time. It
// rejects a fifth of all good nonces and every seventh request of any kind. No handshake fails
// meanwhile.
func TestRenewCertificateUnderLoad(t *testing.T) {
	for _, c := range challenges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ports := freePorts(t, 4)
			http, tls := c.asked(ports)
			p := startPebble(t, http, tls, "LIFE=45", "PEBBLE_AUTHZREUSE=0", "REJECT=7")
			g := startAt(t, p.setup(ports[0], ports[1], t.TempDir(), p.host("shop", "shop.example.com", "")), ports[0], ports[1])
			first := p.await(t, g, "shop.example.com", nil)
			stop := p.shake(t, g, "shop.example.com")
			second := p.await(t, g, "shop.example.com", first)
			p.get(t, "/control/revoke?serial="+url.QueryEscape(second.SerialNumber.Text(16)))
			g.signal(syscall.SIGHUP)
			third := p.await(t, g, "shop.example.com", second)
			if n := stop(); n < 100 {
				t.Errorf("%d handshakes are no load", n)
			}
			life := first.NotAfter.Sub(first.NotBefore)
			if after := second.NotBefore.Sub(first.NotBefore); after < life/2 {
				t.Errorf("renewed after %v of %v", after, life)
			}
			if after := third.NotBefore.Sub(second.NotBefore); after > life/2 {
				t.Errorf("replaced %v after it was made, of %v: that it was revoked did not matter", after, life)
			}
			if got := g.certificate("shop.example.com"); got.Serial != serialOf(third) {
				t.Errorf("/api/v1/certificates says %s, handshakes %s", got.Serial, serialOf(third))
			}
			if n := p.rejected(t); n == 0 {
				t.Error("nothing was rejected")
			}
		})
	}
}

// Two replicas that share a storage order once, and each answers for the other.
func TestOrderOnceForReplicas(t *testing.T) {
	for _, storage := range []string{"folder", "Redis", "Secrets"} {
		t.Run(storage, func(t *testing.T) {
			ports := freePorts(t, 4)
			p := startPebble(t, ports[0], ports[1])
			folder := t.TempDir()
			hosts := p.host("a", "a.example.com", "") + p.host("b", "b.example.com", "") + p.host("again", "a.example.com", "")
			public, hidden := p.setup(ports[0], ports[1], folder, hosts), p.setup(ports[2], ports[3], folder, hosts)
			switch storage {
			case "Redis":
				r := redistest.Start(t)
				public.args, hidden.args = []string{"--redis", r.Addr}, []string{"--redis", r.Addr}
			case "Secrets":
				c := newKubernetes(t)
				public.args, hidden.args = nil, nil
				public, hidden = c.setup(public), c.setup(hidden)
			}
			one := startAt(t, hidden, ports[2], ports[3])
			other := startAt(t, public, ports[0], ports[1])
			for _, name := range []string{"a.example.com", "b.example.com"} {
				leaf := p.await(t, one, name, nil)
				eventually(t, 30*time.Second, "both replicas serve the same", func() bool {
					got, err := p.shown(other.secure, name)
					return err == nil && got.Equal(leaf)
				})
			}
			if n := p.orders(t); n != 2 {
				t.Errorf("%d orders, want 2", n)
			}
		})
	}
}

// What an authority refuses is told, not tried at once again, and costs no other Host
// anything; a start does not forget it.
func TestOrderIsRefused(t *testing.T) {
	ports := freePorts(t, 4)
	p := startPebble(t, ports[2], ports[3]) // where nobody listens
	folder := t.TempDir()
	cert := authority.issue(t, "other.example.com")
	other := cert.secret("other") + "---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: other}\nspec: {hostname: other.example.com, tlsSecret: {name: other}}\n"
	s := p.setup(ports[0], ports[1], folder, p.host("shop", "shop.example.com", "")+other)
	g := startAt(t, s, ports[0], ports[1])
	for range 2 {
		eventually(t, 60*time.Second, "the order is told to have failed", func() bool { return g.certificate("shop.example.com").Order.State == "Error" })
		got := g.certificate("shop.example.com")
		if until := time.Until(got.Order.Retry); until < 5*time.Second || until > 70*time.Second || !strings.Contains(got.Order.Error, "shop.example.com") {
			t.Errorf("/api/v1/certificates says %+v", got)
		}
		eventually(t, 10*time.Second, "the problem is told", func() bool {
			for _, p := range g.problems() {
				if p.Field == "acmeProvider" && strings.Contains(p.Message, "no certificate could be ordered") {
					return true
				}
			}
			return false
		})
		if c, err := dialTLS(g.secure, "other.example.com"); err != nil {
			t.Errorf("another Host: %v", err)
		} else {
			c.Close()
		}
		if _, err := p.shown(g.secure, "shop.example.com"); err == nil || os.IsTimeout(err) {
			t.Errorf("a handshake without a certificate: %v", err)
		}
		g.signal(syscall.SIGTERM)
		g.exit(t)
		g = startAt(t, s, ports[0], ports[1])
	}
	if n := p.orders(t); n != 0 {
		t.Errorf("%d certificates", n)
	}
}

// An account is that of the key in privateKeySecret: one that the authority knows goes on,
// another one is made with it, bound to one elsewhere where the authority wants that.
func TestOrderWithAccountKey(t *testing.T) {
	ports := freePorts(t, 2)
	p := startPebble(t, ports[0], ports[1], "EAB=kid-1:zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	secret := fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: account}\ndata: {user.key: %s, eab-kid: %s, eab-hmac-key: %s}\n",
		base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		base64.StdEncoding.EncodeToString([]byte("kid-1")), base64.StdEncoding.EncodeToString([]byte("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")))
	for range 2 { // the second starts with a storage that knows nothing
		g := startAt(t, p.setup(ports[0], ports[1], t.TempDir(), secret+
			strings.Replace(p.host("shop", "shop.example.com", ""), "email: ops@example.com", "email: ops@example.com, privateKeySecret: {name: account}", 1)), ports[0], ports[1])
		p.await(t, g, "shop.example.com", nil)
		g.signal(syscall.SIGTERM)
		g.exit(t)
	}
	accounts := map[string]int{}
	must(t, json.Unmarshal([]byte(p.get(t, "/control/accounts")), &accounts))
	if len(accounts) != 1 {
		t.Errorf("%d accounts, want 1", len(accounts))
	}
}

// secretHas reports whether a Secret is of the kind that has certificates, and leaf is its.
func (c *kubernetes) secretHas(namespace, name string, leaf *x509.Certificate) bool {
	c.t.Helper()
	said, err := c.kubectl("", "get", "secret", "-n", namespace, name, "-o", `jsonpath={.type} {.data.tls\.crt}`)
	kind, encoded, _ := strings.Cut(said, " ")
	text, broken := base64.StdEncoding.DecodeString(encoded)
	block, _ := pem.Decode(text)
	return err == nil && broken == nil && kind == "kubernetes.io/tls" && block != nil && bytes.Equal(block.Bytes, leaf.Raw)
}

// A Host in a cluster says in its status how far its certificate has come, in Edge Stack's words,
// and its Secret gets what was ordered, and again what is renewed: a gateway that comes after, as
// Edge Stack, and knows nothing else orders nothing.
func TestHostHasItsCertificateInTheCluster(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	ports := freePorts(t, 2)
	p := startPebble(t, ports[0], ports[1], "LIFE=200")
	nobody := "https://" + loopback(freePorts(t, 1)[0]) + "/dir"
	s := p.setup(ports[0], ports[1], t.TempDir(), "")
	s.manifests = ""
	c.apply(listener("http", "HTTP", ports[0]) + listener("https", "HTTPS", ports[1]) + p.host("shop", "shop.example.com", "  tlsSecret: {name: shop-cert}\n") +
		strings.Replace(p.host("lost", "lost.example.com", ""), p.url+"/dir", nobody, 1) + manifest("Host", "clear", "{hostname: clear.example.com}"))
	g := startAt(t, c.setup(s), ports[0], ports[1])
	leaf := p.await(t, g, "shop.example.com", nil)
	for _, row := range []struct{ host, fields, want string }{
		{"shop", "{.status.state} {.status.tlsCertificateSource} {.status.phaseCompleted}{.status.phasePending}{.status.errorReason}", "Ready ACME ACMECertificateChallenge"},
		{"lost", "{.status.state} {.status.tlsCertificateSource} {.status.errorBackoff}", "Error ACME 1m0s"},
		{"clear", "{.status.state} {.status.tlsCertificateSource} {.status.phaseCompleted}", "Ready None "},
	} {
		eventually(t, 60*time.Second, "Host "+row.host+" says "+row.want, func() bool {
			return c.do("", "get", "host", row.host, "-o", "jsonpath="+row.fields) == row.want
		})
	}
	if said := c.do("", "get", "host", "lost", "-o", "jsonpath={.status.errorReason} {.status.errorTimestamp}"); !strings.Contains(said, "connection refused") || !strings.HasSuffix(said, "Z") {
		t.Errorf("the Host says %q", said)
	}
	has := func(leaf *x509.Certificate) func() bool {
		return func() bool { return c.secretHas("default", "shop-cert", leaf) }
	}
	eventually(t, 30*time.Second, "the Secret has the certificate", has(leaf))
	p.get(t, "/control/revoke?serial="+url.QueryEscape(leaf.SerialNumber.Text(16)))
	g.signal(syscall.SIGHUP)
	leaf = p.await(t, g, "shop.example.com", leaf)
	eventually(t, 90*time.Second, "the Secret has the next one", has(leaf))
	g.signal(syscall.SIGTERM)
	g.exit(t)
	s = p.setup(ports[0], ports[1], t.TempDir(), "")
	s.manifests = ""
	g = startAt(t, c.setup(s), ports[0], ports[1])
	eventually(t, 20*time.Second, "it serves what the Secret has", func() bool {
		got, err := p.shown(g.secure, "shop.example.com")
		return err == nil && got.Equal(leaf)
	})
	if got := g.certificate("shop.example.com"); got.Source != "Secret" || p.orders(t) != 2 {
		t.Errorf("%d orders; /api/v1/certificates says %+v", p.orders(t), got)
	}
}
