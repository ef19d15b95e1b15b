// Package certs decides which certificate is served for which name: it turns
// Hosts, TCPMappings, TLSContexts and Secrets into a table of ready TLS configurations. It
// knows no connection and no request, and it never serves a Host with less
// protection than was asked for: such a Host is dropped and named instead.
package certs

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"legate/config"
	"legate/spiffe"
	"legate/wire"
)

// Options say what the objects do not. The zero value is useful.
type Options struct {
	Namespace string    // the gateway's own; "" for "default"
	Now       time.Time // when certificates are judged; zero for time.Now
	Local     *CA       // whose certificates are told apart from others; nil for none
	Staples   *Staples  // what authorities say about certificates; nil where nobody asks them

	Files config.NamedFiles // that settings name; nil for a config.Disk

	// Workload vouches for clients that are let in by spiffe_ids; nil vouches for nobody.
	// NoWorkload says that there is none, which is a Problem of whoever needs it.
	Workload   spiffe.Workload
	NoWorkload bool

	// Ordered returns the certificate that was ordered for a Host with an authority, nil as
	// long as there is none, and why the last order failed, "" where none has. A nil Ordered
	// stands for a gateway that does not serve, and so has nothing ordered.
	Ordered func(h *config.Host) (cert *config.Secret, failure string)
}

// A Built is what one World's certificates make. It is never changed.
type Built struct {
	Table *wire.TLSTable // by the index in World.Listeners
	// Dropped are the Hosts and TCPMappings that must not be served at all, not even in
	// cleartext, because the TLS they ask for cannot be had.
	Dropped      []config.Ref
	Problems     []config.Problem
	Certificates []Certificate // of the TCPMappings and then the Hosts that serve TLS, sorted as the World's

	configs map[recipeKey]*tls.Config
}

// FallbackSecret is the Secret in the gateway's own namespace that serves when
// there is no Host at all.
const FallbackSecret = "fallback-self-signed-cert"

// implicitHost returns the Host that serves a World without any: it takes every
// name and every Mapping. With the fallback Secret at hand it serves TLS and
// redirects cleartext requests, otherwise it routes them. Every Listener serves it.
func implicitHost(w *config.World, opts Options) config.Host {
	namespace := cmp.Or(opts.Namespace, "default")
	h := config.Host{
		Meta:        config.Meta{Kind: "Host", Name: "implicit", Namespace: namespace},
		Hostname:    "*",
		HasSelector: true,
		Insecure:    config.InsecureRoute,
	}
	for i := range w.Secrets {
		if w.Secrets[i].Is(namespace, FallbackSecret) {
			h.TLSSecret = config.SecretRef{Name: FallbackSecret, Namespace: namespace}
			h.Insecure = config.InsecureRedirect
		}
	}
	return h
}

// Build makes the certificates of w ready. Configurations whose certificate, key
// and settings are those of old are taken from old, so that sessions stay
// resumable. It reads the files that TLS settings name and touches nothing else.
// old may be nil.
func Build(w *config.World, opts Options, old *Built) *Built {
	b := newBuilder(w, opts, old)
	b.tcpMappings()
	if len(w.Hosts) == 0 {
		b.implicit()
	} else {
		for i := range w.Hosts {
			h := &w.Hosts[i]
			b.add(h, func(l *config.Listener) bool { return l.Binds(h) })
		}
	}
	config.SortProblems(b.out.Problems)
	return b.out
}

// A builder is one Build under way.
type builder struct {
	w        *config.World
	opts     Options
	out      *Built
	old      map[recipeKey]*tls.Config
	secrets  map[secretName]*config.Secret
	contexts map[string]*config.TLSContext
	// owners says which Host serves a name on a Listener.
	owners map[listenerName]*config.Host
	// carried says of which names TCPMappings have the connections.
	carried map[listenerName]config.Ref
	users   string // of the TLSContexts that are looked at, for Problems
	told    map[told]bool
}

// A listenerName is a name on one Listener, by its index.
type listenerName struct {
	listener int
	name     string
}

// A told problem is not told again: several Hosts may share a TLSContext.
type told struct {
	ref   config.Ref
	field string
	msg   string
}

func newBuilder(w *config.World, opts Options, old *Built) *builder {
	opts.Namespace = cmp.Or(opts.Namespace, "default")
	opts.Files = cmp.Or[config.NamedFiles](opts.Files, config.Disk{})
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	b := &builder{
		w:        w,
		opts:     opts,
		out:      &Built{Table: &wire.TLSTable{Listeners: make([]wire.TLSNames, len(w.Listeners))}, configs: map[recipeKey]*tls.Config{}},
		secrets:  make(map[secretName]*config.Secret, len(w.Secrets)),
		contexts: make(map[string]*config.TLSContext, 2*len(w.TLSContexts)),
		owners:   map[listenerName]*config.Host{},
		carried:  map[listenerName]config.Ref{},
		users:    "Hosts",
		told:     map[told]bool{},
	}
	if old != nil {
		b.old = old.configs
	}
	for i := range w.Secrets {
		b.secrets[secretName{w.Secrets[i].Namespace, w.Secrets[i].Name}] = &w.Secrets[i]
	}
	// The first in order owns the bare name; the others have their full names.
	name := func(name string, c *config.TLSContext) {
		if b.contexts[name] == nil {
			b.contexts[name] = c
		}
	}
	for i := range w.TLSContexts {
		name(w.TLSContexts[i].Name, &w.TLSContexts[i])
	}
	for i := range w.TLSContexts {
		name(w.TLSContexts[i].FullName(), &w.TLSContexts[i])
	}
	return b
}

// implicit adds the Host that stands in for none.
func (b *builder) implicit() {
	for i := range b.w.TLSContexts {
		if c := &b.w.TLSContexts[i]; len(c.Hosts) > 0 {
			p := c.Problem("hosts", "no Host is defined, and only a Host with tlsSecret terminates TLS", config.Notice)
			p.Instead = "the context serves no name"
			b.problem(p)
		}
	}
	h := implicitHost(b.w, b.opts)
	b.add(&h, func(*config.Listener) bool { return true })
}

// add makes h's configuration and enters it where binds says.
func (b *builder) add(h *config.Host, binds func(*config.Listener) bool) {
	if h.TLSSecret.Name == "" {
		b.unused(h)
		return
	}
	if b.expected(h) {
		return
	}
	name, ok := b.serverName(h)
	var (
		c    *tls.Config
		from Origin
	)
	if ok {
		c, from, ok = b.config(h)
	}
	if !ok {
		b.out.Dropped = append(b.out.Dropped, h.Ref())
		return
	}
	b.describe(h.Ref(), h.Hostname, from, c)
	b.dislikes(h, name, from, c)
	for i := range b.w.Listeners {
		l := &b.w.Listeners[i]
		if !l.Has(config.ProtoTLS) || !l.Has(config.ProtoHTTP) || !binds(l) {
			continue
		}
		key := listenerName{i, name}
		if m, ok := b.carried[key]; ok {
			p := h.Problem("hostname", fmt.Sprintf("TLS connections for %s on port %d are %s's", name, l.Port, m), config.ObjectDropped)
			p.Instead = "they are carried to its service"
			b.problem(p)
			continue
		}
		if first := b.owners[key]; first != nil {
			b.shadowed(h, first, &b.out.Table.Listeners[i], name, c)
			continue
		}
		b.owners[key] = h
		b.out.Table.Listeners[i].Add(name, c)
	}
}

// unused tells the author of TLS settings that they need a certificate.
func (b *builder) unused(h *config.Host) {
	for _, field := range []struct {
		name  string
		given bool
	}{{"tls", h.TLS != nil}, {"tlsContext", h.TLSContext != ""}} {
		if field.given {
			p := h.Problem(field.name, "a Host serves TLS only with tlsSecret", config.FieldIgnored)
			p.Instead = "the Host serves cleartext only"
			b.problem(p)
		}
	}
}

// shadowed tells that h's name belongs to another Host. It matters only if their
// configurations differ.
func (b *builder) shadowed(h, first *config.Host, names *wire.TLSNames, name string, c *tls.Config) {
	if names.Added(name) == c {
		return
	}
	p := h.Problem("tlsSecret", "TLS for "+name+" is already served as "+first.Ref().String()+" says, and differs", config.FieldIgnored)
	p.Instead = "the first one counts"
	b.problem(p)
}

// nameOf is h's hostname in lower case and without port.
func nameOf(h *config.Host) string {
	name := strings.ToLower(cmp.Or(h.Hostname, "*"))
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	return name
}

// serverName returns the name that h's clients ask for, or reports that nobody can: "*", a
// suffix "*.x" or an exact name.
func (b *builder) serverName(h *config.Host) (string, bool) {
	name := nameOf(h)
	if name == "" || strings.Contains(strings.TrimPrefix(name, "*"), "*") {
		b.fail(h.Problem("hostname", "TLS cannot be chosen by a name like "+h.Hostname+": only exact names, * and *.suffix", config.ObjectDropped))
		return "", false
	}
	return name, true
}

// problem adds p unless the same was said before.
func (b *builder) problem(p config.Problem) {
	key := told{p.Ref, p.Field, p.Msg}
	if !b.told[key] {
		b.told[key] = true
		b.out.Problems = append(b.out.Problems, p)
	}
}

// fail adds a problem that drops a Host, or all that use a TLSContext.
func (b *builder) fail(p config.Problem) {
	p.Instead = "the Host is not served at all, the others are"
	switch {
	case p.Ref.Kind == "TLSContext":
		p.Instead = "the " + b.users + " that use it are not served at all, the others are"
	case len(b.w.Hosts) == 0:
		p.Instead = "TLS is not served, and who asks without it is sent there all the same"
	}
	b.problem(p)
}
