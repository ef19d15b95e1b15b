package certs

import (
	"slices"
	"strings"

	"legate/config"
)

// settings are the TLS settings of one Host and where they were written.
type settings struct {
	*config.TLSSettings
	meta        *config.Meta
	prefix      string // of the fields: "tls." inside a Host
	namespacing bool
	files       bool // the certificate is in the files that it names
}

// problem is about one of the fields of s.
func (s *settings) problem(field, msg string, e config.Effect) config.Problem {
	return s.meta.Problem(s.prefix+field, msg, e)
}

// settings finds what h's TLS is to be like: inline, by a named TLSContext, by one
// that is called like the Host, or by nothing but defaults.
func (b *builder) settings(h *config.Host) (settings, bool) {
	switch {
	case h.TLS != nil && h.TLSContext != "":
		b.fail(h.Problem("tlsContext", "tls and tlsContext exclude each other", config.ObjectDropped))
		return settings{}, false
	case h.TLS != nil:
		return settings{TLSSettings: h.TLS, meta: &h.Meta, prefix: "tls.", namespacing: b.w.SecretNamespacing(nil)}, true
	case h.TLSContext != "":
		c := b.contexts[h.TLSContext]
		if c == nil {
			b.fail(h.Problem("tlsContext", "there is no TLSContext "+h.TLSContext, config.ObjectDropped))
			return settings{}, false
		}
		return b.context(h, c)
	}
	if c := b.contexts[h.Name+"-context"]; c != nil {
		return b.context(h, c)
	}
	return settings{TLSSettings: &config.TLSSettings{}, meta: &h.Meta, prefix: "tls."}, true
}

// context takes c as h's settings if the two agree about the certificate.
func (b *builder) context(h *config.Host, c *config.TLSContext) (settings, bool) {
	s := settings{TLSSettings: &c.TLSSettings, meta: &c.Meta, namespacing: b.w.SecretNamespacing(c)}
	if own := hostSecret(h); c.Secret != "" && s.secretName(c.Secret) != own {
		b.fail(h.Problem("tlsContext", c.Ref().String()+" has Secret "+s.secretName(c.Secret).String()+", but tlsSecret is "+own.String(), config.ObjectDropped))
		return settings{}, false
	}
	named := func(name string) bool {
		return name == "*" || strings.EqualFold(name, h.Hostname) || strings.EqualFold(name, nameOf(h)) || name == h.Name
	}
	if len(c.Hosts) > 0 && !slices.ContainsFunc(c.Hosts, named) {
		p := h.Problem("tlsContext", "hosts of "+c.Ref().String()+" does not name "+h.Hostname, config.Notice)
		p.Instead = "the context is used all the same"
		b.problem(p)
	}
	return s, true
}

// secretName resolves how s names a Secret: "name", or "name.namespace" unless
// namespacing is off.
func (s *settings) secretName(name string) secretName {
	if i := strings.LastIndexByte(name, '.'); i > 0 && s.namespacing {
		return secretName{namespace: name[i+1:], name: name[:i]}
	}
	return secretName{namespace: s.meta.Namespace, name: name}
}
