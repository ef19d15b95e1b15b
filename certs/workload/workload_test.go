package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const gatewayID = "spiffe://mesh/ns/ambassador/sa/legate"

// An agent is a Workload API whose answers the test gives.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	answers chan answer
}

// An answer is sent to who asks, or ends the call.
type answer struct {
	response *workload.X509SVIDResponse
	err      error
}

func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md["workload.spiffe.io"]) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	for {
		select {
		case next := <-a.answers:
			if next.err != nil {
				return next.err
			}
			if err := stream.Send(next.response); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// serve answers on the socket until the returned function is called.
func (a *agent) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	return func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// An issuer makes SVIDs of one trust domain.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mesh"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	return &issuer{sign(t, template, template, &key.PublicKey, key), key}
}

func sign(t *testing.T, template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// answer is an SVID of id with a serial number, which ends at a time.
func (i *issuer) answer(t *testing.T, id string, serial int64, until time.Time) answer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	cert := sign(t, &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature}, i.cert, &key.PublicKey, i.key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response: &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
		SpiffeId: id, X509Svid: cert.Raw, X509SvidKey: pkcs8, Bundle: i.cert.Raw,
	}}}}
}

// A follower is a Source that runs, and what it was told.
type follower struct {
	*Source
	words chan Word
}

func follow(t *testing.T, socket string) *follower {
	t.Helper()
	addr, err := Address(socket)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{words: make(chan Word, 64)}
	f.Source, err = New(Options{Address: addr, Log: slog.New(slog.DiscardHandler), Told: func(w Word) { f.words <- w }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// next returns what the source is told next that is, or is no, failure.
func (f *follower) next(t *testing.T, failure bool) Word {
	t.Helper()
	for {
		select {
		case w := <-f.words:
			if (w.Err != nil) == failure {
				return w
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing is said")
		}
	}
}

// shows reports the serial number of the SVID that counts.
func (f *follower) shows(t *testing.T, serial int64) {
	t.Helper()
	svid, err := f.GetX509SVID()
	if err != nil || svid.ID.String() != gatewayID || svid.Certificates[0].SerialNumber.Int64() != serial {
		t.Errorf("got %v (%v), want serial number %d", svid, err, serial)
	}
}

func TestSVIDsAreFollowed(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("until it ends", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "agent.sock")
		mesh, a := newIssuer(t), &agent{answers: make(chan answer)}
		defer a.serve(t, socket)()
		f := follow(t, socket)
		for serial := range int64(3) {
			a.answers <- mesh.answer(t, gatewayID, serial+10, time.Now().Add(time.Hour))
			f.next(t, false)
			f.shows(t, serial+10)
		}
		other := newIssuer(t)
		a.answers <- other.answer(t, gatewayID, 20, time.Now().Add(time.Hour))
		f.next(t, false)
		bundle, err := f.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("mesh"))
		if err != nil || !bundle.HasX509Authority(other.cert) || bundle.HasX509Authority(mesh.cert) {
			t.Errorf("authorities are not those said last: %v (%v)", bundle, err)
		}
		if _, err := f.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("other")); err == nil {
			t.Error("there are authorities for a trust domain that nobody named")
		}
	})
}

// What the agent says that cannot be, and that it says nothing any more, changes nothing of
// what it said before.
func TestWhatWasSaidLastCounts(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	mesh, a := newIssuer(t), &agent{answers: make(chan answer)}
	stop := a.serve(t, socket)
	f := follow(t, socket)
	a.answers <- mesh.answer(t, gatewayID, 1, time.Now().Add(time.Hour))
	f.next(t, false)
	broken := func(change func(*workload.X509SVID)) answer {
		said := mesh.answer(t, gatewayID, 99, time.Now().Add(time.Hour))
		change(said.response.Svids[0])
		return said
	}
	for name, said := range map[string]answer{
		"no SVID":                   {response: &workload.X509SVIDResponse{}},
		"no certificate":            broken(func(s *workload.X509SVID) { s.X509Svid = nil }),
		"rubbish for a certificate": broken(func(s *workload.X509SVID) { s.X509Svid = []byte("rubbish") }),
		"rubbish for a key":         broken(func(s *workload.X509SVID) { s.X509SvidKey = []byte("rubbish") }),
		"another's key": broken(func(s *workload.X509SVID) {
			s.X509SvidKey = broken(func(*workload.X509SVID) {}).response.Svids[0].X509SvidKey
		}),
		"rubbish for authorities":       broken(func(s *workload.X509SVID) { s.Bundle = []byte("rubbish") }),
		"an authority for an SVID":      broken(func(s *workload.X509SVID) { s.X509Svid = mesh.cert.Raw }),
		"an SVID that has expired":      mesh.answer(t, gatewayID, 99, time.Now().Add(-time.Minute)),
		"the gateway is unknown":        {err: status.Error(codes.PermissionDenied, "no identity issued")},
		"the question is called wrong":  {err: status.Error(codes.InvalidArgument, "no")},
		"the call is called off":        {err: status.Error(codes.Canceled, "shutting down")},
		"the agent does not speak this": {err: status.Error(codes.Unimplemented, "no")},
	} {
		t.Run(name, func(t *testing.T) {
			a.answers <- said
			if w := f.next(t, true); w.SVID.Certificates[0].SerialNumber.Int64() != 1 {
				t.Errorf("told of serial number %v", w.SVID.Certificates[0].SerialNumber)
			}
			f.shows(t, 1)
		})
	}
	stop()
	f.next(t, true)
	f.shows(t, 1)
	defer a.serve(t, socket)() // the agent comes back
	a.answers <- mesh.answer(t, gatewayID, 2, time.Now().Add(time.Hour))
	f.next(t, false)
	f.shows(t, 2)
}

func TestAnAgentThatComesLate(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	f := follow(t, socket)
	if w := f.next(t, true); w.SVID != nil {
		t.Errorf("got %v", w.SVID)
	}
	if _, err := f.GetX509SVID(); err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("got %v, want an error that says who was asked", err)
	}
	if _, err := f.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("mesh")); err == nil {
		t.Error("there are authorities")
	}
	f.Ready(t.Context()) // must not block: it is known that there is none
	a := &agent{answers: make(chan answer)}
	defer a.serve(t, socket)()
	a.answers <- newIssuer(t).answer(t, gatewayID, 1, time.Now().Add(time.Hour))
	f.next(t, false)
	f.shows(t, 1)
}

func TestSVIDsEnd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	a := &agent{answers: make(chan answer)}
	defer a.serve(t, socket)()
	f := follow(t, socket)
	a.answers <- newIssuer(t).answer(t, gatewayID, 1, time.Now().Add(time.Hour))
	f.next(t, false)
	f.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, err := f.GetX509SVID(); !errors.Is(err, errNotRenewed) {
		t.Errorf("got %v, want that it was not renewed", err)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"/run/spire/agent.sock":        "unix:///run/spire/agent.sock",
		"unix:///run/spire/agent.sock": "unix:///run/spire/agent.sock",
		"tcp://127.0.0.1:8081":         "tcp://127.0.0.1:8081",
		"":                             "",
		"agent.sock":                   "",
		"unix:agent.sock":              "",
		"tcp://agent:8081":             "",
		"http://127.0.0.1:8081":        "",
	} {
		if got, err := Address(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q (%v), want %q", text, got, err, want)
		}
	}
}
