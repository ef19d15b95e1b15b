package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"legate/config"
)

// A Certificate says what a Host, or a TCPMapping that ends TLS, shows to its clients.
type Certificate struct {
	Host      config.Ref
	Hostname  string
	Names     []string // the certificate's DNS names and addresses
	Issuer    string
	Serial    string // in hexadecimal, as openssl prints it
	NotBefore time.Time
	NotAfter  time.Time
	From      Origin
	Staple    *Staple // what its authority says about it; nil where nobody is asked
}

// An Origin is where a certificate comes from.
type Origin struct {
	Kind string // one of the constants below
	Name string // the Secret as namespace/name, the file, the authority's directory, or the local authority's file
}

// The kinds of Origin.
const (
	FromSecret = "Secret"
	FromFile   = "file"
	FromACME   = "ACME"
	FromLocal  = "local CA"
)

// String names the certificate that o is of.
func (o Origin) String() string {
	if o.Kind == FromACME {
		return "the certificate ordered from " + o.Name
	}
	return "the certificate of " + o.Kind + " " + o.Name
}

// describe notes what ref shows to its clients under hostname.
func (b *builder) describe(ref config.Ref, hostname string, from Origin, c *tls.Config) {
	leaf := c.Certificates[0].Leaf
	d := Certificate{
		Host:      ref,
		Hostname:  hostname,
		Names:     namesOf(leaf),
		Issuer:    leaf.Issuer.String(),
		Serial:    fmt.Sprintf("%X", leaf.SerialNumber.Bytes()),
		NotBefore: leaf.NotBefore,
		NotAfter:  leaf.NotAfter,
		From:      from,
		Staple:    b.opts.Staples.of(&c.Certificates[0]),
	}
	if ca := b.opts.Local; ca != nil && ca.signed(leaf) {
		d.From = Origin{FromLocal, ca.File()}
	}
	b.out.Certificates = append(b.out.Certificates, d)
}

// refused says why clients refuse c for what its authority says about it, or does not; "" where
// they do not, or nobody is asked.
func (b *builder) refused(c *tls.Certificate) string {
	if b.opts.Staples == nil {
		return ""
	}
	if st := b.opts.Staples.of(c); st != nil {
		return st.Refused()
	}
	switch {
	case !mustStaple(c.Leaf):
		return ""
	case len(c.Leaf.OCSPServer) == 0:
		return "must be shown with its authority's answer, and does not say who gives one"
	}
	return "must be shown with its authority's answer, and the chain has no certificate of that authority"
}

// namesOf returns the DNS names and addresses that leaf is for.
func namesOf(leaf *x509.Certificate) []string {
	names := append(make([]string, 0, len(leaf.DNSNames)+len(leaf.IPAddresses)), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// dislikes tells what clients of h, who ask for name, will dislike.
func (b *builder) dislikes(h *config.Host, name string, from Origin, c *tls.Config) {
	leaf := c.Certificates[0].Leaf
	notice := func(msg string) {
		p := h.Problem("tlsSecret", from.String()+msg, config.Notice)
		p.Instead = "it is served, and clients will refuse it"
		b.problem(p)
	}
	switch now := b.opts.Now; {
	case now.After(leaf.NotAfter):
		notice(" expired on " + leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		notice(" is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if refused := b.refused(&c.Certificates[0]); refused != "" {
		notice(" " + refused)
	}
	if name[0] == '*' {
		return // what a wildcard will be asked for is not known
	}
	if err := leaf.VerifyHostname(name); err != nil {
		notice(fmt.Sprintf(" is not for %s but for %v", name, namesOf(leaf)))
	}
}
