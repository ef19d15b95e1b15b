package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every field of a TLSContext and of a Host's tls, by what a handshake comes to.
func TestFieldsOfTLS(t *testing.T) {
	t.Parallel()
	client, stranger := authority.issue(t, "client.test"), newAuthority().issue(t, "strange.client")
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(caFile, authority.pem(), 0o600))
	var manifests strings.Builder
	inline := func(name, settings string) {
		manifests.WriteString(authority.issue(t, name+".test").secret("cert-"+name) + tlsHost(name, name+".test", "cert-"+name, route, "tls: {"+settings+"}"))
	}
	named := func(name, settings string) {
		manifests.WriteString(authority.issue(t, name+".test").secret("cert-"+name) + tlsHost(name, name+".test", "cert-"+name, route, "tlsContext: {name: "+name+"}") +
			manifest("TLSContext", name, "{"+settings+"}"))
	}
	inline("plain", "")
	inline("old", "min_tls_version: v1.0, cipher_suites: [ECDHE-ECDSA-AES128-SHA]")
	inline("strict", "min_tls_version: v1.3")
	inline("capped", "max_tls_version: v1.2")
	inline("suite", "cipher_suites: [ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-RSA-AES256-GCM-SHA384]")
	named("curve", "ecdh_curves: [P-384]")
	named("hybrid", "ecdh_curves: [X25519MLKEM768]")
	inline("one", "alpn_protocols: http/1.1")
	named("both", `alpn_protocols: "http/1.1 , h2"`)
	named("mesh", "alpn_protocols: istio")
	inline("any", "cert_required: true")
	named("file", "cacert_chain_file: "+caFile+", cert_required: true")
	named("dotted", "ca_secret: ca.pki, secret_namespacing: false, cert_required: true")
	named("elsewhere", "ca_secret: ca.pki, cert_required: true")
	named("others", "hosts: [other.test], min_tls_version: v1.3")
	named("extra", "sni: other.test, redirect_cleartext_from: 8080")
	g := start(t, setup{manifests: manifests.String() + opaque("ca.pki", "tls.crt", authority.pem()) +
		strings.Replace(opaque("ca", "tls.crt", authority.pem()), "{name: ca}", "{name: ca, namespace: pki}", 1) +
		mapping("x", "/x/", echo(t, "up"))})
	for _, p := range g.problems() {
		if p.Name != "any" && p.Name != "others" {
			t.Errorf("says %s", p.Text)
		}
	}
	offering := func(protocols ...string) func(*tls.Config) { return func(c *tls.Config) { c.NextProtos = protocols } }
	suites := func(ids ...uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, ids }
	}
	curves := func(ids ...tls.CurveID) func(*tls.Config) { return func(c *tls.Config) { c.CurvePreferences = ids } }
	showing := func(c certificate) func(*tls.Config) {
		return func(conf *tls.Config) {
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.pair, nil }
		}
	}
	const refused = "handshake failure"
	for _, c := range []struct {
		name   string
		client func(*tls.Config)
		want   string // version, suite, curve or protocol of the connection; or, after "!", why there is none
	}{
		{"plain", curves(), "X25519MLKEM768"},
		{"plain", curves(tls.X25519), "X25519"},
		{"plain", curves(tls.CurveP521), "!" + refused},
		{"plain", version(tls.VersionTLS11), "!protocol version not supported"},
		{"plain", suites(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), "!" + refused},
		{"plain", offering("h2", "http/1.1"), "h2"},
		{"plain", offering("http/1.1"), "http/1.1"},
		{"old", version(tls.VersionTLS10), "TLS 1.0"},
		{"old", version(tls.VersionTLS11), "TLS 1.1"},
		{"old", version(tls.VersionTLS13), "TLS 1.3"},
		{"strict", version(tls.VersionTLS12), "!protocol version not supported"},
		{"strict", version(tls.VersionTLS13), "TLS 1.3"},
		{"capped", func(*tls.Config) {}, "TLS 1.2"},
		{"suite", suites(), "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{"suite", suites(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), "!" + refused},
		{"suite", version(tls.VersionTLS13), "TLS 1.3"}, // which has suites of its own
		{"curve", curves(), "P-384"},
		{"curve", curves(tls.X25519), "!" + refused},
		{"hybrid", curves(), "X25519MLKEM768"},
		{"hybrid", curves(tls.X25519), "!" + refused},
		{"one", offering("h2", "http/1.1"), "http/1.1"},
		{"one", offering("h2"), "!no application protocol"},
		{"both", offering("h2", "http/1.1"), "http/1.1"},
		{"mesh", offering("istio"), "istio"},
		{"mesh", offering("h2", "http/1.1"), "http/1.1"},
		{"any", showing(stranger), "TLS 1.3"},
		{"any", func(*tls.Config) {}, "!certificate required"},
		{"file", showing(client), "TLS 1.3"},
		{"file", showing(stranger), "!unknown certificate authority"},
		{"dotted", showing(client), "TLS 1.3"},
		{"elsewhere", showing(client), "TLS 1.3"},
		{"elsewhere", showing(stranger), "!unknown certificate authority"},
		{"others", version(tls.VersionTLS12), "!protocol version not supported"},
		{"extra", func(*tls.Config) {}, "TLS 1.3"},
	} {
		v, err := g.visit(t, c.name+".test", c.client)
		got := tls.VersionName(v.state.Version) + " " + tls.CipherSuiteName(v.state.CipherSuite) + " " + strings.ReplaceAll(v.state.CurveID.String(), "CurveP", "P-") + " " + v.state.NegotiatedProtocol
		why, refuses := strings.CutPrefix(c.want, "!")
		switch {
		case refuses && (err == nil || !strings.Contains(err.Error(), why)):
			t.Errorf("%s: got %s, %v; want an end by %q", c.name, got, err, why)
		case !refuses && v.state.NegotiatedProtocol == "h2" && c.want == "h2": // an answer would come in frames
		case !refuses && (err != nil || !strings.Contains(" "+got+" ", " "+c.want+" ") || g.verdict(t, v.answer) != served):
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	if a := g.send(t, request{host: "extra.test", target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("in the clear, with redirect_cleartext_from: %v", g.verdict(t, a))
	}
}

// handshakes answers what its client's handshake came to.
func handshakes(t testing.TB, conf *tls.Config) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := handshake{tls.VersionName(r.TLS.Version), tls.CipherSuiteName(r.TLS.CipherSuite), r.TLS.CurveID.String(), r.TLS.NegotiatedProtocol, r.TLS.ServerName, ""}
		if len(r.TLS.PeerCertificates) > 0 {
			h.Client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_ = json.NewEncoder(w).Encode(h) // the gateway may be gone
	}))
	s.TLS = conf
	if s.EnableHTTP2 = !slices.Contains(conf.NextProtos, "istio"); !s.EnableHTTP2 {
		s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"istio": meshed}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// meshed serves one request of HTTP/1.1 on a connection whose protocol is the mesh's.
func meshed(_ *http.Server, c *tls.Conn, h http.Handler) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	state, w := c.ConnectionState(), httptest.NewRecorder()
	r.TLS = &state
	h.ServeHTTP(w, r)
	_ = w.Result().Write(c) // the gateway may be gone
}

// A handshake is what a service knows of one.
type handshake struct{ Version, Suite, Curve, Protocol, Name, Client string }

// Every field of a TLSContext that a Mapping names, by what the service's handshake comes to.
func TestFieldsOfTLSTowardsServices(t *testing.T) {
	t.Parallel()
	client, server := authority.issue(t, "client.test"), authority.issue(t, "server.test")
	dir := t.TempDir()
	for name, text := range map[string][]byte{"cert.pem": client.cert, "key.pem": client.key, "ca.pem": authority.pem()} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	up := handshakes(t, &tls.Config{
		Certificates: []tls.Certificate{server.pair}, MinVersion: tls.VersionTLS10, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	})
	inMesh := handshakes(t, &tls.Config{Certificates: []tls.Certificate{server.pair}, NextProtos: []string{"h2", "istio"}})
	files := "cert_chain_file: " + dir + "/cert.pem, private_key_file: " + dir + "/key.pem, cacert_chain_file: " + dir + "/ca.pem"
	var manifests strings.Builder
	rows := []struct {
		name, settings string
		more           string // of the Mapping
		want           handshake
		refused        bool
	}{
		{name: "plain", want: handshake{Version: "TLS 1.3", Curve: "X25519MLKEM768"}},
		{name: "min", settings: "min_tls_version: v1.3", want: handshake{Version: "TLS 1.3"}},
		{name: "max", settings: "max_tls_version: v1.2", want: handshake{Version: "TLS 1.2"}},
		{name: "old", settings: "min_tls_version: v1.0, max_tls_version: v1.0, cipher_suites: [ECDHE-ECDSA-AES128-SHA]", want: handshake{Version: "TLS 1.0"}},
		{name: "suite", settings: "max_tls_version: v1.2, cipher_suites: [ECDHE-ECDSA-AES256-GCM-SHA384]",
			want: handshake{Version: "TLS 1.2", Suite: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
		{name: "no-suite", settings: "max_tls_version: v1.2, cipher_suites: [ECDHE-ECDSA-CHACHA20-POLY1305]", refused: true},
		{name: "curve", settings: "ecdh_curves: [P-384]", want: handshake{Curve: "CurveP384"}},
		{name: "hybrid", settings: "ecdh_curves: [X25519MLKEM768]", want: handshake{Curve: "X25519MLKEM768"}},
		{name: "sni", settings: "sni: inner.test", want: handshake{Name: "inner.test"}},
		{name: "alpn", settings: `alpn_protocols: "h2, http/1.1"`, want: handshake{Protocol: "http/1.1"}},
		{name: "istio", settings: "alpn_protocols: istio", want: handshake{Protocol: "istio"}},
		{name: "grpc", settings: `alpn_protocols: "h2, http/1.1"`, more: "grpc: true", want: handshake{Protocol: "h2"}},
		{name: "secret", settings: "secret: client", want: handshake{Client: "client.test"}},
		{name: "dotted", settings: "secret: client.v2, secret_namespacing: false", want: handshake{Client: "client.test"}},
		{name: "elsewhere", settings: "secret: client.pki", want: handshake{Client: "client.test"}},
		{name: "files", settings: files, want: handshake{Client: "client.test"}},
		{name: "ca", settings: "ca_secret: ca", want: handshake{Version: "TLS 1.3"}},
		{name: "stranger", settings: "ca_secret: strange", refused: true},
		{name: "extra", settings: "hosts: [other.test], cert_required: true, redirect_cleartext_from: 8080", want: handshake{Version: "TLS 1.3"}},
	}
	for _, c := range rows {
		fields := []string{"tls: " + c.name}
		if c.more != "" {
			fields = append(fields, c.more)
		}
		service := up
		if c.name == "istio" {
			service = inMesh
		}
		manifests.WriteString(manifest("TLSContext", c.name, "{"+c.settings+"}") + mapping(c.name, "/"+c.name+"/", service, fields...))
	}
	g := start(t, setup{manifests: everyone + manifests.String() + client.secret("client") + client.secret("client.v2") +
		strings.Replace(client.secret("client"), "{name: client}", "{name: client, namespace: pki}", 1) +
		opaque("ca", "tls.crt", authority.pem()) + opaque("strange", "tls.crt", newAuthority().pem())})
	for _, p := range g.problems() {
		t.Errorf("says %s", p.Text)
	}
	for _, c := range rows {
		a := g.send(t, request{target: "/" + c.name + "/"})
		want := served
		if c.refused {
			want = verdict{"proxy", "tls_failed", 503}
		}
		if got := g.verdict(t, a); got != want {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
		if c.refused {
			continue
		}
		var got handshake
		must(t, json.Unmarshal(a.body, &got))
		for _, f := range []struct{ got, want string }{
			{got.Version, c.want.Version}, {got.Suite, c.want.Suite}, {got.Curve, c.want.Curve}, {got.Protocol, c.want.Protocol},
		} {
			if f.want != "" && f.got != f.want {
				t.Errorf("%s: got %q, want %q", c.name, f.got, f.want)
			}
		}
		if got.Name != c.want.Name || got.Client != c.want.Client {
			t.Errorf("%s: the service was asked for %q by %q, want %q by %q", c.name, got.Name, got.Client, c.want.Name, c.want.Client)
		}
	}
}
