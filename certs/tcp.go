package certs

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"legate/config"
)

// tcpMappings makes the configurations of the TCPMappings with a host. They come before
// the Hosts: a name that both want is theirs.
func (b *builder) tcpMappings() {
	b.users = "TCPMappings"
	defer func() { b.users = "Hosts" }()
	hosts, configs := b.hostsByName(), map[string]*tls.Config{} // by host; nil where there is none
	for i := range b.w.TCPMappings {
		m := &b.w.TCPMappings[i]
		if m.Host == "" {
			continue
		}
		host := strings.ToLower(m.Host)
		c, known := configs[host]
		if !known {
			var from Origin
			c, from = b.tcpConfig(host, hosts)
			configs[host] = c
			if c != nil {
				b.describe(m.Ref(), m.Host, from, c)
			}
		}
		if c == nil {
			p := m.Problem("host", "No matching TLSContext found, disabling!", config.ObjectDropped)
			p.Instead = "it needs a Host whose hostname covers " + m.Host + " and that has a tlsSecret, or a TLSContext whose hosts name it"
			b.problem(p)
			b.out.Dropped = append(b.out.Dropped, m.Ref())
			continue
		}
		b.carry(m, host, c)
	}
}

// carry enters c where the connections of m come in.
func (b *builder) carry(m *config.TCPMapping, host string, c *tls.Config) {
	for i := range b.w.Listeners {
		key := listenerName{i, host}
		if _, taken := b.carried[key]; taken || !b.w.Listeners[i].Carries(m) {
			continue // one of the same group has entered it
		}
		b.carried[key] = m.Ref()
		b.out.Table.Listeners[i].Add(host, c)
	}
}

// tcpConfig finds the certificate of a TCPMapping's host: that of the first Host with
// TLS that covers it, or else of a TLSContext that names it. nil stands for none. Who has a
// certificate is with TLS: another does not take its place where what it asks of clients
// cannot be had, and might ask less.
func (b *builder) tcpConfig(host string, hosts []*config.Host) (*tls.Config, Origin) {
	if strings.Contains(strings.TrimPrefix(host, "*"), "*") {
		return nil, Origin{} // no server name is like that
	}
	for _, h := range hosts {
		if h.TLSSecret.Name == "" || !covers(nameOf(h), host) {
			continue
		}
		if p, ok := b.hostPair(h); ok {
			r, s, ok := b.recipe(h, p)
			return b.tcpReady(&r, &s, ok)
		}
	}
	for i := range b.w.TLSContexts {
		c := &b.w.TLSContexts[i]
		if !slices.ContainsFunc(c.Hosts, func(name string) bool { return strings.EqualFold(name, host) }) {
			continue
		}
		s := settings{TLSSettings: &c.TLSSettings, meta: &c.Meta, namespacing: b.w.SecretNamespacing(c)}
		if p, ok := b.contextPair(c, &s); ok {
			r := recipe{pair: p}
			return b.tcpReady(&r, &s, b.plain(&s, &r) && b.clients(&s, &r))
		}
	}
	return nil, Origin{}
}

// hostsByName returns the Hosts, or the one that stands in for none, in the order of
// their hostnames.
func (b *builder) hostsByName() []*config.Host {
	hosts := make([]*config.Host, 0, len(b.w.Hosts)+1)
	for i := range b.w.Hosts {
		hosts = append(hosts, &b.w.Hosts[i])
	}
	if len(hosts) == 0 {
		h := implicitHost(b.w, b.opts)
		hosts = append(hosts, &h)
	}
	slices.SortStableFunc(hosts, func(a, b *config.Host) int { return cmp.Compare(a.Hostname, b.Hostname) })
	return hosts
}

// covers reports whether a Host's name, a glob, is for a TCPMapping's host. Any is for "*",
// and "*" for any.
func covers(hostname, host string) bool {
	switch {
	case hostname == "*" || host == "*" || hostname == host:
		return true
	case strings.HasPrefix(hostname, "*"):
		return strings.HasSuffix(host, hostname[1:])
	case strings.HasSuffix(hostname, "*"):
		return strings.HasPrefix(host, hostname[:len(hostname)-1])
	}
	return false
}

// contextPair finds the certificate of a TLSContext that is for termination by itself.
func (b *builder) contextPair(c *config.TLSContext, s *settings) (pair, bool) {
	switch {
	case c.Secret != "":
		p, err := b.certificate(s.secretName(c.Secret))
		if err != nil {
			b.fail(s.problem("secret", err.Error(), config.ObjectDropped))
		}
		return p, err == nil
	case c.CertChainFile != "":
		s.files = true
		return b.filedPair(s)
	}
	return pair{}, false // it has no certificate
}

// filedPair reads the certificate and its key from the files that s names. They are judged
// together: whoever renews them writes one after the other.
func (b *builder) filedPair(s *settings) (pair, bool) {
	const field = "cert_chain_file"
	if s.PrivateKeyFile == "" {
		b.fail(s.problem(field, "a certificate needs its key: private_key_file is missing", config.ObjectDropped))
		return pair{}, false
	}
	p := pair{certName: s.CertChainFile, keyName: s.PrivateKeyFile, from: Origin{FromFile, s.CertChainFile}}
	contents, err := b.opts.Files.Read(func(c [][]byte) error {
		now := p
		now.cert, now.key = c[0], c[1]
		_, err := now.parse()
		return err
	}, s.CertChainFile, s.PrivateKeyFile)
	if !b.usable(s, field, contents, err) {
		return pair{}, false
	}
	p.cert, p.key = contents[0], contents[1]
	return p, true
}

// tcpReady makes the configuration of a TCPMapping, which agrees on the protocols that
// its author lists and knows none by itself; nil unless r is whole.
func (b *builder) tcpReady(r *recipe, s *settings, whole bool) (*tls.Config, Origin) {
	if !whole {
		return nil, Origin{}
	}
	r.protocols = protocols(s)
	c, err := b.ready(r)
	if err != nil {
		b.fail(s.problem("secret", fmt.Sprintf("the certificate cannot be used: %v", err), config.ObjectDropped))
	}
	return c, r.pair.from
}
