package authn

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"legate/config"
)

// mints are the Mint filters of one configuration. They are built by one goroutine and not
// changed after start.
type mints struct {
	byName map[string]*mint // by namespace and name: "ambassador/jwt-auth"
	names  []string         // sorted
}

// A mint is one Mint filter with what of it outlives the configuration.
type mint struct {
	*Minter
	parts    *mintParts
	settings signerSettings
	broken   bool
}

// newMints makes the Mint filters of w. Keys, revocations and counts of failures are taken
// over from prev, which may be nil. Nothing starts, and prev does not change.
func newMints(w *config.World, prev *mints, sets *keySets, d *Deps) (*mints, []config.Problem) {
	s := &mints{byName: map[string]*mint{}}
	var problems []config.Problem
	secrets := func(namespace, name string) *config.Secret {
		i := slices.IndexFunc(w.Secrets, func(s config.Secret) bool { return s.Is(namespace, name) })
		if i < 0 {
			return nil
		}
		return &w.Secrets[i]
	}
	for i := range w.Filters {
		o := &w.Filters[i]
		name := o.Namespace + "/" + o.Name
		if o.Mint == nil || o.Broken != "" || s.byName[name] != nil {
			continue
		}
		var parts *mintParts
		if prev != nil && prev.byName[name] != nil {
			parts = prev.byName[name].parts
		} else {
			parts = newMintParts("Filter "+name, d)
		}
		m, found := newMinter(o, parts, secrets, sets, d)
		t := &mint{Minter: m, parts: parts, broken: len(found) > 0}
		var more []config.Problem
		t.settings, more = mintSettings(o, secrets, d.SigningKeys)
		problems = append(append(problems, found...), more...)
		if other := s.disagrees(t); other != "" {
			p := o.Problem("Mint.signingKeys.secretName", fmt.Sprintf("Filter %s keeps keys of another algorithm or rotation there", other), config.FieldIgnored)
			p.Instead = ownKeys
			problems = append(problems, p)
			t.settings.kept = config.SecretName{}
		}
		if o.Mint.Credentials.Kubernetes != nil && d.Cluster == nil {
			p := o.Problem("Mint.credentials.kubernetes", "there is no API server to ask (--kubernetes)", config.FieldIgnored)
			p.Instead = "tokens of ServiceAccounts are refused, unless credentials.issuers names their issuer and its jwksURI"
			problems = append(problems, p)
		}
		m.prefix = mintPrefix(o, w)
		m.origins = serialised(o.Mint.AllowedOrigins.List)
		if o.Mint.AllowedOrigins.CORS {
			m.origins = corsOrigins(w)
		}
		s.byName[name] = t
	}
	s.names = slices.Sorted(maps.Keys(s.byName))
	return s, problems
}

// disagrees returns the name of a filter that keeps keys where t wants to, and wants others
// than t; "" for none. They would replace each other's for ever.
func (s *mints) disagrees(t *mint) string {
	for name, o := range s.byName {
		if k := &o.settings; k.kept.Name != "" && k.kept == t.settings.kept && (k.alg != t.settings.alg || k.rotation != t.settings.rotation) {
			return name
		}
	}
	return ""
}

// mintPrefix is what the filter's endpoints are below: what it says, or the path_prefix of
// the AuthService that it stands in for, or /auth.
func mintPrefix(o *config.Filter, w *config.World) string {
	if o.Mint.PathPrefix != "" {
		return o.Mint.PathPrefix
	}
	for i := range w.AuthServices {
		if a := &w.AuthServices[i]; a.PathPrefix != "" && standsIn(o, a) {
			return strings.TrimRight(a.PathPrefix, "/")
		}
	}
	return "/auth"
}

// corsOrigins are the origins whose pages may call any route.
func corsOrigins(w *config.World) []string {
	var list []string
	for i := range w.Mappings {
		if c := w.Mappings[i].CORS; c != nil {
			list = append(list, c.Origins...)
		}
	}
	for i := range w.Modules {
		if c := w.Modules[i].CORS; c != nil {
			list = append(list, c.Origins...)
		}
	}
	return slices.DeleteFunc(serialised(list), func(o string) bool { return o == "*" })
}

// get returns the Mint filter of that name, nil for none.
func (s *mints) get(namespace, name string) *mint { return s.byName[namespace+"/"+name] }

// minters returns those of all filters, also of broken ones: what these made before is still
// about.
func (s *mints) minters() []*Minter {
	list := make([]*Minter, len(s.names))
	for i, name := range s.names {
		list[i] = s.byName[name].Minter
	}
	return list
}

// StandsInFor returns the Mint filter that is asked instead of an AuthService, nil for none.
// A broken one is too, so that nobody is asked who is not there any more.
func StandsInFor(w *config.World, a *config.AuthService) *config.Filter {
	for i := range w.Filters {
		if o := &w.Filters[i]; o.Mint != nil && standsIn(o, a) {
			return o
		}
	}
	return nil
}

// standsIn reports whether o names the host of a among its authServices. A name without a
// namespace is one of a's own.
func standsIn(o *config.Filter, a *config.AuthService) bool {
	service := authority(a.Service, a.OriginateTLS, a.Namespace)
	return slices.ContainsFunc(o.Mint.AuthServices, func(s string) bool { return authority(s, a.OriginateTLS, a.Namespace) == service })
}

// authority returns a service as host.namespace:port.
func authority(service string, tls bool, namespace string) string {
	scheme, rest, has := strings.Cut(service, "://")
	if !has {
		rest = service
	}
	rest, _, _ = strings.Cut(strings.ToLower(rest), "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = rest, "80"
		if tls || strings.EqualFold(scheme, "https") {
			port = "443"
		}
	}
	host = strings.TrimSuffix(host, ".svc.cluster.local")
	if !strings.Contains(host, ".") && !strings.Contains(host, ":") {
		host += "." + namespace
	}
	return net.JoinHostPort(host, port)
}

// addTo puts the filters' endpoints among e. A prefix that two of them ask for is the
// first one's, by their namespaces and names.
func (s *mints) addTo(e *Endpoints, w *config.World) (problems []config.Problem) {
	for _, name := range s.names {
		m := s.byName[name]
		taken := !e.Add(m.prefix+tokenPath, ownEndpoint{m.Minter, true, (*Minter).serveToken}, m.by)
		if !taken {
			for path, endpoint := range m.endpoints() {
				e.Add(m.prefix+path, endpoint, m.by)
			}
			continue
		}
		for i := range w.Filters {
			if o := &w.Filters[i]; o.Namespace+"/"+o.Name == name {
				p := o.Problem("Mint.pathPrefix", fmt.Sprintf("another filter has its endpoints below %q", m.prefix), config.FieldIgnored)
				p.Instead = "this filter's own endpoints are not served"
				problems = append(problems, p)
			}
		}
	}
	return problems
}

// start gives the filters keys to sign with. What goes wrong is tried again, and told in
// the log.
func (s *mints) start() {
	for _, name := range s.names {
		m := s.byName[name]
		_ = m.parts.signer.configure(m.settings) // it tells what went wrong itself, and tries again
		m.parts.signer.start()
	}
}

// retire ends the filters that next, which may be nil, does not have.
func (s *mints) retire(next *mints) {
	for name, m := range s.byName {
		if next == nil || next.byName[name] == nil || next.byName[name].parts != m.parts {
			m.parts.signer.retire()
		}
	}
}

// keySet renders the public keys of all filters.
func (s *mints) keySet() []byte {
	var all []*signingKey
	for _, name := range s.names {
		for _, k := range s.byName[name].parts.signer.current.Load().keys {
			if !slices.ContainsFunc(all, func(o *signingKey) bool { return o.id == k.id }) {
				all = append(all, k)
			}
		}
	}
	return renderKeySet(all)
}

// signingKeyAge returns the age at now of the oldest key that signs, false where none has
// one.
func (s *mints) signingKeyAge(now time.Time) (age time.Duration, known bool) {
	for _, m := range s.byName {
		if k := m.parts.signer.current.Load().signing; k != nil && !k.published.IsZero() {
			age, known = max(age, now.Sub(k.published)), true
		}
	}
	return age, known
}
