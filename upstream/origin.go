package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/spiffe"
	"legate/wire"
)

// An Origination says how TLS is spoken to an upstream. It holds what it needs as
// text, so that equal settings are equal values however often they are read.
type Origination struct {
	On         bool
	ServerName string // SNI; "" sends none
	Min, Max   uint16 // versions; 0 for the default
	ALPN       string // comma-separated
	Ciphers    string // comma-separated, OpenSSL's names
	Curves     string // comma-separated
	Cert       string // PEM chain shown to the upstream; "" for none
	Key        Secret // PEM key of Cert
	CA         string // PEM authorities the upstream is verified against; "" verifies nothing
	HostCAs    bool   // verify against the system's authorities where CA is ""
	Name       string // that the upstream's certificate must be for; "" for any
	CRL        string // PEM revocation lists of those authorities; "" for none
	SPIFFE     string // comma-separated, whom spiffe_ids allows the upstream to be; "" for anybody
	Workload   bool   // certificate and authorities are the Workload API's, as they are at each handshake
}

// A Secret is text that must not be printed.
type Secret string

// Format prints that there is something, and nothing of it, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = f.Write([]byte("[hidden]")) // fmt keeps its own errors
	}
}

// MarshalText keeps encoders from printing it either.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[hidden]"), nil }

// An originator is a TLSContext made ready for origination.
type originator struct {
	Origination
	broken string // why nothing may be sent; "" if all is well
}

// newOriginator reads ctx. A context whose authorities cannot be had is broken: who
// asks for verification must not get a connection without it. One whose client
// certificate cannot be had is used without: the upstream decides.
func newOriginator(ctx *config.TLSContext, w *config.World, opts *Options) (originator, []config.Problem) {
	r := contextReader{ctx: ctx, world: w, noWorkload: opts.NoWorkload}
	r.o.On = true
	r.o.ServerName = ctx.SNI
	r.o.Min = r.version("min_tls_version", ctx.MinTLSVersion)
	r.o.Max = r.version("max_tls_version", ctx.MaxTLSVersion)
	if r.o.Min > r.o.Max && r.o.Max != 0 {
		r.problem("min_tls_version", "is over max_tls_version", config.FieldIgnored)
		r.o.Min = 0
	}
	r.protocols()
	r.o.Ciphers = r.known("cipher_suites", ctx.CipherSuites, cipherNames)
	r.o.Curves = r.known("ecdh_curves", ctx.ECDHCurves, curveNames)
	r.certificate()
	r.authorities()
	r.identities()
	r.revocations()
	return r.o, r.problems
}

type contextReader struct {
	ctx        *config.TLSContext
	world      *config.World
	noWorkload bool // there is no Workload API
	o          originator
	problems   []config.Problem
}

func (r *contextReader) problem(field, msg string, effect config.Effect) {
	r.problems = append(r.problems, r.ctx.Problem(field, msg, effect))
}

// fail notes that field keeps the context from being used at all.
func (r *contextReader) fail(field, msg string) {
	r.problem(field, msg, config.RouteClosed)
	r.o.broken = fmt.Sprintf("TLSContext %q: %s: %s", r.ctx.Name, field, msg)
}

var versions = map[string]uint16{
	"v1.0": tls.VersionTLS10, "v1.1": tls.VersionTLS11, "v1.2": tls.VersionTLS12, "v1.3": tls.VersionTLS13,
}

func (r *contextReader) version(field, text string) uint16 {
	v, ok := versions[strings.ToLower(text)]
	if text != "" && !ok {
		r.problem(field, fmt.Sprintf("%q is no TLS version", text), config.FieldIgnored)
	}
	return v
}

// protocols keeps those of alpn_protocols that can be spoken to an upstream.
func (r *contextReader) protocols() {
	list := trimmedList(r.ctx.ALPNProtocols)
	// What an upstream chooses must be what it gets, and that is HTTP/1.1.
	list = slices.DeleteFunc(list, func(p string) bool { return p == "h2" || p == "http/1.0" })
	r.o.ALPN = strings.Join(list, ",")
}

// known returns the names of list that are in table, joined.
func (r *contextReader) known(field string, list []string, table map[string]uint16) string {
	var names []string
	for _, name := range trimmedList(list) {
		for part := range strings.SplitSeq(strings.Trim(name, "[]"), "|") {
			if _, ok := table[part]; !ok {
				r.problem(field, fmt.Sprintf("%q is unknown", part), config.FieldIgnored)
				continue
			}
			names = append(names, part)
		}
	}
	return strings.Join(names, ",")
}

// certificate finds the client certificate.
func (r *contextReader) certificate() {
	var cert, key []byte
	var field string
	switch {
	case r.ctx.Secret != "":
		field = "secret"
		data, err := r.secret(r.ctx.Secret)
		if err != nil {
			r.problem(field, err.Error(), config.FieldIgnored)
			return
		}
		cert = first(data, "tls.crt", "cert-chain.pem")
		key = first(data, "tls.key", "key.pem", "user.key")
		if root := data["root-cert.pem"]; root != nil && r.ctx.CASecret == "" && r.ctx.CACertChainFile == "" {
			r.o.CA = string(root)
		}
	case r.ctx.CertChainFile != "":
		field = "cert_chain_file"
		var err error
		if cert, err = os.ReadFile(r.ctx.CertChainFile); err == nil {
			key, err = os.ReadFile(r.ctx.PrivateKeyFile)
		}
		if err != nil {
			r.problem(field, err.Error(), config.FieldIgnored)
			return
		}
	default:
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		// The error of crypto/tls names what is wrong and holds nothing of the key.
		r.problem(field, fmt.Sprintf("the client certificate cannot be used: %v", err), config.FieldIgnored)
		return
	}
	r.o.Cert, r.o.Key = string(cert), Secret(key)
}

// authorities finds what the upstream's chain is verified against.
func (r *contextReader) authorities() {
	field := "secret"
	switch {
	case r.ctx.CASecret != "":
		field = "ca_secret"
		data, err := r.secret(r.ctx.CASecret)
		if err != nil {
			r.fail(field, err.Error())
			return
		}
		r.o.CA = string(first(data, "tls.crt", "root-cert.pem", "ca.crt", "cert-chain.pem"))
	case r.ctx.CACertChainFile != "":
		field = "cacert_chain_file"
		text, err := os.ReadFile(r.ctx.CACertChainFile)
		if err != nil {
			r.fail(field, err.Error())
			return
		}
		r.o.CA = string(text)
	case r.o.CA == "":
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(r.o.CA)) {
		r.fail(field, "holds no certificate to verify against")
	}
}

// revocations finds the lists of certificates that are no longer good.
func (r *contextReader) revocations() {
	if r.ctx.CRLSecret == "" {
		return
	}
	const field = "crl_secret"
	if r.o.CA == "" && !r.o.Workload {
		r.problem(field, "is of no use without ca_secret: nothing is verified", config.FieldIgnored)
		return
	}
	data, err := r.secret(r.ctx.CRLSecret)
	if err != nil {
		r.fail(field, err.Error())
		return
	}
	text, ok := data["crl.pem"]
	if !ok {
		r.fail(field, `has no key "crl.pem"`)
		return
	}
	if _, err := wire.ParseRevocations(text); err != nil {
		r.fail(field, err.Error())
		return
	}
	r.o.CRL = string(text)
}

// secret returns the data of the Secret that ref names from the context's point of
// view: "name" or, where secret_namespacing is on, "name.namespace".
func (r *contextReader) secret(ref string) (map[string][]byte, error) {
	name, namespace := ref, r.ctx.Namespace
	if r.world.SecretNamespacing(r.ctx) {
		if i := strings.LastIndexByte(ref, '.'); i >= 0 {
			name, namespace = ref[:i], ref[i+1:]
		}
	}
	for i := range r.world.Secrets {
		if s := &r.world.Secrets[i]; s.Is(namespace, name) {
			return s.Data, nil
		}
	}
	return nil, fmt.Errorf("Secret %s/%s does not exist", namespace, name)
}

// first returns the first of data's keys that is there.
func first(data map[string][]byte, keys ...string) []byte {
	for _, k := range keys {
		if v := data[k]; len(v) > 0 {
			return v
		}
	}
	return nil
}

// cipherNames are the suites of TLS 1.2 and below by OpenSSL's names. TLS 1.3 has
// its own, which nobody configures.
var cipherNames = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

var curveNames = map[string]uint16{
	"X25519": uint16(tls.X25519), "P-256": uint16(tls.CurveP256), "P-384": uint16(tls.CurveP384), "P-521": uint16(tls.CurveP521),
}

// sessions is how many TLS sessions an upstream keeps for resumption: one for each
// of its endpoints, or one for its server name.
const sessions = 64

// config returns the ready configuration. It has its own session cache: a session
// must not be resumed under other settings than those it was verified with. w may be nil
// where o does not ask for it; now is asked what identities are verified at.
func (o *Origination) config(w spiffe.Workload, now func() time.Time) *tls.Config {
	c := &tls.Config{
		ServerName: o.ServerName,
		MinVersion: max(o.Min, tls.VersionTLS12),
		MaxVersion: o.Max,
		// Ambassador verifies an upstream's chain if it was given an authority and never
		// its name: services are reached by names that their certificates do not hold. Only
		// its External filters do. verifyChain does what is asked.
		InsecureSkipVerify: true, //nolint:gosec // because the chain is verified in VerifyConnection where there is an authority
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if o.Min != 0 {
		c.MinVersion = o.Min
	} else if o.Max != 0 {
		c.MinVersion = min(c.MinVersion, o.Max)
	}
	if o.ALPN != "" {
		c.NextProtos = strings.Split(o.ALPN, ",")
	}
	for _, name := range names(o.Ciphers) {
		c.CipherSuites = append(c.CipherSuites, cipherNames[name])
	}
	for _, name := range names(o.Curves) {
		c.CurvePreferences = append(c.CurvePreferences, tls.CurveID(curveNames[name]))
	}
	if o.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(o.Cert), []byte(o.Key))
		if err != nil {
			panic("BUG: a client certificate was not checked when its Spec was read")
		}
		// Shown whatever authorities the upstream says it likes, as Envoy does.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	lists, err := wire.ParseRevocations([]byte(o.CRL))
	if err != nil {
		panic("BUG: a revocation list was not checked when its Spec was read")
	}
	switch {
	case o.SPIFFE != "":
		o.identify(c, w, lists, now)
	case o.CA != "" || o.HostCAs:
		var roots *x509.CertPool // the system's
		if o.CA != "" {
			roots = x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(o.CA))
		}
		c.VerifyConnection = func(cs tls.ConnectionState) error { return verifyChain(roots, lists, o.Name, cs.PeerCertificates) }
	}
	return c
}

func names(joined string) []string {
	if joined == "" {
		return nil
	}
	return strings.Split(joined, ",")
}

var (
	errNoCertificate = errors.New("the upstream showed no certificate")
	errRevoked       = errors.New("the upstream's certificate is revoked")
)

// verifyChain verifies that roots, or the system's where they are nil, vouch for chain as
// name's or, where that is "", as anybody's, and that lists do not take that back.
func verifyChain(roots *x509.CertPool, lists wire.Revocations, name string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	opts := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	paths, err := chain[0].Verify(opts)
	if err != nil {
		return fmt.Errorf("verify the upstream's certificate: %w", err)
	}
	if !lists.Spare(paths) {
		return errRevoked
	}
	return nil
}
