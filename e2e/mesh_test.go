package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Who is who in the mesh of the tests.
const (
	gatewayID = "spiffe://mesh/ns/ambassador/sa/legate"
	ordersID  = "spiffe://mesh/ns/shop/sa/orders"
	stockID   = "spiffe://mesh/ns/shop/sa/stock"
)

// A mesh issues SVIDs and is told of by a Workload API.
type mesh struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t      testing.TB
	socket string

	mu          sync.Mutex
	authorities []*ca                      // that are believed
	issuing     *ca                        // one of them
	said        *workload.X509SVIDResponse // to whoever asks; nil refuses them
	changed     chan struct{}
	server      *grpc.Server
	serial      atomic.Int64
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesh") //nolint:usetesting // because a socket's path must be short, and a test's folder has its name
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	first := newAuthority()
	return &mesh{t: t, socket: filepath.Join(dir, "agent.sock"), authorities: []*ca{first}, issuing: first, changed: make(chan struct{})}
}

// FetchX509SVID says who the caller is, and again whenever that changes.
func (m *mesh) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md["workload.spiffe.io"]) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		m.mu.Lock()
		said, changed := m.said, m.changed
		m.mu.Unlock()
		if said == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(said); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// say changes what callers are told.
func (m *mesh) say(said *workload.X509SVIDResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = said
	close(m.changed)
	m.changed = make(chan struct{})
}

// open starts the agent.
func (m *mesh) open() {
	m.t.Helper()
	ln, err := net.Listen("unix", m.socket)
	must(m.t, err)
	m.server = grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(m.server, m)
	go func(s *grpc.Server) { _ = s.Serve(ln) }(m.server) // it ends when it is told to
	m.t.Cleanup(m.server.Stop)
}

// close ends the agent, which leaves nobody at its socket.
func (m *mesh) close() { m.server.Stop() }

// believed returns the certificates of the authorities, one after another.
func (m *mesh) believed() (der []byte, pool *x509.CertPool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pool = x509.NewCertPool()
	for _, a := range m.authorities {
		der = append(der, a.cert.Raw...)
		pool.AddCert(a.cert)
	}
	return der, pool
}

// issue returns a new SVID of id that lasts for a while.
func (m *mesh) issue(id string, lasts time.Duration) tls.Certificate {
	m.mu.Lock()
	a := m.issuing
	m.mu.Unlock()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(m.t, err)
	uri, err := url.Parse(id)
	must(m.t, err)
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(m.serial.Add(1)), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(lasts),
		URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(m.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// identify says that the caller is id, by a new SVID, and returns its serial number.
func (m *mesh) identify(id string, lasts time.Duration) int64 {
	m.t.Helper()
	svid := m.issue(id, lasts)
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	must(m.t, err)
	bundle, _ := m.believed()
	leaf, err := x509.ParseCertificate(svid.Certificate[0])
	must(m.t, err)
	m.say(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{SpiffeId: id, X509Svid: svid.Certificate[0], X509SvidKey: key, Bundle: bundle}}})
	return leaf.SerialNumber.Int64()
}

// A meshService is one of the mesh: it takes requests only of who proves to be in it.
type meshService struct {
	addr string
	mesh *mesh
	id   string
	pair atomic.Pointer[tls.Certificate] // shown to who connects from now on

	mu     sync.Mutex
	caller map[string]int64 // the last serial number that each caller has connected with
}

// service starts a service that is id, and answers who asked.
func (m *mesh) service(id string) *meshService {
	s := &meshService{mesh: m, id: id, caller: map[string]int64{}}
	s.renew()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].URIs[0])
	}))
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		_, pool := m.believed()
		return &tls.Config{Certificates: []tls.Certificate{*s.pair.Load()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, VerifyConnection: s.note}, nil
	}}
	server.StartTLS()
	m.t.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	return s
}

// renew gives the service a new SVID.
func (s *meshService) renew() {
	pair := s.mesh.issue(s.id, time.Hour)
	s.pair.Store(&pair)
}

// note remembers who connects.
func (s *meshService) note(cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caller[leaf.URIs[0].String()] = leaf.SerialNumber.Int64()
	return nil
}

// saw returns the serial number that id has connected with last.
func (s *meshService) saw(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caller[id]
}

// toMesh is a TLSContext for whoever ids allows.
func toMesh(name string, ids ...string) string {
	return manifest("TLSContext", name, `{spiffe_ids: ["`+strings.Join(ids, `", "`)+`"]}`)
}

// connectsAnew connects anew for each request.
const connectsAnew = "cluster_max_connection_lifetime_ms: 1"

var (
	inMesh     = verdict{Stage: "proxy", Reason: "", Status: 200}
	nameless   = verdict{Stage: "proxy", Reason: "svid_missing", Status: 503}
	notAllowed = verdict{Stage: "proxy", Reason: "upstream_not_allowed", Status: 503}
	unverified = verdict{Stage: "proxy", Reason: "tls_failed", Status: 503}
)

// Services see who the gateway is, and get requests only where they are who is meant.
func TestMesh(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	serial := m.identify(gatewayID, time.Hour)
	m.open()
	orders, stock := m.service(ordersID), m.service(stockID)
	stranger := newMesh(t).service(ordersID)
	g := start(t, setup{args: []string{"--spiffe-socket", m.socket}, manifests: everyone +
		toMesh("orders", ordersID) + toMesh("shop", "spiffe://mesh/ns/shop/*") + toMesh("others", "spiffe://other.org/*") +
		mapping("orders", "/orders/", orders.addr, "tls: orders") + mapping("in-place", "/in-place/", stock.addr, "tls: orders") +
		mapping("shop", "/shop/", stock.addr, "tls: shop") + mapping("others", "/others/", stock.addr, "tls: others") +
		mapping("stranger", "/stranger/", stranger.addr, "tls: orders") +
		mapping("unproved", "/unproved/", serveTLS(t, "orders.shop", echoHandler("up")), "tls: shop")})
	for _, p := range g.problems() {
		t.Errorf("says %s", p.Text)
	}
	for path, want := range map[string]verdict{
		"/orders/": inMesh, "/shop/": inMesh, "/in-place/": notAllowed, "/others/": notAllowed, "/stranger/": unverified, "/unproved/": unverified,
	} {
		a := g.send(t, request{target: path})
		if got := g.verdict(t, a); got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
		if want == inMesh && string(a.body) != gatewayID {
			t.Errorf("%s: the service saw %q", path, a.body)
		}
		if want != inMesh && strings.Contains(string(a.body), "spiffe") {
			t.Errorf("%s: the client is told %q", path, a.body)
		}
	}
	if got := orders.saw(gatewayID); got != serial {
		t.Errorf("the service saw serial number %d, want %d", got, serial)
	}
	_, metrics := g.operator("/metrics")
	for _, want := range []string{`legate_svid_expiry_seconds{spiffe_id="` + gatewayID + `"} 3`, `legate_workload_api_updates_total{outcome="success"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	shown := view[[]struct {
		Names        []string
		Source, From string
		Serial       string
	}](g, "certificates")
	if len(shown) != 1 || shown[0].Source != "Workload API" || shown[0].From != "unix://"+m.socket || shown[0].Names[0] != gatewayID || shown[0].Serial != fmt.Sprintf("%02X", serial) {
		t.Errorf("certificates shows %+v", shown)
	}
}

// SVIDs and authorities change again and again, on both sides, while requests come; none
// fails, and the next handshake has what was said last.
func TestMeshChangesUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.identify(gatewayID, time.Hour)
	m.open()
	orders := m.service(ordersID)
	g := start(t, setup{args: []string{"--spiffe-socket", m.socket}, manifests: everyone + toMesh("orders", ordersID) +
		mapping("anew", "/anew/", orders.addr, "tls: orders", connectsAnew) + mapping("kept", "/kept/", orders.addr, "tls: orders", "cluster_tag: kept")})
	const rotations = 5
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var answers [4]atomic.Int64 // that each client had
	for i := range answers {
		path := []string{"/anew/", "/kept/"}[i%2]
		load.Go(func() {
			c, err := g.dial(t, request{})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				a, err := c.exchange(request{target: path})
				if err != nil || a.StatusCode != 200 {
					t.Errorf("%s: %+v %v", path, a.Response, err)
					return
				}
				answers[i].Add(1)
			}
		})
	}
	// settled waits until every handshake that is under way has ended: each client has had the
	// answer to a request that it sent since.
	settled := func() {
		for i := range answers {
			had := answers[i].Load()
			eventually(t, 20*time.Second, "requests go on", func() bool { return answers[i].Load() > had+1 })
		}
	}
	for range rotations {
		// The next authority is believed before it issues, and the one before it for as long as
		// a handshake may be under way with what that issued.
		m.mu.Lock()
		next := newAuthority()
		m.authorities = []*ca{next, m.issuing}
		m.mu.Unlock()
		before := m.identify(gatewayID, time.Hour)
		eventually(t, 10*time.Second, "handshakes have the SVID that came with another authority", func() bool { return orders.saw(gatewayID) == before })
		settled()
		m.mu.Lock()
		m.issuing = next
		m.mu.Unlock()
		orders.renew()
		after := m.identify(gatewayID, time.Hour)
		eventually(t, 10*time.Second, "handshakes have the new authority's SVID", func() bool { return orders.saw(gatewayID) == after })
		settled()
	}
	stop()
	load.Wait()
	all := 0
	for i := range answers {
		all += int(answers[i].Load())
	}
	eventually(t, 10*time.Second, "all requests are logged, and carried", func() bool { return g.log.count(inMesh) >= all && g.log.size() == g.log.count(inMesh) })
	t.Logf("%d requests, %d authorities", all, 1+rotations)
}

// An agent that is not there, dies, or says what cannot be keeps nobody from requests that do
// not need it, nor, as long as the SVID lasts, those that do.
func TestMeshWithoutAgent(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	orders := m.service(ordersID)
	g := start(t, setup{env: []string{"SPIFFE_ENDPOINT_SOCKET=unix://" + m.socket}, manifests: everyone + toMesh("orders", ordersID) +
		mapping("orders", "/orders/", orders.addr, "tls: orders", connectsAnew) + mapping("plain", "/plain/", echo(t, "up"))})
	want := func(path string, want verdict) {
		t.Helper()
		if got := g.verdict(t, g.send(t, request{target: path})); got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
	becomes := func(path string, want verdict) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprintf("%s is %+v", path, want), func() bool { return g.verdict(t, g.send(t, request{target: path})) == want })
	}
	want("/orders/", nameless)
	want("/plain/", inMesh)
	m.open() // there, but it does not know the gateway
	g.errors.await(t, "no identity issued")
	want("/orders/", nameless)
	m.identify(gatewayID, time.Hour)
	becomes("/orders/", inMesh)

	bundle, _ := m.believed()
	for name, said := range map[string]*workload.X509SVIDResponse{
		"nothing": {}, "rubbish": {Svids: []*workload.X509SVID{{SpiffeId: gatewayID, X509Svid: []byte("rubbish"), X509SvidKey: []byte("rubbish"), Bundle: bundle}}},
	} {
		failed := g.counts("legate_workload_api_updates_total", "failure")
		m.say(said)
		eventually(t, 10*time.Second, "the gateway is told "+name, func() bool { return g.counts("legate_workload_api_updates_total", "failure") > failed })
		want("/orders/", inMesh)
	}
	short := m.identify(gatewayID, 5*time.Second)
	eventually(t, 4*time.Second, "handshakes have the SVID that ends soon", func() bool {
		g.send(t, request{target: "/orders/"})
		return orders.saw(gatewayID) == short
	})
	m.say(nil)
	m.close()
	want("/plain/", inMesh)
	becomes("/orders/", nameless) // once it has expired
	want("/plain/", inMesh)
	m.identify(gatewayID, time.Hour)
	m.open()
	becomes("/orders/", inMesh)
}

// counts returns what a counter with one label says, -1 where there is none.
func (g *gateway) counts(name, label string) int {
	g.t.Helper()
	_, metrics := g.operator("/metrics")
	for line := range strings.Lines(metrics) {
		var n int
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `="`+label+`"`) {
			if _, err := fmt.Sscanf(line[strings.LastIndexByte(line, ' ')+1:], "%d", &n); err == nil {
				return n
			}
		}
	}
	return -1
}
