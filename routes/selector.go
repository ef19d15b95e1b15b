package routes

import (
	"maps"
	"slices"
	"strconv"

	"legate/config"
)

// A selector is a mappingSelector, shared by all Hosts that have the same one.
type selector struct {
	id     string // what its labels are
	labels map[string]string
}

// selector returns the shared selector of those labels.
func (b *builder) selector(labels map[string]string) *selector {
	s := &selector{labels: labels}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		s.id += strconv.Quote(k) + strconv.Quote(labels[k])
	}
	if known := b.selectorByID[s.id]; known != nil {
		return known
	}
	b.selectorByID[s.id] = s
	b.selectors = append(b.selectors, s)
	return s
}

// selects reports whether a Mapping with those labels is selected: by all labels,
// or by any one of them where selectors are loose.
func (s *selector) selects(labels map[string]string, loose bool) bool {
	if !loose || len(s.labels) == 0 {
		return config.Selects(s.labels, labels)
	}
	for k, v := range s.labels {
		if got, ok := labels[k]; ok && got == v {
			return true
		}
	}
	return false
}

// A labelIndex finds what carries a label, so that a thousand selectors need not be
// held against ten thousand Mappings one by one.
type labelIndex[T any] struct {
	all    []T
	byPair map[config.NameValue][]T
	labels func(T) map[string]string
}

func newLabelIndex[T any](all []T, labels func(T) map[string]string) *labelIndex[T] {
	x := &labelIndex[T]{all: all, byPair: map[config.NameValue][]T{}, labels: labels}
	for _, item := range all {
		for k, v := range labels(item) {
			pair := config.NameValue{Name: k, Value: v}
			x.byPair[pair] = append(x.byPair[pair], item)
		}
	}
	return x
}

// selected returns what s selects, in no order; loose selectors may yield an item twice.
func (x *labelIndex[T]) selected(s *selector, loose bool) []T {
	if len(s.labels) == 0 {
		return x.all
	}
	var found, shortest []T
	first := true
	for k, v := range s.labels {
		list := x.byPair[config.NameValue{Name: k, Value: v}]
		if loose {
			found = append(found, list...)
			continue
		}
		if first || len(list) < len(shortest) {
			first, shortest = false, list
		}
	}
	if loose {
		return found
	}
	return slices.DeleteFunc(slices.Clone(shortest), func(item T) bool { return !s.selects(x.labels(item), false) })
}
