package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// A zeroTrust is the example of k8s/ on hosts of its own: clients outside, the gateway, three
// services in three namespaces, DNS, and an identity provider outside.
type zeroTrust struct {
	*podNetwork
	client, gateway, webapp, api, database, dns, idp *pod
	issuer                                           *issuer
	trust                                            string // a file with the authority's certificate
}

// publicAddr is where clients find the load balancer, which leads them to the gateway.
const publicAddr = "192.0.2.1"

func newZeroTrust(t *testing.T) *zeroTrust {
	t.Helper()
	c := newPodNetwork(t)
	p := &zeroTrust{podNetwork: c}
	c.load("base/namespace.yaml", "examples/zero-trust/namespaces.yaml")
	c.namespaces["kube-system"] = map[string]string{"kubernetes.io/metadata.name": "kube-system"}
	p.client = c.add(&pod{name: "client", addr: "198.51.100.7"})
	p.idp = c.add(&pod{name: "idp", addr: "203.0.113.10"})
	p.dns = c.add(&pod{name: "dns", namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}, addr: "10.77.1.2"})
	p.gateway = c.add(&pod{name: "gateway", namespace: "ambassador", labels: map[string]string{"app.kubernetes.io/name": "legate"}, addr: "10.77.2.2",
		ports: map[string]int{"http": 8080, "https": 8443, "admin": 8877}})
	p.webapp = c.add(&pod{name: "webapp", namespace: "frontend-namespace", labels: map[string]string{"app": "webapp"}, addr: "10.77.3.2"})
	p.api = c.add(&pod{name: "api", namespace: "api-namespace", labels: map[string]string{"app": "api"}, addr: "10.77.4.2"})
	p.database = c.add(&pod{name: "database", namespace: "database-namespace", labels: map[string]string{"app": "database"}, addr: "10.77.5.2"})
	c.load("base/networkpolicy.yaml", "examples/zero-trust/networkpolicies.yaml",
		"examples/zero-trust/webapp.yaml", "examples/zero-trust/api.yaml", "examples/zero-trust/database.yaml")
	c.zone["id.example.com"] = p.idp.addr
	c.nat = append(c.nat, "ip daddr "+publicAddr+" tcp dport 443 dnat to "+p.gateway.addr+":8443")
	c.enforce()
	p.begin()
	return p
}

// begin starts every process but the gateway.
func (p *zeroTrust) begin() {
	t := p.t
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p.issuer = &issuer{url: "https://id.example.com", key: key}
	dir := t.TempDir()
	put := func(name string, text []byte) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	cert := authority.issue(t, "id.example.com")
	put("tls.crt", cert.cert)
	put("tls.key", cert.key)
	put("keys", p.issuer.keySet(t))
	discovery, err := json.Marshal(map[string]string{"issuer": p.issuer.url, "jwks_uri": p.issuer.url + "/keys"})
	must(t, err)
	put(".well-known/openid-configuration", discovery)
	put("trust.pem", authority.pem())
	p.trust = filepath.Join(dir, "trust.pem")

	p.play(p.dns, "dns", "ZONE="+p.resolver())
	p.play(p.idp, "issuer", "FILES="+dir)
	p.play(p.webapp, "web", "SERVICE=webapp", "NEXT=http://api-service.api-namespace.svc.cluster.local:8080/api/user-data")
	p.play(p.api, "web", "SERVICE=api", "DATABASE=database-service.database-namespace.svc.cluster.local:5432")
	p.play(p.database, "database")
}

// serve starts the gateway with the example's routes, as they are in k8s/.
func (p *zeroTrust) serve() *program {
	t := p.t
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.yaml")
	must(t, os.WriteFile(file, []byte(authority.issue(t, "shop.test").secret("cert")+tlsHost("shop", "shop.test", "cert")), 0o600))
	cmd := p.gateway.in(binary, "run", "-f", "../k8s/examples/zero-trust", "-f", file, "--dns", p.podNetwork.dns(), "--admin", ":8877", "--drain-timeout", "5s")
	g := run(t, []string{"SSL_CERT_FILE=" + p.trust, "AMBASSADOR_NAMESPACE=ambassador"}, cmd)
	eventually(t, 30*time.Second, "the gateway is ready", func() bool {
		status, _ := p.gateway.curl("http://127.0.0.1:8877/ambassador/v0/check_ready")
		return status == 200
	})
	return g
}

// ask sends a client's request from outside.
func (p *zeroTrust) ask(path string, args ...string) (int, string) {
	p.t.Helper()
	return p.client.curl(append(args, "--cacert", p.trust, "--resolve", "shop.test:443:"+publicAddr, "https://shop.test"+path)...)
}

// Who comes with a token of the identity provider gets through to the webapp, which asks the
// api in the caller's name, which asks the database; each hop goes by a Service's name and
// address, and by a policy that lets it through. Whoever takes another way gets nowhere.
func TestPictureOfZeroTrust(t *testing.T) {
	t.Parallel()
	p := newZeroTrust(t)
	g := p.serve()
	token := p.issuer.token(t, map[string]any{"sub": "alice"})

	status, body := p.ask("/", "-H", "Authorization: Bearer "+token)
	var got retold
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("status %d, %q: %v", status, body, err)
	}
	forWebapp := []string{"webapp-service.frontend-namespace"}
	want := retold{Service: "webapp", Path: "/", Issuer: "ambassador-jwt-issuer", Subject: "alice", Audience: forWebapp,
		NextStatus: 200, Next: &retold{Service: "api", Path: "/api/user-data", Issuer: "ambassador-jwt-issuer", Subject: "alice", Audience: forWebapp, Row: "a row\n"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the webapp tells\n%+v, %+v, want\n%+v, %+v", got, got.Next, want, want.Next)
	}
	if status, _ := p.ask("/"); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	if got, want := g.log.next(t, 0, func(r *record) bool { return r.Status == 401 }).verdict, (verdict{"authn", "identity_missing", 401}); got != want {
		t.Errorf("without a token: %v, want %v", got, want)
	}
	p.judgeWays()
}

// judgeWays tries every way from host to host that there is a door for.
func (p *zeroTrust) judgeWays() {
	t := p.t
	t.Helper()
	doors := map[string]string{
		"gateway": p.gateway.addr + ":8443", "admin": p.gateway.addr + ":8877", "webapp": p.webapp.addr + ":3000",
		"api": p.api.addr + ":3000", "database": p.database.addr + ":5432", "dns": p.dns.addr + ":53", "idp": p.idp.addr + ":443",
	}
	ways := map[*pod][]string{ // whom each may reach; a pod reaches itself
		p.client:   {"gateway", "dns", "idp"}, // the DNS of this cluster has no policy
		p.gateway:  {"gateway", "admin", "webapp", "api", "dns", "idp"},
		p.webapp:   {"webapp", "api", "dns"},
		p.api:      {"api", "database", "dns"},
		p.database: {"database", "dns"},
	}
	for from, may := range ways {
		for name, addr := range doors {
			allowed := false
			for _, m := range may {
				allowed = allowed || m == name
			}
			if got := p.reaches(from, addr); got != allowed {
				t.Errorf("from %s to %s: a connection comes about: %v, want %v", from.name, name, got, allowed)
			}
		}
	}
}
