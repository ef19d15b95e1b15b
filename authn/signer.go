package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/decision"
)

// A signer keeps the signing keys of one Mint filter, and lets them come and go. It has a
// life of its own: snapshots point to it.
type signer struct {
	by      string // the Mint filter
	deps    *Deps
	current atomic.Pointer[ring] // empty before configure

	mu       sync.Mutex
	settings signerSettings
	keys     []*signingKey
	unkept   bool // keys may be missing where settings want them kept
	started  bool
	wake     chan struct{}
	stop     context.CancelFunc
	stopped  chan struct{}
}

// signerSettings are what may change about a signer while it lives.
type signerSettings struct {
	alg      string
	rotation rotation
	given    []*signingKey     // by a Secret, instead of those that are made here; nil for none
	kept     config.SecretName // where in Deps.SigningKeys keys are kept; zero for nowhere
	revoked  []string          // key ids that are not used or published any more
}

// A ring is a signer's keys at one moment. It is not changed.
type ring struct {
	keys       []*signingKey // that are published
	signing    *signingKey   // nil where there is none
	set        []byte        // JWK Set of keys
	err        error         // why keys could not be made or kept; nil for nothing
	generation uint64        // what keys are, see generationOf
}

// find returns the published key of that id, nil for none.
func (r *ring) find(id string) *signingKey {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// generation returns that of the keys that are published, at whatever time.
// Budget: 0 allocs.
func (s *signer) generation(time.Time) uint64 { return s.current.Load().generation }

func newSigner(by string, d *Deps) *signer {
	s := &signer{by: by, deps: d, wake: make(chan struct{}, 1)}
	s.current.Store(&ring{})
	return s
}

// configure gives s settings, from now on. What is due by them is done when it returns, so
// that there is a key to sign with.
func (s *signer) configure(settings signerSettings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept = s.unkept || s.settings.kept != settings.kept
	s.settings = settings
	if settings.given != nil {
		s.keys = settings.given
	}
	_, err := s.step()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return err
}

// step does what is due and returns when to look again, zero for never. The caller holds
// mu.
func (s *signer) step() (again time.Time, err error) {
	now := s.deps.Clock()
	var t turn
	if s.settings.kept.Name == "" {
		t, err = s.turn(s.keys, now)
	} else {
		t, err = s.keep(now)
	}
	s.keys = t.keys
	s.show(t, err, now)
	if err != nil {
		t.at(now.Add(keyRetry), now)
	}
	return t.again, err
}

// keyRetry is how long it takes until making a key that failed is tried again.
const keyRetry = 10 * time.Second

// A turn is what becomes of a row of keys at one moment.
type turn struct {
	plan               // of what follows
	keys []*signingKey // sorted by when they sign
	made *signingKey   // the last of them, where it is new; nil otherwise
}

// turn does what is due for keys, which it does not change.
func (s *signer) turn(keys []*signingKey, now time.Time) (turn, error) {
	t := s.standing(keys, now)
	if t.publish {
		k, err := makeSigningKey(s.settings.alg, s.deps.Random, now, t.signs)
		if err != nil {
			return t, err
		}
		t.keys, t.made = append(t.keys, k), k
		t.plan = s.settings.rotation.plan(t.keys, s.settings.alg, now)
	}
	t.keys = t.keys[t.drop:]
	t.signing, t.drop = t.signing-t.drop, 0
	return t, nil
}

// standing returns how keys stand, without those that are revoked. Nothing comes or goes.
func (s *signer) standing(keys []*signingKey, now time.Time) turn {
	t := turn{keys: slices.DeleteFunc(slices.Clone(keys), func(k *signingKey) bool { return slices.Contains(s.settings.revoked, k.id) })}
	sortKeys(t.keys)
	t.plan = s.settings.rotation.plan(t.keys, s.settings.alg, now)
	return t
}

// show has t's keys used from now on, and tells what is new about them.
func (s *signer) show(t turn, err error, now time.Time) {
	last := s.current.Load()
	next := &ring{keys: t.keys, set: renderKeySet(t.keys), err: err}
	next.generation = generationOf(next.set)
	if t.signing >= 0 {
		next.signing = t.keys[t.signing]
	}
	switch {
	case err != nil && (last.err == nil || last.err.Error() != err.Error()):
		s.deps.Log.Error("signing keys are in trouble", "filter", s.by, "error", err)
	case err == nil && last.err != nil:
		s.deps.Log.Info("signing keys are in order again", "filter", s.by)
	}
	if k := t.made; k != nil {
		s.deps.Log.Info("signing key published", "filter", s.by, "kid", k.id, "alg", k.alg, "signs_from", k.signs.UTC())
		s.rotated(k, now)
	}
	if next.signing != nil && (last.signing == nil || last.signing.id != next.signing.id) {
		s.deps.Log.Info("signing key in use", "filter", s.by, "kid", next.signing.id, "alg", next.signing.alg)
		s.rotated(next.signing, now)
	}
	s.current.Store(next)
}

// rotated tells who listens that k has come into use, or will.
func (s *signer) rotated(k *signingKey, now time.Time) {
	if s.deps.Audit != nil {
		s.deps.Audit(&decision.Event{Kind: decision.KeyRotated, Allowed: true, Time: now, By: s.by, KeyID: k.id})
	}
}

// start lets keys come and go until retire.
func (s *signer) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.started, s.stop, s.stopped = true, cancel, make(chan struct{})
	go s.run(ctx)
}

// run steps whenever something is due.
func (s *signer) run(ctx context.Context) {
	defer close(s.stopped)
	for {
		s.mu.Lock()
		again, _ := s.step() // what went wrong is told, and shown by the ring
		s.mu.Unlock()
		if !s.wait(ctx, again) {
			return
		}
	}
}

// wait waits until something is due or the settings change, and reports false once it is
// over.
func (s *signer) wait(ctx context.Context, again time.Time) bool {
	var due <-chan time.Time
	if !again.IsZero() {
		timer := time.NewTimer(again.Sub(s.deps.Clock()))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-s.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// retire ends what start began. s still signs for who holds it.
func (s *signer) retire() {
	s.mu.Lock()
	started := s.started
	s.started = false
	s.mu.Unlock()
	if started {
		s.stop()
		<-s.stopped
	}
}

var errWhichSigns = errors.New("holds several private keys, and none of them is called signing.pem")

// secretKeys reads signing keys from a Secret: its entry keys.json, which has their dates,
// or else private keys as PEM. Of several of those the one that is called signing.pem,
// signing.key or tls.key signs, and the others are published only.
func secretKeys(s *config.Secret) ([]*signingKey, error) {
	if text, ok := s.Data[storedKeys]; ok {
		keys, err := decodeKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", storedKeys, err)
		}
		return keys, nil
	}
	var names []string
	for name := range s.Data {
		if strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, ".key") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	signs := slices.IndexFunc(names, func(n string) bool { return n == "signing.pem" || n == "signing.key" || n == "tls.key" })
	switch {
	case len(names) == 0:
		return nil, errNoPrivateKey
	case signs < 0 && len(names) > 1:
		return nil, errWhichSigns
	}
	signs = max(signs, 0)
	names = append(slices.Delete(slices.Clone(names), signs, signs+1), names[signs]) // the last of equal dates signs
	keys := make([]*signingKey, len(names))
	for i, name := range names {
		private, err := parsePrivateKey(s.Data[name])
		if err == nil {
			keys[i], err = newSigningKey(private, time.Time{}, time.Time{})
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return keys, nil
}
