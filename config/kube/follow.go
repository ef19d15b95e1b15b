package kube

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// A following is the watching of one kind.
type following struct {
	resource
	store  *store
	source *Source
	cancel context.CancelFunc

	mu      sync.Mutex
	version int // of the resource's versions, the one that is read
}

func (r *resource) compare(other *resource) int {
	return cmp.Or(cmp.Compare(r.group, other.group), cmp.Compare(r.kind, other.kind))
}

// follow begins to watch a kind.
func (s *Source) follow(ctx context.Context, r resource) { s.followStore(ctx, r, func(*store) {}) }

// followStore is follow for a kind whose store has to be prepared.
func (s *Source) followStore(ctx context.Context, r resource, prepare func(*store)) {
	f := &following{resource: r, source: s, store: newStore(r, s.opts.Decode, s.changed)}
	prepare(f.store)
	ctx, f.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.following[r.name()] = f
	s.mu.Unlock()
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: f.list, WatchFuncWithContext: f.watch}, nil, f.store,
		cache.ReflectorOptions{Name: r.name(), TypeDescription: r.name(), Backoff: backoff()},
	)
	s.running.Go(func() { reflector.RunWithContext(ctx) })
}

// backoff is how soon a server that does not answer is asked again.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 5, Cap: 4 * time.Second}
}

// now returns what is read.
func (f *following) now() schema.GroupVersionResource {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at(f.versions[f.version])
}

// next has another version read from now on. The objects of a cluster whose CRDs name a
// webhook to convert them cannot be had in the version that says most when it does not
// answer, but in the one that they are stored in.
func (f *following) next() (was, now string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was = f.versions[f.version]
	f.version = (f.version + 1) % len(f.versions)
	return was, f.versions[f.version]
}

// unconverted reports whether err says that objects cannot be converted.
func unconverted(err error) bool {
	return err != nil && strings.Contains(err.Error(), "conversion webhook")
}

// where returns the objects that are asked for.
func (f *following) where() dynamic.ResourceInterface {
	resource := f.source.client.Resource(f.now())
	opts := &f.source.opts
	switch {
	case f.cluster:
		return resource
	case opts.Select.SingleNamespace, opts.Select.SecretsSingleNamespace && f.kind == "Secret":
		return resource.Namespace(opts.Decode.Namespace)
	}
	return resource
}

// otherSecrets are types of Secrets that no gateway reads, and that take much memory.
var otherSecrets = []string{
	"helm.sh/release.v1", "kubernetes.io/service-account-token", "kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson",
	"bootstrap.kubernetes.io/token",
}

// choose completes what is asked for.
func (f *following) choose(options metav1.ListOptions) metav1.ListOptions {
	options.LabelSelector = f.source.opts.LabelSelector
	if f.cluster {
		return options // it has no namespace to select by
	}
	var fields []string
	if s := f.source.opts.FieldSelector; s != "" {
		fields = append(fields, s)
	}
	if f.kind == "Secret" {
		for _, t := range otherSecrets {
			fields = append(fields, "type!="+t)
		}
	}
	options.FieldSelector = strings.Join(fields, ",")
	return options
}

func (f *following) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := f.where().List(ctx, f.choose(options))
	f.note(ctx, "list", err)
	return list, err
}

func (f *following) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := f.where().Watch(ctx, f.choose(options))
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) {
		return w, err // it is listed anew
	}
	f.note(ctx, "watch", err)
	return w, patiently(err)
}

// patiently returns err as something that the library waits after only as long as its context
// lasts: after a refused connection it would wait for seconds all the same, and so would who ends.
func patiently(err error) error {
	if err == nil || !utilnet.IsConnectionRefused(err) {
		return err
	}
	return errors.New(err.Error())
}

// note takes in how a question ended that nobody has given up meanwhile.
func (f *following) note(ctx context.Context, verb string, err error) {
	if ctx.Err() != nil {
		return
	}
	if !f.core && gone(err) { // perhaps the kind is
		f.source.kindsChanged()
		return
	}
	if unconverted(err) {
		was, now := f.next()
		f.source.opts.Log.Warn("objects cannot be converted; another version is read", "kind", f.name(), "version", was, "instead", now, "error", err)
	}
	if err == nil && verb == "watch" { // which may bring all that a list does
		f.source.health.note("list "+f.name(), nil)
	}
	f.source.health.note(verb+" "+f.name(), err)
}

func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) }

var getOptions = metav1.GetOptions{}

// served returns what is followed, with the versions that the API server has now.
func (f *following) served() resource {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resource
}

// stop ends the following.
func (f *following) stop() {
	f.cancel()
	f.source.health.forget("list " + f.name())
	f.source.health.forget("watch " + f.name())
}

// adjust follows what there is now and nothing else of Ambassador's.
func (s *Source) adjust(ctx context.Context, resources []resource) {
	for _, f := range s.list() {
		i := slices.IndexFunc(resources, func(r resource) bool { return r.name() == f.name() })
		switch {
		case f.core:
		case i >= 0:
			f.serve(&resources[i])
		default:
			s.mu.Lock()
			delete(s.following, f.name())
			s.mu.Unlock()
			f.stop()
			s.opts.Log.Info("kind is gone", "kind", f.name())
		}
	}
	for _, r := range resources {
		s.mu.Lock()
		_, follows := s.following[r.name()]
		s.mu.Unlock()
		if !follows {
			s.follow(ctx, r)
		}
	}
	s.mu.Lock()
	s.discovered = true
	s.mu.Unlock()
	s.changed()
}

// serve takes in which versions the API server has now. What is held stays until it is read
// in another.
func (f *following) serve(r *resource) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.versions, r.versions) {
		f.versions, f.version = r.versions, 0
	}
	f.told = r.told
}
