package upstream

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	Context    string // the TLSContext's full name; "" where none is named
}

// settings returns o without what is renewed from time to time and leaves the upstream the
// same: the certificate, its key, the authorities and their lists.
func (o Origination) settings() Origination {
	o.Cert, o.Key, o.CA, o.CRL = "", "", "", ""
	return o
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
	r := contextReader{ctx: ctx, world: w, files: opts.Files, noWorkload: opts.NoWorkload, now: opts.now()}
	r.o.On, r.o.Context = true, ctx.FullName()
	r.o.ServerName = ctx.SNI
	r.o.Min = r.version("min_tls_version", ctx.MinTLSVersion)
	r.o.Max = r.version("max_tls_version", ctx.MaxTLSVersion)
	if r.o.Min > r.o.Max && r.o.Max != 0 {
		r.fail("min_tls_version", "is over max_tls_version")
	}
	r.protocols()
	r.o.Ciphers = listed(&r, "cipher_suites", ctx.CipherSuites, config.TLSSuites)
	r.o.Curves = listed(&r, "ecdh_curves", ctx.ECDHCurves, config.TLSCurves)
	r.certificate()
	r.authorities()
	r.identities()
	r.revocations()
	return r.o, r.problems
}

type contextReader struct {
	ctx        *config.TLSContext
	world      *config.World
	files      config.NamedFiles
	noWorkload bool // there is no Workload API
	now        time.Time
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

func (r *contextReader) version(field, text string) uint16 {
	v, ok := config.TLSVersions[strings.ToLower(text)]
	if text != "" && !ok {
		r.problem(field, fmt.Sprintf("%q is no TLS version", text), config.FieldIgnored)
	}
	return v
}

// protocols keeps those of alpn_protocols that can be spoken to an upstream.
func (r *contextReader) protocols() {
	list := trimmedList(r.ctx.ALPNProtocols)
	if slices.Contains(list, protocolPeers) {
		r.problem("alpn_protocols", protocolPeers+" is what Istio's proxies tell each other of themselves by, which is not spoken", config.FieldIgnored)
		list = slices.DeleteFunc(list, func(p string) bool { return p == protocolPeers })
	}
	// What an upstream chooses must be what it gets, and that is HTTP/1.1.
	list = slices.DeleteFunc(list, func(p string) bool { return p == "h2" || p == "http/1.0" })
	r.o.ALPN = strings.Join(list, ",")
}

// protocolPeers is the protocol by which a proxy of Istio sends what it is ahead of the bytes
// that it carries: a proxy that chose it would wait for that, and send the same.
const protocolPeers = "istio-peer-exchange"

// protocolsH2 returns what ALPN offers where HTTP/2 will be spoken: that, after the names of
// list by which a proxy of Istio tells the mesh from strangers. It chooses none of those.
func protocolsH2(list string) string {
	marks := slices.DeleteFunc(names(list), func(p string) bool { return p != "istio" && !strings.HasPrefix(p, "istio-") })
	return strings.Join(append(marks, protocolH2), ",")
}

// listed returns the names of list that are in table, joined. A list of which nothing is
// left allows nothing.
func listed[T any](r *contextReader, field string, list []string, table map[string]T) string {
	var names []string
	given := trimmedList(list)
	for _, name := range given {
		for part := range strings.SplitSeq(strings.Trim(name, "[]"), "|") {
			if _, ok := table[part]; !ok {
				r.problem(field, config.UnknownTLSName(part), config.FieldIgnored)
				continue
			}
			names = append(names, part)
		}
	}
	if len(given) > 0 && len(names) == 0 {
		r.fail(field, "nothing of the list can be used")
	}
	return strings.Join(names, ",")
}

// certificate finds the client certificate.
func (r *contextReader) certificate() {
	switch {
	case r.ctx.Secret != "":
		if r.ctx.CertChainFile != "" {
			r.problem("cert_chain_file", "secret and cert_chain_file exclude each other", config.FieldIgnored)
		}
		r.secretPair()
	case r.ctx.CertChainFile != "" && r.ctx.PrivateKeyFile != "":
		r.filePair()
	case r.ctx.CertChainFile != "":
		r.problem("cert_chain_file", "a certificate needs its key: private_key_file is missing", config.FieldIgnored)
	case r.ctx.PrivateKeyFile != "":
		r.problem("private_key_file", "a key needs its certificate: cert_chain_file is missing", config.FieldIgnored)
	}
	if r.o.Cert != "" {
		r.dates()
	}
}

// dates tells of a client certificate whose time is over, or has not come.
func (r *contextReader) dates() {
	field := "secret"
	if r.ctx.Secret == "" {
		field = "cert_chain_file"
	}
	pair, err := tls.X509KeyPair([]byte(r.o.Cert), []byte(r.o.Key))
	if err != nil {
		return // it was checked
	}
	var msg string
	switch leaf := pair.Leaf; {
	case r.now.After(leaf.NotAfter):
		msg = "the client certificate expired on " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case r.now.Before(leaf.NotBefore):
		msg = "the client certificate is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	default:
		return
	}
	p := r.ctx.Problem(field, msg, config.Notice)
	p.Instead = "it is shown, and services that look at it will refuse it"
	r.problems = append(r.problems, p)
}

// secretPair finds the client certificate in a Secret.
func (r *contextReader) secretPair() {
	const field = "secret"
	data, err := r.secret(r.ctx.Secret)
	if err != nil {
		r.problem(field, err.Error(), config.FieldIgnored)
		return
	}
	cert, key := first(data, "tls.crt", "cert-chain.pem"), first(data, "tls.key", "key.pem", "user.key")
	if root := data["root-cert.pem"]; root != nil && r.ctx.CASecret == "" && r.ctx.CACertChainFile == "" {
		r.o.CA = string(root)
	}
	if err := checkPair(cert, key); err != nil {
		r.problem(field, err.Error(), config.FieldIgnored)
		return
	}
	r.o.Cert, r.o.Key = string(cert), Secret(key)
}

// filePair reads the client certificate from files. Those that renew it write one after the
// other.
func (r *contextReader) filePair() {
	contents := r.read("cert_chain_file", config.FieldIgnored, func(c [][]byte) error { return checkPair(c[0], c[1]) }, r.ctx.CertChainFile, r.ctx.PrivateKeyFile)
	if contents != nil {
		r.o.Cert, r.o.Key = string(contents[0]), Secret(contents[1])
	}
}

// checkPair reports why a client certificate cannot be shown. The errors of crypto/tls hold
// nothing of the key.
func checkPair(cert, key []byte) error {
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("the client certificate cannot be used: %w", err)
	}
	return nil
}

// read reads files that belong together: where they are not good now, what was good last.
// nil, which has the effect, if that never was.
func (r *contextReader) read(field string, effect config.Effect, check func([][]byte) error, paths ...string) [][]byte {
	contents, err := cmp.Or[config.NamedFiles](r.files, config.Disk{}).Read(check, paths...)
	switch {
	case err == nil:
	case contents != nil:
		p := r.ctx.Problem(field, err.Error(), config.ObjectStale)
		p.Instead = "what was there before is used as long as that is so"
		r.problems = append(r.problems, p)
	case effect == config.RouteClosed:
		r.fail(field, err.Error())
	default:
		r.problem(field, err.Error(), effect)
	}
	return contents
}

// authorities finds what the upstream's chain is verified against.
func (r *contextReader) authorities() {
	field := "secret"
	switch {
	case r.ctx.CASecret != "" && r.ctx.CACertChainFile != "":
		r.fail("ca_secret", "ca_secret and cacert_chain_file exclude each other")
		return
	case r.ctx.CASecret != "":
		field = "ca_secret"
		data, err := r.secret(r.ctx.CASecret)
		if err != nil {
			r.fail(field, err.Error())
			return
		}
		r.o.CA = string(first(data, "tls.crt", "root-cert.pem", "ca.crt", "cert-chain.pem"))
	case r.ctx.CACertChainFile != "":
		contents := r.read("cacert_chain_file", config.RouteClosed, func(c [][]byte) error {
			if !x509.NewCertPool().AppendCertsFromPEM(c[0]) {
				return fmt.Errorf("%s %w", r.ctx.CACertChainFile, errNoAuthority)
			}
			return nil
		}, r.ctx.CACertChainFile)
		if contents != nil {
			r.o.CA = string(contents[0])
		}
		return
	case r.o.CA == "":
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(r.o.CA)) {
		r.fail(field, errNoAuthority.Error())
	}
}

var errNoAuthority = errors.New("holds no certificate to verify against")

// revocations finds the lists of certificates that are no longer good.
func (r *contextReader) revocations() {
	field := "crl_secret"
	if r.ctx.CRLFile != "" {
		field = "crl_file"
	}
	switch {
	case r.ctx.CRLSecret == "" && r.ctx.CRLFile == "":
		return
	case r.ctx.CRLSecret != "" && r.ctx.CRLFile != "":
		r.fail(field, "crl_secret and crl_file exclude each other")
		return
	case r.o.CA == "" && !r.o.Workload:
		r.problem(field, "is of no use without ca_secret: nothing is verified", config.FieldIgnored)
		return
	case r.ctx.CRLFile != "":
		contents := r.read(field, config.RouteClosed, func(c [][]byte) error {
			if _, err := wire.ParseRevocations(c[0]); err != nil {
				return fmt.Errorf("%s %w", r.ctx.CRLFile, err)
			}
			return nil
		}, r.ctx.CRLFile)
		if contents != nil {
			r.o.CRL = string(contents[0])
		}
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

// sessions is how many TLS sessions an upstream keeps for resumption: one for each
// of its endpoints, or one for its server name.
const sessions = 64

// config returns the ready configuration. It has its own session cache: a session
// must not be resumed under other settings than those it was verified with. w may be nil
// where o does not ask for it; now is asked what is verified at.
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
		c.CipherSuites = append(c.CipherSuites, config.TLSSuites[name])
	}
	for _, name := range names(o.Curves) {
		c.CurvePreferences = append(c.CurvePreferences, config.TLSCurves[name])
	}
	if o.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(o.Cert), []byte(o.Key))
		if err != nil {
			panic("BUG: a client certificate was not checked when its Spec was read")
		}
		c.Certificates = []tls.Certificate{pair}
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
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			return verifyChain(roots, lists, o.Name, cs.PeerCertificates, now())
		}
	}
	return c
}

func names(joined string) []string {
	if joined == "" {
		return nil
	}
	return strings.Split(joined, ",")
}

var errNoCertificate = errors.New("the upstream showed no certificate")

// verifyChain verifies that roots, or the system's where they are nil, vouch for chain as
// name's or, where that is "", as anybody's, and that lists do not take that back.
func verifyChain(roots *x509.CertPool, lists wire.Revocations, name string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	opts := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	paths, err := chain[0].Verify(opts)
	if err != nil {
		return fmt.Errorf("verify the upstream's certificate: %w", err)
	}
	if err := lists.Judge(paths, now); err != nil {
		return fmt.Errorf("verify the upstream's certificate: %w", err)
	}
	return nil
}
