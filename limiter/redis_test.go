package limiter

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"legate/e2e/redistest"
)

// quiet keeps what go-redis says of its own accord out of the tests' output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

// client is one of a Redis, or of a cluster for several addresses.
func client(tb testing.TB, addrs ...string) redis.UniversalClient {
	tb.Helper()
	c := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addrs, Protocol: 2, MaxRetries: -1, DialerRetries: 1, PipelinePoolSize: -1, DisableIdentity: true, ContextTimeoutEnabled: true})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func pool(tb testing.TB, addrs ...string) RedisPool {
	tb.Helper()
	return RedisPool{Client: client(tb, addrs...)}
}

// newRedis is a store that has as long as a busy machine needs, unless o says otherwise.
func newRedis(tb testing.TB, o RedisOptions) *Redis {
	tb.Helper()
	o.Budget = cmp.Or(o.Budget, 10*time.Second)
	o.Clock = time.Now
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := NewRedis(&o)
	tb.Cleanup(r.Close)
	return r
}

// A Redis and a Memory say the same, whatever is asked and whenever.
func TestRedisLikeMemory(t *testing.T) {
	store, memory := newRedis(t, RedisOptions{Main: pool(t, redistest.Start(t).Addr)}), NewMemory(0)
	random := rand.New(rand.NewPCG(1, 2))
	for _, w := range []Window{
		{Rate: 3, Unit: time.Second}, {Rate: 3, Unit: time.Second, Burst: 2}, {Rate: 1500, Unit: time.Second, Burst: 1},
		{Rate: 40, Unit: time.Minute, Burst: 30}, {Rate: 0, Unit: time.Minute, Burst: 1},
	} {
		now := noon
		for range 3000 {
			now = now.Add(time.Duration(random.Int64N(int64(w.Unit) * max(w.Burst, 1) / 1000 * 2)))
			if random.IntN(200) == 0 {
				now = now.Add(w.Unit)
			}
			peek := random.IntN(4) == 0
			want, got := take(t.Name(), w), take(t.Name(), w)
			if err := memory.Take(0, want, now, peek); err != nil {
				t.Fatal(err)
			}
			if err := store.Take(0, got, now, peek); err != nil {
				t.Fatal(err)
			}
			if want[0].Over != got[0].Over || want[0].Remaining != got[0].Remaining || want[0].RetryAfter != got[0].RetryAfter {
				t.Fatalf("%+v at %v:\n memory %+v\n redis %+v", w, now, want[0], got[0])
			}
		}
	}
}

// What one core asks of a Redis beside it, for as many requests at once as connections there
// are in small gateways.
func BenchmarkRedis(b *testing.B) {
	store := newRedis(b, RedisOptions{Main: pool(b, redistest.Start(b).Addr)})
	var next atomic.Uint64
	b.SetParallelism(64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := next.Add(1)
		takes := take(fmt.Sprint("client", i), Window{Rate: 1 << 30, Unit: time.Hour})
		for pb.Next() {
			if err := store.Take(0, takes, noon, false); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRedisPaced tells what a take adds to a request while ten thousand a second come,
// half of what a core is to carry: in its p50 and p99, where ns/op is only the pace. Beside
// them stands what Redis takes for a bare PING once a millisecond meanwhile.
func BenchmarkRedisPaced(b *testing.B) {
	const pace, askers = 10_000, 64
	addr := redistest.Start(b).Addr
	store, bare := newRedis(b, RedisOptions{Main: pool(b, addr)}), client(b, addr)
	took, pings := make([]time.Duration, b.N), make([]time.Duration, 0, b.N)
	due := make(chan int, b.N)
	var asking sync.WaitGroup
	for i := range askers {
		takes := take(fmt.Sprint("client", i), Window{Rate: 1 << 30, Unit: time.Hour})
		asking.Go(func() {
			for n := range due {
				start := time.Now()
				if err := store.Take(0, takes, noon, false); err != nil {
					b.Error(err)
				}
				took[n] = time.Since(start)
			}
		})
	}
	begin := time.Now()
	for n := 0; n < b.N; time.Sleep(time.Millisecond) {
		for until := min(b.N, int(time.Since(begin)*pace/time.Second)); n < until; n++ {
			due <- n
		}
		start := time.Now()
		if err := bare.Ping(b.Context()).Err(); err != nil {
			b.Error(err)
		}
		pings = append(pings, time.Since(start))
	}
	close(due)
	asking.Wait()
	for name, all := range map[string][]time.Duration{"take": took, "ping": pings} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), name+"-p99-µs")
	}
}
