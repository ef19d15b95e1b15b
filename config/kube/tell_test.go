package kube

import (
	"slices"
	"sync"
	"testing"

	"legate/config/decode"
)

// What serves is marked while the API server comes to serve other versions of a kind.
func TestMarkWhileVersionsChange(t *testing.T) {
	hosts := resource{group: ambassadorGroup, kind: "Host", plural: "hosts", versions: []string{"v3alpha1"}}
	s := &Source{following: map[string]*following{}}
	f := &following{resource: hosts, source: s, store: newStore(hosts, decode.Options{}, func() {})}
	s.following[hosts.name()] = f
	served := [][]string{{"v3alpha1"}, {"v3alpha1", "v2"}}
	var finding sync.WaitGroup
	finding.Go(func() {
		for i := range 1000 {
			f.serve(&resource{versions: served[i%2]})
		}
	})
	for range 1000 {
		kinds := s.Mark().kinds
		if len(kinds) != 1 || !slices.ContainsFunc(served, func(v []string) bool { return slices.Equal(v, kinds[0].resource.versions) }) {
			t.Fatalf("marked %+v", kinds)
		}
	}
	finding.Wait()
}
