package upstream

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"legate/config"
	"legate/decision"
	"legate/spiffe"
)

// A testWorkload is what a Workload API said.
type testWorkload struct {
	svid    atomic.Pointer[x509svid.SVID] // nil for none
	bundles *x509bundle.Set
}

func (w *testWorkload) GetX509SVID() (*x509svid.SVID, error) {
	if svid := w.svid.Load(); svid != nil {
		return svid, nil
	}
	return nil, errors.New("the agent is down")
}

func (w *testWorkload) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return w.bundles.GetX509BundleForTrustDomain(domain)
}

// newWorkload returns one that is id by a, which vouches for the trust domain mesh.
func newWorkload(t *testing.T, a *authority, id string) *testWorkload {
	t.Helper()
	w := &testWorkload{bundles: x509bundle.NewSet(x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("mesh"), []*x509.Certificate{a.cert}))}
	w.svid.Store(a.svid(t, time.Now().Add(time.Hour), id))
	return w
}

// svid returns an SVID of id, which ends at a time.
func (a *authority) svid(t *testing.T, until time.Time, id string) *x509svid.SVID {
	t.Helper()
	pair := a.identity(t, until, id)
	return &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{pair.Leaf}, PrivateKey: pair.PrivateKey.(crypto.Signer)}
}

// identity returns a certificate with ids as its URIs.
func (a *authority) identity(t *testing.T, until time.Time, ids ...string) tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}
	for _, id := range ids {
		u, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// dialMesh opens one connection to addr as w.
func dialMesh(t *testing.T, w spiffe.Workload, spec Spec, addr string) (*Upstream, carrier, decision.Reason, error) {
	t.Helper()
	ap := netip.MustParseAddrPort(addr)
	spec.Host, spec.Port, spec.ConnectTimeout, spec.IdleTimeout, spec.TLS.On = ap.Addr().String(), ap.Port(), 5*time.Second, time.Hour, true
	u := New(spec, newTestResolver(t, Options{Workload: w}))
	u.Start()
	t.Cleanup(u.Retire)
	link, reason, err := u.Open(time.Now(), Choice{})
	if err != nil {
		return u, nil, reason, err
	}
	c := link.(carrier)
	t.Cleanup(func() { c.Close() })
	return u, c, reason, nil
}

const (
	gatewayID = "spiffe://mesh/ns/ambassador/sa/legate"
	ordersID  = "spiffe://mesh/ns/shop/sa/orders"
)

func TestPeersAreWhoTheyMustBe(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	soon := time.Now().Add(time.Hour)
	orders := ours.identity(t, soon, ordersID)
	fromFiles := func(ids string) Origination { return Origination{SPIFFE: ids, CA: string(ours.pem)} }
	fromAPI := func(ids string) Origination { return Origination{SPIFFE: ids, Workload: true} }
	revoked := fromAPI(ordersID)
	revoked.CRL = string(ours.revoke(t, orders.Leaf.SerialNumber.Int64()))
	authorityItself := tls.Certificate{Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key}
	for _, row := range []struct {
		name   string
		server tls.Certificate
		client Origination
		want   decision.Reason
	}{
		{"who is allowed", orders, fromAPI(ordersID), decision.None},
		{"one of several", orders, fromAPI("spiffe://mesh/ns/shop/sa/stock," + ordersID), decision.None},
		{"of an allowed namespace", orders, fromAPI("spiffe://mesh/ns/shop/*"), decision.None},
		{"of the trust domain", orders, fromAPI("spiffe://mesh/*"), decision.None},
		{"somebody else", orders, fromAPI("spiffe://mesh/ns/shop/sa/stock"), decision.UpstreamNotAllowed},
		{"of another namespace", orders, fromAPI("spiffe://mesh/ns/sho/*"), decision.UpstreamNotAllowed},
		{"by another authority", theirs.identity(t, soon, ordersID), fromAPI(ordersID), decision.TLSFailed},
		{"of a trust domain that nobody vouches for", ours.identity(t, soon, "spiffe://other.org/x"), fromAPI("spiffe://other.org/x"), decision.TLSFailed},
		{"expired", ours.identity(t, time.Now().Add(-time.Minute), ordersID), fromAPI(ordersID), decision.TLSFailed},
		{"revoked", orders, revoked, decision.TLSFailed},
		{"a certificate of a name", ours.pair(t, "orders.shop", soon), fromAPI("spiffe://mesh/*"), decision.TLSFailed},
		{"two at once", ours.identity(t, soon, ordersID, "spiffe://mesh/ns/shop/sa/stock"), fromAPI("spiffe://mesh/*"), decision.TLSFailed},
		{"the authority itself", authorityItself, fromAPI("spiffe://mesh/*"), decision.TLSFailed},
		{"by an authority from a file", orders, fromFiles(ordersID), decision.None},
		{"somebody else, by an authority from a file", orders, fromFiles("spiffe://mesh/ns/shop/sa/stock"), decision.UpstreamNotAllowed},
		{"by another authority than that of the file", theirs.identity(t, soon, ordersID), fromFiles(ordersID), decision.TLSFailed},
	} {
		for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s, TLS 1.%d", row.name, most-tls.VersionTLS10), func(t *testing.T) {
				addr, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{row.server}, MaxVersion: most})
				u, _, reason, err := dialMesh(t, newWorkload(t, ours, gatewayID), Spec{TLS: row.client}, addr)
				if reason != row.want {
					t.Fatalf("got %v (%v), want %v", reason, err, row.want)
				}
				if row.want == decision.UpstreamNotAllowed && !strings.Contains(err.Error(), ordersID) {
					t.Errorf("the error does not say who it was: %v", err)
				}
				if s := u.Stats(); row.want != decision.None && (s.TLSFailed != 1 || s.Active != 0) {
					t.Errorf("got %+v, want one failed handshake", s)
				}
			})
		}
	}
}

// Without an SVID nothing is sent, not even a ClientHello: an upstream that asks for none
// would else be spoken to in nobody's name.
func TestNothingIsSentWithoutAnSVID(t *testing.T) {
	ours := newAuthority(t, "ours")
	addr, seen := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ours.identity(t, time.Now().Add(time.Hour), ordersID)}})
	w := newWorkload(t, ours, gatewayID)
	w.svid.Store(nil)
	for name, workload := range map[string]spiffe.Workload{"an agent that is down": w, "no agent": nil} {
		for _, h2 := range []bool{false, true} {
			_, _, reason, err := dialMesh(t, workload, Spec{HTTP2: h2, TLS: Origination{SPIFFE: ordersID, Workload: true}}, addr)
			if reason != decision.SVIDMissing || !errors.Is(err, errNoSVID) {
				t.Errorf("%s, HTTP/2 %v: got %v (%v), want svid_missing", name, h2, reason, err)
			}
		}
	}
	if len(seen) > 0 {
		t.Errorf("the upstream was spoken to")
	}
}

func TestEveryHandshakeShowsTheSVIDOfItsTime(t *testing.T) {
	ours := newAuthority(t, "ours")
	addr, seen := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ours.identity(t, time.Now().Add(time.Hour), ordersID)}, ClientAuth: tls.RequireAnyClientCert})
	w := newWorkload(t, ours, gatewayID)
	u, _, _, err := dialMesh(t, w, Spec{TLS: Origination{SPIFFE: ordersID, Workload: true}}, addr)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		state, want := <-seen, w.svid.Load().Certificates[0]
		if state.DidResume || !state.PeerCertificates[0].Equal(want) {
			t.Errorf("resumed %v, shown %v, want %v", state.DidResume, state.PeerCertificates[0].SerialNumber, want.SerialNumber)
		}
		w.svid.Store(ours.svid(t, time.Now().Add(time.Hour), gatewayID))
		link, _, err := u.Fresh(time.Now(), Choice{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { link.(carrier).Close() })
	}
}

// A connection is used as long as both ends are still who they were: the first certificate
// that expires ends it.
func TestConnectionsEndWithTheirIdentities(t *testing.T) {
	ours := newAuthority(t, "ours")
	now := time.Now()
	for _, row := range []struct {
		name           string
		client, server time.Duration
		want           time.Duration
	}{
		{"the gateway's first", time.Minute, time.Hour, time.Minute},
		{"the upstream's first", time.Hour, time.Minute, time.Minute},
	} {
		addr, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ours.identity(t, now.Add(row.server), ordersID)}})
		w := newWorkload(t, ours, gatewayID)
		w.svid.Store(ours.svid(t, now.Add(row.client), gatewayID))
		u, _, _, err := dialMesh(t, w, Spec{TLS: Origination{SPIFFE: ordersID, Workload: true}}, addr)
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{end: u.ends.Load().list[0], born: now, rest: now, under: u.tls.Load()}
		raw, secure, _, err := u.socket(c.end, now.Add(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		c.until = u.until(secure)
		if before, after := now.Add(row.want-2*time.Second), now.Add(row.want+time.Second); c.old(before) || !c.old(after) {
			t.Errorf("%s: used until %v, want %v", row.name, c.until.Sub(now), row.want)
		}
		if s := (&shared{end: c.end, born: now, under: c.under, until: c.until}); !s.old(now.Add(row.want + time.Second)) {
			t.Errorf("%s: a shared connection goes on", row.name)
		}
	}
}

func TestWhomContextsAllow(t *testing.T) {
	ours := newAuthority(t, "ours")
	cert, key := ours.issue(t, "legate", time.Now().Add(time.Hour))
	list, ca := string(ours.revoke(t, 9)), string(ours.pem)
	broken := ca + "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"
	world := &config.World{Secrets: []config.Secret{
		{Meta: meta("Secret", "client", "team"), Data: map[string][]byte{"tls.crt": cert, "tls.key": key}},
		{Meta: meta("Secret", "ca", "team"), Data: map[string][]byte{"tls.crt": ours.pem}},
		{Meta: meta("Secret", "mixed", "team"), Data: map[string][]byte{"tls.crt": []byte(broken)}},
		{Meta: meta("Secret", "istio", "team"), Data: map[string][]byte{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": ours.pem}},
		{Meta: meta("Secret", "crl", "team"), Data: map[string][]byte{"crl.pem": []byte(list)}},
	}}
	for _, row := range []struct {
		name     string
		ctx      config.TLSContext
		none     bool // there is no Workload API
		want     Origination
		problems []string
	}{
		{name: "all from the Workload API", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}}},
			want: Origination{SPIFFE: ordersID, Workload: true}},
		{name: "in one text", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID + ", spiffe://mesh/ns/shop/*"}}},
			want: Origination{SPIFFE: ordersID + ",spiffe://mesh/ns/shop/*", Workload: true}},
		{name: "with revocations", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}, CRLSecret: "crl"}},
			want: Origination{SPIFFE: ordersID, Workload: true, CRL: list}},
		{name: "without a Workload API", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}}}, none: true,
			want: Origination{SPIFFE: ordersID}, problems: []string{"spiffe_ids: route_closed", "tls: route_closed"}},
		{name: "one that is none", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{"orders", ordersID}}},
			want: Origination{SPIFFE: ordersID, Workload: true}, problems: []string{"spiffe_ids: field_ignored"}},
		{name: "none that is one", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{"orders"}}},
			problems: []string{"spiffe_ids: field_ignored", "spiffe_ids: route_closed", "tls: route_closed"}},
		{name: "nobody", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{}}},
			problems: []string{"spiffe_ids: route_closed", "tls: route_closed"}},
		{name: "authorities of its own", ctx: config.TLSContext{Secret: "client", TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}, CASecret: "ca"}}, none: true,
			want: Origination{SPIFFE: ordersID, Cert: string(cert), Key: Secret(key), CA: ca}},
		{name: "Istio's", ctx: config.TLSContext{Secret: "istio", TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}}}, none: true,
			want: Origination{SPIFFE: ordersID, Cert: string(cert), Key: Secret(key), CA: ca}},
		{name: "a certificate alone", ctx: config.TLSContext{Secret: "client", TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}}},
			want: Origination{SPIFFE: ordersID, Cert: string(cert), Key: Secret(key)}, problems: []string{"spiffe_ids: route_closed", "tls: route_closed"}},
		{name: "a certificate that is not there", ctx: config.TLSContext{Secret: "gone", TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}}},
			want: Origination{SPIFFE: ordersID}, problems: []string{"secret: field_ignored", "spiffe_ids: route_closed", "tls: route_closed"}},
		{name: "authorities that are not there", ctx: config.TLSContext{TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}, CASecret: "gone"}},
			want: Origination{SPIFFE: ordersID}, problems: []string{"ca_secret: route_closed", "tls: route_closed"}},
		{name: "authorities that cannot all be read", ctx: config.TLSContext{Secret: "client", TLSSettings: config.TLSSettings{SPIFFEIDs: []string{ordersID}, CASecret: "mixed"}},
			want: Origination{SPIFFE: ordersID, Cert: string(cert), Key: Secret(key), CA: broken}, problems: []string{"spiffe_ids: route_closed", "tls: route_closed"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.ctx.Meta, row.want.On = meta("TLSContext", "ctx", "team"), true
			world.TLSContexts = []config.TLSContext{row.ctx}
			m := mapping("team", "foo")
			m.TLS = "ctx"
			spec, problems := SpecOf(m, nil, world, Options{NoWorkload: row.none})
			if got := effects(problems); !slices.Equal(got, row.problems) {
				t.Fatalf("got problems %v, want %q", problems, row.problems)
			}
			if spec.TLS.Context = ""; spec.TLS != row.want {
				t.Errorf("got %+v, want %+v", spec.TLS, row.want)
			}
			if closed := spec.Host == ""; closed != slices.Contains(row.problems, "tls: route_closed") {
				t.Errorf("closed: %v", closed)
			}
			if spec.Host != "" {
				spec.TLS.config(nil, time.Now) // must not panic
			}
		})
	}
}

func TestWhatIsOfferedToProxiesOfIstio(t *testing.T) {
	for _, row := range []struct {
		protocols []string
		h2        bool
		want      string
		problems  []string
	}{
		{[]string{"istio"}, false, "istio", nil},
		{[]string{"istio"}, true, "istio,h2", nil},
		{[]string{"istio, h2"}, false, "istio", nil},
		{[]string{"istio-http/1.1", "istio", "http/1.1"}, true, "istio-http/1.1,istio,h2", nil},
		{[]string{"http/1.1"}, true, "h2", nil},
		{nil, true, "h2", nil},
		{[]string{"istio-peer-exchange", "istio"}, false, "istio", []string{"alpn_protocols: field_ignored"}},
		{[]string{"istio-peer-exchange,istio,h2"}, true, "istio,h2", []string{"alpn_protocols: field_ignored"}},
	} {
		world := &config.World{TLSContexts: []config.TLSContext{{Meta: meta("TLSContext", "ctx", "team"), TLSSettings: config.TLSSettings{ALPNProtocols: row.protocols}}}}
		m := mapping("team", "foo")
		m.TLS, m.GRPC = "ctx", row.h2
		spec, problems := SpecOf(m, nil, world, Options{})
		if got := effects(problems); spec.TLS.ALPN != row.want || !slices.Equal(got, row.problems) {
			t.Errorf("%q, HTTP/2 %v: offered %q with problems %v, want %q with %q", row.protocols, row.h2, spec.TLS.ALPN, problems, row.want, row.problems)
		}
	}
}
