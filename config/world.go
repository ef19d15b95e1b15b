package config

import (
	"cmp"
	"slices"
)

// A World is the desired state: every object from every source, each kind sorted
// by name, namespace and the order read. It is data only and never changed once
// it was handed on.
type World struct {
	Modules           []Module
	Hosts             []Host
	Listeners         []Listener
	Mappings          []*Mapping
	TCPMappings       []TCPMapping
	TLSContexts       []TLSContext
	Secrets           []Secret
	Services          []Service
	Endpoints         []Endpoints
	EndpointSlices    []EndpointSlice
	Resolvers         []Resolver
	Guards            []Guard
	Filters           []Filter
	FilterPolicies    []FilterPolicy
	AuthServices      []AuthService
	RateLimits        []RateLimit
	RateLimitServices []RateLimitService
	LogServices       []LogService
	Tracing           []TracingService // one at most, once merged
	Problems          []Problem        // found while reading
}

// LostHosts reports whether a Host that somebody wrote is missing because it, or the text
// that it stands in, cannot be understood.
func (w *World) LostHosts() bool {
	return slices.ContainsFunc(w.Problems, func(p Problem) bool { return p.Ref.Kind == "Host" && p.Effect == ObjectDropped && p.Instead == "" })
}

// compareMeta orders objects as Ambassador does: by its key for where they come from,
// then by where they were read. "First" in Ambassador's rules means this order.
func compareMeta(a, b *Meta) int {
	return cmp.Or(
		compareKeys(a, b),
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
	)
}

// compareKeys compares a.Key() with b.Key(), building neither where it can be avoided:
// sorting ten thousand objects asks a hundred thousand times.
func compareKeys(a, b *Meta) int {
	if a.Parent.Document == 0 && b.Parent.Document == 0 {
		if c, ok := compareEnded(a.Name, b.Name); ok && c != 0 {
			return c
		} else if ok {
			if c, ok := compareEnded(a.Namespace, b.Namespace); ok {
				return c
			}
		}
	}
	return cmp.Compare(a.Key(), b.Key())
}

// compareEnded compares a and b as if a dot followed each. It gives up where what comes
// after that dot decides.
func compareEnded(a, b string) (c int, ok bool) {
	n := min(len(a), len(b))
	switch c := cmp.Compare(a[:n], b[:n]); {
	case c != 0 || len(a) == len(b):
		return c, true
	case len(a) == n && b[n] != '.':
		return cmp.Compare('.', b[n]), true
	case len(b) == n && a[n] != '.':
		return cmp.Compare(a[n], '.'), true
	}
	return 0, false
}

// Sort puts every kind into Ambassador's order.
func (w *World) Sort() {
	sortKind(w.Modules, func(o *Module) *Meta { return &o.Meta })
	sortKind(w.Hosts, func(o *Host) *Meta { return &o.Meta })
	sortKind(w.Listeners, func(o *Listener) *Meta { return &o.Meta })
	sortKind(w.Mappings, func(o **Mapping) *Meta { return &(*o).Meta })
	sortKind(w.TCPMappings, func(o *TCPMapping) *Meta { return &o.Meta })
	sortKind(w.TLSContexts, func(o *TLSContext) *Meta { return &o.Meta })
	sortKind(w.Secrets, func(o *Secret) *Meta { return &o.Meta })
	sortKind(w.Services, func(o *Service) *Meta { return &o.Meta })
	sortKind(w.Endpoints, func(o *Endpoints) *Meta { return &o.Meta })
	sortKind(w.EndpointSlices, func(o *EndpointSlice) *Meta { return &o.Meta })
	sortKind(w.Resolvers, func(o *Resolver) *Meta { return &o.Meta })
	sortKind(w.Guards, func(o *Guard) *Meta { return &o.Meta })
	sortKind(w.Filters, func(o *Filter) *Meta { return &o.Meta })
	sortKind(w.FilterPolicies, func(o *FilterPolicy) *Meta { return &o.Meta })
	sortKind(w.AuthServices, func(o *AuthService) *Meta { return &o.Meta })
	sortKind(w.RateLimits, func(o *RateLimit) *Meta { return &o.Meta })
	sortKind(w.RateLimitServices, func(o *RateLimitService) *Meta { return &o.Meta })
	sortKind(w.LogServices, func(o *LogService) *Meta { return &o.Meta })
	sortKind(w.Tracing, func(o *TracingService) *Meta { return &o.Meta })
}

// sortKind sorts objects, which are large and mostly sorted already: only those
// that are not get moved.
func sortKind[T any](objects []T, meta func(*T) *Meta) {
	inOrder := true
	for i := 1; i < len(objects) && inOrder; i++ {
		inOrder = compareMeta(meta(&objects[i-1]), meta(&objects[i])) <= 0
	}
	if !inOrder {
		slices.SortStableFunc(objects, func(a, b T) int { return compareMeta(meta(&a), meta(&b)) })
	}
}

// SecretNamespacing reports whether "a.b" names Secret a of namespace b in c, nil for a Host's
// own settings: as c says, or the Module's defaults, or else it does.
func (w *World) SecretNamespacing(c *TLSContext) bool {
	switch {
	case c != nil && c.SecretNamespacing != nil:
		return *c.SecretNamespacing
	case len(w.Modules) > 0 && w.Modules[0].Defaults.SecretNamespacing != nil:
		return *w.Modules[0].Defaults.SecretNamespacing
	}
	return true
}
