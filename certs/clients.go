package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"legate/config"
	"legate/wire"
)

// clients reads what s asks of client certificates. Nothing here is ever left out
// quietly: a Host whose demand cannot be met is not served.
func (b *builder) clients(s *settings, r *recipe) bool {
	if !s.files && (s.CertChainFile != "" || s.PrivateKeyFile != "") {
		field := "cert_chain_file"
		if s.CertChainFile == "" {
			field = "private_key_file"
		}
		b.fail(s.problem(field, "a certificate comes from the Host's tlsSecret or from files, not both", config.ObjectDropped))
		return false
	}
	if s.SPIFFEIDs != nil {
		b.fail(s.problem("spiffe_ids", "says whom upstreams may be; clients are not let in by it", config.ObjectDropped))
		return false
	}
	required := s.CertRequired != nil && *s.CertRequired
	if !b.authority(s, r, &required) || !b.revocations(s, r) {
		return false
	}
	switch {
	case r.ca != nil && required:
		r.clientAuth = tls.RequireAndVerifyClientCert
	case r.ca != nil:
		r.clientAuth = tls.VerifyClientCertIfGiven
	case required:
		r.clientAuth = tls.RequireAnyClientCert
		b.problem(s.problem("cert_required", "without ca_secret any certificate is accepted, from whomever", config.Notice))
	}
	return true
}

// authority finds the CA that clients are verified with: a Secret, a file, or the
// root that Istio delivers beside the certificate. A CA Secret may also say that
// certificates are required.
func (b *builder) authority(s *settings, r *recipe, required *bool) bool {
	var field string
	switch {
	case s.CASecret != "" && s.CACertChainFile != "":
		b.fail(s.problem("ca_secret", "ca_secret and cacert_chain_file exclude each other", config.ObjectDropped))
		return false
	case s.CASecret != "":
		field = "ca_secret"
		name := s.secretName(s.CASecret)
		secret, err := b.secret(name)
		if err == nil {
			if r.ca, r.caName = firstOf(secret, "tls.crt", "root-cert.pem"); r.ca == nil {
				err = fmt.Errorf("Secret %s has no tls.crt with the authority's certificate", name)
			}
		}
		if err != nil {
			b.fail(s.problem(field, err.Error(), config.ObjectDropped))
			return false
		}
		r.caName = "Secret " + name.String() + ": " + r.caName
		if s.CertRequired == nil {
			*required = strings.EqualFold(strings.TrimSpace(string(secret.Data["cert_required"])), "true")
		}
	case s.CACertChainFile != "":
		field = "cacert_chain_file"
		text, err := os.ReadFile(s.CACertChainFile)
		if err != nil {
			b.fail(s.problem(field, err.Error(), config.ObjectDropped))
			return false
		}
		r.ca, r.caName = text, s.CACertChainFile
	case len(r.pair.root) > 0:
		r.ca, r.caName = r.pair.root, "root-cert.pem"
		return true
	default:
		return true
	}
	if _, err := parsePool(r.ca); err != nil {
		b.fail(s.problem(field, fmt.Sprintf("%s %v", r.caName, err), config.ObjectDropped))
		return false
	}
	return true
}

// revocations finds the lists of clients that are let in no more.
func (b *builder) revocations(s *settings, r *recipe) bool {
	if s.CRLSecret == "" {
		return true
	}
	text, err := b.revocationText(s, r)
	if err != nil {
		b.fail(s.problem("crl_secret", err.Error(), config.ObjectDropped))
		return false
	}
	r.crl = text
	return true
}

func (b *builder) revocationText(s *settings, r *recipe) ([]byte, error) {
	name := s.secretName(s.CRLSecret)
	secret, err := b.secret(name)
	if err != nil {
		return nil, err
	}
	if r.ca == nil {
		return nil, errors.New("without ca_secret nobody is verified, and so nobody's certificate is known to be revoked")
	}
	text, ok := secret.Data["crl.pem"]
	if !ok {
		return nil, fmt.Errorf("Secret %s has no crl.pem", name)
	}
	if _, err := wire.ParseRevocations(text); err != nil {
		return nil, fmt.Errorf("Secret %s: crl.pem: %w", name, err)
	}
	return text, nil
}

// firstOf returns the first of keys that s has, and its name.
func firstOf(s *config.Secret, keys ...string) ([]byte, string) {
	for _, key := range keys {
		if text := s.Data[key]; len(text) > 0 {
			return text, key
		}
	}
	return nil, ""
}
