package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
)

// A memoryStore keeps keys in memory.
type memoryStore struct {
	mu      sync.Mutex
	kept    map[string][]byte
	refuses error // to write
	hides   error // and to read
	written int
}

func (s *memoryStore) String() string { return "memory" }

func (s *memoryStore) Update(_ context.Context, namespace, name string, change func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hides != nil {
		return s.hides
	}
	next, err := change(s.kept[namespace+"/"+name])
	switch {
	case err != nil:
		return err
	case string(next) == string(s.kept[namespace+"/"+name]):
		return nil
	case s.refuses != nil:
		return s.refuses
	}
	if s.kept == nil {
		s.kept = map[string][]byte{}
	}
	s.kept[namespace+"/"+name] = next
	s.written++
	return nil
}

func (s *memoryStore) fails(refuses, hides error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses, s.hides = refuses, hides
}

func keptFilter(change ...func(*config.MintFilter)) *config.Filter {
	return mintFilter(append([]func(*config.MintFilter){func(f *config.MintFilter) {
		f.SigningKeys = config.SecretName{Name: "signing", Namespace: "ambassador"}
	}}, change...)...)
}

// replicaOf makes a minter that keeps its keys in store.
func replicaOf(t testing.TB, store KeyStore, clock func() time.Time, change ...func(*config.MintFilter)) *Minter {
	t.Helper()
	d := testDeps(t, new(time.Time))
	d.Clock, d.SigningKeys = clock, store
	return minter(t, d, keptFilter(change...))
}

// shown are the ids of the keys that m publishes, the one that signs in brackets.
func shown(m *Minter) string {
	r := m.signer.current.Load()
	var ids []string
	for _, k := range r.keys {
		if k == r.signing {
			ids = append(ids, "["+k.id+"]")
			continue
		}
		ids = append(ids, k.id)
	}
	return strings.Join(ids, " ")
}

// Through 56 hours of daily rotation, in which one of three replicas ends, one is replaced
// and nothing can be kept for a while, every token of each is accepted by whoever looked at
// another's key set within 20 minutes.
func TestReplicasRotateTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{}
		join := func() *Minter {
			m := replicaOf(t, store, time.Now)
			m.signer.start()
			return m
		}
		replicas := []*Minter{join(), join(), join()}
		consumers := make([]*consumer, len(replicas))
		for i := range consumers {
			consumers[i] = &consumer{m: replicas[(i+1)%len(replicas)]}
		}
		used := map[string]bool{}
		for minute := 0; minute < 56*60; minute += 5 {
			switch minute {
			case 600: // one is replaced
				replicas[0].signer.retire()
				replicas[0] = join()
				consumers[2].m = replicas[0]
			case 23 * 60: // shortly before the next key is due
				store.fails(errors.New("no space left on device"), nil)
			case 27 * 60:
				store.fails(nil, nil)
			case 40 * 60:
				store.fails(nil, errors.New("input/output error"))
			case 41 * 60:
				store.fails(nil, nil)
			}
			for i, m := range replicas {
				r := call(time.Now(), alice(time.Now(), ""))
				if m.Mint(r) != Allow {
					t.Fatalf("minute %d: refused: %+v", minute, r.Reply)
				}
				token := bearerOf(t, r)
				used[kidOf(token)] = true
				if err := consumers[i].verify(t.Context(), token, time.Now()); err != nil {
					t.Fatalf("minute %d, replica %d: a good token is refused: %v", minute, i, err)
				}
			}
			time.Sleep(5 * time.Minute) // of the bubble
		}
		if len(used) != 3 || store.written != 5 {
			t.Errorf("%d keys have signed, want three; written %d times, want five", len(used), store.written)
		}
		for _, m := range replicas {
			if shown(m) != shown(replicas[0]) {
				t.Errorf("one publishes %s, another %s", shown(m), shown(replicas[0]))
			}
			m.signer.retire()
		}
	})
}

// What was kept is found again, and who cannot keep anything says so and goes on.
func TestKeptKeys(t *testing.T) {
	now := noon
	clock := func() time.Time { return now }
	broken := errors.New("the disk is broken")
	setTime := func(d time.Duration) { now = noon.Add(d) }
	step := func(m *Minter) error {
		m.signer.mu.Lock()
		defer m.signer.mu.Unlock()
		_, err := m.signer.step()
		return err
	}
	begin := func(t *testing.T) (*memoryStore, *Minter) {
		t.Helper()
		setTime(0)
		store := &memoryStore{}
		return store, replicaOf(t, store, clock)
	}
	start := func(store KeyStore) (*Minter, error) {
		d := testDeps(t, new(time.Time))
		d.Clock, d.SigningKeys = clock, store
		o := keptFilter()
		parts := newMintParts("Filter ambassador/jwt-auth", d)
		m, _ := newMinter(o, parts, func(string, string) *config.Secret { return nil }, newKeySets(d, nil), d)
		settings, _ := mintSettings(o, func(string, string) *config.Secret { return nil }, store)
		return m, parts.signer.configure(settings)
	}
	t.Run("a restart", func(t *testing.T) {
		store, m := begin(t)
		setTime(time.Hour)
		if again := replicaOf(t, store, clock); shown(again) != shown(m) || store.written != 1 {
			t.Errorf("%s became %s, written %d times", shown(m), shown(again), store.written)
		}
	})
	t.Run("a restart with a disk that can be read only", func(t *testing.T) {
		store, m := begin(t)
		setTime(30 * time.Hour) // another key is due
		store.fails(broken, nil)
		again, err := start(store)
		if shown(again) != shown(m) || !errors.Is(err, broken) || !errors.Is(again.signer.current.Load().err, broken) {
			t.Errorf("%s became %s, %v", shown(m), shown(again), err)
		}
		store.fails(nil, nil)
		if err := step(again); err != nil || len(again.signer.current.Load().keys) != 2 || again.signer.current.Load().err != nil {
			t.Errorf("then it publishes %s, %v", shown(again), err)
		}
	})
	t.Run("a first start with a broken disk", func(t *testing.T) {
		setTime(0)
		store := &memoryStore{hides: broken}
		one, err := start(store)
		other, _ := start(store)
		if !errors.Is(err, broken) || one.signer.current.Load().signing == nil || shown(one) == shown(other) {
			t.Fatalf("%s and %s sign, %v", shown(one), shown(other), err)
		}
		first := one.signer.current.Load().signing.id
		if err := step(one); !errors.Is(err, broken) || one.signer.current.Load().signing.id != first {
			t.Errorf("then %s signs, %v", shown(one), err)
		}
		store.fails(nil, nil)
		for _, m := range []*Minter{one, other, one} {
			if err := step(m); err != nil {
				t.Error(err)
			}
		}
		if shown(one) != shown(other) || one.signer.current.Load().find(first) == nil || len(one.signer.current.Load().keys) != 2 {
			t.Errorf("once mended they publish %s and %s", shown(one), shown(other))
		}
	})
	t.Run("what is kept cannot be read", func(t *testing.T) {
		store, m := begin(t)
		before := shown(m)
		store.kept["ambassador/signing"] = []byte(`{"keys":`)
		again, err := start(store)
		if err == nil || again.signer.current.Load().signing == nil {
			t.Errorf("%s signs, %v", shown(again), err)
		}
		if err := step(m); err == nil || shown(m) != before {
			t.Errorf("who has run since before publishes %s, %v", shown(m), err)
		}
		if string(store.kept["ambassador/signing"]) != `{"keys":` {
			t.Error("it was overwritten")
		}
	})
	t.Run("what was kept is lost", func(t *testing.T) {
		store, m := begin(t)
		before := shown(m)
		delete(store.kept, "ambassador/signing")
		if err := step(m); err != nil || shown(m) != before || store.kept["ambassador/signing"] == nil {
			t.Errorf("%s became %s, %v", before, shown(m), err)
		}
	})
	t.Run("a key is revoked", func(t *testing.T) {
		store, m := begin(t)
		bad := m.signer.current.Load().signing.id
		without := replicaOf(t, store, clock, func(f *config.MintFilter) { f.RevokedKeys = []string{bad} })
		if err := step(m); err != nil || shown(m) != shown(without) || strings.Contains(shown(m), bad) {
			t.Errorf("%s and %s are published, %v", shown(m), shown(without), err)
		}
	})
	t.Run("from a Secret of somebody's", func(t *testing.T) {
		setTime(0)
		k, err := makeSigningKey("ES256", testDeps(t, &now).Random, noon, noon)
		if err != nil {
			t.Fatal(err)
		}
		store, d := &memoryStore{}, testDeps(t, &now)
		d.SigningKeys = store
		m := minter(t, d, keptFilter(), &config.Secret{Meta: config.Meta{Name: "signing", Namespace: "ambassador"}, Data: map[string][]byte{"a.pem": pemOf(t, k)}})
		if shown(m) != "["+k.id+"]" || store.written != 0 {
			t.Fatalf("%s signs, written %d times", shown(m), store.written)
		}
		settings, _ := mintSettings(keptFilter(), func(string, string) *config.Secret { return nil }, store) // it is gone
		if err := m.signer.configure(settings); err != nil {
			t.Fatal(err)
		}
		r := m.signer.current.Load()
		if r.signing.id != k.id || len(r.keys) != 2 || store.written != 1 {
			t.Errorf("then %s, written %d times", shown(m), store.written)
		}
		setTime(31 * time.Minute)
		if err := step(m); err != nil || m.signer.current.Load().signing.id == k.id || m.signer.current.Load().find(k.id) == nil {
			t.Errorf("half an hour later %s, %v", shown(m), err)
		}
	})
}

// Filters that keep their keys in one place agree on what they are.
func TestKeptKeysOfSeveralFilters(t *testing.T) {
	other := func(change func(*config.MintFilter)) *config.Filter {
		o := keptFilter(change)
		o.Name = "other"
		return o
	}
	for name, c := range map[string]struct {
		change func(*config.MintFilter)
		want   string
	}{
		"alike":             {func(*config.MintFilter) {}, ""},
		"another algorithm": {func(f *config.MintFilter) { f.Algorithm = "EdDSA" }, "Filter ambassador/jwt-auth keeps keys of another algorithm or rotation there"},
		"another rotation":  {func(f *config.MintFilter) { f.Rotation = time.Hour }, "Filter ambassador/jwt-auth keeps keys of another algorithm or rotation there"},
		"another place":     {func(f *config.MintFilter) { f.Algorithm, f.SigningKeys.Name = "EdDSA", "others" }, ""},
	} {
		now := noon
		d := testDeps(t, &now)
		d.SigningKeys = &memoryStore{}
		s, problems := newMints(&config.World{Filters: []config.Filter{*keptFilter(), *other(c.change)}}, nil, newKeySets(d, nil), d)
		got := ""
		for _, p := range problems {
			got += p.Msg
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		s.start()
		defer s.retire(nil)
		same := slices.Equal([]string{shown(s.byName["ambassador/jwt-auth"].Minter)}, []string{shown(s.byName["ambassador/other"].Minter)})
		if same != (name == "alike") {
			t.Errorf("%s: the same keys: %v", name, same)
		}
		if v := s.byName["ambassador/jwt-auth"].signing(); v.Kept != "Secret ambassador/signing in memory" || len(v.Keys) != 1 || !v.Keys[0].InUse || v.Error != "" {
			t.Errorf("%s: shown as %s", name, fmt.Sprintf("%+v", v))
		}
	}
}

// A Secret is the gateways' to keep unless somebody else has put keys there.
func TestKeepsKeys(t *testing.T) {
	for _, test := range []struct {
		name string
		data map[string][]byte
		want bool
	}{
		{"empty", nil, true},
		{"ours", map[string][]byte{StoredKeys: nil}, true},
		{"ours, and others beside", map[string][]byte{StoredKeys: nil, "old.pem": nil}, true},
		{"somebody's", map[string][]byte{"signing.pem": nil}, false},
		{"a certificate's", map[string][]byte{"tls.crt": nil, "tls.key": nil}, false},
	} {
		if got := KeepsKeys(test.data); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}
