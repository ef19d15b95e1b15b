package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/config"
)

// A server does handshakes as a listener does: the configuration comes from the
// table that is current when the client says hello.
type server struct {
	addr    string
	current atomic.Pointer[Built]
}

func serve(t *testing.T, b *Built) *server {
	t.Helper()
	s := &server{}
	s.current.Store(b)
	base := &tls.Config{Time: clock, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.current.Load().Table.Config(0, h.ServerName)
		if c == nil {
			return nil, errors.New("nobody serves " + h.ServerName)
		}
		return c, nil
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			greet(tls.Server(conn, base))
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return s
}

// greet sends a byte, so that the client learns of the handshake's end.
func greet(conn *tls.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if conn.Handshake() == nil {
		_, _ = conn.Write([]byte("."))
	}
}

func clock() time.Time { return now }

// dial does a handshake and reads the greeting.
func (s *server) dial(c *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.Dial("tcp", s.addr, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

// asks returns a client that trusts a and asks for name.
func asks(a *authority, name string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{ServerName: name, RootCAs: roots, Time: clock}
}

// shop is a world of three Hosts: open, strict (client certificates of clientCA
// required) and polite (verified if shown).
func shop(t *testing.T, a, clientCA *authority) *world {
	t.Helper()
	var w world
	w.listener(8443)
	yes := true
	for _, name := range []string{"open", "polite", "strict"} {
		w.tlsSecret(t, a, name, name+".example.com")
		w.host(name, name+".example.com", name)
	}
	w.secret("shop", "clients", "tls.crt", clientCA.pem)
	w.Hosts[1].TLS = &config.TLSSettings{CASecret: "clients"}
	w.Hosts[2].TLS = &config.TLSSettings{CASecret: "clients", CertRequired: &yes}
	return &w
}

func TestHandshakes(t *testing.T) {
	a, clientCA, stranger := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "stranger")
	s := serve(t, shop(t, a, clientCA).build(nil))
	good, bad := clientCA.client(t), stranger.client(t)
	version := func(v uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }
	}
	shows := func(cert tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
	}
	tests := []struct {
		name, host string
		adjust     func(*tls.Config)
		want       string // part of the error; "" for success
	}{
		{"by name", "open.example.com", nil, ""},
		{"unknown name", "closed.example.com", nil, "internal error"},
		{"no name", "", func(c *tls.Config) { c.InsecureSkipVerify = true }, "internal error"},
		{"TLS 1.0", "open.example.com", version(tls.VersionTLS10), "protocol version not supported"},
		{"TLS 1.1", "open.example.com", version(tls.VersionTLS11), "protocol version not supported"},
		{"TLS 1.2", "open.example.com", version(tls.VersionTLS12), ""},
		{"TLS 1.3", "open.example.com", version(tls.VersionTLS13), ""},
		{"CBC", "open.example.com", func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, "handshake failure"},
		{"old curve", "open.example.com", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }, ""},
		{"http/1.1 alone", "open.example.com", func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, ""},
		{"h2 or http/1.1", "open.example.com", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, ""},
		{"polite, nothing shown", "polite.example.com", nil, ""},
		{"polite, good", "polite.example.com", shows(good), ""},
		{"polite, stranger", "polite.example.com", shows(bad), "unknown certificate authority"},
		{"strict, nothing shown", "strict.example.com", nil, "certificate required"},
		{"strict, good", "strict.example.com", shows(good), ""},
		{"strict, stranger", "strict.example.com", shows(bad), "unknown certificate authority"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := asks(a, test.host)
			if test.adjust != nil {
				test.adjust(c)
			}
			state, err := s.dial(c)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "" && state.PeerCertificates[0].DNSNames[0] != test.host:
				t.Errorf("got the certificate of %v", state.PeerCertificates[0].DNSNames)
			case test.want == "" && len(c.NextProtos) > 0 && state.NegotiatedProtocol != c.NextProtos[0]:
				t.Errorf("got protocol %q, want %s", state.NegotiatedProtocol, c.NextProtos[0])
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestQuantumSafeByDefault(t *testing.T) {
	a := newAuthority(t, "ca")
	s := serve(t, shop(t, a, a).build(nil))
	state, err := s.dial(asks(a, "open.example.com"))
	if err != nil || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("got %v and %v, want X25519MLKEM768", state.CurveID, err)
	}
}

func TestSessionsOutliveARebuild(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			a := newAuthority(t, "ca")
			w := shop(t, a, a)
			first := w.build(nil)
			s := serve(t, first)
			c := asks(a, "open.example.com")
			c.MaxVersion = version
			c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			for i, want := range []bool{false, true, true} {
				if i == 2 {
					w.tlsSecret(t, a, "late", "late.example.com")
					w.host("late", "late.example.com", "late")
					s.current.Store(w.build(first))
				}
				state, err := s.dial(c)
				if err != nil {
					t.Fatal(err)
				}
				if state.DidResume != want {
					t.Errorf("connection %d: resumed %v, want %v", i+1, state.DidResume, want)
				}
			}
		})
	}
}

// A session is a proof that was accepted once. It must not open a Host that would
// not have accepted it.
func TestSessionsOpenNoOtherHost(t *testing.T) {
	a, clientCA, newCA := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "new")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			w := shop(t, a, clientCA)
			first := w.build(nil)
			s := serve(t, first)
			c := asks(a, "open.example.com")
			c.MaxVersion = version
			c.ClientSessionCache = oneSession{tls.NewLRUClientSessionCache(1)}
			if _, err := s.dial(c); err != nil {
				t.Fatal(err)
			}
			c.ServerName, c.InsecureSkipVerify = "strict.example.com", true
			if _, err := s.dial(c); err == nil {
				t.Error("a session without client certificate opens a Host that requires one")
			}

			c.ServerName = "strict.example.com"
			cert := clientCA.client(t)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			if _, err := s.dial(c); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(w.Secrets, func(s config.Secret) bool { return s.Name == "clients" })
			w.Secrets[i].Data = map[string][]byte{"tls.crt": newCA.pem}
			s.current.Store(w.build(first))
			if state, err := s.dial(c); err == nil {
				t.Errorf("resumed %v: a session of the old authority opens a Host that trusts another", state.DidResume)
			}
		})
	}
}

// oneSession offers the last session to every server, as a client must not.
type oneSession struct{ tls.ClientSessionCache }

func (o oneSession) Get(string) (*tls.ClientSessionState, bool) {
	return o.ClientSessionCache.Get("any")
}
func (o oneSession) Put(_ string, s *tls.ClientSessionState) { o.ClientSessionCache.Put("any", s) }
