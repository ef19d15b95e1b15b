package kube

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// A leasing is an API server that has one Lease, as one of its clients reaches it.
type leasing struct {
	dynamic.ResourceInterface
	shared *sharedLease

	mu    sync.Mutex
	delay time.Duration // of every answer
	lost  bool          // nothing comes back
}

type sharedLease struct {
	mu      sync.Mutex
	version int
	object  *unstructured.Unstructured
}

// answer waits as long as the network takes.
func (l *leasing) answer(ctx context.Context) error {
	l.mu.Lock()
	delay, lost := l.delay, l.lost
	l.mu.Unlock()
	if lost {
		delay = time.Hour
	}
	select {
	case <-ctx.Done():
		return &url.Error{Op: "Get", URL: "https://10.0.0.1/", Err: ctx.Err()}
	case <-time.After(delay):
		return nil
	}
}

func (l *leasing) set(delay time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.lost = delay, lost
}

func (l *leasing) Get(ctx context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	l.shared.mu.Lock()
	found := l.shared.object
	l.shared.mu.Unlock()
	if err := l.answer(ctx); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, apierrors.NewNotFound(leases.GroupResource(), name)
	}
	return found.DeepCopy(), nil
}

func (l *leasing) Create(ctx context.Context, u *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	return l.write(ctx, u, true)
}

func (l *leasing) Update(ctx context.Context, u *unstructured.Unstructured, _ metav1.UpdateOptions, _ ...string) (*unstructured.Unstructured, error) {
	return l.write(ctx, u, false)
}

func (l *leasing) write(ctx context.Context, u *unstructured.Unstructured, create bool) (*unstructured.Unstructured, error) {
	l.shared.mu.Lock()
	switch held := l.shared.object; {
	case create && held != nil:
		l.shared.mu.Unlock()
		return nil, apierrors.NewAlreadyExists(leases.GroupResource(), u.GetName())
	case held != nil && held.GetResourceVersion() != u.GetResourceVersion():
		l.shared.mu.Unlock()
		return nil, apierrors.NewConflict(leases.GroupResource(), u.GetName(), errors.New("changed"))
	}
	l.shared.version++
	next := u.DeepCopy()
	next.SetResourceVersion(strconv.Itoa(l.shared.version))
	l.shared.object = next
	l.shared.mu.Unlock()
	return next, l.answer(ctx)
}

// replicas starts two that want one Lease, the first of which has it, and returns a function
// that ends them.
func replicas(t *testing.T) (a, b *lease, toA, toB *leasing, end func(first bool)) {
	t.Helper()
	shared := &sharedLease{}
	one := func(identity string) (*lease, *leasing, func()) {
		to := &leasing{shared: shared}
		l := &lease{client: to, name: "legate", identity: identity, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.keep(ctx, func() {}) })
		return l, to, func() { cancel(); running.Wait() }
	}
	a, toA, endA := one("a")
	synctest.Wait()
	b, toB, endB := one("b")
	return a, b, toA, toB, func(first bool) {
		if first {
			endA()
		} else {
			endB()
		}
	}
}

// At no time do two lead, however slowly the one that does is answered before it is not any
// more; and another leads then.
func TestOneLeads(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Second, 2400 * time.Millisecond} {
		for _, after := range []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second, 6 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				a, b, toA, _, end := replicas(t)
				defer end(false)
				defer end(true)
				toA.set(delay, false)
				time.Sleep(time.Minute + after)
				if !a.held() || b.held() {
					t.Fatalf("answered after %v: the first leads: %v, the second: %v", delay, a.held(), b.held())
				}
				toA.set(delay, true)
				for begun := time.Now(); !b.held(); time.Sleep(10 * time.Millisecond) {
					if time.Since(begun) > time.Minute {
						t.Fatal("nobody leads")
					}
				}
				if a.held() {
					t.Errorf("answered after %v, lost after %v more: two lead", delay, after)
				}
			})
		}
	}
}

// Who ends does not lead any more once another may.
func TestLeaseIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, toA, _, end := replicas(t)
		defer end(false)
		time.Sleep(time.Minute)
		toA.set(500*time.Millisecond, false)
		ended := make(chan struct{})
		go func() { end(true); close(ended) }()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-time.After(10 * time.Millisecond):
			}
			if a.held() {
				t.Errorf("who has been told to end leads on; another does: %v", b.held())
			}
		}
		time.Sleep(pause)
		if synctest.Wait(); !b.held() {
			t.Error("the second does not lead as soon as the first has ended")
		}
	})
}
