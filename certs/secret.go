package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"legate/config"
)

// A secretName names a Secret, defaults applied.
type secretName struct{ namespace, name string }

func (n secretName) String() string { return n.namespace + "/" + n.name }

// hostSecret is the Secret of h's certificate. A dot in its name means nothing.
func hostSecret(h *config.Host) secretName {
	return secretName{cmp.Or(h.TLSSecret.Namespace, h.Namespace), h.TLSSecret.Name}
}

// A pair is a certificate chain and its key, not yet parsed.
type pair struct {
	cert, key         []byte
	certName, keyName string // how the author calls them
	root              []byte // the CA that Istio puts beside them; nil for none
	from              Origin
	ordered           string // the authority that it was ordered from, "" where its author did not order it here
}

// The types of Secret in which Ambassador looks for certificates.
func usableType(t string) bool {
	return t == "" || t == "Opaque" || t == "kubernetes.io/tls" || t == "istio.io/key-and-cert"
}

// secret finds a Secret of a usable type.
func (b *builder) secret(name secretName) (*config.Secret, error) {
	s := b.secrets[name]
	if s == nil {
		return nil, fmt.Errorf("there is no Secret %s", name)
	}
	if !usableType(s.Type) {
		return nil, fmt.Errorf("Secret %s has type %s; certificates are kubernetes.io/tls, Opaque or istio.io/key-and-cert", name, s.Type)
	}
	return s, nil
}

// certificate finds the certificate and key in the Secret called name.
func (b *builder) certificate(name secretName) (pair, error) {
	s, err := b.secret(name)
	if err != nil {
		return pair{}, err
	}
	for _, keys := range [][2]string{{"tls.crt", "tls.key"}, {"cert-chain.pem", "key.pem"}} {
		p := pair{cert: s.Data[keys[0]], key: s.Data[keys[1]], certName: keys[0], keyName: keys[1], root: s.Data["root-cert.pem"], from: Origin{FromSecret, name.String()}}
		switch {
		case len(p.cert) > 0 && len(p.key) > 0:
			p.ordered = config.OrderedFrom(s.Data)
			return p, nil
		case len(p.cert) > 0:
			return pair{}, fmt.Errorf("Secret %s has %s but no %s", name, p.certName, p.keyName)
		case len(p.key) > 0:
			return pair{}, fmt.Errorf("Secret %s has %s but no %s", name, p.keyName, p.certName)
		}
	}
	return pair{}, fmt.Errorf("Secret %s has neither tls.crt and tls.key nor cert-chain.pem and key.pem", name)
}

// parse makes p ready to serve. Its errors tell an author what to mend.
func (p *pair) parse() (tls.Certificate, error) {
	if _, err := parsePool(p.cert); err != nil {
		return tls.Certificate{}, fmt.Errorf("%s %w", p.certName, err)
	}
	switch keys := pemTypes(p.key); {
	case strings.Contains(keys, "ENCRYPTED") || strings.Contains(string(p.key), "Proc-Type: 4,ENCRYPTED"):
		return tls.Certificate{}, fmt.Errorf("%s is encrypted; keys must be stored without a passphrase", p.keyName)
	case !strings.Contains(keys, "PRIVATE KEY"):
		return tls.Certificate{}, fmt.Errorf("%s holds no PEM private key", p.keyName)
	}
	c, err := tls.X509KeyPair(p.cert, p.key)
	switch {
	case err == nil:
		return c, nil
	case strings.Contains(err.Error(), "does not match"):
		return tls.Certificate{}, fmt.Errorf("%s does not belong to the certificate in %s", p.keyName, p.certName)
	}
	return tls.Certificate{}, fmt.Errorf("%s: %s", p.keyName, strings.TrimPrefix(err.Error(), "tls: "))
}

// pemTypes lists the types of the PEM blocks in text, each on its line.
func pemTypes(text []byte) string {
	var types strings.Builder
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		types.WriteString(block.Type + "\n")
	}
	return types.String()
}

// parsePool reads the authorities in text, all or none: a skipped one would refuse
// clients without a word.
func parsePool(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a broken certificate (number %d): %s", n+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return pool, nil
}
