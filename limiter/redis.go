package limiter

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Redis is a Store that several gateways share. Counters are there under Edge Stack's
// names. Nobody waits longer than the budget for it, and while it does not answer hardly
// anybody waits at all.
type Redis struct {
	main, second []*lane // of limits of every second, and of all others
	met          *met    // nil for none
	budget       time.Duration
	jitter       time.Duration
	clock        func() time.Time
	log          *slog.Logger

	calls   sync.Pool
	stopped context.Context //nolint:containedctx // because it ends with the store and not with a call
	stop    context.CancelFunc
	running sync.WaitGroup
	down    atomic.Int32 // lanes
}

// A RedisPool is one Redis and how it is asked.
type RedisPool struct {
	Client redis.UniversalClient // closed by who opened it, after the store
	Window time.Duration         // that what is asked waits for more to be sent together
	Limit  int                   // of what is sent together; 0 for the default
	Ping   time.Duration         // between questions whether it is there while nobody asks; 0 asks none
}

// RedisOptions are how a Redis counts.
type RedisOptions struct {
	Main       RedisPool
	PerSecond  *RedisPool // for limits of every second; nil for Main
	LocalCache int        // bytes in which limits that were met are remembered
	Jitter     time.Duration
	Budget     time.Duration // that a request waits at most where it has no patience of its own; 0 for 20 ms, as in Edge Stack
	Clock      func() time.Time
	Log        *slog.Logger
}

// DefaultBudget is how long a request waits for a Redis at most.
const DefaultBudget = 20 * time.Millisecond

// NewRedis makes a store, which its caller closes. It does not wait for anything.
func NewRedis(o *RedisOptions) *Redis {
	r := &Redis{budget: cmp.Or(o.Budget, DefaultBudget), jitter: o.Jitter, clock: o.Clock, log: o.Log}
	if o.LocalCache > 0 {
		r.met = newMet(o.LocalCache)
	}
	r.calls.New = func() any { return newCall(&r.calls) }
	r.stopped, r.stop = context.WithCancel(context.Background())
	r.main = r.open(&o.Main)
	r.second = r.main
	if o.PerSecond != nil {
		r.second = r.open(o.PerSecond)
	}
	return r
}

// open makes the lanes of one Redis. In a cluster neighbouring slots share one, so that a
// node which does not answer holds up hardly anybody else's questions.
func (r *Redis) open(p *RedisPool) []*lane {
	n := 1
	if _, cluster := p.Client.(*redis.ClusterClient); cluster {
		n = clusterLanes
	}
	lanes := make([]*lane, n)
	for i := range lanes {
		lanes[i] = newLane(r, p)
	}
	if p.Ping > 0 {
		r.running.Go(func() { r.watch(p, lanes) })
	}
	return lanes
}

// Close ends everything that goes on. Who takes afterwards waits for nothing and gets an error.
func (r *Redis) Close() {
	r.stop()
	r.running.Wait()
}

// errLate is for who has waited long enough.
var errLate = errors.New("redis has not answered in time")

// errClosed is for who asks a store that was closed.
var errClosed = errors.New("store of rate limits was closed")

// Take asks for all takes at once. Budget: 0 allocs for who asks, once the memory for it is
// there.
func (r *Redis) Take(patience time.Duration, takes []Take, now time.Time, peek bool) error {
	if err := r.stopped.Err(); err != nil {
		return unknown(takes, errClosed)
	}
	c := r.calls.Get().(*call) //nolint:forcetypeassert // nothing else is put in
	c.begin(len(takes), cmp.Or(patience, r.budget))
	for i := range takes {
		t, q := &takes[i], &c.inquiries[i]
		if t.Unknown, t.Local = false, r.met.over(t, now); t.Local {
			q.call = nil
			continue
		}
		q.prepare(t, now, r.spread(), peek)
		q.call = c
		c.left.Add(1)
		if l := r.lane(t, q); !l.ask(q) {
			q.end(errDown)
		}
	}
	c.wait()
	err := r.settle(c, takes, now)
	c.release()
	return err
}

// settle writes down what the answers say that have come. Budget: 0 allocs.
func (r *Redis) settle(c *call, takes []Take, now time.Time) (failed error) {
	for i := range takes {
		t, q := &takes[i], &c.inquiries[i]
		switch {
		case q.call == nil: // nobody had to be asked
		case !q.ended.Load():
			failed = unknown(takes[i:i+1], errLate)
		case q.err != nil:
			failed = unknown(takes[i:i+1], q.err)
		default:
			if q.settle(t, now); t.Over && !q.peek {
				r.met.note(t, now)
			}
		}
	}
	return failed
}

// unknown notes that nothing is said of takes, and returns err.
func unknown(takes []Take, err error) error {
	for i := range takes {
		t := &takes[i]
		*t = Take{Key: t.Key, Name: t.Name, Window: t.Window, Unknown: true}
	}
	return err
}

// lane returns where q is asked.
func (r *Redis) lane(t *Take, q *inquiry) *lane {
	lanes := r.main
	if t.Window.Unit == time.Second {
		lanes = r.second
	}
	if len(lanes) == 1 {
		return lanes[0]
	}
	return lanes[laneOf(q.key, len(lanes))]
}

// spread returns how much longer than it must a key is kept, so that not all go at once.
func (r *Redis) spread() time.Duration {
	if r.jitter <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(r.jitter))) //nolint:gosec // because nobody gains by guessing it
}

// watch asks a Redis once in a while whether it is there, for who reads the log: where
// questions come anyway, they tell. In a cluster each lane hears of a node that has some of
// its keys.
func (r *Redis) watch(p *RedisPool, lanes []*lane) {
	tick := time.NewTicker(p.Ping)
	defer tick.Stop()
	keys, seen := laneKeys(len(lanes)), make([]int64, len(lanes))
	for {
		asked := map[*redis.Client]error{}
		for i, l := range lanes {
			err := r.ping(p, keys[i], asked)
			if sent := l.sent.Load(); sent == seen[i] {
				l.told(err)
			} else {
				seen[i] = sent
			}
		}
		select {
		case <-tick.C:
		case <-r.stopped.Done():
			return
		}
	}
}

// pingPatience is how long nobody in particular waits.
const pingPatience = time.Second

// ping asks whether who has key is there, unless that is a node of a cluster that was asked
// already.
func (r *Redis) ping(p *RedisPool, key string, asked map[*redis.Client]error) error {
	ctx, cancel := context.WithTimeout(r.stopped, pingPatience)
	defer cancel()
	cluster, ok := p.Client.(*redis.ClusterClient)
	if !ok {
		return p.Client.Ping(ctx).Err()
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return err
	}
	err, before := asked[node]
	if !before {
		err = node.Ping(ctx).Err()
		asked[node] = err
	}
	return err
}

// downNow is told by a lane that nobody answers.
func (r *Redis) downNow(err error) {
	if r.down.Add(1) == 1 && r.stopped.Err() == nil {
		r.log.Warn("rate limits cannot be asked for at redis", "error", err)
	}
}

// upAgain is told by a lane that questions are answered again.
func (r *Redis) upAgain() {
	if r.down.Add(-1) == 0 {
		r.log.Info("rate limits are asked for at redis again")
	}
}
