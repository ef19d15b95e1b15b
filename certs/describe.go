package certs

import (
	"crypto/tls"
	"fmt"
	"time"

	"legate/config"
)

// describe notes what h shows to its clients, and tells what they will dislike.
func (b *builder) describe(h *config.Host, name string, c *tls.Config) {
	leaf := c.Certificates[0].Leaf
	d := Certificate{
		Host:     h.Ref(),
		Hostname: h.Hostname,
		Names:    append([]string(nil), leaf.DNSNames...),
		Issuer:   leaf.Issuer.String(),
		NotAfter: leaf.NotAfter,
	}
	for _, ip := range leaf.IPAddresses {
		d.Names = append(d.Names, ip.String())
	}
	b.out.Certificates = append(b.out.Certificates, d)

	secret := "the certificate of Secret " + hostSecret(h).String()
	notice := func(msg string) {
		p := h.Problem("tlsSecret", secret+msg, config.Notice)
		p.Instead = "it is served, and clients will refuse it"
		b.problem(p)
	}
	switch now := b.opts.Now; {
	case now.After(leaf.NotAfter):
		notice(" expired on " + leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		notice(" is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if name[0] == '*' {
		return // what a wildcard will be asked for is not known
	}
	if err := leaf.VerifyHostname(name); err != nil {
		notice(fmt.Sprintf(" is not for %s but for %v", name, d.Names))
	}
}
