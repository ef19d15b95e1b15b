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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A mount is a folder as the kubelet fills it: files are links through "..data", which is
// swapped as a whole.
type mount struct {
	t       testing.TB
	dir     string
	version int
}

func (m *mount) fill(files map[string][]byte) {
	m.t.Helper()
	m.version++
	data := fmt.Sprintf("..v%d", m.version)
	must(m.t, os.Mkdir(filepath.Join(m.dir, data), 0o700))
	for name, text := range files {
		must(m.t, os.WriteFile(filepath.Join(m.dir, data, name), text, 0o600))
	}
	must(m.t, os.Symlink(data, filepath.Join(m.dir, "..next")))
	must(m.t, os.Rename(filepath.Join(m.dir, "..next"), filepath.Join(m.dir, "..data")))
	if m.version == 1 {
		for name := range files {
			must(m.t, os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
		}
	} else {
		must(m.t, os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..v%d", m.version-1))))
	}
}

// A rotating service is one in the mesh: it asks everybody for a certificate, and its own and
// whom it believes can be changed.
type rotating struct {
	addr string
	conf atomic.Pointer[tls.Config]
	saw  atomic.Int64 // the serial number of the last certificate that it was shown
}

func newRotating(t testing.TB, conf *tls.Config) *rotating {
	t.Helper()
	w := &rotating{}
	w.conf.Store(conf)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.saw.Store(r.TLS.PeerCertificates[0].SerialNumber.Int64())
	}))
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.conf.Load(), nil }}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	w.addr = s.Listener.Addr().String()
	return w
}

// believing are settings of a rotating service that shows c and believes what authorities sign.
func believing(c certificate, authorities ...*ca) *tls.Config {
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AddCert(a.cert)
	}
	return &tls.Config{Certificates: []tls.Certificate{c.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

// What a sidecar leaves is Ambassador's Secret istio-certs: it comes when the sidecar has started, is
// shown to services and verifies them, and follows what is renewed.
func TestIstioSecretDir(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(), newAuthority()
	const service = "spiffe://cluster.local/ns/shop/sa/orders"
	up := newRotating(t, believing(old.issue(t, service), old))
	certs := &mount{t: t, dir: t.TempDir()}
	fill := func(c certificate, root *ca) {
		t.Helper()
		certs.fill(map[string][]byte{"cert-chain.pem": c.cert, "key.pem": c.key, "root-cert.pem": root.pem()})
	}
	g := start(t, setup{env: []string{"AMBASSADOR_ISTIO_SECRET_DIR=" + certs.dir}, manifests: everyone +
		manifest("TLSContext", "mesh", fmt.Sprintf("{secret: istio-certs, spiffe_ids: [%q]}", service)) + mapping("x", "/x/", up.addr, "tls: mesh")})
	until := func(what string, want verdict, saw int64) {
		t.Helper()
		eventually(t, 30*time.Second, what, func() bool {
			return g.verdict(t, g.send(t, request{target: "/x/"})) == want && (want != served || up.saw.Load() == saw)
		})
	}
	until("without a certificate nothing is sent", verdict{"proxy", "no_endpoints", 503}, 0)
	ours := old.issue(t, "spiffe://cluster.local/ns/ambassador/sa/legate")
	fill(ours, old)
	until("the sidecar's certificate is shown", served, ours.serial)
	ours = next.issue(t, "spiffe://cluster.local/ns/ambassador/sa/legate")
	fill(ours, next)
	until("the old root counts no more", verdict{"proxy", "tls_failed", 503}, 0)
	up.conf.Store(believing(next.issue(t, service), next))
	until("the new certificate is shown", served, ours.serial)
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, `legate_client_certificate_expiry_seconds{tlscontext="mesh.`) {
		t.Error("/metrics does not say how long the certificate lasts")
	}
	if problems := g.problems(); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
}

// A mesh changes everybody's certificates, and its root too, whose successor is believed
// before anybody shows what it has signed. The gateway, which has them from files, follows
// under load: no request fails, and handshakes have what is new.
func TestIstioFileRotation(t *testing.T) {
	t.Parallel()
	old := newAuthority()
	const service = "spiffe://cluster.local/ns/shop/sa/orders"
	ours := old.issue(t, "spiffe://cluster.local/ns/ambassador/sa/legate")
	up := newRotating(t, believing(old.issue(t, service), old))
	probe, believed := newRotating(t, believing(old.issue(t, service), old)), old
	certs := &mount{t: t, dir: t.TempDir()}
	fill := func(c certificate, authorities ...*ca) {
		t.Helper()
		var roots []byte
		for _, a := range authorities {
			roots = append(roots, a.pem()...)
		}
		certs.fill(map[string][]byte{"cert-chain.pem": c.cert, "key.pem": c.key, "root-cert.pem": roots})
	}
	fill(ours, old)
	in := func(name string) string { return filepath.Join(certs.dir, name) }
	g := start(t, setup{manifests: everyone +
		manifest("TLSContext", "sidecar", fmt.Sprintf("{cert_chain_file: %s, private_key_file: %s, cacert_chain_file: %s, alpn_protocols: istio, spiffe_ids: [%q]}",
			in("cert-chain.pem"), in("key.pem"), in("root-cert.pem"), service)) +
		mapping("x", "/x/", up.addr, "tls: sidecar") + mapping("probe", "/probe/", probe.addr, "tls: sidecar") +
		mapping("dead", "/dead/", "127.0.0.1:1", "tls: sidecar", "failure_breaker: {consecutive_failures: 1, open_for: 1h}")})
	if got, want := g.verdict(t, g.send(t, request{target: "/dead/"})), (verdict{"proxy", "dial_refused", 503}); got != want {
		t.Fatalf("a service that is not there: %v, want %v", got, want)
	}

	var asked, failed atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	defer close(stop)
	for range 4 {
		clients.Go(func() {
			c := g.connect(t)
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if a, err := c.exchange(request{target: "/x/"}); err != nil || a.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("request %d: %v %q", asked.Load(), err, a.body)
					return
				}
			}
		})
	}
	shown := func(c certificate) {
		t.Helper()
		eventually(t, 20*time.Second, "the service sees the new certificate", func() bool { return up.saw.Load() == c.serial || failed.Load() > 0 })
	}
	// probe is a service that shows what it is told to, and is believed or not: when files count
	// can be seen by nothing else.
	probed := func(c certificate, want verdict) {
		t.Helper()
		probe.conf.Store(believing(c, believed))
		eventually(t, 20*time.Second, "the new root counts", func() bool {
			return g.verdict(t, g.send(t, request{target: "/probe/"})) == want || failed.Load() > 0
		})
	}
	shown(ours)
	const rounds = 4
	for range rounds {
		next := newAuthority()
		fill(ours, old, next)
		believed = old
		probed(next.issue(t, service), served)
		theirs := next.issue(t, service)
		up.conf.Store(believing(theirs, old, next))
		ours = next.issue(t, "spiffe://cluster.local/ns/ambassador/sa/legate")
		fill(ours, old, next)
		shown(ours)
		fill(ours, next)
		believed = next
		probed(old.issue(t, service), verdict{"proxy", "tls_failed", 503})
		up.conf.Store(believing(theirs, next))
		old = next
	}

	// What is known of services does not go with certificates.
	if got, want := g.verdict(t, g.send(t, request{target: "/dead/"})), (verdict{"break", "breaker_open", 503}); got != want {
		t.Errorf("a service that was not there: %v, want %v", got, want)
	}

	// A key that is not the certificate's is told of, and changes nothing.
	broken := ours
	broken.key = old.issue(t, service).key
	fill(broken, old)
	eventually(t, 20*time.Second, "a broken pair is a Problem", func() bool {
		problems := g.problems()
		return len(problems) == 1 && problems[0].Effect == "object_stale" && problems[0].Field == "cert_chain_file"
	})
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served || up.saw.Load() != ours.serial {
		t.Errorf("with a broken pair in the folder: %v", g.verdict(t, a))
	}
	mended := old.issue(t, "spiffe://cluster.local/ns/ambassador/sa/legate")
	fill(mended, old)
	shown(mended)
	eventually(t, 20*time.Second, "nothing is wrong any more", func() bool { return len(g.problems()) == 0 })
	if text := strings.Join(g.errors.all(), "\n"); strings.Contains(text, "PRIVATE KEY") {
		t.Error("the log has a key")
	}
	t.Logf("%d rounds, %d requests, %d failed", rounds, asked.Load(), failed.Load())
}
