package routes

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"legate/config"
)

// fallbackSecret is the certificate of the Host that is assumed where there is none.
const fallbackSecret = "fallback-self-signed-cert"

// A Host is one Host as it serves, shared by the Listeners it is bound to.
type Host struct {
	Config   *config.Host // made up if the World has no Host
	By       string       // "Host ns/name"
	Name     string       // its hostname glob in lower case
	Insecure config.InsecureAction

	kind     globKind
	text     string    // of Name, beside its star
	selector *selector // nil for none
	views    []int     // in Table.views, where its routes are found
}

// hosts collects the Hosts that serve, or assumes one.
func (b *builder) hosts(w *config.World) {
	secrets := make(map[config.SecretRef]bool, len(w.Secrets))
	for i := range w.Secrets {
		secrets[config.SecretRef{Name: w.Secrets[i].Name, Namespace: w.Secrets[i].Namespace}] = true
	}
	if b.table.implicit {
		b.table.Hosts = []*Host{newHost(b.implicitHost(secrets))}
		return
	}
	for i := range w.Hosts {
		h := &w.Hosts[i]
		if b.lacksSecret(h, secrets) {
			continue
		}
		host := newHost(h)
		if h.HasSelector {
			host.selector = b.selector(h.Selector)
		}
		b.table.Hosts = append(b.table.Hosts, host)
	}
}

func newHost(h *config.Host) *Host {
	name := strings.ToLower(cmp.Or(h.Hostname, "*"))
	kind, text := splitGlob(name)
	return &Host{Config: h, By: by(&h.Meta), Name: name, Insecure: h.Insecure, kind: kind, text: text}
}

// implicitHost is the Host that serves where there is none: it redirects insecure
// requests only if a certificate is at hand.
func (b *builder) implicitHost(secrets map[config.SecretRef]bool) *config.Host {
	h := &config.Host{Meta: config.Meta{Kind: "Host", Name: "implicit", Namespace: b.opts.Namespace}, Hostname: "*"}
	h.Insecure = config.InsecureRoute
	if ref := (config.SecretRef{Name: fallbackSecret, Namespace: b.opts.Namespace}); secrets[ref] {
		h.Insecure, h.TLSSecret = config.InsecureRedirect, ref
	}
	return h
}

// lacksSecret reports whether h wants a certificate that is not there. Such a Host
// does not serve at all: without its certificate it would answer in the clear. Where one is
// ordered that is judged before.
func (b *builder) lacksSecret(h *config.Host, secrets map[config.SecretRef]bool) bool {
	if h.TLSSecret.Name == "" || h.ACME != nil {
		return false
	}
	ref := secretOf(h)
	if secrets[ref] {
		return false
	}
	b.problem(h.Problem("tlsSecret", fmt.Sprintf("no Secret %s/%s", ref.Namespace, ref.Name), config.ObjectDropped))
	return true
}

// secretOf names the Secret of h's certificate.
func secretOf(h *config.Host) config.SecretRef {
	return config.SecretRef{Name: h.TLSSecret.Name, Namespace: cmp.Or(h.TLSSecret.Namespace, h.Namespace)}
}

// A listener is what one Listener chooses a Host from.
type listener struct {
	port   string
	l7     bool           // proxies in front are trusted
	clear  globMap[*Host] // by authority
	chains globMap[chain] // by server name
}

// A chain is the Hosts behind one certificate: after a handshake only they serve.
// Those that fit an authority best come first.
type chain []*Host

// listeners settles which Hosts each Listener serves.
func (b *builder) listeners(all []config.Listener) {
	told := map[string]bool{} // Listeners that serve the same Hosts repeat the same Problems
	for i := range all {
		l := &all[i]
		built := listener{port: strconv.Itoa(l.Port), l7: l.L7Depth > 0}
		var bound []*Host
		for _, h := range b.table.Hosts {
			if b.table.implicit || l.Binds(h.Config) {
				bound = append(bound, h)
			}
		}
		for _, h := range bound {
			built.clear.set(h.kind, h.text, h) // of equal names the later one counts
		}
		for _, p := range built.addChains(bound) {
			if line := p.String(); !told[line] {
				told[line] = true
				b.problem(p)
			}
		}
		b.table.listeners = append(b.table.listeners, built)
	}
}

// addChains sorts the Hosts that have a certificate by the server name they are
// found by. Of Hosts with one server name and different TLS settings the first serves.
func (l *listener) addChains(bound []*Host) (problems []config.Problem) {
	sorted := slices.Clone(bound)
	slices.SortStableFunc(sorted, func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
	for _, h := range sorted {
		if h.Config.TLSSecret.Name == "" {
			continue
		}
		kind, text := splitGlob(serverName(h.Name))
		if kind == globPrefix {
			p := h.Config.Problem("hostname", "no server name can be matched by its beginning", config.FieldIgnored)
			p.Instead = "the Host serves cleartext only"
			problems = append(problems, p)
			continue
		}
		c, found := l.chains.get(kind, text)
		if !found {
			l.chains.set(kind, text, chain{h})
			continue
		}
		if first := c[0].Config; !sameTLS(first, h.Config) {
			p := h.Config.Problem("tlsSecret", fmt.Sprintf("mismatching TLSContext: %s serves the same name with other TLS settings", first.Ref()), config.FieldIgnored)
			p.Instead = "the Host serves cleartext only"
			problems = append(problems, p)
			continue
		}
		l.chains.set(kind, text, c.with(h))
	}
	return problems
}

// serverName is the part of a hostname that a handshake can name.
func serverName(hostname string) string {
	if i := strings.LastIndexByte(hostname, ':'); i >= 0 && !strings.HasSuffix(hostname, "]") {
		return hostname[:i]
	}
	return hostname
}

func sameTLS(a, b *config.Host) bool {
	return secretOf(a) == secretOf(b) && a.TLSContext == b.TLSContext && reflect.DeepEqual(a.TLS, b.TLS)
}

// with adds h in the order in which Hosts are chosen; of equal names the later counts.
func (c chain) with(h *Host) chain {
	for i, old := range c {
		if old.Name == h.Name {
			c[i] = h
			return c
		}
	}
	c = append(c, h)
	slices.SortStableFunc(c, func(a, b *Host) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(len(b.Name), len(a.Name)))
	})
	return c
}

// find returns the Host that serves an authority, nil for none.
func (c chain) find(authority []byte) *Host {
	for _, h := range c {
		if h.fits(authority) {
			return h
		}
	}
	return nil
}

// fits reports whether h's name covers an authority in lower case.
func (h *Host) fits(authority []byte) bool {
	text := h.text
	switch h.kind {
	case globAny:
		return true
	case globSuffix:
		return len(authority) > len(text) && string(authority[len(authority)-len(text):]) == text
	case globPrefix:
		return len(authority) > len(text) && string(authority[:len(text)]) == text
	default:
		return string(authority) == text
	}
}

// by names an object in records.
func by(m *config.Meta) string {
	ref := m.Ref()
	return ref.String()
}
