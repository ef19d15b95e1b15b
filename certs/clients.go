package certs

import (
	"crypto/tls"
	"fmt"
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
	required := s.CertRequired != nil && *s.CertRequired
	if !b.authority(s, r, &required) || !b.members(s, r, &required) || !b.revocations(s, r) {
		return false
	}
	switch {
	case r.workload && required:
		r.clientAuth = tls.RequireAnyClientCert // whose it is is looked at once it is there
	case r.workload:
		r.clientAuth = tls.RequestClientCert
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
		var ok bool
		r.ca, ok = b.file(s, "cacert_chain_file", s.CACertChainFile, func(text []byte) error {
			_, err := parsePool(text)
			return err
		})
		r.caName = s.CACertChainFile
		return ok
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
	field := "crl_secret"
	if s.CRLFile != "" {
		field = "crl_file"
	}
	switch {
	case s.CRLSecret == "" && s.CRLFile == "":
		return true
	case s.CRLSecret != "" && s.CRLFile != "":
		b.fail(s.problem(field, "crl_secret and crl_file exclude each other", config.ObjectDropped))
		return false
	case r.ca == nil && !r.workload:
		b.fail(s.problem(field, "without ca_secret nobody is verified, and so nobody's certificate is known to be revoked", config.ObjectDropped))
		return false
	case s.CRLFile != "":
		var ok bool
		r.crl, ok = b.file(s, field, s.CRLFile, func(text []byte) error {
			_, err := wire.ParseRevocations(text)
			return err
		})
		return ok
	}
	text, err := b.revocationText(s)
	if err != nil {
		b.fail(s.problem(field, err.Error(), config.ObjectDropped))
		return false
	}
	r.crl = text
	return true
}

// file reads a file that s names, or what was good last where it is not now.
func (b *builder) file(s *settings, field, path string, check func(text []byte) error) ([]byte, bool) {
	contents, err := b.opts.Files.Read(func(c [][]byte) error {
		if err := check(c[0]); err != nil {
			return fmt.Errorf("%s %w", path, err)
		}
		return nil
	}, path)
	if !b.usable(s, field, contents, err) {
		return nil, false
	}
	return contents[0], true
}

// usable tells what is wrong with files that s names, and reports whether there is something
// to go on with: what they held when all was well.
func (b *builder) usable(s *settings, field string, contents [][]byte, err error) bool {
	switch {
	case err == nil:
		return true
	case contents == nil:
		b.fail(s.problem(field, err.Error(), config.ObjectDropped))
		return false
	}
	p := s.problem(field, err.Error(), config.ObjectStale)
	p.Instead = "what was there before is used as long as that is so"
	b.problem(p)
	return true
}

func (b *builder) revocationText(s *settings) ([]byte, error) {
	name := s.secretName(s.CRLSecret)
	secret, err := b.secret(name)
	if err != nil {
		return nil, err
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
