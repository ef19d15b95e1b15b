package wire

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Revocations are lists of certificates that their authorities have taken back (RFC
// 5280 §5). They are for several goroutines.
type Revocations []*revocationList

// A revocationList is one list, made ready to be asked.
type revocationList struct {
	list    *x509.RevocationList
	scope   listScope
	serials map[string]bool // that are taken back

	mu     sync.Mutex
	signed map[[sha256.Size]byte]bool // whether a certificate, by its hash, has signed the list
}

// What keeps certificates from being good by Revocations.
var (
	ErrRevoked = errors.New("the certificate is revoked")
	ErrNoList  = errors.New("there is no list of what the certificate's authority has revoked")
	ErrOldList = errors.New("the list of what the certificate's authority has revoked is out of date")
)

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
		scope, err := newListScope(list)
		if err != nil {
			return nil, fmt.Errorf("revocation list of %s: %w", list.Issuer, err)
		}
		l := &revocationList{list: list, scope: scope, serials: make(map[string]bool, len(list.RevokedCertificateEntries)), signed: map[[sha256.Size]byte]bool{}}
		for i := range list.RevokedCertificateEntries {
			l.serials[string(list.RevokedCertificateEntries[i].SerialNumber.Bytes())] = true
		}
		lists = append(lists, l)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("parse revocation list: not PEM")
	}
	return lists, nil
}

// Until returns when the first of the lists is out of date; zero where none ever is.
func (l Revocations) Until() (first time.Time) {
	for _, list := range l {
		if end := list.list.NextUpdate; !end.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// Judge returns nil if there is a path, from a certificate up to its root, on which each
// authority has a list for its certificate that is in force at now and has it not. Otherwise
// it says what is wrong with one. As in Ambassador an authority without a list vouches for nobody; no
// lists at all take nothing back.
func (l Revocations) Judge(paths [][]*x509.Certificate, now time.Time) error {
	if len(l) == 0 {
		return nil
	}
	err := ErrNoList
	for _, path := range paths {
		if err = l.judge(path, now); err == nil {
			return nil
		}
	}
	return err
}

func (l Revocations) judge(path []*x509.Certificate, now time.Time) error {
	for i, issuer := range path[1:] {
		verdict := ErrNoList
		for _, list := range l {
			switch {
			case !list.of(issuer):
			case list.serials[string(path[i].SerialNumber.Bytes())]: // also on one that is out of date, or for others
				return ErrRevoked
			case !list.scope.covers(path[i]):
			case list.inForce(now):
				verdict = nil
			case verdict != nil:
				verdict = ErrOldList
			}
		}
		if verdict != nil {
			return verdict
		}
	}
	return nil
}

func (l *revocationList) inForce(now time.Time) bool {
	return !now.Before(l.list.ThisUpdate) && (l.list.NextUpdate.IsZero() || now.Before(l.list.NextUpdate))
}

// mostIssuers bounds what is remembered of a list: authorities of one name are few.
const mostIssuers = 16

// of reports whether issuer has signed the list. That costs as much as a handshake does, so
// it is remembered.
func (l *revocationList) of(issuer *x509.Certificate) bool {
	if !bytes.Equal(l.list.RawIssuer, issuer.RawSubject) {
		return false
	}
	key := sha256.Sum256(issuer.Raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	signed, known := l.signed[key]
	if !known {
		signed = l.list.CheckSignatureFrom(issuer) == nil
		if len(l.signed) < mostIssuers {
			l.signed[key] = signed
		}
	}
	return signed
}
