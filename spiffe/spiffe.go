// Package spiffe decides who is let be who they say they are in a mesh: which SPIFFE IDs an
// operator allows, and whether a chain of certificates is an X509-SVID of one of them. It
// knows no connection, and not where certificates and authorities come from.
package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A Workload says who the gateway is in the mesh, and whom the mesh vouches for, each time as
// it is now. Its SVID is always one that has not expired: else there is an error that says
// why there is none.
type Workload interface {
	x509svid.Source
	x509bundle.Source
}

// An ID is one SPIFFE ID, or all those below a path.
type ID struct {
	domain spiffeid.TrustDomain
	path   string
	below  bool // whatever follows path and a slash
}

// ParseID reads a SPIFFE ID as the SPIFFE standard spells it, or one whose last segment is
// "*", which stands for one segment or more: "spiffe://cluster.local/ns/shop/*" is every
// service account of a namespace, "spiffe://cluster.local/*" everybody of a trust domain.
func ParseID(text string) (ID, error) {
	base, below := strings.CutSuffix(text, "/*")
	id, err := spiffeid.FromString(base)
	if err != nil {
		return ID{}, fmt.Errorf("%q is no SPIFFE ID: %w", text, err)
	}
	if id.Path() == "" && !below {
		return ID{}, fmt.Errorf("%q is a trust domain, and nobody's SPIFFE ID: %s/* is everybody in it", text, text)
	}
	return ID{domain: id.TrustDomain(), path: id.Path(), below: below}, nil
}

// Split returns the IDs in fields, each of which may hold several between commas, as they are
// written, and what is wrong with those that are none.
func Split(fields []string) (ids []string, wrong []error) {
	for _, field := range fields {
		for text := range strings.SplitSeq(field, ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			if _, err := ParseID(text); err != nil {
				wrong = append(wrong, err)
				continue
			}
			ids = append(ids, text)
		}
	}
	return ids, wrong
}

// MustParse returns the IDs of ids, which Split returned.
func MustParse(ids []string) []ID {
	parsed := make([]ID, len(ids))
	for i, text := range ids {
		var err error
		if parsed[i], err = ParseID(text); err != nil {
			panic("BUG: a SPIFFE ID was not checked when it was read")
		}
	}
	return parsed
}

// matches reports whether id is meant.
func (p *ID) matches(id spiffeid.ID) bool {
	if id.TrustDomain() != p.domain {
		return false
	}
	if p.below {
		return strings.HasPrefix(id.Path(), p.path+"/")
	}
	return id.Path() == p.path
}

// A NotAllowedError says that a peer has proved who it is, and is nobody who is allowed.
type NotAllowedError struct{ ID string }

func (e *NotAllowedError) Error() string {
	return fmt.Sprintf("the peer is %s, which spiffe_ids does not allow", e.ID)
}

// Verify reports whether chain, the peer's own certificate first, is the X509-SVID of one of
// allowed at the time now, and returns the ways from it to an authority of its trust domain
// in bundles. Whoever is known but not allowed gets a NotAllowedError.
func Verify(chain []*x509.Certificate, bundles x509bundle.Source, allowed []ID, now time.Time) ([][]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errNoCertificate
	}
	id, paths, err := x509svid.Verify(chain, bundles, x509svid.WithTime(now))
	if err != nil {
		return nil, err
	}
	for i := range allowed {
		if allowed[i].matches(id) {
			return paths, nil
		}
	}
	return nil, &NotAllowedError{ID: id.String()}
}

var errNoCertificate = errors.New("the peer showed no certificate")

// Authorities are those of every trust domain: for who has them from elsewhere than a
// Workload API, which tells them by domain. Who is allowed then says of which domains.
type Authorities []*x509.Certificate

// ParseAuthorities reads certificates in PEM, at least one.
func ParseAuthorities(pem []byte) (Authorities, error) {
	b, err := x509bundle.Parse(spiffeid.TrustDomain{}, pem)
	if err != nil {
		return nil, err
	}
	return b.X509Authorities(), nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (a Authorities) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return x509bundle.FromX509Authorities(domain, a), nil
}
