package certs

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"legate/config"
	"legate/spiffe"
	"legate/wire"
)

// members reads which members of a mesh are let in, and by whose authorities: those that s
// names, or else the Workload API's. They must show who they are unless s says otherwise. r
// has the authorities that s names.
func (b *builder) members(s *settings, r *recipe, required *bool) bool {
	const field = "spiffe_ids"
	if s.SPIFFEIDs == nil {
		return true
	}
	ids, wrong := spiffe.Split(s.SPIFFEIDs)
	for _, err := range wrong {
		p := s.problem(field, err.Error(), config.FieldIgnored)
		p.Instead = "it is left out of the list"
		b.problem(p)
	}
	switch {
	case len(ids) == 0:
		b.fail(s.problem(field, "lets nobody in", config.ObjectDropped))
		return false
	case r.ca != nil:
		if _, err := spiffe.ParseAuthorities(r.ca); err != nil {
			b.fail(s.problem(field, fmt.Sprintf("%s: %v", r.caName, err), config.ObjectDropped))
			return false
		}
	case b.opts.NoWorkload:
		b.fail(s.problem(field, "needs a Workload API, which --spiffe-socket names, or ca_secret or cacert_chain_file", config.ObjectDropped))
		return false
	default:
		r.workload = true
	}
	r.members = strings.Join(ids, ",")
	*required = s.CertRequired == nil || *s.CertRequired
	return true
}

// admit has c let in only the clients that r names, for whom its authorities or w vouch at the
// time of the handshake, and whom lists do not revoke. Sessions that are resumed are looked at
// as all others.
func (r *recipe) admit(c *tls.Config, w spiffe.Workload, lists wire.Revocations) error {
	allowed := spiffe.MustParse(strings.Split(r.members, ","))
	var bundles x509bundle.Source = w
	if !r.workload {
		authorities, err := spiffe.ParseAuthorities(r.ca)
		if err != nil {
			return fmt.Errorf("%s %w", r.caName, err)
		}
		bundles = authorities
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil // the handshake has failed already where one is required
		}
		paths, err := spiffe.Verify(cs.PeerCertificates, bundles, allowed, time.Now())
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		return lists.Judge(paths, time.Now())
	}
	return nil
}
