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

	until atomic.Pointer[time.Time] // as long as which it is held at least; nil where it is not
	seen  string                    // resourceVersion of what another holds
	since time.Time                 // when that was seen first
}

// held reports whether the lease is held. It is not any more once patience is over since the
// renewal was begun that succeeded last, whatever keep is waiting for.
func (l *lease) held() bool {
	until := l.until.Load()
	return until != nil && time.Now().Before(*until)
}

// keep tries to hold the lease until ctx is done, and then lets others have it. changed is
// called whenever it is won or lost.
func (l *lease) keep(ctx context.Context, changed func()) {
	failed := false
	for {
		asked, cancel := context.WithTimeout(ctx, patience/2)
		until, err := l.try(asked)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err == nil:
			failed = false
			l.turn(until, changed)
		case !l.held():
			l.turn(nil, changed)
		}
		if err != nil && ctx.Err() == nil && !failed && !unanswered(err) && !apierrors.IsConflict(err) {
			failed = true
			l.log.Error("cannot find out who leads; nothing is told of objects", "lease", l.name, "error", err)
		}
		select {
		case <-ctx.Done():
			if l.until.Swap(nil) != nil {
				l.release()
			}
			return
		case <-time.After(pause):
		}
	}
}

// turn notes until when the lease is held, nil for not at all.
func (l *lease) turn(until *time.Time, changed func()) {
	before := l.until.Swap(until)
	if (before == nil) == (until == nil) {
		return
	}
	if until != nil {
		l.log.Info("leading", "lease", l.name, "identity", l.identity)
	} else {
		l.log.Warn("not leading any more", "lease", l.name)
	}
	changed()
}

// try takes or renews the lease, and returns as long as which it is held then; nil where another
// holds it.
func (l *lease) try(ctx context.Context) (*time.Time, error) {
	u, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		u = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": l.name},
		}}
		until := l.write(u, "", 0)
		_, err = l.client.Create(ctx, u, metav1.CreateOptions{})
		return outcome(until, err)
	}
	if err != nil {
		return nil, err
	}
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	if holder != l.identity && holder != "" && !l.expired(u) {
		return nil, nil //nolint:nilnil // because another holds it, which is nothing wrong
	}
	transitions, _, _ := unstructured.NestedInt64(u.Object, "spec", "leaseTransitions")
	until := l.write(u, holder, transitions)
	_, err = l.client.Update(ctx, u, metav1.UpdateOptions{})
	return outcome(until, err)
}

// outcome is that of having written the lease.
func outcome(until time.Time, err error) (*time.Time, error) {
	switch {
	case err == nil:
		return &until, nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err): // another was faster
		return nil, nil //nolint:nilnil // because another holds it, which is nothing wrong
	}
	return nil, err
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

// write makes us the holder, and returns as long as which we are once that is sent.
func (l *lease) write(u *unstructured.Unstructured, holder string, transitions int64) time.Time {
	at := time.Now()
	now := at.UTC().Format("2006-01-02T15:04:05.000000Z")
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
	return at.Add(patience)
}

// release lets another have the lease at once.
func (l *lease) release() {
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
