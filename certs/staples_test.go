package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"legate/config"
)

// A responder answers about the certificates of an authority as a test has it.
type responder struct {
	*authority
	t      *testing.T
	url    string
	answer atomic.Pointer[func(w http.ResponseWriter, q *ocsp.Request)]
	asked  atomic.Int64
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{authority: newAuthority(t, "ca"), t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		text, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		q, err := ocsp.ParseRequest(text)
		if err != nil || req.Header.Get("Content-Type") != "application/ocsp-request" {
			t.Errorf("asked for %v as %s", err, req.Header.Get("Content-Type"))
			return
		}
		(*r.answer.Load())(w, q)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *responder) says(answer func(w http.ResponseWriter, q *ocsp.Request)) {
	r.answer.Store(&answer)
}

// signed answers what template has, signed by signer.
func (r *responder) signed(template ocsp.Response, signer *x509.Certificate, key crypto.Signer) {
	r.t.Helper()
	r.says(func(w http.ResponseWriter, q *ocsp.Request) {
		if template.SerialNumber == nil {
			template.SerialNumber = q.SerialNumber
		}
		text, err := ocsp.CreateResponse(r.cert, signer, template, key)
		if err != nil {
			r.t.Error(err)
		}
		_, _ = w.Write(text)
	})
}

// good is a template that is good for life from at.
func good(at time.Time, life time.Duration) ocsp.Response {
	return ocsp.Response{Status: ocsp.Good, ThisUpdate: at, NextUpdate: at.Add(life)}
}

// issue signs a certificate that names r, and that must be shown with its answer if must is set.
func (r *responder) chain(t *testing.T, must bool, name string) (cert, key []byte) {
	t.Helper()
	k := ecKey(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(7), DNSNames: []string{name}, OCSPServer: []string{r.url},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if must {
		value, err := asn1.Marshal([]int{5})
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: value}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, k.Public(), r.key)
	if err != nil {
		t.Fatal(err)
	}
	return append(encodePEM("CERTIFICATE", der), r.pem...), pkcs8(t, k)
}

// delegate signs a certificate for who answers in r's place.
func (r *responder) delegate(usage ...x509.ExtKeyUsage) (*x509.Certificate, crypto.Signer) {
	r.t.Helper()
	k := ecKey(r.t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "delegate"}, SerialNumber: big.NewInt(8), NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), ExtKeyUsage: usage}
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, k.Public(), r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	c, _ := x509.ParseCertificate(der)
	return c, k
}

// A stapled is a Host whose certificate names a responder, at a time that the test sets.
type stapled struct {
	*responder
	world   world
	staples *Staples
	clock   atomic.Int64 // nanoseconds after now
	changed atomic.Int64
	built   *Built
}

func newStapled(t *testing.T, must bool) *stapled {
	t.Helper()
	s := &stapled{responder: newResponder(t)}
	s.staples = NewStaples(StapleOptions{Log: slog.New(slog.DiscardHandler), Now: s.now, Changed: func() { s.changed.Add(1) }})
	t.Cleanup(s.staples.Close)
	cert, key := s.chain(t, must, "shop.example.com")
	s.world.Secrets = []config.Secret{{Meta: config.Meta{Kind: "Secret", Name: "shop", Namespace: "shop"}, Type: "kubernetes.io/tls", Data: map[string][]byte{"tls.crt": cert, "tls.key": key}}}
	s.world.listener(8443)
	s.world.host("shop", "shop.example.com", "shop")
	s.build()
	return s
}

func (s *stapled) now() time.Time { return now.Add(time.Duration(s.clock.Load())) }

func (s *stapled) build() {
	s.built = Build(&s.world.World, Options{Now: s.now(), Staples: s.staples}, s.built)
}

// staple is that of the Host's certificate.
func (s *stapled) staple() *Staple { return s.built.Certificates[0].Staple }

// problems are what the World's author is told.
func (s *stapled) problems() (said string) {
	s.build()
	for _, p := range s.built.Problems {
		said += p.Msg + "\n"
	}
	return said
}

// shown is the answer that a handshake shows.
func (s *stapled) shown() []byte {
	s.t.Helper()
	return s.handshake().OCSPResponse
}

func (s *stapled) handshake() tls.ConnectionState {
	s.t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() { _ = tls.Server(server, s.built.Table.Config(0, "shop.example.com")).Handshake() }()
	roots := x509.NewCertPool()
	roots.AddCert(s.cert)
	c := tls.Client(client, &tls.Config{ServerName: "shop.example.com", RootCAs: roots, Time: s.now})
	if err := c.HandshakeContext(s.t.Context()); err != nil {
		s.t.Fatalf("handshake: %v", err)
	}
	return c.ConnectionState()
}

// What responders say is shown if it is good, and only what clients would take.
func TestWhatRespondersSay(t *testing.T) {
	other := newAuthority(t, "ca")
	for _, c := range []struct {
		name   string
		says   func(r *responder)
		status string // that is told
		error  string // part of it; "" for none
		shown  bool
	}{
		{"good", func(r *responder) { r.signed(good(now, time.Hour), r.cert, r.key) }, "good", "", true},
		{"good without an end", func(r *responder) {
			r.signed(ocsp.Response{Status: ocsp.Good, ThisUpdate: now}, r.cert, r.key)
		}, "good", "", true},
		{"good, by a delegate", func(r *responder) {
			cert, key := r.delegate(x509.ExtKeyUsageOCSPSigning)
			template := good(now, time.Hour)
			template.Certificate = cert
			r.signed(template, cert, key)
		}, "good", "", true},
		{"by somebody of the same authority", func(r *responder) {
			cert, key := r.delegate(x509.ExtKeyUsageServerAuth)
			template := good(now, time.Hour)
			template.Certificate = cert
			r.signed(template, cert, key)
		}, "", "signed by somebody who may not", false},
		{"by another authority", func(r *responder) { r.signed(good(now, time.Hour), r.cert, other.key) }, "", "bad OCSP signature", false},
		{"revoked", func(r *responder) {
			r.signed(ocsp.Response{Status: ocsp.Revoked, RevokedAt: now, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, r.cert, r.key)
		}, "revoked", "", false},
		{"unknown", func(r *responder) {
			r.signed(ocsp.Response{Status: ocsp.Unknown, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, r.cert, r.key)
		}, "unknown", "", false},
		{"of another certificate", func(r *responder) {
			template := good(now, time.Hour)
			template.SerialNumber = big.NewInt(99)
			r.signed(template, r.cert, r.key)
		}, "", "no response matching", false},
		{"of yesterday", func(r *responder) { r.signed(good(now.Add(-25*time.Hour), time.Hour), r.cert, r.key) }, "", "has ended at", false},
		{"of tomorrow", func(r *responder) { r.signed(good(now.Add(24*time.Hour), time.Hour), r.cert, r.key) }, "", "which is to come", false},
		{"a page", func(r *responder) {
			r.says(func(w http.ResponseWriter, _ *ocsp.Request) { _, _ = io.WriteString(w, "<html>") })
		}, "", "asn1", false},
		{"an error", func(r *responder) {
			r.says(func(w http.ResponseWriter, _ *ocsp.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		}, "", "it answers 503", false},
		{"try later", func(r *responder) {
			r.says(func(w http.ResponseWriter, _ *ocsp.Request) { _, _ = w.Write(ocsp.TryLaterErrorResponse) })
		}, "", "try later", false},
		{"without end", func(r *responder) {
			r.says(func(w http.ResponseWriter, _ *ocsp.Request) { _, _ = w.Write(make([]byte, 2*maxAnswer)) })
		}, "", "too long", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, must := range []bool{false, true} {
				s := newStapled(t, must)
				c.says(s.responder)
				wait := s.staple().step(t.Context())
				state := s.staple().State()
				if state.Status != c.status || !strings.Contains(state.Error, c.error) || c.error == "" && state.Error != "" {
					t.Errorf("told: %+v", state)
				}
				if got := s.shown(); (got != nil) != c.shown {
					t.Errorf("shown: %x", got)
				}
				if refused := must && !c.shown || c.status == "revoked"; (s.problems() != "") != refused || (s.changed.Load() > 0) != refused {
					t.Errorf("must be shown: %v, problems %q, changes %d", must, s.problems(), s.changed.Load())
				}
				if wait < retryFirst-time.Second || wait > time.Hour || s.asked.Load() != 1 {
					t.Errorf("asks again in %v, asked %d times", wait, s.asked.Load())
				}
			}
		})
	}
}

// An answer is asked for anew in the middle of its life. While nobody gives one the old one is
// shown until it ends, and then none; a certificate that must be shown with one is told of.
func TestResponderIsDown(t *testing.T) {
	s := newStapled(t, true)
	s.signed(good(now, 8*time.Hour), s.cert, s.key)
	down := func(w http.ResponseWriter, _ *ocsp.Request) { w.WriteHeader(http.StatusBadGateway) }
	for _, row := range []struct {
		name    string
		at      time.Duration
		do      func()
		asked   int64 // until then
		shown   bool
		problem string // part of it; "" for none
	}{
		{"at first", 0, func() {}, 1, true, ""},
		{"early", 3 * time.Hour, func() { s.says(down) }, 1, true, ""},
		{"in the middle", 4 * time.Hour, func() {}, 2, true, ""},
		{"at once again", 4 * time.Hour, func() {}, 2, true, ""},
		{"later", 5 * time.Hour, func() {}, 3, true, ""},
		{"at its end", 8 * time.Hour, func() {}, 4, false, "must be shown with its authority's answer, and there is none: it answers 502"},
		{"back again", 9 * time.Hour, func() { s.signed(good(now.Add(9*time.Hour), 8*time.Hour), s.cert, s.key) }, 5, true, ""},
		{"the clock is set back", -300 * 24 * time.Hour, func() { s.signed(good(now.Add(-300*24*time.Hour), 8*time.Hour), s.cert, s.key) }, 6, true, ""},
	} {
		s.clock.Store(int64(row.at))
		row.do()
		s.staple().step(t.Context())
		if got := s.shown(); (got != nil) != row.shown || s.asked.Load() != row.asked {
			t.Errorf("%s: shown %v, asked %d times; %+v", row.name, got != nil, s.asked.Load(), s.staple().State())
		}
		if got := s.problems(); !strings.Contains(got, row.problem) || row.problem == "" && got != "" {
			t.Errorf("%s: problems %q", row.name, got)
		}
	}
}

// A responder that says nothing at all holds up no handshake. Whoever is no longer wanted is
// asked about no more, and shows no answer whose end nobody sees to.
func TestResponderHangs(t *testing.T) {
	s := newStapled(t, false)
	asked, ends := make(chan struct{}), make(chan struct{})
	defer close(ends)
	s.says(func(http.ResponseWriter, *ocsp.Request) {
		close(asked)
		<-ends
	})
	s.staples.Want(s.built)
	<-asked
	if s.shown() != nil {
		t.Error("an answer is shown that nobody gave")
	}
	s.staples.Want(&Built{})
	s.staples.Close() // does not wait for the responder
	if len(s.staples.kept) > 0 {
		t.Error("what nobody wants is kept")
	}
}

// A certificate that is carried over keeps its answer, and another one gets its own.
func TestAnswerIsCarriedOver(t *testing.T) {
	s := newStapled(t, false)
	s.signed(good(now, time.Hour), s.cert, s.key)
	before := s.staple()
	before.step(context.Background())
	s.build()
	if s.staple() != before || s.shown() == nil {
		t.Error("the answer is lost where nothing has changed")
	}
	cert, key := s.chain(t, false, "shop.example.com")
	s.world.Secrets[0].Data = map[string][]byte{"tls.crt": cert, "tls.key": key}
	s.build()
	if s.staple() == before || s.shown() != nil {
		t.Error("a new certificate is shown with the answer of another")
	}
}

// A chain that is mended behind the same certificate is shown from then on, with the answer.
func TestChainIsMended(t *testing.T) {
	s := newStapled(t, false)
	s.signed(good(now, time.Hour), s.cert, s.key)
	s.staple().step(t.Context())
	data := s.world.Secrets[0].Data
	s.world.Secrets[0].Data = map[string][]byte{"tls.crt": append(data["tls.crt"], newAuthority(t, "above").pem...), "tls.key": data["tls.key"]}
	before := s.staple()
	s.build()
	if got := s.handshake(); len(got.PeerCertificates) != 3 || got.OCSPResponse == nil || s.staple() != before {
		t.Errorf("shown are %d certificates, with answer %v", len(got.PeerCertificates), got.OCSPResponse != nil)
	}
}

// With every change all certificates are looked at again: the signatures of a chain that is known
// are not.
func TestKnownChain(t *testing.T) {
	s := newStapled(t, false)
	c := &s.built.Table.Config(0, "shop.example.com").Certificates[0]
	if n := testing.AllocsPerRun(10, func() { s.staples.of(c) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
	s.staples.Want(&Built{})
	if len(s.staples.chains) > 0 || s.staples.of(c) == s.staple() {
		t.Error("what nobody wants is kept")
	}
}

// Nobody is asked twice a minute who gives one answer until its end, or does not say when that is.
func TestWhenAnswersAreAskedForAgain(t *testing.T) {
	const never = 0
	for _, row := range []struct {
		name           string
		age, life      time.Duration // of the answer when it is given
		refresh, shown time.Duration // after that
	}{
		{"fresh", 0, 8 * time.Hour, 4 * time.Hour, 8 * time.Hour},
		{"two thirds over", 8 * time.Hour, 12 * time.Hour, 2 * time.Hour, 4 * time.Hour},
		{"nearly over", time.Hour, time.Hour + 40*time.Second, retryFirst, 40 * time.Second},
		{"of a month", 0, 30 * 24 * time.Hour, askSeldom, 30 * 24 * time.Hour},
		{"without an end", 0, never, 12 * time.Hour, answerLife},
		{"old and without an end", 48 * time.Hour, never, 12 * time.Hour, answerLife},
	} {
		s := newStapled(t, false)
		answer := good(now.Add(-row.age), row.life)
		if row.life == never {
			answer.NextUpdate = time.Time{}
		}
		s.signed(answer, s.cert, s.key)
		s.staple().step(t.Context())
		if got := s.staple().State(); !got.Refresh.Equal(now.Add(row.refresh)) || !got.Ends.Equal(now.Add(row.shown)) {
			t.Errorf("%s: asked for again in %v and shown for %v, want %v and %v", row.name, got.Refresh.Sub(now), got.Ends.Sub(now), row.refresh, row.shown)
		}
	}
}

// What must be shown with an answer and cannot be is told.
func TestMustStapleWithoutResponder(t *testing.T) {
	s := newStapled(t, true)
	leaf, _, _ := strings.Cut(string(s.world.Secrets[0].Data["tls.crt"]), "-----END CERTIFICATE-----")
	s.world.Secrets[0].Data["tls.crt"] = []byte(leaf + "-----END CERTIFICATE-----\n")
	if got := s.problems(); !strings.Contains(got, "the chain has no certificate of that authority") {
		t.Errorf("without its authority: %q", got)
	}
}
