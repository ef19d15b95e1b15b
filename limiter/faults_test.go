package limiter

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"legate/e2e/redistest"
)

// said collects what a store logs.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, string(p))
	return len(p), nil
}

func (s *said) log() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// times is how often it was said that the store is gone, and that it is back.
func (s *said) times() (gone, back int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		if strings.Contains(line, `msg="rate limits cannot be asked for at redis"`) {
			gone++
		}
		if strings.Contains(line, `msg="rate limits are asked for at redis again"`) {
			back++
		}
	}
	return gone, back
}

// ask takes one of name and says what came of it.
func ask(t *testing.T, s Store, name string, w Window) string {
	t.Helper()
	takes := take(name, w)
	began := time.Now()
	err := s.Take(0, takes, noon, false)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("waited for %v", took)
	}
	if (err != nil) != takes[0].Unknown {
		t.Errorf("error %v, and unknown is %v", err, takes[0].Unknown)
	}
	switch {
	case err != nil:
		return "unknown"
	case takes[0].Local:
		return "remembered"
	case takes[0].Over:
		return "over"
	}
	return strconv.FormatInt(takes[0].Remaining, 10) + " left"
}

var tenAMinute = Window{Rate: 10, Unit: time.Minute}

// Whatever happens to Redis, it is told once that it is gone and once that it is back, what
// is asked meanwhile is unknown, and it counts afterwards.
func TestRedisGoneAndBack(t *testing.T) {
	for _, row := range []struct{ about, gone, back, want string }{
		{"paused", "stop", "continue", ""},
		{"killed, and started with nothing in it", "kill", "restart", "9 left"},
		{"a replica that must not be written to", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "8 left"},
		{"out of memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "8 left"},
	} {
		t.Run(row.about, func(t *testing.T) {
			t.Parallel()
			server, log := redistest.Start(t), &said{}
			store := newRedis(t, RedisOptions{Main: pool(t, server.Addr), Budget: 50 * time.Millisecond, Log: log.log()})
			redistest.Eventually(t, "it counts", func() bool { return ask(t, store, "x", Window{Rate: 1 << 20, Unit: time.Minute}) != "unknown" })
			redistest.Eventually(t, "it counts one", func() bool { return ask(t, store, t.Name(), tenAMinute) != "unknown" })
			befall(t, server, row.gone)
			redistest.Eventually(t, "it is told", func() bool {
				if got := ask(t, store, "y", tenAMinute); got != "unknown" {
					t.Errorf("%s while it is gone", got)
				}
				gone, _ := log.times()
				return gone == 1
			})
			began := time.Now()
			for range 100 {
				ask(t, store, "y", tenAMinute)
			}
			if took := time.Since(began); took > time.Second { // where everybody waits it takes five
				t.Errorf("a hundred wait for %v while it is known to be gone", took)
			}
			befall(t, server, row.back)
			var got string
			redistest.Eventually(t, "it counts again", func() bool { got = ask(t, store, t.Name(), tenAMinute); return got != "unknown" })
			if row.want != "" && got != row.want {
				t.Errorf("then %s, want %s", got, row.want)
			}
			redistest.Eventually(t, "it is told that it is back", func() bool { _, back := log.times(); return back > 0 })
			if gone, back := log.times(); gone != 1 || back != 1 {
				t.Errorf("told %d times that it is gone and %d times that it is back", gone, back)
			}
		})
	}
}

// befall has something happen to a server, or sends it a command.
func befall(t *testing.T, s *redistest.Server, what string) {
	t.Helper()
	switch what {
	case "stop":
		s.Signal(syscall.SIGSTOP)
	case "continue":
		s.Signal(syscall.SIGCONT)
	case "kill":
		s.Kill()
	case "restart":
		s.Restart(t)
	default:
		var words []any
		for word := range strings.FieldsSeq(what) {
			words = append(words, word)
		}
		s.Do(t, words...)
	}
}

// Nobody waits beyond the budget, however many ask.
func TestRedisBudget(t *testing.T) {
	server := redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: pool(t, server.Addr), Budget: 20 * time.Millisecond})
	ask(t, store, "x", tenAMinute)
	server.Signal(syscall.SIGSTOP)
	var waits []time.Duration
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for range 20 {
				began := time.Now()
				if got := ask(t, store, fmt.Sprint(i), tenAMinute); got != "unknown" {
					t.Errorf("%s while Redis is paused", got)
				}
				mu.Lock()
				waits = append(waits, time.Since(began))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	server.Signal(syscall.SIGCONT)
	slices.Sort(waits)
	t.Logf("of %d, half wait %v, and the longest %v", len(waits), waits[len(waits)/2], waits[len(waits)-1])
	if waits[len(waits)*99/100] > 200*time.Millisecond { // other processes have these cores too
		t.Errorf("waited for %v with a budget of 20ms", waits[len(waits)*99/100])
	}
}

// A Redis that has forgotten the script, and one that is asked by two stores that never told
// it, count all the same, and exactly.
func TestRedisWithoutScript(t *testing.T) {
	server := redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: pool(t, server.Addr)})
	var passed atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		all.Go(func() {
			for range 500 {
				if ask(t, store, "x", Window{Rate: 1000, Unit: time.Minute}) != "over" {
					passed.Add(1)
				}
			}
		})
	}
	var flushing sync.WaitGroup
	flushing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				server.Do(t, "SCRIPT", "FLUSH")
			}
		}
	})
	all.Wait()
	close(stop)
	flushing.Wait()
	if passed.Load() != 1000 {
		t.Errorf("%d passed, want 1000", passed.Load())
	}
}

// A key that somebody else uses for something else is no reason to think that Redis is ill.
func TestRedisForeignKey(t *testing.T) {
	server, log := redistest.Start(t), &said{}
	store := newRedis(t, RedisOptions{Main: pool(t, server.Addr), Log: log.log()})
	server.Do(t, "LPUSH", fmt.Sprintf("theirs_%d", noon.Unix()), "x")
	for range 20 {
		if got := ask(t, store, "theirs", tenAMinute); got != "unknown" {
			t.Errorf("a list counts: %s", got)
		}
		time.Sleep(downAfterFor / 15) // as long as it takes to be thought ill
	}
	if got := ask(t, store, "ours", tenAMinute); got != "9 left" {
		t.Errorf("others: %s", got)
	}
	if gone, _ := log.times(); gone != 0 {
		t.Error("Redis is thought to be gone")
	}
}

// A key that somebody else uses hurts nobody whose question is sent together with it.
func TestRedisForeignKeyAmongOthers(t *testing.T) {
	server := redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: RedisPool{Client: client(t, server.Addr), Window: 100 * time.Millisecond}})
	calendar, sliding := fmt.Sprintf("theirs_%d", noon.Unix()), "theirs_~60x2"
	for _, row := range []struct {
		about, key, set string
		window          Window
	}{
		{"a list", calendar, "LPUSH KEY x", tenAMinute},
		{"a text that is no number", calendar, "SET KEY x", tenAMinute},
		{"a list instead of what slides", sliding, "LPUSH KEY x", Window{Rate: 10, Unit: time.Minute, Burst: 2}},
		{"a hash of something else", sliding, "HSET KEY h x t y", Window{Rate: 10, Unit: time.Minute, Burst: 2}},
		{"a hash that lacks what it promises", sliding, "HSET KEY n 1 h 0 t 1", Window{Rate: 10, Unit: time.Minute, Burst: 2}},
	} {
		for _, peek := range []bool{true, false} {
			server.Do(t, "FLUSHALL")
			befall(t, server, strings.ReplaceAll(row.set, "KEY", row.key))
			before := server.Do(t, "DUMP", row.key)
			takes := slices.Concat(take("before", tenAMinute), take("theirs", row.window), take("after", Window{Rate: 10, Unit: time.Minute, Burst: 1}))
			err := store.Take(0, takes, noon, peek)
			if err == nil || takes[0].Remaining != 9 || takes[0].Unknown || !takes[1].Unknown || takes[2].Remaining != 9 || takes[2].Unknown {
				t.Errorf("%s, peek %v: %+v, %v", row.about, peek, takes, err)
			}
			if after := server.Do(t, "DUMP", row.key); after != before {
				t.Errorf("%s, peek %v: was written to", row.about, peek)
			}
		}
	}
	if sent := store.main[0].sent.Load(); sent != 10 {
		t.Errorf("%d batches for ten times three questions", sent)
	}
}

// Keys are Edge Stack's, and go some time after their window.
func TestRedisKeys(t *testing.T) {
	server := redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: pool(t, server.Addr), Jitter: 100 * time.Second})
	for _, row := range []struct {
		window     Window
		want       string
		least, end int // seconds until it goes
	}{
		{Window{Rate: 5, Unit: time.Minute}, fmt.Sprintf("ambassador_generic_key_orders_%d", noon.Unix()), 60, 160},
		{Window{Rate: 5, Unit: 24 * time.Hour}, fmt.Sprintf("ambassador_generic_key_orders_%d", noon.Truncate(24*time.Hour).Unix()), 86400, 86500},
		{Window{Rate: 5, Unit: time.Minute, Burst: 3}, "ambassador_generic_key_orders_~60x3", 180, 280},
	} {
		server.Do(t, "FLUSHALL")
		ask(t, store, "ambassador_generic_key_orders", row.window)
		if got := server.Do(t, "KEYS", "*"); got != "["+row.want+"]" {
			t.Errorf("%+v: keys %s, want %s", row.window, got, row.want)
		}
		if ttl, _ := strconv.Atoi(server.Do(t, "TTL", row.want)); ttl < row.least-5 || ttl > row.end {
			t.Errorf("%+v: goes after %d s, want %d to %d", row.window, ttl, row.least, row.end)
		}
	}
	server.Do(t, "FLUSHALL")
	takes := take("ambassador_generic_key_orders", tenAMinute)
	if err := store.Take(0, takes, noon, true); err != nil || server.Do(t, "DBSIZE") != "0" {
		t.Errorf("looking leaves a key, %v", err)
	}
}

// What was over is remembered until something passes again, also while Redis is gone, and
// not when the limit changes.
func TestRedisLocalCache(t *testing.T) {
	for _, burst := range []int64{0, 1} {
		server := redistest.Start(t)
		store := newRedis(t, RedisOptions{Main: pool(t, server.Addr), LocalCache: 1 << 12})
		w := Window{Rate: 1, Unit: time.Minute, Burst: burst}
		for i, want := range []string{"0 left", "over", "remembered", "remembered"} {
			if got := ask(t, store, "x", w); got != want {
				t.Errorf("%d: %s, want %s", i, got, want)
			}
		}
		if got := ask(t, store, "x", Window{Rate: 5, Unit: time.Minute, Burst: burst}); !strings.HasSuffix(got, "left") {
			t.Errorf("once more may pass: %s", got)
		}
		server.Kill()
		if got := ask(t, store, "x", w); got != "remembered" {
			t.Errorf("without Redis: %s", got)
		}
		late := take("x", w)
		if err := store.Take(0, late, noon.Add(time.Minute), false); err == nil || !late[0].Unknown {
			t.Errorf("a minute later: %+v, %v", late[0], err)
		}
	}
}

func TestMetIsBounded(t *testing.T) {
	m := newMet(64 << 10)
	for i := range 100_000 {
		takes := take(fmt.Sprint(i), tenAMinute)
		takes[0].RetryAfter = time.Minute
		m.note(&takes[0], noon)
	}
	n := 0
	for i := range m.shards {
		n += len(m.shards[i].until)
	}
	if n > 1024 || n < 512 {
		t.Errorf("%d limits in 64 KiB", n)
	}
}

// Where one of two Redis is gone, what the other says still counts.
func TestRedisPerSecondGone(t *testing.T) {
	main, second := redistest.Start(t), redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: pool(t, main.Addr), PerSecond: &RedisPool{Client: client(t, second.Addr)}})
	second.Kill()
	takes := slices.Concat(take("x", Window{Rate: 1, Unit: time.Second}), take("x", Window{Rate: 0, Unit: time.Minute}))
	err := store.Take(0, takes, noon, false)
	if err == nil || !takes[0].Unknown || takes[0].Over || takes[1].Unknown || !takes[1].Over {
		t.Errorf("%+v, %v", takes, err)
	}
}

// Where one of two does not answer in time, what the other says and what is remembered counts.
func TestRedisPerSecondLate(t *testing.T) {
	main, second := redistest.Start(t), redistest.Start(t)
	store := newRedis(t, RedisOptions{Main: pool(t, main.Addr), PerSecond: &RedisPool{Client: client(t, second.Addr)}, LocalCache: 1 << 12, Budget: time.Second})
	defer main.Signal(syscall.SIGCONT)
	defer second.Signal(syscall.SIGCONT)
	for _, row := range []struct {
		about  string
		paused *redistest.Server
		local  bool
	}{{"answered", second, false}, {"remembered", main, true}} {
		row.paused.Signal(syscall.SIGSTOP)
		takes := slices.Concat(take("x", Window{Rate: 1, Unit: time.Second}), take("x", Window{Rate: 0, Unit: time.Minute}))
		err := store.Take(0, takes, noon, false)
		if err == nil || !takes[0].Unknown || takes[0].Over || takes[1].Unknown || !takes[1].Over || takes[1].Local != row.local {
			t.Errorf("%s: %+v, %v", row.about, takes, err)
		}
	}
}

// A store that was closed says so, at once.
func TestRedisClosed(t *testing.T) {
	store := newRedis(t, RedisOptions{Main: pool(t, redistest.Start(t).Addr)})
	store.Close()
	takes := take("x", tenAMinute)
	if err := store.Take(0, takes, noon, false); err == nil || !takes[0].Unknown {
		t.Errorf("%+v, %v", takes[0], err)
	}
}

// Who asks nobody is told all the same, once, and told when it is back.
func TestRedisWatched(t *testing.T) {
	server, log := redistest.Start(t), &said{}
	server.Kill()
	p := pool(t, server.Addr)
	p.Ping = 20 * time.Millisecond
	newRedis(t, RedisOptions{Main: p, Log: log.log()})
	redistest.Eventually(t, "it is told", func() bool { gone, _ := log.times(); return gone == 1 })
	server.Restart(t)
	redistest.Eventually(t, "it is told that it is back", func() bool { _, back := log.times(); return back == 1 })
}

// A cluster counts exactly while slots move, and while one of its nodes is gone the others
// count on.
func TestClusterMoves(t *testing.T) {
	nodes := redistest.StartCluster(t, 3)
	store := newRedis(t, RedisOptions{Main: pool(t, nodes[0].Addr, nodes[1].Addr, nodes[2].Addr)})
	w := Window{Rate: 1000, Unit: time.Minute}
	slot := int(slotOf(fmt.Appendf(nil, "x_%d", noon.Unix())))
	home := slot * 3 / clusterSlots
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 400 {
				takes := take("x", w)
				if err := store.Take(0, takes, noon, false); err != nil {
					t.Error(err)
				} else if !takes[0].Over {
					passed.Add(1)
				}
			}
		})
	}
	for i := range 4 {
		redistest.MoveSlot(t, slot, nodes, (home+i)%3, (home+i+1)%3)
	}
	all.Wait()
	if passed.Load() != 1000 {
		t.Errorf("%d passed, want 1000", passed.Load())
	}
}

func TestClusterNodePaused(t *testing.T) {
	nodes := redistest.StartCluster(t, 3)
	store := newRedis(t, RedisOptions{Main: pool(t, nodes[0].Addr, nodes[1].Addr, nodes[2].Addr), Budget: 100 * time.Millisecond})
	paused := nodes[2]
	home := func(name string) int {
		return int(slotOf(fmt.Appendf(nil, "%s_%d", name, noon.Unix()))) * 3 / clusterSlots
	}
	for i := range 50 { // everybody has connections
		name := fmt.Sprint("warm", i)
		redistest.Eventually(t, name, func() bool { return ask(t, store, name, tenAMinute) != "unknown" })
	}
	paused.Signal(syscall.SIGSTOP)
	defer paused.Signal(syscall.SIGCONT)
	unknown, of := [3]int{}, [3]int{}
	for i := range 300 {
		name := fmt.Sprint("key", i)
		of[home(name)]++
		if ask(t, store, name, tenAMinute) == "unknown" {
			unknown[home(name)]++
		}
	}
	t.Logf("unknown %v of %v", unknown, of)
	if unknown[2] != of[2] || unknown[0] > of[0]/5 || unknown[1] > of[1]/5 {
		t.Errorf("unknown are %v of %v while the last of three nodes is paused", unknown, of)
	}
}

// A node that goes while nobody asks takes only the keys with it that it has.
func TestClusterNodePausedUnasked(t *testing.T) {
	nodes, log := redistest.StartCluster(t, 3), &said{}
	p := pool(t, nodes[0].Addr, nodes[1].Addr, nodes[2].Addr)
	p.Ping = 20 * time.Millisecond
	if err := p.Client.Get(t.Context(), "which node has what").Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	store := newRedis(t, RedisOptions{Main: p, Log: log.log()})
	nodes[2].Signal(syscall.SIGSTOP)
	defer nodes[2].Signal(syscall.SIGCONT)
	redistest.Eventually(t, "it is told", func() bool { gone, _ := log.times(); return gone == 1 })
	asked := map[int]bool{}
	for i := 0; len(asked) < 9; i++ {
		name := fmt.Sprintf("{%d}", i)
		lane := laneOf([]byte(name), clusterLanes)
		if lane > 9 || lane == 5 || asked[lane] { // of the one that is paused, or of two nodes
			continue
		}
		asked[lane] = true
		takes := slices.Concat(take(name+"a", tenAMinute), take(name+"b", tenAMinute))
		if err := store.Take(0, takes, noon, false); err != nil || takes[0].Unknown || takes[1].Unknown {
			t.Errorf("lane %d: %+v, %v", lane, takes, err)
		}
	}
}

// Slots are reckoned as the nodes do.
func TestSlotOf(t *testing.T) {
	node := redistest.StartCluster(t, 1)[0]
	for _, key := range []string{"", "123456789", "ambassador_generic_key_default_1772366400", "{user}.a", "a{}b", "a{b}{c}", "a{b", "{{x}}", "ü{ü}"} {
		if got, want := fmt.Sprint(slotOf([]byte(key))), node.Do(t, "CLUSTER", "KEYSLOT", key); got != want {
			t.Errorf("%q is in slot %s, want %s", key, got, want)
		}
	}
}

// Nothing of what is sent to Redis depends on how long a client's values are.
func TestRedisKeysAreShort(t *testing.T) {
	d := Descriptor{Entries: []Entry{{Key: "user"}}}
	name := d.appendName(nil, "ambassador", [][]byte{[]byte(strings.Repeat("x", 1<<16))})
	if key := appendKey(nil, &Take{Name: name, Window: tenAMinute}, noon); len(key) > 200 || !regexp.MustCompile(`^ambassador_user_%[0-9a-f]{32}_\d+$`).Match(key) {
		t.Errorf("key %.300q", key)
	}
}

func TestAllocsRedisAsk(t *testing.T) {
	var c call
	c.begin(1, time.Second)
	takes := take("ambassador_generic_key_default", tenAMinute)
	q := &c.inquiries[0]
	q.prepare(&takes[0], noon, 0, false)
	m := newMet(1 << 12)
	if n := testing.AllocsPerRun(100, func() {
		q.prepare(&takes[0], noon, 0, false)
		q.settle(&takes[0], noon)
		m.note(&takes[0], noon)
		m.over(&takes[0], noon)
		slotOf(q.key)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is sent of many questions takes no more memory than what is sent of one.
func TestAllocsRedisSend(t *testing.T) {
	var d desk
	batch := make([]*inquiry, together)
	for i := range batch {
		batch[i] = &inquiry{}
		batch[i].prepare(&take(fmt.Sprint("user", i), tenAMinute)[0], noon, 0, false)
	}
	d.write(t.Context(), batch, false, false)
	if n := testing.AllocsPerRun(100, func() { d.write(t.Context(), batch, false, false) }); n > 2 {
		t.Errorf("%v allocations for %d questions, want those of the command and the keys", n, together)
	}
}
