package limiter

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// stores are all there are. What is true of one is true of each.
func stores(tb testing.TB) map[string]Store {
	tb.Helper()
	single, other := redistest.Start(tb), redistest.Start(tb)
	var nodes []string
	for _, node := range redistest.StartCluster(tb, 3) {
		nodes = append(nodes, node.Addr)
	}
	return map[string]Store{
		"memory":                     NewMemory(0),
		"redis":                      newRedis(tb, RedisOptions{Main: pool(tb, single.Addr)}),
		"redis that is waited for":   newRedis(tb, RedisOptions{Main: RedisPool{Client: client(tb, single.Addr), Window: 200 * time.Microsecond, Limit: 3}}),
		"redis with a local cache":   newRedis(tb, RedisOptions{Main: pool(tb, single.Addr), LocalCache: 1 << 16}),
		"cluster":                    newRedis(tb, RedisOptions{Main: pool(tb, nodes...)}),
		"cluster behind one address": newRedis(tb, RedisOptions{Main: pool(tb, redistest.StartCluster(tb, 1)[0].Addr)}),
		"redis, another for seconds": newRedis(tb, RedisOptions{Main: pool(tb, single.Addr), PerSecond: &RedisPool{Client: client(tb, other.Addr)}}),
	}
}

// take is one counter of a table's row.
func take(name string, w Window) []Take {
	return []Take{{Key: keyOf([]byte(name), &w), Name: []byte(name), Window: w}}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(text string) time.Time {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return noon.Add(d)
}

func TestStores(t *testing.T) {
	const per = time.Minute
	rows := []struct {
		about  string
		window Window
		steps  []string // when, what comes of it: "0s over=false left=1 retry=0s"
	}{
		{"a calendar's window lets its rate pass and counts on", Window{Rate: 2, Unit: per}, []string{
			"10s over=false left=1 retry=0s", "11s over=false left=0 retry=0s", "12s over=true left=0 retry=48s", "59.5s over=true left=0 retry=500ms",
			"60s over=false left=1 retry=0s"}},
		{"around a border twice the rate passes", Window{Rate: 1, Unit: per}, []string{
			"59.999s over=false left=0 retry=0s", "60s over=false left=0 retry=0s", "60.001s over=true left=0 retry=59.999s"}},
		{"a rate of nothing lets nothing pass", Window{Rate: 0, Unit: time.Second}, []string{"0.25s over=true left=0 retry=750ms"}},
		{"days begin at midnight", Window{Rate: 1, Unit: 24 * time.Hour}, []string{
			"0s over=false left=0 retry=0s", "1h over=true left=0 retry=11h0m0s", "12h over=false left=0 retry=0s"}},
		{"a sliding window bears no burst beyond its rate", Window{Rate: 2, Unit: per, Burst: 1}, []string{
			"50s over=false left=1 retry=0s", "59s over=false left=0 retry=0s", "61s over=true left=0 retry=49s", "109.999s over=true left=0 retry=1ms",
			"110s over=false left=0 retry=0s", "111s over=true left=0 retry=8s"}},
		{"what was refused does not count where windows slide", Window{Rate: 1, Unit: time.Second, Burst: 1}, []string{
			"0s over=false left=0 retry=0s", "0.5s over=true left=0 retry=500ms", "0.9s over=true left=0 retry=100ms", "1s over=false left=0 retry=0s"}},
		{"unused units roll over", Window{Rate: 1, Unit: time.Second, Burst: 3}, []string{
			"10s over=false left=2 retry=0s", "10s over=false left=1 retry=0s", "10s over=false left=0 retry=0s", "10s over=true left=0 retry=3s",
			"13s over=false left=2 retry=0s"}},
		{"a sliding rate of nothing lets nothing pass", Window{Rate: 0, Unit: time.Second, Burst: 2}, []string{"0s over=true left=0 retry=2s"}},
	}
	for name, store := range stores(t) {
		for _, row := range rows {
			t.Run(name+"/"+row.about, func(t *testing.T) {
				for i, step := range row.steps {
					var when, rest string
					if _, err := fmt.Sscanf(step, "%s %s", &when, &rest); err != nil {
						t.Fatal(err)
					}
					takes := take(t.Name(), row.window)
					for _, peek := range []bool{true, false} {
						if err := store.Take(0, takes, at(when), peek); err != nil {
							t.Fatal(err)
						}
						if takes[0].Unknown {
							t.Error("unknown, and no error")
						}
						got := fmt.Sprintf("%s over=%v left=%d retry=%v", when, takes[0].Over, takes[0].Remaining, takes[0].RetryAfter)
						if got != step {
							t.Errorf("step %d, peek %v:\n got %s\nwant %s", i, peek, got, step)
						}
					}
				}
			})
		}
	}
}

// However many take at once, exactly the rate passes.
func TestStoresTogether(t *testing.T) {
	for name, store := range stores(t) {
		for _, w := range []Window{{Rate: 1000, Unit: time.Minute}, {Rate: 100, Unit: time.Minute, Burst: 10}, {Rate: 5000, Unit: time.Minute, Burst: 1}} {
			t.Run(fmt.Sprintf("%s/%d/%d", name, w.Rate, w.Burst), func(t *testing.T) {
				var passed atomic.Int64
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						for range 300 {
							takes := take(t.Name(), w)
							if err := store.Take(0, takes, noon, false); err != nil {
								t.Error(err)
							}
							if !takes[0].Over {
								passed.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if want := min(w.Rate*max(w.Burst, 1), 6000); passed.Load() != want {
					t.Errorf("%d passed, want %d", passed.Load(), want)
				}
			})
		}
	}
}

// No more than the rate passes in any time of the window's length, whenever requests come,
// also where moments are told apart less finely.
func TestSlideNeverBeyond(t *testing.T) {
	m := NewMemory(0)
	w := Window{Rate: 3000, Unit: time.Second, Burst: 1}
	var passed []time.Time
	for i := range 9000 {
		now := noon.Add(time.Duration(i) * 211 * time.Microsecond)
		takes := take("steady", w)
		if m.Take(0, takes, now, false); !takes[0].Over {
			passed = append(passed, now)
		}
	}
	first, most := 0, 0
	for i := range passed {
		for passed[i].Sub(passed[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	if most > 3000 || most < 2990 {
		t.Errorf("%d passed within a second, want 3000 or little less", most)
	}
}

// A request that comes late, as one that waited for others, counts in the window that has
// begun meanwhile, and does not begin the one before anew. After a clock that was far ahead
// counting begins anew.
func TestMemoryAroundBorders(t *testing.T) {
	for _, row := range []struct {
		about string
		unit  time.Duration
		steps []string
	}{
		{"late", time.Minute, []string{"59s left=4", "60s left=4", "59.9s left=3", "60.1s left=2", "59.95s left=1", "61s left=0"}},
		{"far ahead", time.Minute, []string{"59s left=4", "24h left=4", "59s left=4", "59s left=3"}},
		{"a clock that is set back by days", 24 * time.Hour, []string{"72h left=4", "0s left=4", "1s left=3"}},
	} {
		m := NewMemory(0)
		for i, step := range row.steps {
			when, want, _ := strings.Cut(step, " ")
			takes := take("one", Window{Rate: 5, Unit: row.unit})
			m.Take(0, takes, at(when), false)
			if got := fmt.Sprintf("left=%d", takes[0].Remaining); got != want {
				t.Errorf("%s, step %d: at %s got %s, want %s", row.about, i, when, got, want)
			}
		}
	}
}

// Counters are found, raised and told apart while their tables are followed by others, and
// none loses or gains a request.
func TestMemoryGrowsUnderLoad(t *testing.T) {
	const keys, rounds, workers = 5000, 3, 8
	m := NewMemory(0)
	w := Window{Rate: 1 << 20, Unit: time.Hour}
	var wg sync.WaitGroup
	for n := range uint64(workers) {
		wg.Go(func() {
			for i := range uint64(keys * rounds) {
				k := (i*7919 + n*613) % keys
				takes := []Take{{Key: Key{k, k >> 3}, Window: w}} // many of one place
				m.Take(0, takes, noon, false)
			}
		})
	}
	wg.Wait()
	for k := range uint64(keys) {
		takes := []Take{{Key: Key{k, k >> 3}, Window: w}}
		m.Take(0, takes, noon, true)
		if got := w.Rate - takes[0].Remaining - 1; got != rounds*workers {
			t.Fatalf("key %d: %d requests were counted, want %d", k, got, rounds*workers)
		}
	}
	if n := m.Counters(); n != keys {
		t.Errorf("%d counters, want %d", n, keys)
	}
}

// A counter stays where it is as long as it can count no further.
func TestMemoryCountsNoFurther(t *testing.T) {
	if got := raised(10<<countBits|maxCount, 10, 60); got != 10<<countBits|maxCount {
		t.Errorf("got %x", got)
	}
}

// Counters that have run out make room, and so do those that end first where all are live.
func TestMemoryIsBounded(t *testing.T) {
	for _, burst := range []int64{0, 1} {
		m := NewMemory(6400)
		for i := range 30_000 { // a new one every 10 ms, each for a second
			m.Take(0, take(fmt.Sprint(i), Window{Rate: 1, Unit: time.Second, Burst: burst}), noon.Add(time.Duration(i)*10*time.Millisecond), false)
		}
		if n := m.Counters(); n > 400 {
			t.Errorf("burst %d: %d counters of which 100 live", burst, n)
		}
		for i := range 30_000 {
			m.Take(0, take(fmt.Sprint("live", i), Window{Rate: 1, Unit: time.Hour, Burst: burst}), noon, false)
		}
		if n := m.Counters(); n > 6400 {
			t.Errorf("burst %d: %d counters, want 6400 at most", burst, n)
		}
	}
}

// What counters that slide remember of requests is bounded in all, whatever each may remember.
func TestMemoryOfSlidesIsBounded(t *testing.T) {
	const counters, each = 100, 1000
	m := NewMemory(shardCount * counters)
	s := &m.slides[0]
	w := Window{Rate: each, Unit: time.Hour, Burst: 1}
	for i := range uint64(counters) {
		for n := range each {
			takes := []Take{{Key: Key{0, i}, Window: w}}
			now := noon.Add(time.Duration(i)*time.Second + time.Duration(n)*time.Millisecond)
			if m.Take(0, takes, now, false); takes[0].Over || takes[0].Remaining != each-int64(n)-1 {
				t.Fatalf("counter %d, request %d: %+v", i, n, takes[0])
			}
		}
	}
	room := 0
	for _, l := range s.byKey {
		room += cap(l.passed)
	}
	if room != s.passages || room > passagesEach*maxPassages || room < maxPassages {
		t.Errorf("room for %d passages, counted as %d, want %d at most", room, s.passages, passagesEach*maxPassages)
	}
}

func TestAllocsMemory(t *testing.T) {
	m := NewMemory(0)
	for _, w := range []Window{{Rate: 10, Unit: time.Hour}, {Rate: 10, Unit: time.Hour, Burst: 2}} {
		takes := take("one", w)
		for range 50 {
			m.Take(0, takes, noon, false)
		}
		if n := testing.AllocsPerRun(100, func() { m.Take(0, takes, noon, false) }); n != 0 {
			t.Errorf("%+v: %v allocations", w, n)
		}
	}
}

// Requests of fifty thousand users, in no order: what two cores do at once is to be close to
// twice what one does. How close they come with a store each is what the machine has to give.
func BenchmarkMemory(b *testing.B) {
	b.Run("shared", func(b *testing.B) { takeInParallel(b, benchStore()) })
	b.Run("apart", func(b *testing.B) {
		stores := make([]func([]Take, uint64), runtime.GOMAXPROCS(0))
		for i := range stores {
			stores[i] = benchStore()
		}
		takeInParallel(b, stores...)
	})
}

const benchUsers = 50_000

// spread is a key for each number, spread as hashes are.
func spread(n uint64) Key {
	return Key{n * 0x9e3779b97f4a7c15, bits.ReverseBytes64(n * 0xd1342543de82ef95)}
}

// benchStore is a store in which every user has a counter, and how one is counted.
func benchStore() func(takes []Take, user uint64) {
	m := NewMemory(0)
	w := Window{Rate: 1 << 30, Unit: time.Hour}
	one := func(takes []Take, user uint64) {
		takes[0] = Take{Key: spread(user), Window: w}
		m.Take(0, takes, noon, false)
	}
	for user := range uint64(benchUsers) {
		one(make([]Take, 1), user)
	}
	return one
}

// takeInParallel counts users at random, each goroutine in the next of stores.
func takeInParallel(b *testing.B, stores ...func([]Take, uint64)) {
	b.Helper()
	var seed atomic.Uint64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := seed.Add(1)
		one, takes, random := stores[n%uint64(len(stores))], make([]Take, 1), rand.New(rand.NewPCG(n, 7))
		for pb.Next() {
			one(takes, random.Uint64N(benchUsers))
		}
	})
}
