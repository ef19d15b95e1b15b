package config

import (
	"cmp"
	"slices"
)

// A World is the desired state: every object from every source, each kind sorted
// by name, namespace and the order read. It is data only and never changed once
// it was handed on.
type World struct {
	Modules        []Module
	Hosts          []Host
	Listeners      []Listener
	Mappings       []Mapping
	TLSContexts    []TLSContext
	Secrets        []Secret
	Services       []Service
	Endpoints      []Endpoints
	EndpointSlices []EndpointSlice
	Resolvers      []Resolver
	Guards         []Guard
	Problems       []Problem // found while reading
}

// compareMeta orders objects as Ambassador does: by "name.namespace", then by
// where they were read. "First" in Ambassador's rules means this order.
func compareMeta(a, b *Meta) int {
	return cmp.Or(
		compareFullName(a, b),
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
	)
}

// compareFullName compares a.FullName() with b.FullName(), building neither where
// it can be avoided: sorting ten thousand objects asks a hundred thousand times.
func compareFullName(a, b *Meta) int {
	n := min(len(a.Name), len(b.Name))
	if c := cmp.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	switch {
	case len(a.Name) == len(b.Name):
		return cmp.Compare(a.Namespace, b.Namespace)
	case len(a.Name) == n && b.Name[n] != '.':
		return cmp.Compare('.', b.Name[n])
	case len(b.Name) == n && a.Name[n] != '.':
		return cmp.Compare(a.Name[n], '.')
	}
	return cmp.Compare(a.FullName(), b.FullName())
}

// Sort puts every kind into Ambassador's order.
func (w *World) Sort() {
	sortKind(w.Modules, func(o *Module) *Meta { return &o.Meta })
	sortKind(w.Hosts, func(o *Host) *Meta { return &o.Meta })
	sortKind(w.Listeners, func(o *Listener) *Meta { return &o.Meta })
	sortKind(w.Mappings, func(o *Mapping) *Meta { return &o.Meta })
	sortKind(w.TLSContexts, func(o *TLSContext) *Meta { return &o.Meta })
	sortKind(w.Secrets, func(o *Secret) *Meta { return &o.Meta })
	sortKind(w.Services, func(o *Service) *Meta { return &o.Meta })
	sortKind(w.Endpoints, func(o *Endpoints) *Meta { return &o.Meta })
	sortKind(w.EndpointSlices, func(o *EndpointSlice) *Meta { return &o.Meta })
	sortKind(w.Resolvers, func(o *Resolver) *Meta { return &o.Meta })
	sortKind(w.Guards, func(o *Guard) *Meta { return &o.Meta })
	slices.SortStableFunc(w.Problems, CompareProblems)
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
