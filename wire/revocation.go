package wire

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Revocations are lists of certificates that their authorities have taken back (RFC
// 5280 §5).
type Revocations []*x509.RevocationList

// ParseRevocations reads any number of lists in PEM, also none.
func ParseRevocations(text []byte) (Revocations, error) {
	var lists Revocations
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse revocation list: %w", err)
		}
		lists = append(lists, list)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("parse revocation list: not PEM")
	}
	return lists, nil
}

// Spare reports whether there is a path, from a certificate up to its root, on which
// nothing was taken back.
func (l Revocations) Spare(paths [][]*x509.Certificate) bool {
	return slices.ContainsFunc(paths, func(path []*x509.Certificate) bool { return !l.revoke(path) })
}

// revoke reports whether a certificate on path is on a list of the one above it.
func (l Revocations) revoke(path []*x509.Certificate) bool {
	for i, issuer := range path[1:] {
		for _, list := range l {
			if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(path[i].SerialNumber) == 0
			}) {
				return true
			}
		}
	}
	return false
}
