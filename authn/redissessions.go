package authn

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// sessionPrefix is what the names of all keys begin with.
const sessionPrefix = "legate."

// redisSessions is a SessionStore in a Redis. Every question is about one key, so that it
// may be a cluster.
type redisSessions struct{ client redis.UniversalClient }

// NewRedisSessions returns a SessionStore that keeps sessions in a Redis. client is the
// caller's, who closes it when nobody is served any more.
func NewRedisSessions(client redis.UniversalClient) SessionStore { return redisSessions{client} }

func (r redisSessions) Get(ctx context.Context, key string) (value []byte, left time.Duration, err error) {
	var kept *redis.StringCmd
	var until *redis.DurationCmd
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		kept, until = p.Get(ctx, sessionPrefix+key), p.PTTL(ctx, sessionPrefix+key)
		return nil
	})
	switch {
	case errors.Is(err, redis.Nil):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	}
	value, err = kept.Bytes()
	return value, until.Val(), err
}

func (r redisSessions) Add(ctx context.Context, key string, value []byte, life time.Duration) error {
	return r.client.Set(ctx, sessionPrefix+key, value, life).Err()
}

func (r redisSessions) Replace(ctx context.Context, key string, value []byte, life time.Duration) (bool, error) {
	return r.client.SetXX(ctx, sessionPrefix+key, value, life).Result()
}

func (r redisSessions) Extend(ctx context.Context, key string, life time.Duration) error {
	return r.client.PExpire(ctx, sessionPrefix+key, life).Err()
}

func (r redisSessions) Remove(ctx context.Context, key string) error {
	return r.client.Del(ctx, sessionPrefix+key).Err()
}

func (r redisSessions) Lock(ctx context.Context, key, holder string, life time.Duration) (bool, error) {
	return r.client.SetNX(ctx, sessionPrefix+key, holder, life).Result()
}

// unlock removes a lock if it is still its holder's.
var unlock = redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

func (r redisSessions) Unlock(ctx context.Context, key, holder string) error {
	return unlock.Run(ctx, r.client, []string{sessionPrefix + key}, holder).Err()
}
