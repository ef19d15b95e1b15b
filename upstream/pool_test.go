package upstream

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A fakeLink is a connection to nobody.
type fakeLink struct {
	wire.Link // nil: nothing is sent
	c         *conn
	dead      atomic.Bool
	shut      atomic.Bool
	asked     atomic.Int32
	looked    func() // called by the next Alive, if it is not nil
}

func (l *fakeLink) Endpoint() string { return l.c.end.text }

func (l *fakeLink) Alive() bool {
	l.asked.Add(1)
	if looked := l.looked; looked != nil {
		l.looked = nil
		looked()
	}
	return !l.dead.Load()
}

func (l *fakeLink) Close() error {
	if !l.shut.Swap(true) {
		l.c.closed()
	}
	return nil
}

// Release is what an engine does at the end of a whole exchange.
func (l *fakeLink) Release() {
	if !l.c.keep() {
		_ = l.Close()
	}
}

// fakeUpstream makes an upstream of addresses whose connections lead nowhere.
func fakeUpstream(tb testing.TB, spec Spec, opts Options, addrs ...string) *Upstream {
	tb.Helper()
	r, err := NewResolver(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	if spec.ConnectTimeout == 0 {
		spec.ConnectTimeout = defaultConnectTimeout
	}
	if spec.IdleTimeout == 0 {
		spec.IdleTimeout = defaultIdleTimeout
	}
	u := New(spec, r)
	u.connect = func(c *conn, _ time.Time) (decision.Reason, error) {
		c.link = &fakeLink{c: c}
		return decision.None, nil
	}
	u.port = 80
	u.update(ips(addrs...), nil)
	tb.Cleanup(u.Retire)
	return u
}

func ips(addrs ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

func open(tb testing.TB, u *Upstream) *fakeLink {
	tb.Helper()
	l, reason, err := u.Open(time.Now(), Choice{})
	if err != nil || reason != decision.None {
		tb.Fatalf("open: %v %v", reason, err)
	}
	return l.(*fakeLink)
}

func wantStats(t *testing.T, u *Upstream, active, idle int64) {
	t.Helper()
	if s := u.Stats(); s.Active != active || s.Idle != idle {
		t.Errorf("got %d active, %d idle, want %d and %d", s.Active, s.Idle, active, idle)
	}
}

func TestPoolTakesTheLast(t *testing.T) {
	u := fakeUpstream(t, Spec{}, Options{}, "10.0.0.1")
	a, b, c := open(t, u), open(t, u), open(t, u)
	wantStats(t, u, 3, 0)
	a.Release()
	b.Release()
	wantStats(t, u, 1, 2)
	if got := open(t, u); got != b {
		t.Error("got another connection than the last released")
	}
	if got := open(t, u); got != a {
		t.Error("got another connection than the one left")
	}
	c.Release()
	if l, _, _ := u.Fresh(time.Now(), Choice{}); l == wire.Link(c) {
		t.Error("Fresh took a connection from the pool")
	}
	if s := u.Stats(); s.Opened != 4 || s.Idle != 1 {
		t.Errorf("got %+v, want 4 opened, 1 idle", s)
	}
}

func TestPoolCaps(t *testing.T) {
	u := fakeUpstream(t, Spec{}, Options{MaxIdle: 2}, "10.0.0.1")
	links := []*fakeLink{open(t, u), open(t, u), open(t, u)}
	for _, l := range links {
		l.Release()
	}
	if !links[2].shut.Load() || links[0].shut.Load() || links[1].shut.Load() {
		t.Error("want the third connection closed and the others kept")
	}
	wantStats(t, u, 0, 2)
}

func TestRoundRobin(t *testing.T) {
	u := fakeUpstream(t, Spec{}, Options{}, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	count := map[string]int{}
	for range 300 {
		l := open(t, u)
		count[l.Endpoint()]++
		l.Release()
	}
	for _, end := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
		if count[end] != 100 {
			t.Errorf("got %v, want 100 each", count)
		}
	}
}

func TestPoolTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := fakeUpstream(t, Spec{IdleTimeout: 10 * time.Second, MaxLifetime: 25 * time.Second}, Options{}, "10.0.0.1")
		a := open(t, u)
		a.Release()
		for n, rest := range []time.Duration{0, time.Millisecond, 900 * time.Millisecond, 1100 * time.Millisecond} {
			time.Sleep(rest)
			asked := a.asked.Load()
			if open(t, u) != a || (a.asked.Load() > asked) != (rest >= doubtAfter) {
				t.Errorf("rest %d, %v: want the connection back, and asked whether it is alive if it rested a while", n, rest)
			}
			a.Release()
		}
		a.dead.Store(true)
		time.Sleep(1500 * time.Millisecond)
		b := open(t, u)
		if b == a || !a.shut.Load() {
			t.Error("a connection that its peer closed was used, or left open")
		}
		b.Release()
		time.Sleep(14 * time.Second)
		if !b.shut.Load() {
			t.Error("idle for longer than the timeout: nobody closed it")
		}
		wantStats(t, u, 0, 0)
		c := open(t, u)
		time.Sleep(30 * time.Second)
		c.Release()
		if !c.shut.Load() {
			t.Error("older than its lifetime: it was kept")
		}
		d := open(t, u)
		for range 10 { // always busy, but for a moment
			time.Sleep(4 * time.Second)
			d.Release()
			d = open(t, u)
		}
		d.Release()
		if s := u.Stats(); s.Opened != 5 {
			t.Errorf("got %d connections in all, want 5: one more once the lifetime had passed", s.Opened)
		}
	})
}

func TestJanitorFindsTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := fakeUpstream(t, Spec{}, Options{}, "10.0.0.1")
		links := []*fakeLink{open(t, u), open(t, u), open(t, u)}
		for _, l := range links {
			l.Release()
		}
		links[1].dead.Store(true)
		time.Sleep(sweepEvery + time.Millisecond)
		synctest.Wait()
		wantStats(t, u, 0, 2)
		if !links[1].shut.Load() {
			t.Error("the connection that its peer closed stays open")
		}
		if open(t, u) != links[2] || open(t, u) != links[0] {
			t.Error("the order changed")
		}
		links[0].Release()
		time.Sleep(2 * time.Hour)
		wantStats(t, u, 1, 0)
	})
}

// A request's own end bounds how long a connection is waited for, however late it asks.
func TestConnectingEndsWithTheRequest(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			u := fakeUpstream(t, Spec{ConnectTimeout: 3 * time.Second, HTTP2: h2}, Options{}, "10.0.0.1")
			var within time.Duration
			u.connect = func(_ *conn, by time.Time) (decision.Reason, error) {
				within = time.Until(by)
				return decision.DialTimeout, errNoPlace
			}
			u.connectMux = func(_ *shared, by time.Time) (decision.Reason, error) { return u.connect(nil, by) }
			begun := time.Now()
			for _, row := range []struct {
				after, end, want time.Duration // since the request began; 0 for no end
			}{{0, 0, 3 * time.Second}, {0, time.Second, time.Second}, {0, 10 * time.Second, 3 * time.Second}, {9 * time.Second, 10 * time.Second, time.Second}, {10 * time.Second, 0, 3 * time.Second}} {
				time.Sleep(row.after - time.Since(begun))
				c := Choice{}
				if row.end > 0 {
					c.By = begun.Add(row.end)
				}
				if _, _, err := u.Open(begun, c); err == nil || within != row.want {
					t.Errorf("%v after the beginning of a request that ends after %v: a connection had %v, want %v", row.after, row.end, within, row.want)
				}
			}
		})
	}
}

func TestEndpointsComeAndGo(t *testing.T) {
	u := fakeUpstream(t, Spec{}, Options{}, "10.0.0.1", "10.0.0.2")
	byEnd := map[string]*fakeLink{}
	flying := map[string]*fakeLink{}
	for range 2 {
		l := open(t, u)
		byEnd[l.Endpoint()] = l
	}
	for range 2 {
		l := open(t, u)
		flying[l.Endpoint()] = l
	}
	for _, l := range byEnd {
		l.Release()
	}
	u.update(ips("10.0.0.2", "10.0.0.3"), nil)
	if !byEnd["10.0.0.1:80"].shut.Load() || byEnd["10.0.0.2:80"].shut.Load() {
		t.Error("want the idle connection to the endpoint that is gone closed, and the other not")
	}
	if flying["10.0.0.1:80"].shut.Load() {
		t.Error("a connection in use was closed")
	}
	flying["10.0.0.1:80"].Release()
	flying["10.0.0.2:80"].Release()
	if !flying["10.0.0.1:80"].shut.Load() || flying["10.0.0.2:80"].shut.Load() {
		t.Error("want the connection to the endpoint that is gone closed after use, and the other kept")
	}
	wantStats(t, u, 0, 2)

	u.update(nil, errGone)
	wantStats(t, u, 0, 0)
	if l, reason, err := u.Open(time.Now(), Choice{}); l != nil || reason != decision.NoEndpoints || !errors.Is(err, errGone) {
		t.Errorf("without endpoints: got %v %v %v", l, reason, err)
	}
	u.update(ips("10.0.0.1"), nil)
	open(t, u).Release()
	wantStats(t, u, 0, 1)
}

func TestRetire(t *testing.T) {
	u := fakeUpstream(t, Spec{}, Options{}, "10.0.0.1")
	idle, flying := open(t, u), open(t, u)
	idle.Release()
	u.Retire()
	if !idle.shut.Load() || flying.shut.Load() {
		t.Error("want the idle connection closed and the other not")
	}
	flying.Release()
	late := open(t, u) // who still holds it can use it
	late.Release()
	if !flying.shut.Load() || !late.shut.Load() {
		t.Error("a retired upstream keeps connections")
	}
	wantStats(t, u, 0, 0)
}

func TestNoHost(t *testing.T) {
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	u := New(Spec{ConnectTimeout: time.Second}, r)
	u.Start()
	if l, reason, err := u.Open(time.Now(), Choice{}); l != nil || reason != decision.NoEndpoints || err == nil {
		t.Errorf("got %v %v %v, want no_endpoints", l, reason, err)
	}
}

// Many requests, changing addresses and a janitor at once; the race detector and the
// sums say whether that went well.
func TestPoolInDisorder(t *testing.T) {
	u := fakeUpstream(t, Spec{IdleTimeout: 20 * time.Millisecond, MaxLifetime: 40 * time.Millisecond}, Options{MaxIdle: 8}, "10.0.0.1")
	var users, others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		sets := [][]netip.Addr{ips("10.0.0.1"), ips("10.0.0.1", "10.0.0.2"), ips("10.0.0.2", "10.0.0.3")}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				u.update(sets[i%len(sets)], nil)
				u.sweep()
				u.Stats()
			}
		}
	})
	var inUse sync.Map
	for range 8 {
		users.Go(func() {
			for range 2000 {
				l, reason, err := u.Open(time.Now(), Choice{})
				if err != nil {
					t.Errorf("open: %v %v", reason, err)
					return
				}
				link := l.(*fakeLink)
				if _, twice := inUse.LoadOrStore(link, true); twice {
					t.Error("two requests have one connection")
				}
				if rand.IntN(10) == 0 {
					link.dead.Store(true)
				}
				inUse.Delete(link)
				link.Release()
			}
		})
	}
	users.Wait()
	close(stop)
	others.Wait()
	u.Retire()
	wantStats(t, u, 0, 0)
	if live := u.stats.live.Load(); live != 0 {
		t.Errorf("%d connections were never closed", live)
	}
}

func TestAllocsOpen(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	u := fakeUpstream(t, Spec{MaxLifetime: time.Hour}, Options{}, "10.0.0.1", "10.0.0.2")
	warm := []*fakeLink{open(t, u), open(t, u)}
	for _, l := range warm {
		l.Release()
	}
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		l, _, _ := u.Open(now, Choice{})
		l.Release()
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkOpenRelease(b *testing.B) {
	u := fakeUpstream(b, Spec{}, Options{}, "10.0.0.1", "10.0.0.2")
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		l, _, _ := u.Open(now, Choice{})
		l.Release()
	}
}

func BenchmarkOpenReleaseParallel(b *testing.B) {
	u := fakeUpstream(b, Spec{}, Options{}, "10.0.0.1", "10.0.0.2")
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, _, _ := u.Open(now, Choice{})
			l.Release()
		}
	})
}

func TestSet(t *testing.T) {
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	spec := func(host string) Spec {
		return Spec{Host: host, Port: 80, ConnectTimeout: time.Second, IdleTimeout: time.Hour}
	}
	first := NewSet(r, &config.World{}, nil, nil)
	a, b := first.Get(spec("127.0.0.1")), first.Get(spec("127.0.0.2"))
	if first.Get(spec("127.0.0.1")) != a || !slices.Equal(first.All(), []*Upstream{a, b}) {
		t.Error("equal Specs have different upstreams")
	}
	first.Start()
	if err := first.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	a.stats.opened.Add(7)

	second := NewSet(r, &config.World{}, first, nil)
	if second.Get(spec("127.0.0.1")) != a {
		t.Error("an upstream was not carried over")
	}
	c := second.Get(spec("127.0.0.3"))
	second.Start()
	first.Retire(second)
	if a.retired || !b.retired || c.retired {
		t.Errorf("retired: %v %v %v, want only what is not carried", a.retired, b.retired, c.retired)
	}
	if s := a.Stats(); s.Opened != 7 {
		t.Error("a counter was reset")
	}
	second.Retire(nil)
	if !a.retired || !c.retired {
		t.Error("the last set does not retire all")
	}
}
