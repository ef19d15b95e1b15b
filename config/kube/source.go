// Package kube is the source of objects that watches a Kubernetes API server. It alone
// knows what that is: it lists and watches every kind that means something to a gateway,
// decodes objects as they come, and yields them all together. What it hears it forgets,
// but for what the objects say.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"legate/config"
	"legate/config/decode"
)

// Options say what is read.
type Options struct {
	Select config.Options // which objects are ours
	Decode decode.Options
	// LabelSelector and FieldSelector are those of Select as they were written: the API
	// server need not send what does not count.
	LabelSelector, FieldSelector string
	// DisableEndpoints leaves EndpointSlices out.
	DisableEndpoints bool
	// Secrets are names of Secrets in the gateway's own namespace that are read although no
	// object names them.
	Secrets []string
	Log     *slog.Logger
}

// A Source watches one API server.
type Source struct {
	opts    Options
	client  *dynamic.DynamicClient
	names   metadata.Interface // of objects, and nothing else of them
	raw     rest.Interface
	writer  *dynamic.DynamicClient // with a limit of its own
	health  *health
	dirty   chan struct{} // the set is to be made anew
	kinds   chan struct{} // which kinds there are is to be found out anew
	running sync.WaitGroup

	serving atomic.Pointer[wanted] // the Secrets that what is in force names; nil before

	mu         sync.Mutex
	discovered bool // it is known which kinds there are
	following  map[string]*following
}

// LogTo has the libraries that speak to API servers say what they have to say to log, in all
// of the process. To be called before any source is made.
func LogTo(log *slog.Logger) { klog.SetSlogLogger(log) }

// New returns a source of the API server that kubeconfig, the variable's value, leads to;
// "" for that of the cluster around us. It asks nobody yet.
func New(kubeconfig string, opts Options) (*Source, error) {
	c, err := connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	names, err := metadata.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	plain := rest.CopyConfig(c)
	plain.GroupVersion, plain.NegotiatedSerializer = &schema.GroupVersion{}, serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	raw, err := rest.UnversionedRESTClientFor(plain)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	s := &Source{
		opts: opts, client: client, names: names, raw: raw,
		dirty: make(chan struct{}, 1), kinds: make(chan struct{}, 1), following: map[string]*following{},
	}
	if s.writer, err = dynamic.NewForConfig(rest.CopyConfig(c)); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	s.health = newHealth(opts.Log, s.changed)
	return s, nil
}

// changed has the set made anew.
func (s *Source) changed() { wake(s.dirty) }

// kindsChanged has the kinds found out anew.
func (s *Source) kindsChanged() { wake(s.kinds) }

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // whoever is about to look sees this too
	}
}

// Watch implements config.Source. It yields first when every kind has been read once, and
// goes on for as long as ctx does: an API server that does not answer leaves the last set
// in force, as does one with a new kind that protects routes and has not been read. To be
// called once.
func (s *Source) Watch(ctx context.Context, yield func([]*config.Object)) error {
	// What the library has to say of its work is said here where it arises.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	defer s.running.Wait()
	defer cancel()
	for _, r := range coreResources(&s.opts) {
		if r.kind != "Secret" {
			s.follow(ctx, r)
		}
	}
	s.running.Go(func() { s.discovery(ctx) })
	var last []*config.Object
	for once := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty:
		}
		// Before the first set all kinds but Secrets have to have been read: then it is known
		// which Secrets are named. Later that goes for who guards others.
		switch whole := s.complete(func(r *resource) bool { return r.guards || !once && r.kind != "Secret" }); {
		case !whole && !once, !s.secrets(ctx):
			continue
		case whole:
			once, last = true, s.set()
		}
		yield(append(slices.Clip(last), s.health.problems()...))
	}
}

// complete reports whether it is known which kinds there are, and those that count have been read.
func (s *Source) complete(counts func(*resource) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.following {
		if _, synced := f.store.entries(); !synced && counts(&f.resource) {
			return false
		}
	}
	return s.discovered
}

// list returns what is followed, in order.
func (s *Source) list() []*following {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*following, 0, len(s.following))
	for _, f := range s.following {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *following) int { return a.compare(&b.resource) })
	return list
}

// set returns all objects.
func (s *Source) set() []*config.Object {
	var set []*config.Object
	ambassador := false
	for _, f := range s.list() {
		set = f.store.add(set)
		ambassador = ambassador || !f.core
	}
	if !ambassador {
		set = append(set, notice("the API server has none of Ambassador's kinds", "they are waited for"))
	}
	return set
}

// Serves tells which World is in force. The Secrets that its objects name are read too: of those
// that come from elsewhere, and of older versions that serve in the place of newer ones.
func (s *Source) Serves(w *config.World) {
	var found []string
	for i := range w.Hosts { // of which there may be thousands
		h := &w.Hosts[i]
		found = append(found, h.TLSSecret.Name)
		if h.ACME != nil {
			found = append(found, h.ACME.Account.Name)
		}
		if h.TLS != nil {
			found = append(found, h.TLS.CASecret, h.TLS.CRLSecret)
		}
	}
	for _, objects := range []any{w.TLSContexts, w.Modules, w.Filters, w.AuthServices, w.RateLimitServices, w.LogServices, w.Tracing} {
		found = texts(found, reflect.ValueOf(objects))
	}
	now := make(wanted, len(found))
	for _, name := range found {
		now[name] = true
	}
	if before := s.serving.Swap(&now); before == nil || !maps.Equal(*before, now) {
		s.changed()
	}
}

// secrets has the Secrets read that are named, and reports whether that has been done.
func (s *Source) secrets(ctx context.Context) bool {
	named := wanted{}
	if serving := s.serving.Load(); serving != nil {
		maps.Copy(named, *serving)
	}
	for _, name := range s.opts.Secrets {
		named[name+"."+s.opts.Decode.Namespace] = true
	}
	for _, f := range s.list() {
		if f.kind == "Secret" {
			continue
		}
		list, _ := f.store.entries()
		for _, e := range list {
			for _, name := range e.mentions {
				named[name] = true
			}
		}
	}
	f := s.secretsFollowed(ctx, named)
	if f == nil {
		return false
	}
	missing := f.store.keep(named)
	if _, synced := f.store.entries(); !synced {
		return false
	}
	s.fetch(ctx, f, missing)
	return true
}

// secretsFollowed returns the kind Secret, nil when its following has just begun.
func (s *Source) secretsFollowed(ctx context.Context, named wanted) *following {
	for _, f := range s.list() {
		if f.kind == "Secret" {
			return f
		}
	}
	for _, r := range coreResources(&s.opts) {
		if r.kind == "Secret" {
			s.followStore(ctx, r, func(st *store) { st.wanted = named })
		}
	}
	return nil
}

// fetch asks for Secrets that are named only now. One that cannot be had is asked for again
// soon.
func (s *Source) fetch(ctx context.Context, f *following, missing []*entry) {
	const question = "get secrets"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, e := range missing {
		u, err := s.client.Resource(f.now()).Namespace(e.namespace).Get(ctx, e.name, getOptions)
		if gone(err) {
			continue // the watch tells of it, or has
		}
		s.health.note(question, err)
		if err != nil {
			time.AfterFunc(time.Second, s.changed)
			return
		}
		if err := f.store.fetched(e, u); err != nil {
			s.opts.Log.Error("Secret cannot be read", "secret", e.key(), "error", err)
		}
	}
}

// Read reads everything once. It fails if that takes longer than limit, and says why.
func (s *Source) Read(ctx context.Context, limit time.Duration) ([]*config.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var set []*config.Object
	read := false
	if err := s.Watch(ctx, func(objects []*config.Object) {
		set, read = objects, true
		cancel()
	}); err != nil {
		return nil, err
	}
	switch err := s.health.unsettled(); {
	case read:
		return set, nil
	case err != nil:
		return nil, fmt.Errorf("API server: %w", err)
	}
	return nil, fmt.Errorf("API server: nothing was read within %v", limit)
}

// Up reports whether the API server answers everything that it is asked.
func (s *Source) Up() bool { return s.health.up() }
