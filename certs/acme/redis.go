package acme

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/redis/go-redis/v9"
)

// The names of what is kept in Redis. All is in one hash, which a cluster keeps on one node
// and whose keys can be listed.
const (
	redisKept = "legate:acme"
	redisLock = "legate:acme:lock:"
)

// A lock is held for lockLife at a time and extended three times as often, so that one whose
// holder has died is free soon. Who waits asks every lockPoll.
const (
	lockLife = 30 * time.Second
	lockPoll = time.Second
)

// A Redis is a storage that all replicas reach.
type Redis struct {
	client redis.UniversalClient
	log    *slog.Logger

	mu    sync.Mutex
	locks map[string]*redisLease
}

// A redisLease is a lock that is held.
type redisLease struct {
	token string
	stop  context.CancelFunc
}

var _ certmagic.Storage = (*Redis)(nil)

// NewRedis returns a storage in what client reaches. The client stays its owner's.
func NewRedis(client redis.UniversalClient, log *slog.Logger) *Redis {
	return &Redis{client: client, log: log, locks: map[string]*redisLease{}}
}

// Store implements certmagic.Storage. A value is preceded by when it was stored.
func (r *Redis) Store(ctx context.Context, key string, value []byte) error {
	at := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	return r.client.HSet(ctx, redisKept, key, append(at, value...)).Err()
}

func (r *Redis) load(ctx context.Context, key string) (value []byte, at time.Time, err error) {
	text, err := r.client.HGet(ctx, redisKept, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, at, fs.ErrNotExist
	}
	if err != nil {
		return nil, at, err
	}
	if len(text) < 8 {
		return nil, at, fmt.Errorf("%s in Redis is not of this gateway", key)
	}
	return text[8:], time.Unix(0, int64(binary.BigEndian.Uint64(text))), nil //nolint:gosec // because Store wrote it
}

// Load implements certmagic.Storage.
func (r *Redis) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := r.load(ctx, key)
	return value, err
}

// Delete implements certmagic.Storage.
func (r *Redis) Delete(ctx context.Context, key string) error {
	keys, err := r.List(ctx, key, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.client.HDel(ctx, redisKept, append(keys, key)...).Err()
}

// Exists implements certmagic.Storage.
func (r *Redis) Exists(ctx context.Context, key string) bool {
	if there, err := r.client.HExists(ctx, redisKept, key).Result(); err != nil || there {
		return there
	}
	_, err := r.List(ctx, key, false)
	return err == nil
}

// List implements certmagic.Storage.
func (r *Redis) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	all, err := r.client.HKeys(ctx, redisKept).Result()
	if err != nil {
		return nil, err
	}
	folder := strings.TrimSuffix(prefix, "/") + "/"
	if prefix == "" {
		folder = ""
	}
	var found []string
	seen := map[string]bool{}
	for _, key := range all {
		rest, within := strings.CutPrefix(key, folder)
		if !within {
			continue
		}
		if !recursive {
			rest, _, _ = strings.Cut(rest, "/")
		}
		if one := path.Join(prefix, rest); !seen[one] {
			seen[one] = true
			found = append(found, one)
		}
	}
	if found == nil {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

// Stat implements certmagic.Storage.
func (r *Redis) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, at, err := r.load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := r.List(ctx, key, false); err != nil {
			return certmagic.KeyInfo{}, err
		}
		return certmagic.KeyInfo{Key: key}, nil
	}
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: at, Size: int64(len(value)), IsTerminal: true}, nil
}

// Lock implements certmagic.Locker: it waits until nobody has the lock.
func (r *Redis) Lock(ctx context.Context, name string) error {
	token := rand.Text()
	for {
		err := r.client.SetArgs(ctx, redisLock+name, token, redis.SetArgs{Mode: "NX", TTL: lockLife}).Err()
		if err == nil {
			break
		}
		if !errors.Is(err, redis.Nil) {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.mu.Lock()
	r.locks[name] = &redisLease{token, stop}
	r.mu.Unlock()
	go r.extend(keep, name, token)
	return nil
}

// A lock is extended or given back only by who has it.
var (
	extendLock  = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end return 0`)
	releaseLock = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)
)

func (r *Redis) extend(ctx context.Context, name, token string) {
	tick := time.NewTicker(lockLife / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		held, err := extendLock.Run(ctx, r.client, []string{redisLock + name}, token, lockLife.Milliseconds()).Int()
		if err == nil && held == 0 {
			r.log.Warn("lock of an order was lost", "lock", name)
			return
		}
	}
}

// Unlock implements certmagic.Locker.
func (r *Redis) Unlock(ctx context.Context, name string) error {
	r.mu.Lock()
	lease := r.locks[name]
	delete(r.locks, name)
	r.mu.Unlock()
	if lease == nil {
		return fmt.Errorf("lock %s is not held", name)
	}
	lease.stop()
	err := releaseLock.Run(context.WithoutCancel(ctx), r.client, []string{redisLock + name}, lease.token).Err()
	if err != nil {
		return fmt.Errorf("unlock %s: %w", name, err) // it ends by itself
	}
	return nil
}
