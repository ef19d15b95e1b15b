package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/spiffe"
	"legate/wire"
)

// A recipe is all that makes a configuration. Equal recipes make one configuration.
type recipe struct {
	pair       pair
	ca         []byte // PEM; nil for none
	caName     string
	crl        []byte // PEM; nil for none
	clientAuth tls.ClientAuthType
	members    string // comma-separated SPIFFE IDs of the clients that are let in; "" for whoever is verified
	workload   bool   // the Workload API vouches for them
	min, max   uint16
	suites     []uint16
	curves     []tls.CurveID
	protocols  []string // offered by ALPN; none: what clients offer is ignored
}

type recipeKey [sha256.Size]byte

// config makes the configuration of a Host with tlsSecret and says where its certificate
// comes from, or reports why it cannot be had.
func (b *builder) config(h *config.Host) (*tls.Config, Origin, bool) {
	p, ok := b.hostPair(h)
	if !ok {
		return nil, Origin{}, false
	}
	r, s, ok := b.recipe(h, p)
	if !ok {
		return nil, Origin{}, false
	}
	r.protocols = hostProtocols(&s)
	c, err := b.ready(&r)
	if err != nil {
		b.fail(h.Problem("tlsSecret", fmt.Sprintf("Secret %s: %v", hostSecret(h), err), config.ObjectDropped))
	}
	return c, r.pair.from, err == nil
}

// recipe finds all that makes h's configuration with p but its protocols, or reports why it
// cannot be had.
func (b *builder) recipe(h *config.Host, p pair) (r recipe, s settings, ok bool) {
	if s, ok = b.settings(h); !ok {
		return r, s, false
	}
	r = recipe{pair: p}
	if !b.plain(&s, &r) || !b.clients(&s, &r) {
		if s.meta.Kind == "TLSContext" {
			b.fail(h.Problem("tlsContext", s.meta.Ref().String()+" cannot be used", config.ObjectDropped))
		}
		return r, s, false
	}
	return r, s, true
}

// hostProtocols are those that a Host's clients may choose from: the author's, and in any
// case HTTP/1.1, as Ambassador's clients get where they want nothing of a list. crypto/tls
// would turn them away, unless h2 is on it.
func hostProtocols(s *settings) []string {
	list := protocols(s)
	switch {
	case len(list) == 0:
		return []string{"h2", "http/1.1"}
	case slices.Contains(list, "h2"), slices.Contains(list, "http/1.1"):
		return list
	}
	return append(list, "http/1.1")
}

// ready makes r's configuration, unless there is one already.
func (b *builder) ready(r *recipe) (*tls.Config, error) {
	key := r.key()
	c := b.out.configs[key]
	if c == nil {
		c = b.old[key]
	}
	if c == nil {
		var err error
		if c, err = r.make(b.opts.Workload); err != nil {
			return nil, err
		}
		if st := b.opts.Staples.of(&c.Certificates[0]); st != nil {
			c.GetCertificate = st.beside(&c.Certificates[0]) // asked where clients name a server
		}
	}
	b.out.configs[key] = c
	return c, nil
}

// key identifies r.
func (r *recipe) key() recipeKey {
	h := sha256.New()
	part := func(p []byte) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p)))
		h.Write(p)
	}
	part(r.pair.cert)
	part(r.pair.key)
	part(r.ca)
	part(r.crl)
	_ = binary.Write(h, binary.BigEndian, []uint16{r.min, r.max, uint16(r.clientAuth), uint16(len(r.suites))}) //nolint:gosec // small numbers
	_ = binary.Write(h, binary.BigEndian, r.suites)
	_ = binary.Write(h, binary.BigEndian, r.curves)
	part([]byte(strings.Join(r.protocols, ",")))
	part([]byte(r.members))
	_ = binary.Write(h, binary.BigEndian, r.workload)
	return recipeKey(h.Sum(nil))
}

// make parses r's certificate and returns the configuration. w vouches for members.
func (r *recipe) make(w spiffe.Workload) (*tls.Config, error) {
	cert, err := r.pair.parse()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		Certificates:     []tls.Certificate{cert},
		MinVersion:       r.min,
		MaxVersion:       r.max,
		CipherSuites:     r.suites,
		CurvePreferences: r.curves,
		ClientAuth:       r.clientAuth,
		NextProtos:       r.protocols,
	}
	if r.ca != nil {
		if c.ClientCAs, err = parsePool(r.ca); err != nil {
			return nil, fmt.Errorf("%s %w", r.caName, err)
		}
	}
	lists, err := wire.ParseRevocations(r.crl)
	if err != nil {
		return nil, err
	}
	switch {
	case r.members != "":
		if err := r.admit(c, w, lists); err != nil {
			return nil, err
		}
	case len(r.crl) > 0:
		// Unlike VerifyPeerCertificate it is asked about resumed sessions as well.
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			return lists.Judge(cs.VerifiedChains, time.Now())
		}
	}
	return c, nil
}

// plain reads versions, suites and curves.
func (b *builder) plain(s *settings, r *recipe) bool {
	var ok [4]bool
	r.min, ok[0] = b.version(s, "min_tls_version", s.MinTLSVersion, tls.VersionTLS12)
	r.max, ok[1] = b.version(s, "max_tls_version", s.MaxTLSVersion, tls.VersionTLS13)
	if s.MinTLSVersion == "" {
		r.min = min(r.min, r.max)
	}
	r.suites, ok[2] = choose(b, s, "cipher_suites", s.CipherSuites, config.TLSSuites, defaultSuites)
	r.curves, ok[3] = choose(b, s, "ecdh_curves", s.ECDHCurves, config.TLSCurves, defaultCurves)
	if ok != [4]bool{true, true, true, true} {
		return false
	}
	if r.min > r.max {
		b.fail(s.problem("min_tls_version", s.MinTLSVersion+" is above the highest version allowed", config.ObjectDropped))
		return false
	}
	if r.min < tls.VersionTLS12 && len(s.CipherSuites) == 0 {
		b.problem(s.problem("min_tls_version", "TLS 1.0 and 1.1 need CBC suites, which cipher_suites must list", config.Notice))
	}
	return true
}

func (b *builder) version(s *settings, field, value string, otherwise uint16) (uint16, bool) {
	if value == "" {
		return otherwise, true
	}
	v, ok := config.TLSVersions[value]
	if !ok {
		b.fail(s.problem(field, fmt.Sprintf("must be v1.0, v1.1, v1.2 or v1.3, got %q", value), config.ObjectDropped))
	}
	return v, ok
}

// choose turns the author's names into ids. What is not known is left out and
// told; a list of which nothing is left fails, as the default would allow more
// than the author did.
func choose[T comparable](b *builder, s *settings, field string, names []string, known map[string]T, otherwise []T) ([]T, bool) {
	var ids []T
	given := false
	for _, name := range names {
		for one := range strings.SplitSeq(strings.Trim(strings.TrimSpace(name), "[]"), "|") {
			given = true
			id, ok := known[strings.TrimSpace(one)]
			switch {
			case !ok:
				p := s.problem(field, config.UnknownTLSName(strings.TrimSpace(one)), config.FieldIgnored)
				p.Instead = "it is left out of the list"
				b.problem(p)
			case !slices.Contains(ids, id):
				ids = append(ids, id)
			}
		}
	}
	if !given {
		return otherwise, true
	}
	if len(ids) == 0 {
		b.fail(s.problem(field, "nothing of the list can be served", config.ObjectDropped))
	}
	return ids, len(ids) > 0
}

// protocols are those of the author's that ALPN offers.
func protocols(s *settings) (offered []string) {
	for _, list := range s.ALPNProtocols {
		for p := range strings.SplitSeq(list, ",") {
			if p = strings.TrimSpace(p); p != "" && !slices.Contains(offered, p) {
				offered = append(offered, p)
			}
		}
	}
	return offered
}

// defaultSuites are Envoy's, which have no CBC and no RSA key exchange.
var defaultSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// defaultCurves are the key exchanges offered where ecdh_curves says nothing:
// Envoy's, and before them the one that a later quantum computer cannot undo.
var defaultCurves = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}
