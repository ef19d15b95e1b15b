package acme

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memoryVault is Secrets of a cluster in memory.
type memoryVault struct {
	mu     sync.Mutex
	shards [Shards]map[string][]byte
	broken error
}

func (v *memoryVault) Edit(_ context.Context, shard int, edit func(map[string][]byte) (map[string][]byte, error)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken != nil {
		return v.broken
	}
	next, err := edit(maps.Clone(v.shards[shard]))
	if err == nil && next != nil {
		v.shards[shard] = next
	}
	return err
}

func TestSecrets(t *testing.T) {
	v := &memoryVault{}
	checkStorage(t, NewSecrets(v, slog.New(slog.DiscardHandler)))
	v.broken = errors.New("forbidden")
	if _, err := NewSecrets(v, slog.New(slog.DiscardHandler)).Load(t.Context(), "a/c"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load from Secrets that may not be read: %v", err)
	}
}

// A lock is one replica's for as long as it lives, and another's soon after.
func TestSecretsLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &memoryVault{}
		first, second := NewSecrets(v, slog.New(slog.DiscardHandler)), NewSecrets(v, slog.New(slog.DiscardHandler))
		if err := first.Lock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 10*lockLife)
		defer cancel()
		if err := second.Lock(short, "job"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("two have a lock: %v", err)
		}
		first.held["job"].stop() // as if it had died
		begun := time.Now()
		if err := second.Lock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begun); waited > 2*lockLife {
			t.Errorf("the lock of one who died lasts for %v", waited)
		}
		if err := first.Unlock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		if got, err := first.taker("job", "third")(t.Context()); got || err != nil {
			t.Errorf("the lock of another was given back: %v", err)
		}
		if err := second.Unlock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		if got, err := first.taker("job", "third")(t.Context()); !got || err != nil {
			t.Errorf("a lock that was given back is not free: %v", err)
		}
	})
}
