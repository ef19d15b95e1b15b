package acme

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
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

// A Redis is a storage that all replicas reach.
type Redis struct {
	*leases
	client redis.UniversalClient
}

var _ certmagic.Storage = (*Redis)(nil)

// NewRedis returns a storage in what client reaches. The client stays its owner's.
func NewRedis(client redis.UniversalClient, log *slog.Logger) *Redis {
	r := &Redis{client: client}
	r.leases = newLeases(r, log)
	return r
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

// A lock is taken, extended and given back in one step each, by its token: who asks once more
// because an answer got lost has it already.
var (
	takeLock = redis.NewScript(`local holder = redis.call("GET", KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1`)
	releaseLock = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)
)

// taker implements register.
func (r *Redis) taker(name, token string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		got, err := takeLock.Run(ctx, r.client, []string{redisLock + name}, token, lockLife.Milliseconds()).Int()
		return got == 1, err
	}
}

// release implements register.
func (r *Redis) release(ctx context.Context, name, token string) error {
	return releaseLock.Run(ctx, r.client, []string{redisLock + name}, token).Err()
}
