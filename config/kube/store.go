package kube

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"

	"legate/config"
	"legate/config/decode"
)

// A store holds the objects of one kind. It is what client-go's reflector fills, which is
// the only one to change it but for keep and fetched. Objects are decoded as they come, so
// that neither their text nor what is not meant for a gateway is ever held all together.
type store struct {
	resource resource
	options  decode.Options
	changed  func() // called after every change that matters

	mu     sync.Mutex
	held   map[string]*entry
	sorted []*entry        // by namespace and name, as last asked for; nil where that has to be found out
	gone   map[*entry]bool // what is not held since
	come   []*entry        // what is held since
	synced bool            // the whole kind has been read once
	wanted wanted          // of Secrets; nil for all of them
}

func newStore(r resource, options decode.Options, changed func()) *store {
	return &store{resource: r, options: options, changed: changed, held: map[string]*entry{}, gone: map[*entry]bool{}}
}

// Transformer implements cache.TransformingStore.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.understand(o) }
}

// understand makes an entry of what the API server hands out. It is the one that is held
// already if it says the same.
func (s *store) understand(o any) (*entry, error) {
	switch o := o.(type) {
	case *entry:
		return o, nil
	case *unstructured.Unstructured:
		e := &entry{namespace: o.GetNamespace(), name: o.GetName()}
		e.stamp = stamp{uid: string(o.GetUID()), generation: o.GetGeneration(), version: o.GroupVersionKind().Version}
		s.look(e, o)
		if !s.wants(e) {
			return e, nil
		}
		text, err := meant(&s.resource, o)
		if err != nil {
			return nil, err
		}
		e.digest = digestOf(text)
		if before := s.find(e.key()); before != nil && before.digest == e.digest {
			e.objects, e.mentions = before.objects, before.mentions
			return e, nil
		}
		e.objects = decode.Resource(s.options, text)
		e.mentions = mentions(e.objects)
		return e, nil
	}
	return nil, fmt.Errorf("%T is not an object", o)
}

// look notes what is written by controllers, us among them.
func (s *store) look(e *entry, u *unstructured.Unstructured) {
	switch {
	case !s.resource.core:
		e.status = statusOf(u)
	case s.resource.kind == "Ingress":
		e.balancer = balancerOf(u)
	case s.resource.kind == "Service" && u.GetLabels()[balancerLabel] == balancerValue:
		e.balancer, e.marked = balancerOf(u), true
	}
}

func (s *store) wants(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted == nil || s.wanted.wants(e.namespace, e.name)
}

func (s *store) find(key string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[key]
}

// Add implements cache.ReflectorStore.
func (s *store) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *store) Update(o any) error {
	e, err := s.understand(o)
	if err != nil {
		return err
	}
	if s.put(e) {
		s.changed()
	}
	return nil
}

// put takes e in and reports whether that matters.
func (s *store) put(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.held[e.key()]
	if before != nil && before.stamp == e.stamp && before.digest == e.digest {
		if !reflect.DeepEqual(before.status, e.status) || before.balancer != e.balancer {
			s.hold(e)
		}
		return false // that is told at the next occasion
	}
	s.hold(e)
	return true
}

// hold has e held in the place of the one before, for who holds mu.
func (s *store) hold(e *entry) {
	if before := s.held[e.key()]; before != nil {
		s.gone[before] = true
	}
	s.held[e.key()] = e
	s.come = append(s.come, e)
	if len(s.come) > len(s.held)+spare {
		s.sorted, s.come = nil, nil // sorting all of it anew is no more work
		clear(s.gone)
	}
}

// spare is how much more may have come than there is before that is forgotten: what others
// write into objects over and over.
const spare = 64

// drop has the object of a key held no more, and reports whether it was.
func (s *store) drop(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, was := s.held[key]
	if was {
		s.gone[e] = true
		delete(s.held, key)
	}
	return was
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(o any) error {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	var key string
	switch o := o.(type) {
	case *entry:
		key = o.key()
	case *unstructured.Unstructured:
		key = o.GetNamespace() + "/" + o.GetName()
	default:
		return fmt.Errorf("%T is not an object", o)
	}
	if s.drop(key) {
		s.changed()
	}
	return nil
}

// Replace implements cache.ReflectorStore: list is all there is. Most of it is what is held
// already after an outage.
func (s *store) Replace(list []any, _ string) error {
	now := make(map[string]*entry, len(list))
	for _, o := range list {
		e, err := s.understand(o)
		if err != nil {
			return err
		}
		now[e.key()] = e
	}
	s.mu.Lock()
	s.held, s.sorted, s.synced = now, nil, true
	s.mu.Unlock()
	s.changed()
	return nil
}

// Resync implements cache.ReflectorStore: nothing is lost here that would have to be told
// again.
func (s *store) Resync() error { return nil }

func compareEntries(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// entries returns what is held, in order, and whether the whole kind has been read. The
// list is not changed any more.
func (s *store) entries() (list []*entry, synced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sorted == nil:
		s.sorted = slices.SortedFunc(maps.Values(s.held), compareEntries)
	case len(s.come)+len(s.gone) > 0:
		left := func(e *entry) bool { return s.gone[e] }
		come := slices.DeleteFunc(s.come, left) // some came and went
		slices.SortFunc(come, compareEntries)
		s.sorted = config.Splice(s.sorted, left, come, compareEntries)
	}
	s.come = nil
	clear(s.gone)
	return s.sorted, s.synced
}

// add appends the objects that are held to set.
func (s *store) add(set []*config.Object) []*config.Object {
	list, _ := s.entries()
	for _, e := range list {
		set = append(set, e.objects...)
	}
	return set
}

// keep has only wanted objects held from now on, and returns those that are there and
// wanted but were not held.
func (s *store) keep(w wanted) (missing []*entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = w
	for _, e := range s.held {
		switch wants := w.wants(e.namespace, e.name); {
		case wants && e.digest == config.Digest{}:
			missing = append(missing, e)
		case !wants && e.digest != config.Digest{}:
			s.hold(&entry{namespace: e.namespace, name: e.name, stamp: e.stamp})
		}
	}
	slices.SortFunc(missing, compareEntries)
	return missing
}

// fetched takes in an object that was asked for, unless it has changed or gone meanwhile:
// then whoever watches has the newer one, or brings it.
func (s *store) fetched(was *entry, u *unstructured.Unstructured) error {
	e, err := s.understand(u)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[e.key()] == was {
		s.hold(e)
	}
	return nil
}
