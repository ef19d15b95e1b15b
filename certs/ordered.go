package certs

import (
	"crypto/tls"
	"fmt"

	"legate/config"
)

// hostPair finds h's certificate: that of its Secret, or the one that was ordered. Where
// both are there and for h's name the one counts that lasts longer, unless the Secret's was
// ordered too, from an authority that h named before.
func (b *builder) hostPair(h *config.Host) (pair, bool) {
	own, err := b.certificate(hostSecret(h))
	if h.ACME == nil {
		if err != nil {
			b.fail(h.Problem("tlsSecret", err.Error(), config.ObjectDropped))
		}
		return own, err == nil
	}
	ordered, failure := b.ordered(h)
	b.tellFailure(h, failure, err == nil || ordered != nil)
	switch {
	case ordered == nil && err != nil:
		b.awaited(h, failure)
		return pair{}, false
	case ordered == nil:
		return own, true
	case err == nil && (own.ordered == "" || own.ordered == h.ACME.Authority) && lastsLonger(own, *ordered, nameOf(h)):
		return own, true
	}
	return *ordered, true
}

// ordered returns what was ordered for h, nil for nothing.
func (b *builder) ordered(h *config.Host) (*pair, string) {
	if b.opts.Ordered == nil {
		return nil, ""
	}
	s, failure := b.opts.Ordered(h)
	if s == nil {
		return nil, failure
	}
	return &pair{cert: s.Data["tls.crt"], key: s.Data["tls.key"], certName: "the certificate ordered", keyName: "its key", from: Origin{FromACME, h.ACME.Authority}}, failure
}

// lastsLonger reports whether own is for name and ends after ordered. A broken one does not,
// nor does that of another Host where both share a Secret.
func lastsLonger(own, ordered pair, name string) bool {
	o, err := tls.X509KeyPair(own.cert, own.key)
	if err != nil || o.Leaf.VerifyHostname(name) != nil {
		return false
	}
	n, err := tls.X509KeyPair(ordered.cert, ordered.key)
	return err != nil || o.Leaf.NotAfter.After(n.Leaf.NotAfter)
}

// tellFailure tells why a certificate that serves could not be renewed.
func (b *builder) tellFailure(h *config.Host, failure string, serves bool) {
	if failure == "" || !serves {
		return
	}
	p := h.Problem("acmeProvider", "the certificate could not be renewed: "+failure, config.Notice)
	p.Instead = "the one there is keeps serving, and the order is tried again"
	b.problem(p)
}

// awaited tells that h does not serve as long as there is no certificate for it.
func (b *builder) awaited(h *config.Host, failure string) {
	p := h.Problem("acmeProvider", "a certificate is being ordered from "+h.ACME.Authority, config.FieldIgnored)
	if failure != "" {
		p.Msg = fmt.Sprintf("no certificate could be ordered from %s: %s", h.ACME.Authority, failure)
	}
	p.Instead = "the Host is not served until it is there, but for the authority's questions"
	b.problem(p)
}

// expected reports whether h is judged by a gateway that does not serve and has no
// certificate for it: the one that serves will order it, so nothing is wrong.
func (b *builder) expected(h *config.Host) bool {
	if b.opts.Ordered != nil || h.ACME == nil {
		return false
	}
	_, err := b.certificate(hostSecret(h))
	return err != nil
}
