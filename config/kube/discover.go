package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// discover asks which of Ambassador's kinds the API server has, and in which versions. A
// group that it does not have is no error. One that it cannot tell of is, and so is what
// protects routes in versions only that are not known here: nobody knows then whether some are
// to be closed.
func discover(ctx context.Context, client rest.Interface) ([]resource, error) {
	var resources, strange []resource
	for _, group := range []string{ambassadorGroup, gatewayGroup} {
		var found metav1.APIGroup
		err := ask(ctx, client, &found, "/apis", group)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, err
		}
		for _, v := range found.Versions {
			var list metav1.APIResourceList
			err := ask(ctx, client, &list, "/apis", group, v.Version)
			switch {
			case apierrors.IsNotFound(err): // it has just gone
				continue
			case err != nil:
				return nil, err
			}
			for i := range list.APIResources {
				gv, r := schema.GroupVersion{Group: group, Version: v.Version}, &list.APIResources[i]
				resources = serve(resources, gv, r)
				if k, ok := known(group, r.Kind); ok && k.Protector && !slices.Contains(k.Versions, v.Version) {
					strange = append(strange, resource{group: group, kind: r.Kind, plural: r.Name, versions: []string{v.Version}})
				}
			}
		}
	}
	for i := range strange {
		if r := &strange[i]; !slices.ContainsFunc(resources, func(have resource) bool { return r.compare(&have) == 0 }) {
			return nil, fmt.Errorf("%s is served as %s, which this gateway does not know", r.name(), r.versions[0])
		}
	}
	for i := range resources {
		r := &resources[i]
		k, _ := known(r.group, r.kind)
		order := func(a, b string) int { return slices.Index(k.Versions, a) - slices.Index(k.Versions, b) }
		slices.SortFunc(r.versions, order)
		slices.SortFunc(r.told, order)
	}
	return resources, nil
}

// ask reads what the API server says at a path.
func ask(ctx context.Context, client rest.Interface, into any, path ...string) error {
	text, err := client.Get().AbsPath(path...).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// serve adds a version of a kind that means something to a gateway, or that objects have a status
// of their own in a version that was added before.
func serve(resources []resource, gv schema.GroupVersion, r *metav1.APIResource) []resource {
	k, ok := known(gv.Group, r.Kind)
	if !ok || !slices.Contains(k.Versions, gv.Version) {
		return resources
	}
	name, part, _ := strings.Cut(r.Name, "/") // as in "mappings/status"
	i := slices.IndexFunc(resources, func(have resource) bool { return have.group == gv.Group && have.plural == name })
	if part == "status" && i >= 0 && slices.Contains(resources[i].versions, gv.Version) && slices.Contains(r.Verbs, "patch") {
		resources[i].told = append(resources[i].told, gv.Version)
	}
	if part != "" || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "watch") {
		return resources
	}
	if i < 0 {
		return append(resources, resource{group: gv.Group, kind: r.Kind, plural: r.Name, versions: []string{gv.Version}, cluster: !r.Namespaced, guards: k.Protector})
	}
	resources[i].versions = append(resources[i].versions, gv.Version)
	return resources
}

// lookAround is how often it is found out which kinds there are where nothing tells of
// changes, and settled how long a change of one waits for others: CRDs come in dozens.
const (
	lookAround = 30 * time.Second
	settled    = 100 * time.Millisecond
)

// discovery follows the kinds that there are until ctx is done.
func (s *Source) discovery(ctx context.Context) {
	if !s.opts.Select.SingleNamespace { // else we may not ask for what is in no namespace
		s.watchKinds(ctx)
	}
	retry := backoff()
	for {
		wait := lookAround
		found, cancel := context.WithTimeout(ctx, 30*time.Second)
		resources, err := discover(found, s.raw)
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.health.note("discover "+ambassadorGroup, err)
		if err == nil {
			s.adjust(ctx, resources)
			retry = backoff()
		} else {
			wait = retry.Step()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-s.kinds:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settled):
			}
		}
	}
}

// watchKinds has kinds found out anew whenever a CRD changes.
func (s *Source) watchKinds(ctx context.Context) {
	crds := s.names.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	note := func(verb string, err error) {
		if ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !apierrors.IsInvalid(err) {
			s.health.note(verb+" customresourcedefinitions.apiextensions.k8s.io", err)
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := crds.List(ctx, options)
			note("list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := crds.Watch(ctx, options)
			if err == nil {
				note("list", nil)
			}
			note("watch", err)
			return w, patiently(err)
		},
	}
	r := cache.NewReflectorWithOptions(lw, nil, bell{ring: s.kindsChanged}, cache.ReflectorOptions{Name: "customresourcedefinitions", Backoff: backoff()})
	s.running.Go(func() { r.RunWithContext(ctx) })
}

// A bell is a store that keeps nothing and tells of every change.
type bell struct{ ring func() }

// Add implements cache.ReflectorStore, as do the others.
func (b bell) Add(any) error { b.ring(); return nil }

// Update tells of a change.
func (b bell) Update(any) error { b.ring(); return nil }

// Delete tells of a deletion.
func (b bell) Delete(any) error { b.ring(); return nil }

// Replace tells of all there is.
func (b bell) Replace([]any, string) error { b.ring(); return nil }

// Resync does nothing.
func (b bell) Resync() error { return nil }
