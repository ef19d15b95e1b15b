package authn

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"legate/decision"
)

// A SessionStore keeps what belongs to sessions for all gateways that ask it: none of it
// says anything to who reads it there. Its methods may be called by several goroutines at
// once, and an error says that nobody knows whether it was done.
type SessionStore interface {
	// Get returns what is kept under key and for how long it will be; nil for nothing.
	Get(ctx context.Context, key string) (value []byte, left time.Duration, err error)
	Add(ctx context.Context, key string, value []byte, life time.Duration) error
	// Replace keeps value in the place of what is kept under key, and reports whether
	// anything was.
	Replace(ctx context.Context, key string, value []byte, life time.Duration) (found bool, err error)
	Extend(ctx context.Context, key string, life time.Duration) error
	Remove(ctx context.Context, key string) error
	// Lock reports whether holder has key to itself now, until it unlocks it or for life.
	Lock(ctx context.Context, key, holder string, life time.Duration) (bool, error)
	Unlock(ctx context.Context, key, holder string) error
}

const (
	storeTime   = time.Second             // that a request waits for one answer of the store
	storeTrust  = 5 * time.Second         // that nobody looks again whether a session was ended elsewhere
	lockLife    = fetchTime + 5*storeTime // of who refreshes a session: longer than that takes
	lockPause   = 50 * time.Millisecond   // between looks whether another gateway has refreshed it
	purposeKept = "kept "
	sessionID   = 32 // characters of an id; as many again prove whose it is
)

var (
	errStoreDown = errors.New("the store of sessions does not answer")
	errEnded     = &refusedError{"the session was ended"}
)

// A storeKeeper keeps sessions in a SessionStore. A browser has the session's id, with what
// proves that it was given to this browser: nobody can make that, so the store is asked
// only about sessions that were there.
type storeKeeper struct {
	l     *login
	store SessionStore
	down  *atomic.Bool // told that it is
}

// key is what a session is kept under. It is no id: who reads the store cannot be who is
// logged in.
func (k storeKeeper) key(id string) string { return "session." + k.l.realm + "." + hashed(id) }

// context returns one that ends when c has waited for the store long enough. c may be nil.
func (k storeKeeper) context(c *Call) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.wait(storeTime, k.l.deps.Clock()))
}

// told notes what the store made of a question, and says so once where that changes.
func (k storeKeeper) told(err error) error {
	switch {
	case err == nil && k.down.CompareAndSwap(true, false):
		k.l.deps.Log.Info("the store of sessions answers again", "filter", k.l.realm)
	case err == nil:
	case k.down.CompareAndSwap(false, true):
		k.l.deps.Log.Error("the store of sessions does not answer: nobody who logged in gets on", "filter", k.l.realm, "error", err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStoreDown, err)
	}
	return nil
}

func (k storeKeeper) open(c *Call, value, browser string) (*session, error) {
	if len(value) != 2*sessionID || !k.l.seal.signed(value[:sessionID]+hashed(browser), value[sessionID:]) {
		return nil, nil //nolint:nilnil // because there is none, and that is no error
	}
	return k.load(c, value[:sessionID])
}

// load returns the session of that id, nil for none.
func (k storeKeeper) load(c *Call, id string) (*session, error) {
	ctx, cancel := k.context(c)
	defer cancel()
	value, left, err := k.store.Get(ctx, k.key(id))
	if err = k.told(err); err != nil || value == nil {
		return nil, err
	}
	s := &session{}
	if k.l.seal.open(purposeKept+id, string(value), s) != nil {
		return nil, nil //nolint:nilnil // because nobody here has written that
	}
	idle := k.l.idle(s)
	s.due = k.l.deps.Clock().Add(left - idle + k.l.renews(s))
	return s, nil
}

func (k storeKeeper) add(c *Call, s *session) error {
	sealed, err := k.l.seal.seal(purposeKept+s.ID, s)
	if err != nil {
		return err
	}
	ctx, cancel := k.context(c)
	defer cancel()
	return k.told(k.store.Add(ctx, k.key(s.ID), []byte(sealed), k.l.idle(s)))
}

func (k storeKeeper) value(s *session, browser string) (string, error) {
	return s.ID + k.l.seal.sign(s.ID+hashed(browser)), nil
}

func (k storeKeeper) renew(c *Call, s *session) error {
	ctx, cancel := k.context(c)
	defer cancel()
	return k.told(k.store.Extend(ctx, k.key(s.ID), k.l.idle(s)))
}

// refresh has one gateway ask for all: a refresh token is good for one use.
func (k storeKeeper) refresh(s *session, ask func(*session) (*session, error)) (*session, error) {
	holder := k.l.random(16)
	limit := time.NewTimer(fetchTime)
	defer limit.Stop()
	for {
		mine, err := k.lock(s.ID, holder)
		if err != nil {
			return nil, err
		}
		next, err := k.refreshed(s, mine, ask)
		if mine {
			k.unlock(s.ID, holder)
		}
		if next != nil || err != nil {
			return next, err
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-pause.C:
		case <-limit.C:
			pause.Stop()
			return nil, errWaiting
		}
	}
}

// refreshed returns s as another gateway has refreshed it, or as ask does now, for who has
// it for himself; nil for not yet.
func (k storeKeeper) refreshed(s *session, mine bool, ask func(*session) (*session, error)) (*session, error) {
	current, err := k.load(nil, s.ID)
	switch {
	case err != nil:
		return nil, err
	case current == nil:
		return nil, errEnded
	case current.Access != s.Access:
		return current, nil
	case !mine:
		return nil, nil //nolint:nilnil // because who has it is still at it
	}
	next, err := ask(current)
	if err != nil {
		return nil, err
	}
	sealed, err := k.l.seal.seal(purposeKept+s.ID, next)
	if err != nil {
		return nil, err
	}
	ctx, cancel := k.context(nil)
	defer cancel()
	found, err := k.store.Replace(ctx, k.key(s.ID), []byte(sealed), k.l.idle(next))
	if err = k.told(err); err == nil && !found {
		err = errEnded
	}
	return next, err
}

func (k storeKeeper) lock(id, holder string) (bool, error) {
	ctx, cancel := k.context(nil)
	defer cancel()
	mine, err := k.store.Lock(ctx, k.key(id)+".lock", holder, lockLife)
	return mine, k.told(err)
}

// unlock lets others have the session. Where that fails they wait until the lock lapses.
func (k storeKeeper) unlock(id, holder string) {
	ctx, cancel := k.context(nil)
	defer cancel()
	_ = k.told(k.store.Unlock(ctx, k.key(id)+".lock", holder)) // said by told
}

func (k storeKeeper) end(c *Call, s *session) error {
	ctx, cancel := k.context(c)
	defer cancel()
	return k.told(k.store.Remove(ctx, k.key(s.ID)))
}

func (k storeKeeper) handed(s *session) *session { return &session{ID: s.ID} }

func (k storeKeeper) taken(c *Call, handed *session) (*session, error) { return k.load(c, handed.ID) }

func (k storeKeeper) remembers() time.Duration { return storeTrust }

// unkept is the reason for which a session is not to be had or to be kept.
func unkept(err error) (decision.Reason, string) {
	if errors.Is(err, errStoreDown) {
		return decision.SessionStoreDown, "sessions cannot be looked up at the moment"
	}
	return decision.SessionTooLarge, "the session is too large"
}
