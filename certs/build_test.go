package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"legate/config"
)

func TestSecretsAndKeys(t *testing.T) {
	a := newAuthority(t, "ca")
	cert, key := a.pair(t, "shop.example.com")
	ec, rsa := ecKey(t), rsaKey(t)
	ecDER, _ := x509.MarshalECPrivateKey(ec)
	ecPEM := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), encodePEM("EC PRIVATE KEY", ecDER)...)
	year := now.AddDate(1, 0, 0)
	_, otherKey := a.pair(t, "other")

	const tail = "; the Host is not served at all, the others are"
	tests := []struct {
		name string
		make func(w *world)
		want string // the problem, "" for none
		serv bool
	}{
		{"PKCS#8", func(w *world) { w.secret("shop", "cert", "tls.crt", cert, "tls.key", key) }, "", true},
		{"EC with parameters", func(w *world) {
			w.secret("shop", "cert", "tls.crt", a.issue(t, ec, year, "shop.example.com"), "tls.key", ecPEM)
		}, "", true},
		{"PKCS#1", func(w *world) {
			w.secret("shop", "cert", "tls.crt", a.issue(t, rsa, year, "shop.example.com"),
				"tls.key", encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa)))
		}, "", true},
		{"kubernetes.io/tls", func(w *world) {
			w.secret("shop", "cert", "tls.crt", cert, "tls.key", key).Type = "kubernetes.io/tls"
		}, "", true},
		{"Istio's keys", func(w *world) {
			w.secret("shop", "cert", "cert-chain.pem", cert, "key.pem", key).Type = "istio.io/key-and-cert"
		}, "", true},
		{"chain with its CA", func(w *world) {
			w.secret("shop", "cert", "tls.crt", slices.Concat(cert, a.pem), "tls.key", key)
		}, "", true},
		{"missing", func(*world) {}, "there is no Secret shop/cert" + tail, false},
		{"in another namespace", func(w *world) { w.secret("web", "cert", "tls.crt", cert, "tls.key", key) },
			"there is no Secret shop/cert" + tail, false},
		{"strange type", func(w *world) {
			w.secret("shop", "cert", "tls.crt", cert, "tls.key", key).Type = "helm.sh/release.v1"
		}, "Secret shop/cert has type helm.sh/release.v1; certificates are kubernetes.io/tls, Opaque or istio.io/key-and-cert" + tail, false},
		{"no keys", func(w *world) { w.secret("shop", "cert", "password", "x") },
			"Secret shop/cert has neither tls.crt and tls.key nor cert-chain.pem and key.pem" + tail, false},
		{"no private key", func(w *world) { w.secret("shop", "cert", "tls.crt", cert) },
			"Secret shop/cert has tls.crt but no tls.key" + tail, false},
		{"no certificate", func(w *world) { w.secret("shop", "cert", "tls.key", key) },
			"Secret shop/cert has tls.key but no tls.crt" + tail, false},
		{"not PEM", func(w *world) { w.secret("shop", "cert", "tls.crt", "hello", "tls.key", key) },
			"Secret shop/cert: tls.crt holds no PEM certificate" + tail, false},
		{"key not PEM", func(w *world) { w.secret("shop", "cert", "tls.crt", cert, "tls.key", "hello") },
			"Secret shop/cert: tls.key holds no PEM private key" + tail, false},
		{"key encrypted", func(w *world) {
			w.secret("shop", "cert", "tls.crt", cert, "tls.key", encodePEM("ENCRYPTED PRIVATE KEY", []byte("x")))
		}, "Secret shop/cert: tls.key is encrypted; keys must be stored without a passphrase" + tail, false},
		{"wrong pair", func(w *world) { w.secret("shop", "cert", "tls.crt", cert, "tls.key", otherKey) },
			"Secret shop/cert: tls.key does not belong to the certificate in tls.crt" + tail, false},
		{"certificate is noise", func(w *world) {
			w.secret("shop", "cert", "tls.crt", encodePEM("CERTIFICATE", []byte("x")), "tls.key", key)
		}, "Secret shop/cert: tls.crt holds a broken certificate (number 1): malformed certificate" + tail, false},
		{"key is noise", func(w *world) {
			w.secret("shop", "cert", "tls.crt", cert, "tls.key", encodePEM("PRIVATE KEY", []byte("x")))
		}, "Secret shop/cert: tls.key: failed to parse private key" + tail, false},
		{"expired", func(w *world) {
			w.secret("shop", "cert", "tls.crt", a.issue(t, ec, now.AddDate(0, 0, -1), "shop.example.com"), "tls.key", pkcs8(t, ec))
		}, "the certificate of Secret shop/cert expired on 2026-11-23T12:00:00Z; it is served, and clients will refuse it", true},
		{"for another name", func(w *world) { w.tlsSecret(t, a, "cert", "a.example.com", "b.example.com") },
			"the certificate of Secret shop/cert is not for shop.example.com but for [a.example.com b.example.com]; it is served, and clients will refuse it", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var w world
			w.listener(8443)
			w.host("web", "shop.example.com", "cert")
			w.tlsSecret(t, a, "good", "good.example.com")
			w.host("good", "good.example.com", "good")
			test.make(&w)
			b := w.build(nil)
			var problems, drops []string
			if test.want != "" {
				problems = []string{"Host/web.shop: tlsSecret: " + test.want}
			}
			if !test.serv {
				drops = []string{"web"}
			}
			expect(t, b, drops, problems...)
			c := b.Table.Config(0, "shop.example.com")
			if (c != nil) != test.serv {
				t.Errorf("served %v, want %v", c != nil, test.serv)
			}
			if c != nil && c.Certificates[0].Leaf == nil {
				t.Error("the leaf is not parsed")
			}
			if b.Table.Config(0, "good.example.com") == nil {
				t.Error("the other Host is not served")
			}
		})
	}
}

func TestSettings(t *testing.T) {
	a := newAuthority(t, "ca")
	yes := true
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, a.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	listFile, noise := filepath.Join(t.TempDir(), "crl.pem"), filepath.Join(t.TempDir(), "noise")
	if err := errors.Join(os.WriteFile(listFile, a.revoke(t, now.AddDate(0, 0, 1)), 0o600), os.WriteFile(noise, []byte("noise"), 0o600)); err != nil {
		t.Fatal(err)
	}
	const tail = "; the Host is not served at all, the others are"
	inline := func(s config.TLSSettings) func(*world, *config.Host) {
		return func(_ *world, h *config.Host) { h.TLS = &s }
	}
	named := func(s config.TLSSettings) func(*world, *config.Host) {
		return func(w *world, h *config.Host) {
			h.TLSContext = "strict"
			w.context("strict", s)
		}
	}
	tests := []struct {
		name  string
		make  func(*world, *config.Host)
		check func(*tls.Config) bool // nil: the Host is dropped
		want  []string
	}{
		{"defaults", func(*world, *config.Host) {}, func(c *tls.Config) bool {
			return c.MinVersion == tls.VersionTLS12 && c.MaxVersion == tls.VersionTLS13 && c.ClientAuth == tls.NoClientCert &&
				slices.Equal(c.CurvePreferences, defaultCurves) && slices.Equal(c.NextProtos, []string{"h2", "http/1.1"}) && len(c.CipherSuites) == 6
		}, nil},
		{"inline", inline(config.TLSSettings{MinTLSVersion: "v1.3"}), func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"lower maximum", inline(config.TLSSettings{MaxTLSVersion: "v1.1"}), func(c *tls.Config) bool {
			return c.MinVersion == tls.VersionTLS11 && c.MaxVersion == tls.VersionTLS11
		}, []string{"Host/web.shop: tls.min_tls_version: TLS 1.0 and 1.1 need CBC suites, which cipher_suites must list; it is served as written"}},
		{"named", named(config.TLSSettings{MinTLSVersion: "v1.3"}), func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"by full name", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{})
			w.context("strict", config.TLSSettings{MinTLSVersion: "v1.3"}).Namespace = "web"
			h.TLSContext = "strict.web"
		}, func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"a bare name beats a full one", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{}).Namespace = "web"
			w.context("strict.web", config.TLSSettings{MinTLSVersion: "v1.3"})
			h.TLSContext = "strict.web"
		}, func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"from another namespace", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{MinTLSVersion: "v1.3"}).Namespace = "web"
			h.TLSContext = "strict"
		}, func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"implicit", func(w *world, _ *config.Host) {
			w.context("web-context", config.TLSSettings{MinTLSVersion: "v1.3"})
		}, func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }, nil},
		{"implicit loses against inline", func(w *world, h *config.Host) {
			w.context("web-context", config.TLSSettings{MinTLSVersion: "v1.3"})
			h.TLS = &config.TLSSettings{}
		}, func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS12 }, nil},
		{"context with the same secret", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{}).Secret = "cert.shop"
			h.TLSContext = "strict"
		}, func(*tls.Config) bool { return true }, nil},
		{"context that names the host", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{}).Hosts = []string{"web"}
			h.TLSContext = "strict"
		}, func(*tls.Config) bool { return true }, nil},
		{"context that names the hostname, in any case and without its port", func(w *world, h *config.Host) {
			h.Hostname = "Shop.example.com:8443"
			w.context("strict", config.TLSSettings{}).Hosts = []string{"shop.Example.com"}
			h.TLSContext = "strict"
		}, func(*tls.Config) bool { return true }, nil},
		{"context for other hosts", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{}).Hosts = []string{"a.example.com"}
			h.TLSContext = "strict"
		}, func(*tls.Config) bool { return true },
			[]string{"Host/web.shop: tlsContext: hosts of TLSContext shop/strict does not name shop.example.com; the context is used all the same"}},
		{"suites and curves", inline(config.TLSSettings{
			CipherSuites: []string{"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "AES128-SHA", "DHE-RSA-AES128-SHA", "TLS_AES_128_GCM_SHA256"},
			ECDHCurves:   []string{"P-256", "X448"},
		}), func(c *tls.Config) bool {
			return slices.Equal(c.CipherSuites, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}) &&
				slices.Equal(c.CurvePreferences, []tls.CurveID{tls.CurveP256})
		}, []string{
			`Host/web.shop: tls.cipher_suites: "DHE-RSA-AES128-SHA" is not served here; it is left out of the list`,
			`Host/web.shop: tls.cipher_suites: "TLS_AES_128_GCM_SHA256" is a suite of TLS 1.3, of which none can be chosen; it is left out of the list`,
			`Host/web.shop: tls.ecdh_curves: "X448" is not served here; it is left out of the list`,
		}},
		{"ALPN", inline(config.TLSSettings{ALPNProtocols: []string{" http/1.1, h2", "http/1.1"}}), func(c *tls.Config) bool {
			return slices.Equal(c.NextProtos, []string{"http/1.1", "h2"})
		}, nil},
		{"ALPN of a mesh", inline(config.TLSSettings{ALPNProtocols: []string{"istio"}}), func(c *tls.Config) bool {
			return slices.Equal(c.NextProtos, []string{"istio", "http/1.1"})
		}, nil},
		{"HTTP/1.1 only", inline(config.TLSSettings{ALPNProtocols: []string{"http/1.1"}}), func(c *tls.Config) bool {
			return slices.Equal(c.NextProtos, []string{"http/1.1"})
		}, nil},
		{"clients may show a certificate", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", a.pem)
			h.TLS = &config.TLSSettings{CASecret: "ca"}
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven && c.ClientCAs != nil }, nil},
		{"clients must show a certificate", func(w *world, h *config.Host) {
			w.secret("pki", "ca", "tls.crt", a.pem)
			h.TLS = &config.TLSSettings{CASecret: "ca.pki", CertRequired: &yes}
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.RequireAndVerifyClientCert }, nil},
		{"the CA says that they must", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", a.pem, "cert_required", "true")
			h.TLS = &config.TLSSettings{CASecret: "ca"}
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.RequireAndVerifyClientCert }, nil},
		{"no namespacing", func(w *world, h *config.Host) {
			no := false
			w.secret("shop", "ca.pki", "tls.crt", a.pem)
			w.context("strict", config.TLSSettings{CASecret: "ca.pki"}).SecretNamespacing = &no
			h.TLSContext = "strict"
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven }, nil},
		{"no namespacing by default", func(w *world, h *config.Host) {
			no := false
			w.Modules = []config.Module{{Defaults: config.Defaults{SecretNamespacing: &no}}}
			w.secret("shop", "ca.pki", "tls.crt", a.pem)
			w.context("strict", config.TLSSettings{CASecret: "ca.pki"})
			h.TLSContext = "strict"
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven }, nil},
		{"no namespacing by default, inline", func(w *world, h *config.Host) {
			no := false
			w.Modules = []config.Module{{Defaults: config.Defaults{SecretNamespacing: &no}}}
			w.secret("shop", "ca.pki", "tls.crt", a.pem)
			h.TLS = &config.TLSSettings{CASecret: "ca.pki"}
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven }, nil},
		{"namespacing against the default", func(w *world, h *config.Host) {
			no := false
			w.Modules = []config.Module{{Defaults: config.Defaults{SecretNamespacing: &no}}}
			w.secret("pki", "ca", "tls.crt", a.pem)
			w.context("strict", config.TLSSettings{CASecret: "ca.pki"}).SecretNamespacing = &yes
			h.TLSContext = "strict"
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven }, nil},
		{"CA from a file", inline(config.TLSSettings{CACertChainFile: caFile, CertRequired: &yes}),
			func(c *tls.Config) bool { return c.ClientAuth == tls.RequireAndVerifyClientCert }, nil},
		{"any certificate", inline(config.TLSSettings{CertRequired: &yes}),
			func(c *tls.Config) bool { return c.ClientAuth == tls.RequireAnyClientCert },
			[]string{"Host/web.shop: tls.cert_required: without ca_secret any certificate is accepted, from whomever; it is served as written"}},

		{"both", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{})
			h.TLS, h.TLSContext = &config.TLSSettings{}, "strict"
		}, nil, []string{"Host/web.shop: tlsContext: tls and tlsContext exclude each other" + tail}},
		{"no such context", func(_ *world, h *config.Host) { h.TLSContext = "strict" }, nil,
			[]string{"Host/web.shop: tlsContext: there is no TLSContext strict" + tail}},
		{"context with another secret", func(w *world, h *config.Host) {
			w.context("strict", config.TLSSettings{}).Secret = "other"
			h.TLSContext = "strict"
		}, nil, []string{"Host/web.shop: tlsContext: TLSContext shop/strict has Secret shop/other, but tlsSecret is shop/cert" + tail}},
		{"strange version", named(config.TLSSettings{MinTLSVersion: "1.2"}), nil, []string{
			"Host/web.shop: tlsContext: TLSContext shop/strict cannot be used" + tail,
			`TLSContext/strict.shop: min_tls_version: must be v1.0, v1.1, v1.2 or v1.3, got "1.2"; the Hosts that use it are not served at all, the others are`,
		}},
		{"versions crossed", inline(config.TLSSettings{MinTLSVersion: "v1.3", MaxTLSVersion: "v1.2"}), nil,
			[]string{"Host/web.shop: tls.min_tls_version: v1.3 is above the highest version allowed" + tail}},
		{"no suite left", inline(config.TLSSettings{CipherSuites: []string{"RC4-SHA"}}), nil, []string{
			`Host/web.shop: tls.cipher_suites: "RC4-SHA" is not served here; it is left out of the list`,
			"Host/web.shop: tls.cipher_suites: nothing of the list can be served" + tail,
		}},
		{"no CA", inline(config.TLSSettings{CASecret: "ca"}), nil, []string{"Host/web.shop: tls.ca_secret: there is no Secret shop/ca" + tail}},
		{"CA without certificate", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "ca.crt", a.pem)
			h.TLS = &config.TLSSettings{CASecret: "ca"}
		}, nil, []string{"Host/web.shop: tls.ca_secret: Secret shop/ca has no tls.crt with the authority's certificate" + tail}},
		{"CA is noise", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", slices.Concat(a.pem, encodePEM("CERTIFICATE", []byte("x"))))
			h.TLS = &config.TLSSettings{CASecret: "ca"}
		}, nil, []string{"Host/web.shop: tls.ca_secret: Secret shop/ca: tls.crt holds a broken certificate (number 2): malformed certificate" + tail}},
		{"CA file missing", inline(config.TLSSettings{CACertChainFile: "/nowhere/ca.pem"}), nil,
			[]string{"Host/web.shop: tls.cacert_chain_file: /nowhere/ca.pem cannot be read: no such file or directory" + tail}},
		{"CA file that is none", inline(config.TLSSettings{CACertChainFile: noise}), nil,
			[]string{"Host/web.shop: tls.cacert_chain_file: " + noise + " holds no PEM certificate" + tail}},
		{"two CAs", inline(config.TLSSettings{CASecret: "ca", CACertChainFile: caFile}), nil,
			[]string{"Host/web.shop: tls.ca_secret: ca_secret and cacert_chain_file exclude each other" + tail}},
		{"no revocation list", inline(config.TLSSettings{CACertChainFile: caFile, CRLSecret: "crl"}), nil,
			[]string{"Host/web.shop: tls.crl_secret: there is no Secret shop/crl" + tail}},
		{"revocation list from a file", inline(config.TLSSettings{CACertChainFile: caFile, CRLFile: listFile}),
			func(c *tls.Config) bool {
				return c.ClientAuth == tls.VerifyClientCertIfGiven && c.VerifyConnection != nil
			}, nil},
		{"revocation list of nobody from a file", inline(config.TLSSettings{CRLFile: listFile}), nil,
			[]string{"Host/web.shop: tls.crl_file: without ca_secret nobody is verified, and so nobody's certificate is known to be revoked" + tail}},
		{"revocation list that is none from a file", inline(config.TLSSettings{CACertChainFile: caFile, CRLFile: noise}), nil,
			[]string{"Host/web.shop: tls.crl_file: " + noise + " parse revocation list: not PEM" + tail}},
		{"two revocation lists", inline(config.TLSSettings{CACertChainFile: caFile, CRLFile: listFile, CRLSecret: "crl"}), nil,
			[]string{"Host/web.shop: tls.crl_file: crl_secret and crl_file exclude each other" + tail}},
		{"revocation list of nobody", func(w *world, h *config.Host) {
			w.secret("shop", "crl", "crl.pem", "")
			h.TLS = &config.TLSSettings{CRLSecret: "crl"}
		}, nil, []string{"Host/web.shop: tls.crl_secret: without ca_secret nobody is verified, and so nobody's certificate is known to be revoked" + tail}},
		{"revocation list that is none", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", a.pem)
			w.secret("shop", "crl", "crl.pem", "noise")
			h.TLS = &config.TLSSettings{CASecret: "ca", CRLSecret: "crl"}
		}, nil, []string{"Host/web.shop: tls.crl_secret: Secret shop/crl: crl.pem: parse revocation list: not PEM" + tail}},
		{"revocation list elsewhere in the Secret", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", a.pem)
			w.secret("shop", "crl", "tls.crt", "")
			h.TLS = &config.TLSSettings{CASecret: "ca", CRLSecret: "crl"}
		}, nil, []string{"Host/web.shop: tls.crl_secret: Secret shop/crl has no crl.pem" + tail}},
		{"empty revocation list", func(w *world, h *config.Host) {
			w.secret("shop", "ca", "tls.crt", a.pem)
			w.secret("shop", "crl", "crl.pem", "")
			h.TLS = &config.TLSSettings{CASecret: "ca", CRLSecret: "crl"}
		}, func(c *tls.Config) bool { return c.ClientAuth == tls.VerifyClientCertIfGiven }, nil},
		{"files beside the Secret", inline(config.TLSSettings{CertChainFile: "/c.pem", PrivateKeyFile: "/k.pem"}), nil,
			[]string{"Host/web.shop: tls.cert_chain_file: a certificate comes from the Host's tlsSecret or from files, not both" + tail}},
		{"glob in front only", func(_ *world, h *config.Host) { h.Hostname = "shop.*" }, nil,
			[]string{"Host/web.shop: hostname: TLS cannot be chosen by a name like shop.*: only exact names, * and *.suffix" + tail}},
		{"a port without a name", func(_ *world, h *config.Host) { h.Hostname = ":8443" }, nil,
			[]string{"Host/web.shop: hostname: TLS cannot be chosen by a name like :8443: only exact names, * and *.suffix" + tail}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var w world
			w.listener(8443)
			w.tlsSecret(t, a, "cert", "shop.example.com")
			test.make(&w, w.host("web", "shop.example.com", "cert"))
			b := w.build(nil)
			var drops []string
			if test.check == nil {
				drops = []string{"web"}
			}
			expect(t, b, drops, test.want...)
			c := b.Table.Config(0, "shop.example.com")
			if (c != nil) != (test.check != nil) {
				t.Fatalf("served %v, want %v", c != nil, test.check != nil)
			}
			if c != nil && !test.check(c) {
				t.Errorf("settings are not as asked: %+v", c)
			}
		})
	}
}

func TestIstioRootVerifiesClients(t *testing.T) {
	a := newAuthority(t, "ca")
	cert, key := a.pair(t, "shop.example.com")
	var w world
	w.listener(8443)
	w.secret("shop", "cert", "cert-chain.pem", cert, "key.pem", key, "root-cert.pem", a.pem)
	w.host("web", "shop.example.com", "cert")
	b := w.build(nil)
	expect(t, b, nil)
	if c := b.Table.Config(0, "shop.example.com"); c.ClientAuth != tls.VerifyClientCertIfGiven || c.ClientCAs == nil {
		t.Errorf("client auth is %v, want the root beside the certificate to verify", c.ClientAuth)
	}
}

func TestTLSNeedsASecret(t *testing.T) {
	var w world
	w.listener(8443)
	w.host("web", "*", "").TLS = &config.TLSSettings{MinTLSVersion: "v1.3"}
	w.host("api", "api.example.com", "").TLSContext = "strict"
	w.host("plain", "plain.example.com", "")
	b := w.build(nil)
	expect(t, b, nil,
		"Host/api.shop: tlsContext: a Host serves TLS only with tlsSecret; the Host serves cleartext only",
		"Host/web.shop: tls: a Host serves TLS only with tlsSecret; the Host serves cleartext only")
	if b.Table.Config(0, "api.example.com") != nil {
		t.Error("a Host without certificate serves TLS")
	}
}

func TestWhoServesWhichName(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443)
	w.listener(8444).Selector = map[string]string{"tier": "public"}
	w.listener(8080).Stack = []config.Protocol{config.ProtoHTTP, config.ProtoTCP}
	for _, name := range []string{"any", "wild", "deep", "exact", "port"} {
		w.tlsSecret(t, a, name, name)
	}
	w.host("any", "*", "any")
	w.host("deep", "*.b.example.com", "deep")
	w.host("exact", "A.example.com", "exact").Labels = map[string]string{"tier": "public"}
	w.host("port", "p.example.com:8443", "port")
	w.host("wild", "*.example.com", "wild")
	b := w.build(nil)
	tests := []struct {
		listener int
		sni      string
		want     string
	}{
		{0, "", "any"},
		{0, "elsewhere.org", "any"},
		{0, "example.com", "any"},
		{0, "a.example.com", "exact"},
		{0, "A.EXAMPLE.com", "exact"},
		{0, "p.example.com", "port"},
		{0, "x.example.com", "wild"},
		{0, "x.b.example.com", "deep"},
		{0, "b.example.com", "wild"},
		{1, "a.example.com", "exact"},
		{1, "x.example.com", ""},
		{1, "", ""},
		{2, "a.example.com", ""},
		{3, "a.example.com", ""},
	}
	for _, test := range tests {
		got := ""
		if c := b.Table.Config(test.listener, test.sni); c != nil {
			got = c.Certificates[0].Leaf.Subject.CommonName
		}
		if got != test.want {
			t.Errorf("listener %d, name %q: got %q, want %q", test.listener, test.sni, got, test.want)
		}
	}
	if c := b.Certificates; len(c) != 5 || c[0].Hostname != "*" || !c[0].NotAfter.Equal(now.AddDate(1, 0, 0)) || c[0].Serial != "02" || c[0].From != (Origin{FromSecret, "shop/any"}) {
		t.Errorf("certificates: %+v", b.Certificates)
	}
}

func TestFirstHostOfANameCounts(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443)
	w.tlsSecret(t, a, "one", "shop.example.com")
	w.tlsSecret(t, a, "two", "shop.example.com")
	w.host("a", "shop.example.com", "one")
	w.host("b", "SHOP.example.com", "one")
	w.host("c", "shop.example.com", "two")
	b := w.build(nil)
	expect(t, b, nil, "Host/c.shop: tlsSecret: TLS for shop.example.com is already served as Host shop/a says, and differs; the first one counts")
	if b.Table.Config(0, "shop.example.com") != b.configs[onlyKey(t, &w, "one")] {
		t.Error("the first Host does not serve")
	}
}

// onlyKey returns the key of the configuration that Secret shop/name makes alone.
func onlyKey(t *testing.T, w *world, name string) recipeKey {
	t.Helper()
	var one world
	one.Secrets = w.Secrets
	one.host("x", "*", name)
	for key := range one.build(nil).configs {
		return key
	}
	t.Fatal("no configuration")
	return recipeKey{}
}

func TestSharedContextIsBlamedOnce(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443)
	w.tlsSecret(t, a, "cert", "a.example.com", "b.example.com")
	w.context("strict", config.TLSSettings{CRLSecret: "crl"})
	w.host("a", "a.example.com", "cert").TLSContext = "strict"
	w.host("b", "b.example.com", "cert").TLSContext = "strict"
	b := w.build(nil)
	n := 0
	for _, text := range texts(b.Problems) {
		if strings.HasPrefix(text, "TLSContext/") {
			n++
		}
	}
	if n != 1 || len(b.Problems) != 3 || len(b.Dropped) != 2 {
		t.Errorf("dropped %q, problems %q", dropped(b), texts(b.Problems))
	}
}

func TestNoHostAtAll(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443).FromAll = false
	w.context("ctx", config.TLSSettings{}).Hosts = []string{"shop.example.com"}
	b := w.build(nil)
	expect(t, b, nil, "TLSContext/ctx.shop: hosts: no Host is defined, and only a Host with tlsSecret terminates TLS; the context serves no name")
	if h := implicitHost(&w.World, Options{Namespace: "ambassador"}); b.Table.Config(0, "x") != nil || h.Insecure != config.InsecureRoute {
		t.Error("without the fallback Secret there must be no TLS, and cleartext must be routed")
	}

	w.TLSContexts = nil
	cert, key := a.pair(t, "x")
	w.secret("ambassador", FallbackSecret, "tls.crt", cert, "tls.key", key)
	b = w.build(nil)
	expect(t, b, nil)
	if h := implicitHost(&w.World, Options{Namespace: "ambassador"}); b.Table.Config(0, "x") == nil || h.Insecure != config.InsecureRedirect {
		t.Error("with the fallback Secret there must be TLS, and cleartext must be redirected")
	}

	w.Secrets[0].Data["tls.key"] = []byte("broken")
	b = w.build(nil)
	expect(t, b, []string{"implicit"}, "Host/implicit.ambassador: tlsSecret: Secret ambassador/fallback-self-signed-cert: "+
		"tls.key holds no PEM private key; TLS is not served, and who asks without it is sent there all the same")
}

func TestRebuildKeepsWhatDidNotChange(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443)
	w.tlsSecret(t, a, "same", "same.example.com")
	w.tlsSecret(t, a, "new", "new.example.com")
	w.host("same", "same.example.com", "same")
	w.host("new", "new.example.com", "new")
	w.host("set", "set.example.com", "same").TLS = &config.TLSSettings{}
	first := w.build(nil)
	if first.Table.Config(0, "same.example.com") != first.Table.Config(0, "set.example.com") {
		t.Error("equal settings make two configurations")
	}
	cert, key := a.pair(t, "new.example.com")
	w.Secrets[1].Data = map[string][]byte{"tls.crt": cert, "tls.key": key}
	w.Hosts[2].TLS = &config.TLSSettings{MinTLSVersion: "v1.3"}
	second := w.build(first)
	for name, same := range map[string]bool{"same.example.com": true, "new.example.com": false, "set.example.com": false} {
		if got := first.Table.Config(0, name) == second.Table.Config(0, name); got != same {
			t.Errorf("%s: kept %v, want %v", name, got, same)
		}
	}
	if len(second.configs) != 3 {
		t.Errorf("%d configurations are held, want 3", len(second.configs))
	}
}

func BenchmarkBuild(b *testing.B) {
	a := newAuthority(b, "ca")
	var w world
	w.listener(8443)
	for i := range 1000 {
		name := fmt.Sprintf("h%03d.example.com", i)
		w.tlsSecret(b, a, name, name)
		w.host(name, name, name)
	}
	first := w.build(nil)
	for what, old := range map[string]*Built{"first": nil, "unchanged": first} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.build(old)
			}
		})
	}
}
