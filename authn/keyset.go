package authn

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"legate/config"
)

const (
	minFresh     = 5 * time.Minute // a key set is believed so long whatever its headers say
	maxFresh     = 24 * time.Hour
	staleFor     = 24 * time.Hour // beyond that it serves while its issuer does not answer
	unknownPause = 10 * time.Second
	failedPause  = time.Second     // between requests' own attempts while nothing is known
	firstRetry   = 2 * time.Second // of the background; doubled until maxRetry
	maxRetry     = 2 * time.Minute
	waitTime     = 4 * time.Second // of a request that needs it
	maxKeySet    = 1 << 20         // bytes
)

// A keySet is the keys that one URI publishes. It fetches them before they are stale, and
// when a token names one that it does not have. While its issuer does not answer, what is
// known goes on serving.
type keySet struct {
	uri    string // of the keys; of the issuer's discovery document, which names it, where discovered
	issuer string // "" where uri is that of the keys
	policy config.FetchPolicy
	deps   *Deps
	client *http.Client

	current atomic.Pointer[keys] // nil before there are any

	mu      sync.Mutex
	flight  *flight         // the attempt under way; nil for none
	tried   time.Time       // when the last one began
	err     error           // of the last one
	life    context.Context // until it is retired; nil before start
	stop    context.CancelFunc
	stopped chan struct{}
}

// keys are a key set's at one moment. They are not changed.
type keys struct {
	list       []key
	generation uint64    // what they are, see generationOf
	renew      time.Time // another look is due then: a little before fresh, not the same for every gateway
	fresh      time.Time // until then nobody says that they have changed
	until      time.Time // and then they are not used any more
}

// A flight is an attempt that several may wait for.
type flight struct{ done chan struct{} }

// usable returns the keys known at now, nil for none. Budget: 0 allocs.
func (s *keySet) usable(now time.Time) *keys {
	k := s.current.Load()
	if k == nil || !now.Before(k.until) {
		return nil
	}
	return k
}

// generation returns that of the keys known at now, 0 for none. Budget: 0 allocs.
func (s *keySet) generation(now time.Time) uint64 {
	if k := s.usable(now); k != nil {
		return k.generation
	}
	return 0
}

// fitting returns those of k that a token of that key id, "" for none, may be signed with.
func (k *keys) fitting(id, alg string) []*key {
	var list []*key
	for i := range k.list {
		if c := &k.list[i]; (id == "" || c.id == "" || c.id == id) && c.fits(alg) {
			list = append(list, c)
		}
	}
	return list
}

// find returns the keys that a token may be signed with, and those of the whole set. It
// fetches the set where none of it is known, or not this key: then at most once in ten
// seconds, whoever asks. It blocks for waitTime at most, and for what is left of the
// Patience of c, which may be nil.
func (s *keySet) find(c *Call, id, alg string, now time.Time) ([]*key, *keys, error) {
	k := s.usable(now)
	if k != nil {
		if list := k.fitting(id, alg); list != nil {
			return list, k, nil
		}
	}
	fl := s.attempt(now, k != nil)
	if fl != nil {
		wait := time.NewTimer(c.wait(waitTime, s.deps.Clock()))
		defer wait.Stop()
		select {
		case <-fl.done:
		case <-wait.C:
		}
	}
	if k = s.usable(s.deps.Clock()); k == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, nil, s.failure()
	}
	return k.fitting(id, alg), k, nil
}

var errWaiting = errors.New("its answer is still awaited")

// failure says why there are no keys. The caller holds mu.
func (s *keySet) failure() error {
	if s.err == nil {
		return fmt.Errorf("fetch key set %q: %w", shownURI(s.uri), errWaiting)
	}
	return s.err
}

// attempt returns the attempt under way, one that begins now, or nil where it is too early
// for another. known says that there are keys, only not the one that is looked for.
func (s *keySet) attempt(now time.Time, known bool) *flight {
	pause := failedPause
	if known {
		pause = unknownPause
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.flight != nil:
		return s.flight
	case !s.tried.IsZero() && now.Sub(s.tried) < pause:
		return nil
	}
	return s.begin(now)
}

// begin starts an attempt. The caller holds mu, and there is none under way.
func (s *keySet) begin(now time.Time) *flight {
	fl := &flight{done: make(chan struct{})}
	s.flight, s.tried = fl, now
	ctx := context.Background()
	if s.life != nil && s.life.Err() == nil {
		ctx = s.life
	}
	go s.fetch(ctx, fl)
	return fl
}

// fetch asks the URI once, and tells who waits.
func (s *keySet) fetch(ctx context.Context, fl *flight) {
	next, err := s.get(ctx)
	outcome := "success"
	if err != nil {
		outcome = "failure"
		err = fmt.Errorf("fetch key set %q: %w", shownURI(s.uri), err)
		if ctx.Err() == nil { // or else nobody needs it any more
			s.deps.Log.Warn("key set not refreshed", "uri", shownURI(s.uri), "error", err)
		}
	}
	s.deps.Metrics.Refreshed(shownURI(s.uri), outcome).Add()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.current.Store(next)
	}
	s.err, s.flight = err, nil
	close(fl.done)
}

// generationOf stands for keys by the text that they were published in. Those of one
// generation are the same ones, whoever has read them and when: what was verified by others
// is not believed by them.
func generationOf(text []byte) uint64 {
	digest := sha256.Sum256(text)
	return binary.BigEndian.Uint64(digest[:])
}

// get asks the URI once, after the issuer's discovery document where that names it.
func (s *keySet) get(ctx context.Context) (*keys, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	uri := s.uri
	if s.issuer != "" {
		text, _, err := s.ask(ctx, uri)
		if err == nil {
			uri, err = discovered(text, s.issuer)
		}
		if err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
	}
	text, header, err := s.ask(ctx, uri)
	if err != nil {
		return nil, err
	}
	list, err := parseKeys(text)
	if err != nil {
		return nil, err
	}
	now := s.deps.Clock()
	fresh := now.Add(lifetime(header, now, s.policy.MaxStale))
	return &keys{list: list, generation: generationOf(text), renew: fresh.Add(-rand.N(10 * time.Second)), fresh: fresh, until: fresh.Add(staleFor + s.policy.MaxStale)}, nil //nolint:gosec // because it spreads load, and nobody gains by guessing
}

// ask returns the document at uri, and what was said about it.
func (s *keySet) ask(ctx context.Context, uri string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, http.NoBody)
	if err != nil {
		return nil, nil, plainError(err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	mayBeStale(r, s.policy)
	a, err := s.client.Do(r)
	if err != nil {
		return nil, nil, plainError(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("its answer has status %d", a.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, maxKeySet+1))
	switch {
	case err != nil:
		return nil, nil, plainError(err)
	case len(text) > maxKeySet:
		return nil, nil, fmt.Errorf("its answer is longer than %d bytes", maxKeySet)
	}
	return text, a.Header, nil
}

var (
	errNoDiscovery  = errors.New("the document is no JSON with a jwks_uri")
	errOtherIssuer  = errors.New("the document is another issuer's")
	errKeysInClear  = errors.New("an https issuer's keys are elsewhere than at https")
	discoverySuffix = "/.well-known/openid-configuration"
)

// sameIssuer reports whether two issuers differ by no more than a slash at the end, which
// discovery adds or leaves out. Tokens are held to what the document says.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// discovered returns where an issuer says in its discovery document that its keys are
// (OpenID Connect Discovery 1.0 §4.3).
func discovered(text []byte, issuer string) (uri string, err error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(text, &doc); {
	case err != nil || doc.Keys == "":
		return "", errNoDiscovery
	case !sameIssuer(doc.Issuer, issuer):
		return "", errOtherIssuer
	case strings.HasPrefix(issuer, "https://") && !strings.HasPrefix(doc.Keys, "https://"):
		return "", errKeysInClear
	}
	return doc.Keys, nil
}

// start begins to refresh the keys in the background. It does not block.
func (s *keySet) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.life, s.stop, s.stopped = ctx, cancel, make(chan struct{})
	if s.flight == nil && s.current.Load() == nil {
		s.begin(s.deps.Clock())
	}
	go s.refresh(ctx)
}

// refresh fetches the keys whenever they are about to be stale, until ctx is done. After a
// failure it tries again soon, and then ever less often.
func (s *keySet) refresh(ctx context.Context) {
	defer close(s.stopped)
	retry := firstRetry
	for {
		s.mu.Lock()
		fl := s.flight
		s.mu.Unlock()
		if fl != nil {
			select {
			case <-fl.done:
			case <-ctx.Done():
				return
			}
		}
		pause := s.due(s.deps.Clock())
		if pause > 0 {
			retry = firstRetry
		} else if s.failing() {
			pause = retry
			retry = min(2*retry, maxRetry)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		s.mu.Lock()
		if now := s.deps.Clock(); s.flight == nil && s.due(now) <= 0 {
			s.begin(now)
		}
		s.mu.Unlock()
	}
}

// failing reports whether the last attempt failed.
func (s *keySet) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// due is how long the keys need no look.
func (s *keySet) due(now time.Time) time.Duration {
	k := s.current.Load()
	if k == nil {
		return 0
	}
	return k.renew.Sub(now)
}

// ready waits for the end of the attempt under way, or of ctx.
func (s *keySet) ready(ctx context.Context) {
	s.mu.Lock()
	fl := s.flight
	s.mu.Unlock()
	if fl == nil {
		return
	}
	select {
	case <-fl.done:
	case <-ctx.Done():
	}
}

// retire ends the refreshing. Who still holds s may use it.
func (s *keySet) retire() {
	s.mu.Lock()
	stop, stopped := s.stop, s.stopped
	s.mu.Unlock()
	if stop != nil {
		stop()
		<-stopped
		s.ready(context.Background())
	}
	s.client.CloseIdleConnections()
}

// A keySetKey is what two users of a key set must agree on to share it.
type keySetKey struct {
	uri    string
	issuer string
	policy config.FetchPolicy
	// cluster says that uri only names the keys of the cluster around the gateway, which are
	// asked of its API server.
	cluster bool
}

// keySets are the key sets of one configuration. It is built by one goroutine and not
// changed after start.
type keySets struct {
	deps  *Deps
	prev  *keySets // where to take from; nil once started
	byKey map[keySetKey]*keySet
}

// newKeySets begins a set that takes over from prev, which may be nil, what it has in
// common with it. Nothing starts, and prev does not change.
func newKeySets(d *Deps, prev *keySets) *keySets {
	return &keySets{deps: d, prev: prev, byKey: map[keySetKey]*keySet{}}
}

// get returns the keys of uri: this configuration's, the previous one's with what is known
// of them, or new ones.
func (s *keySets) get(uri string, policy config.FetchPolicy) *keySet {
	return s.take(keySetKey{uri: uri, policy: policy})
}

// of returns the keys that c's tokens are verified with: those of its URI, or else of its
// issuer, wherever that says that they are.
func (s *keySets) of(c *config.JWTFilter) *keySet {
	if c.JWKSURI == "" && c.Issuer != "" {
		return s.discover(c.Issuer, c.Fetch)
	}
	return s.get(c.JWKSURI, c.Fetch)
}

// discover returns the keys of an issuer, wherever it says that they are.
func (s *keySets) discover(issuer string, policy config.FetchPolicy) *keySet {
	return s.take(keySetKey{uri: strings.TrimSuffix(issuer, "/") + discoverySuffix, issuer: issuer, policy: policy})
}

// cluster returns the keys of the ServiceAccounts of the cluster around the gateway.
func (s *keySets) cluster() *keySet { return s.take(keySetKey{uri: clusterKeys, cluster: true}) }

func (s *keySets) take(k keySetKey) *keySet {
	if set := s.byKey[k]; set != nil {
		return set
	}
	var set *keySet
	if s.prev != nil {
		set = s.prev.byKey[k]
	}
	if set == nil {
		client := s.deps.client(k.policy)
		if k.cluster {
			client.Transport = clusterClient{s.deps.Cluster}
		}
		set = &keySet{uri: k.uri, issuer: k.issuer, policy: k.policy, deps: s.deps, client: client}
	}
	s.byKey[k] = set
	return set
}

// start starts the key sets that are new. It does not block.
func (s *keySets) start() {
	s.prev = nil
	for _, set := range s.byKey {
		set.start()
	}
}

// ready waits until every key set was asked once, or for the end of ctx.
func (s *keySets) ready(ctx context.Context) {
	for _, set := range s.byKey {
		set.ready(ctx)
	}
}

// retire ends the key sets that next, which may be nil, does not have.
func (s *keySets) retire(next *keySets) {
	for k, set := range s.byKey {
		if next == nil || next.byKey[k] != set {
			set.retire()
		}
	}
}
