package gateway

import (
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var overloaded = verdict{"accept", "overloaded", 503}

// As many requests are served at once as may be. Others are refused before anything is
// done for them, health checks are not, and whoever comes when there is room is served.
func TestOverload(t *testing.T) {
	up, answer := held(t)
	g := open(t, everyone+mapping("r", "/r/", up), func(o *Options) { o.MaxRequests = 2 })
	a, b := g.dial(), g.dial()
	a.say(request("GET", "/r/", ""))
	b.say(request("GET", "/r/", ""))
	g.waitFor("two requests are under way", func() bool { return g.admission.requests.State().Now == 2 })
	for range 3 {
		got, r := g.get("/r/")
		if r.verdict != overloaded || got.body != "envoy overloaded" || got.Header.Get("Retry-After") != "1" || got.Header.Get("X-Envoy-Local-Overloaded") != "true" {
			t.Errorf("got %+v %q %v", r.verdict, got.body, got.Header)
		}
	}
	for _, path := range []string{"/ambassador/v0/check_alive", "/ambassador/v0/check_ready"} {
		if got, r := g.get(path); got.StatusCode != 200 {
			t.Errorf("%s: got %+v", path, r.verdict)
		}
	}
	for range 2 {
		answer <- struct{}{}
	}
	a.hear("GET")
	b.hear("GET")
	g.next()
	g.next()
	a.say(request("GET", "/r/", ""))
	answer <- struct{}{}
	if got := a.hear("GET"); got.StatusCode != 200 {
		t.Errorf("when there is room again: got %d", got.StatusCode)
	}
	g.waitFor("nobody is inside", func() bool { return g.admission.requests.State().Now == 0 })
}

// A request that is refused has its answer at once, however long those that are served
// take.
func TestOverloadIsTold(t *testing.T) {
	up, answer := held(t)
	defer close(answer)
	g := open(t, everyone+mapping("r", "/r/", up), func(o *Options) { o.MaxRequests = 1 })
	g.dial().say(request("GET", "/r/", ""))
	g.waitFor("a request is under way", func() bool { return g.admission.requests.State().Now == 1 })
	best := time.Hour
	for range 50 {
		begun := time.Now()
		if got, _ := g.get("/r/"); got.StatusCode != 503 {
			t.Fatalf("got %d", got.StatusCode)
		}
		best = min(best, time.Since(begun))
	}
	if best > 5*time.Millisecond {
		t.Errorf("the fastest refusal took %v, want less than 5ms", best)
	}
}

// What has changed its protocol takes no place among requests.
func TestOverloadLeavesTunnels(t *testing.T) {
	up := service(t, func(p *peer) {
		if r, _ := p.request(); r != nil {
			p.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			p.wait()
		}
	})
	g := open(t, everyone+mapping("r", "/r/", up, "allow_upgrade: [x]"), func(o *Options) { o.MaxRequests = 1 })
	for range 3 {
		c := g.dial()
		c.say(request("GET", "/r/", "", "Connection: upgrade", "Upgrade: x"))
		if got := c.hear("GET"); got.StatusCode != 101 {
			t.Fatalf("got %d", got.StatusCode)
		}
	}
}

// Memory is short near its limit, and until there is clearly room again.
func TestMemoryGuard(t *testing.T) {
	log := new(lockedBuffer)
	m := &memoryGuard{limit: 1000, log: slog.New(slog.NewTextHandler(log, nil))}
	for _, row := range []struct {
		used  int64
		short bool
	}{{0, false}, {899, false}, {900, true}, {950, true}, {850, true}, {800, true}, {799, false}, {899, false}} {
		if m.judge(row.used); m.short.Load() != row.short {
			t.Errorf("%d of 1000: short %v", row.used, m.short.Load())
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("told %d times of two changes:\n%s", got, log)
	}
}

// Where all requests wait for longer than they may, some are refused, by whatever protocol
// they come; health checks are served, and so is whoever is held when the gateway drains.
func TestOverloadOfProcessors(t *testing.T) {
	for protocol, get := range map[string]func(g *gate) (answer, record){
		"h1": func(g *gate) (answer, record) { return g.get("/r/") },
		"h2": func(g *gate) (answer, record) { return g.h2get("/r/", false) },
	} {
		t.Run(protocol, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("r", "/r/", up), func(o *Options) { o.MaxQueueing = 1 }) // whoever comes has waited longer
			var got answer
			var r record
			g.waitFor("requests are refused", func() bool { got, r = get(g); return r.verdict == overloaded })
			if got.StatusCode != 503 || got.body != "envoy overloaded" || got.Header.Get("Retry-After") != "1" || got.Header.Get("X-Envoy-Local-Overloaded") != "true" {
				t.Errorf("got %d %q %v", got.StatusCode, got.body, got.Header)
			}
			if got, _ := g.get("/ambassador/v0/check_alive"); got.StatusCode != 200 {
				t.Errorf("health: got %d", got.StatusCode)
			}
			if !strings.Contains(g.log.String(), "requests wait too long") {
				t.Errorf("nobody is told:\n%s", g.log)
			}
		})
	}
}

// What lives counts as in use, and garbage does not.
func TestMemoryInUse(t *testing.T) {
	used := memoryInUse()
	runtime.GC()
	before := used()
	lives := make([]byte, 64<<20)
	runtime.GC()
	if n := used() - before; n < 48<<20 || n > 80<<20 {
		t.Errorf("64 MiB more count as %d MiB", n>>20)
	}
	runtime.KeepAlive(lives)
	lives = nil
	runtime.GC()
	if n := used() - before; n > 10<<20 {
		t.Errorf("garbage counts as %d MiB", n>>20)
	}
	_ = lives
}

// Requests are refused while memory is short, and the guard ends with the gateway.
func TestOverloadOfMemory(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("r", "/r/", up), func(o *Options) { o.MemoryLimit = 1 << 20 }) // less than any process takes
	g.waitFor("memory is short", g.admission.memory.short.Load)
	if _, r := g.get("/r/"); r.verdict != overloaded {
		t.Errorf("got %+v", r.verdict)
	}
	if got, _ := g.get("/ambassador/v0/check_alive"); got.StatusCode != 200 {
		t.Errorf("health: got %d", got.StatusCode)
	}
}

// How many clients may be connected follows from how many files may be open.
func TestConnectionsFor(t *testing.T) {
	for _, row := range []struct {
		files uint64
		want  int
	}{{math.MaxUint64, (1<<31 - 1 - 256) / 2}, {131328, 65536}, {65536, 32640}, {4096, 1920}, {1024, 384}, {256, 64}, {3, 1}} {
		if got := connectionsFor(row.files); got != row.want {
			t.Errorf("%d files: got %d, want %d", row.files, got, row.want)
		}
	}
}

// BenchmarkShed is how long refusals take while twice as many clients ask as may be served
// at once, each of them without a pause: in the middle, and of a hundred all but one.
func BenchmarkShed(b *testing.B) {
	const served, clients = 4, 8
	up := service(b, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			time.Sleep(time.Millisecond) // a service is busy so long
			p.say(plainOK)
		}
	})
	g := open(b, everyone+mapping("r", "/r/", up), func(o *Options) { o.MaxRequests = served })
	var left atomic.Int64
	var all sync.WaitGroup
	took := make([][]time.Duration, clients)
	left.Store(int64(b.N))
	b.ResetTimer()
	for i := range clients {
		c := g.dial()
		_ = c.SetDeadline(time.Time{}) // as long as it takes
		all.Go(func() {
			for left.Load() > 0 {
				begun := time.Now()
				c.say(request("GET", "/r/", ""))
				if c.hear("GET").StatusCode == 503 {
					took[i] = append(took[i], time.Since(begun))
					left.Add(-1)
				}
			}
		})
	}
	all.Wait()
	times := slices.Sorted(slices.Values(slices.Concat(took...)))
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}
