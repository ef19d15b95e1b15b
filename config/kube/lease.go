package kube

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// How a Lease is held: who has not renewed it for term may be followed by another, who
// holds it renews it every pause, and gives up what he does after patience without success,
// which leaves a third of the term for clocks that differ.
const (
	term     = 15 * time.Second
	pause    = 2 * time.Second
	patience = 10 * time.Second
)

var leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

// A lease is a Lease of coordination.k8s.io that one of several processes holds. The
// library's own would bring the types of every API there is.
type lease struct {
	client   dynamic.ResourceInterface
	name     string
	identity string
	log      *slog.Logger

	held  atomic.Bool
	seen  string    // resourceVersion of what another holds
	since time.Time // when that was seen first
}

// keep tries to hold the lease until ctx is done, and then lets others have it. changed is
// called whenever it is won or lost.
func (l *lease) keep(ctx context.Context, changed func()) {
	renewed := time.Now()
	failed := false
	for {
		asked, cancel := context.WithTimeout(ctx, patience/2)
		holds, err := l.try(asked)
		cancel()
		switch now := time.Now(); {
		case ctx.Err() != nil:
		case err == nil:
			renewed, failed = now, false
			l.turn(holds, changed)
		case now.Sub(renewed) > patience:
			l.turn(false, changed)
		}
		if err != nil && ctx.Err() == nil && !failed && !unanswered(err) && !apierrors.IsConflict(err) {
			failed = true
			l.log.Error("cannot find out who leads; nothing is told of objects", "lease", l.name, "error", err)
		}
		select {
		case <-ctx.Done():
			l.release()
			l.held.Store(false)
			return
		case <-time.After(pause):
		}
	}
}

func (l *lease) turn(holds bool, changed func()) {
	if l.held.Swap(holds) == holds {
		return
	}
	if holds {
		l.log.Info("leading", "lease", l.name, "identity", l.identity)
	} else {
		l.log.Warn("not leading any more", "lease", l.name)
	}
	changed()
}

// try takes or renews the lease, and reports whether it is held.
func (l *lease) try(ctx context.Context) (bool, error) {
	u, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		u = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": l.name},
		}}
		l.write(u, "", 0)
		_, err = l.client.Create(ctx, u, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return false, nil
		}
		return err == nil, err
	}
	if err != nil {
		return false, err
	}
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	if holder != l.identity && holder != "" && !l.expired(u) {
		return false, nil
	}
	transitions, _, _ := unstructured.NestedInt64(u.Object, "spec", "leaseTransitions")
	l.write(u, holder, transitions)
	_, err = l.client.Update(ctx, u, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) { // another was faster
		return false, nil
	}
	return err == nil, err
}

// expired reports whether whoever holds the lease has not renewed it for a whole term. Only
// our own clock counts.
func (l *lease) expired(u *unstructured.Unstructured) bool {
	if v := u.GetResourceVersion(); v != l.seen {
		l.seen, l.since = v, time.Now()
		return false
	}
	return time.Since(l.since) > term
}

// write makes us the holder.
func (l *lease) write(u *unstructured.Unstructured, holder string, transitions int64) {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if spec == nil {
		spec = map[string]any{}
	}
	if holder != l.identity {
		spec["acquireTime"], spec["leaseTransitions"] = now, transitions
		if holder != "" {
			spec["leaseTransitions"] = transitions + 1
		}
	}
	spec["holderIdentity"], spec["renewTime"], spec["leaseDurationSeconds"] = l.identity, now, int64(term/time.Second)
	u.Object["spec"] = spec
}

// release lets another have the lease at once.
func (l *lease) release() {
	if !l.held.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	u, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil {
		return // it runs out
	}
	if holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity"); holder != l.identity {
		return
	}
	u.Object["spec"].(map[string]any)["holderIdentity"] = ""
	if _, err := l.client.Update(ctx, u, metav1.UpdateOptions{}); err == nil {
		l.log.Info("leadership released", "lease", l.name)
	}
}
