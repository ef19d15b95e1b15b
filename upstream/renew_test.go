package upstream

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

// A guest book is a service that writes down the serial number of every client's certificate.
type guestBook struct {
	mu      sync.Mutex
	serials []int64
}

func (g *guestBook) note(cs tls.ConnectionState) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serials = append(g.serials, cs.PeerCertificates[0].SerialNumber.Int64())
	return nil
}

func (g *guestBook) read() []int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.serials)
}

// A certificate that is renewed is shown from the next handshake on, and the upstream, its
// counters and its limits stay.
func TestRenewedCertificates(t *testing.T) {
	ours, soon := newAuthority(t, "ours"), time.Now().Add(time.Hour)
	var guests guestBook
	s := startPlainServer(t, &tls.Config{Certificates: []tls.Certificate{ours.pair(t, "x", soon)}, ClientAuth: tls.RequireAnyClientCert, VerifyConnection: guests.note})
	ap := netip.MustParseAddrPort(s.addr)
	spec := func(context string, change func(o *Origination)) Spec {
		cert, key := ours.issue(t, "legate", soon)
		o := Origination{On: true, Context: context, Cert: string(cert), Key: Secret(key)}
		if change != nil {
			change(&o)
		}
		return Spec{Host: ap.Addr().String(), Port: ap.Port(), TLS: o, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour}
	}
	r := newTestResolver(t, Options{})
	before, after := spec("mesh.team", nil), spec("mesh.team", func(o *Origination) { o.CA = string(ours.pem) })
	first := NewSet(r, &config.World{}, nil, nil)
	c := &caller{up: first.Get(before)}
	c.req.BuildRequest("GET", "example.com", "/")
	first.Start()
	c.call(t, time.Now())
	if !c.call(t, time.Now()) {
		t.Fatal("the pool was not used")
	}

	second := NewSet(r, &config.World{}, first, nil)
	if second.Get(after) != c.up {
		t.Fatal("the upstream is another one")
	}
	if !c.call(t, time.Now()) {
		t.Error("the pool was emptied before the new configuration serves")
	}
	second.Start()
	first.Retire(second)
	if c.call(t, time.Now()) {
		t.Error("a connection under the old certificate was used")
	}
	if !c.call(t, time.Now()) {
		t.Error("the pool was not used")
	}
	if got := guests.read(); len(got) != 2 {
		t.Errorf("%d handshakes, want 2", len(got))
	}
	if got := c.up.Stats(); got.Opened != 2 || got.Closed != 1 || got.Idle != 1 {
		t.Errorf("the counters did not go on: %+v", got)
	}
	if got := second.ClientCertificates(); len(got) != 1 || !got["mesh.team"].NotAfter.Equal(soon.Truncate(time.Second)) {
		t.Errorf("client certificates expire at %v, want %v", got, soon)
	}
	if before.Cluster() != after.Cluster() || before.Service() != after.Service() {
		t.Error("limits and breakers are other ones")
	}

	third := NewSet(r, &config.World{}, second, nil)
	for _, row := range []struct {
		name string
		spec Spec
		same bool
	}{
		{"nothing is new", after, true},
		{"another context", spec("other.team", nil), false},
		{"another server name", spec("mesh.team", func(o *Origination) { o.ServerName = "x" }), false},
		{"no context", spec("", nil), false},
		{"renewed, but the old one serves as well", spec("mesh.team", nil), false},
	} {
		if same := third.Get(row.spec) == c.up; same != row.same {
			t.Errorf("%s: the same upstream: %v", row.name, same)
		}
	}
	third.Retire(nil)
}

// Exchanges that share a connection go on under the old certificate, and new ones do not join
// them.
func TestRenewedSharedConnections(t *testing.T) {
	u, made := sharing(t, Spec{}, 100, nil)
	connect := u.connectMux
	u.connectMux = func(s *shared, by time.Time) (decision.Reason, error) {
		s.under = u.tls.Load()
		return connect(s, by)
	}
	old := openStream(t, u)
	u.renew(u.key, &tls.Config{MinVersion: tls.VersionTLS13})
	for range 2 {
		if next := openStream(t, u); next.m == old.m || next.m.leaving.Load() {
			t.Error("an exchange joined those under the old certificate")
		}
	}
	if old.m.shut.Load() || !old.m.leaving.Load() || made.Load() != 2 {
		t.Errorf("ended: %v, takes no more: %v, %d connections; want one that ends with its last exchange, and one more", old.m.shut.Load(), old.m.leaving.Load(), made.Load())
	}
	if old.Release(); !old.m.shut.Load() {
		t.Error("the old connection stayed")
	}
}

// Whoever shows a certificate whose time is over, or has not come, is told, and shows it.
func TestClientCertificateDates(t *testing.T) {
	ours, now := newAuthority(t, "ours"), time.Now()
	cert, key := ours.issue(t, "legate", now.Add(time.Hour)) // valid for the hour before as well
	world := &config.World{
		Secrets:     []config.Secret{{Meta: meta("Secret", "client", "team"), Data: map[string][]byte{"tls.crt": cert, "tls.key": key}}},
		TLSContexts: []config.TLSContext{{Meta: meta("TLSContext", "mesh", "team"), Secret: "client"}},
	}
	m := mapping("team", "foo")
	m.TLS = "mesh"
	for _, row := range []struct {
		at   time.Duration
		want string
	}{
		{0, ""},
		{2 * time.Hour, "the client certificate expired on "},
		{-2 * time.Hour, "the client certificate is not valid before "},
	} {
		spec, problems := SpecOf(m, nil, world, Options{Now: func() time.Time { return now.Add(row.at) }})
		if spec.TLS.Cert != string(cert) {
			t.Errorf("at %v: it is not shown", row.at)
		}
		switch {
		case row.want == "" && len(problems) > 0:
			t.Errorf("at %v: %v", row.at, problems)
		case row.want != "" && (len(problems) != 1 || problems[0].Field != "secret" || problems[0].Effect != config.Notice || !strings.HasPrefix(problems[0].Msg, row.want)):
			t.Errorf("at %v: got %v, want %q", row.at, problems, row.want)
		}
	}
}
