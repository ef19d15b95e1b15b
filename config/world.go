package config

import (
	"cmp"
	"slices"
)

// A World is the desired state: every object from every source, each kind sorted
// by name, namespace and the order read. It is data only and never changed once
// it was handed on.
type World struct {
	Modules     []Module
	Hosts       []Host
	Listeners   []Listener
	Mappings    []Mapping
	TLSContexts []TLSContext
	Secrets     []Secret
	Services    []Service
	Guards      []Guard
	Problems    []Problem // found while reading
}

// compareMeta orders objects as Ambassador does: by "name.namespace", then by
// where they were read. "First" in Ambassador's rules means this order.
func compareMeta(a, b *Meta) int {
	return cmp.Or(
		cmp.Compare(a.FullName(), b.FullName()),
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
	)
}

// Sort puts every kind into Ambassador's order.
func (w *World) Sort() {
	slices.SortStableFunc(w.Modules, func(a, b Module) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Hosts, func(a, b Host) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Listeners, func(a, b Listener) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Mappings, func(a, b Mapping) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.TLSContexts, func(a, b TLSContext) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Secrets, func(a, b Secret) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Services, func(a, b Service) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Guards, func(a, b Guard) int { return compareMeta(&a.Meta, &b.Meta) })
	slices.SortStableFunc(w.Problems, CompareProblems)
}
