package wire

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// A listScope says for which certificates of its authority a revocation list speaks: what it
// does not have among others than those is no good news. The zero value is for all.
type listScope struct {
	onlyUsers, onlyAuthorities bool
	partial                    bool // for those only that name one of:
	points                     []string
}

// An issuingPoint is the extension that says so (RFC 5280 §5.2.5).
type issuingPoint struct {
	Point           pointName      `asn1:"optional,tag:0"`
	OnlyUsers       bool           `asn1:"optional,tag:1"`
	OnlyAuthorities bool           `asn1:"optional,tag:2"`
	SomeReasons     asn1.BitString `asn1:"optional,tag:3"`
	Indirect        bool           `asn1:"optional,tag:4"`
	OnlyAttributes  bool           `asn1:"optional,tag:5"`
}

type pointName struct {
	Full     []asn1.RawValue `asn1:"optional,tag:0"`
	Relative []asn1.RawValue `asn1:"optional,tag:1"`
}

// uriTag is that of a URI among the kinds of names (RFC 5280 §4.2.1.6).
const uriTag = 6

var issuingPointID = asn1.ObjectIdentifier{2, 5, 29, 28}

// newListScope reads the scope of a list. A list that means something by an extension which
// is not known here may not be asked (RFC 5280 §5.2), which is an error.
func newListScope(list *x509.RevocationList) (s listScope, err error) {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(issuingPointID):
			if s, err = readIssuingPoint(e); err != nil {
				return s, err
			}
		case e.Critical:
			return s, fmt.Errorf("the critical extension %v is not known", e.Id)
		}
	}
	for i := range list.RevokedCertificateEntries {
		for _, e := range list.RevokedCertificateEntries[i].Extensions {
			if e.Critical {
				return s, fmt.Errorf("the critical extension %v of an entry is not known", e.Id)
			}
		}
	}
	return s, nil
}

func readIssuingPoint(e pkix.Extension) (s listScope, err error) {
	var p issuingPoint
	rest, err := asn1.Unmarshal(e.Value, &p)
	switch {
	case err != nil:
		return s, fmt.Errorf("issuing distribution point: %w", err)
	case len(rest) > 0:
		return s, errors.New("issuing distribution point: more follows it")
	case p.Indirect:
		return s, errors.New("it speaks for other authorities than its own")
	case p.SomeReasons.BitLength > 0:
		return s, errors.New("it has what is revoked for some reasons only")
	case p.OnlyAttributes:
		return s, errors.New("it is for attribute certificates only")
	}
	s = listScope{onlyUsers: p.OnlyUsers, onlyAuthorities: p.OnlyAuthorities, partial: len(p.Point.Full)+len(p.Point.Relative) > 0}
	for _, name := range p.Point.Full {
		if name.Class == asn1.ClassContextSpecific && name.Tag == uriTag {
			s.points = append(s.points, string(name.Bytes))
		}
	}
	if s.partial && len(s.points) == 0 {
		return s, errors.New("the part that it is of has no URI for its name")
	}
	return s, nil
}

// covers reports whether the list would have c if it were revoked.
func (s *listScope) covers(c *x509.Certificate) bool {
	if c.IsCA && s.onlyUsers || !c.IsCA && s.onlyAuthorities {
		return false
	}
	return !s.partial || slices.ContainsFunc(s.points, func(uri string) bool { return slices.Contains(c.CRLDistributionPoints, uri) })
}
