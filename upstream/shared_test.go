package upstream

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/wire"
)

// A fakeMux is a shared connection to nobody.
type fakeMux struct {
	s       *shared
	room    int
	active  atomic.Int32
	leaving atomic.Bool
	shut    atomic.Bool
}

// A fakeStream is one exchange on it.
type fakeStream struct {
	wire.Link // nil: nothing is sent
	m         *fakeMux
}

func (m *fakeMux) Open() wire.Link {
	if m.leaving.Load() || int(m.active.Load()) >= m.room {
		return nil
	}
	m.active.Add(1)
	return &fakeStream{m: m}
}

func (m *fakeMux) Streams() int    { return int(m.active.Load()) }
func (m *fakeMux) MaxStreams() int { return m.room }
func (m *fakeMux) Leaving() bool   { return m.leaving.Load() }

func (m *fakeMux) Retire() {
	m.leaving.Store(true)
	m.leave()
}

func (m *fakeMux) leave() {
	if m.active.Load() == 0 && !m.shut.Swap(true) {
		go m.s.Closed()
	}
}

func (l *fakeStream) Release() {
	if l.m.active.Add(-1) > 0 {
		return
	}
	if l.m.leaving.Load() {
		l.m.leave()
	} else {
		l.m.s.Rested()
	}
}

// sharing makes an upstream whose connections take room exchanges each, once dialled.
func sharing(tb testing.TB, spec Spec, room int, dialled func() error) (u *Upstream, made *atomic.Int32) {
	tb.Helper()
	spec.HTTP2 = true
	u = fakeUpstream(tb, spec, Options{}, "10.0.0.1")
	made = new(atomic.Int32)
	u.connectMux = func(s *shared, _ time.Time) (decision.Reason, error) {
		made.Add(1)
		if dialled != nil {
			if err := dialled(); err != nil {
				return decision.DialRefused, err
			}
		}
		s.mux = &fakeMux{s: s, room: room}
		return decision.None, nil
	}
	return u, made
}

func openStream(tb testing.TB, u *Upstream) *fakeStream {
	tb.Helper()
	l, reason, err := u.Open(time.Now(), Choice{})
	if err != nil || reason != decision.None {
		tb.Fatalf("open: %v %v", reason, err)
	}
	return l.(*fakeStream)
}

func TestSharedGrows(t *testing.T) {
	u, made := sharing(t, Spec{}, 2, nil)
	a, b, c := openStream(t, u), openStream(t, u), openStream(t, u)
	if a.m != b.m || a.m == c.m || made.Load() != 2 {
		t.Errorf("%d connections: want two exchanges on the first, one on the second", made.Load())
	}
	wantStats(t, u, 2, 0)
	a.Release()
	d := openStream(t, u)
	if d.m != a.m {
		t.Error("the oldest connection has room, and another was taken")
	}
	c.Release()
	wantStats(t, u, 1, 1)
	b.Release()
	d.Release()
	wantStats(t, u, 0, 2)
	if s := u.Stats(); s.Opened != 2 {
		t.Errorf("got %+v", s)
	}
}

// Who comes while a connection is being made waits for it, as many as it will take.
func TestSharedJoins(t *testing.T) {
	for _, row := range []struct {
		name        string
		clients     int
		room        int // of each connection
		err         error
		connections int32
	}{
		{"one for all", 50, 100, nil, 1},
		{"one for each", 5, 1, nil, 5},
		{"none", 50, 100, errors.New("refused"), 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, made := sharing(t, Spec{}, row.room, func() error {
					time.Sleep(time.Second)
					return row.err
				})
				if row.room == 1 { // that is known of an endpoint only after the first
					openStream(t, u).Release()
					made.Store(0)
				}
				var failed atomic.Int32
				var links sync.Map
				var all sync.WaitGroup
				begin := time.Now()
				for range row.clients {
					all.Go(func() {
						l, _, err := u.Open(time.Now(), Choice{})
						if err != nil {
							failed.Add(1)
							return
						}
						links.Store(l, nil)
					})
				}
				all.Wait()
				took := time.Since(begin)
				want := row.connections
				if row.room == 1 {
					want-- // one took the first's
				}
				if made.Load() != want || took != time.Second {
					t.Errorf("%d connections were tried in %v, want %d in a second", made.Load(), took, want)
				}
				if row.err != nil && int(failed.Load()) != row.clients || row.err == nil && failed.Load() != 0 {
					t.Errorf("%d of %d failed", failed.Load(), row.clients)
				}
				links.Range(func(l, _ any) bool { l.(*fakeStream).Release(); return true })
				u.Retire()
				synctest.Wait()
				if live := u.stats.live.Load(); live != 0 {
					t.Errorf("%d connections are left", live)
				}
			})
		})
	}
}

func TestSharedWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := sharing(t, Spec{ConnectTimeout: time.Second}, 10, func() error {
			time.Sleep(2 * time.Second) // a dial that does not keep to its time
			return nil
		})
		go func() {
			if l, _, err := u.Open(time.Now(), Choice{}); err == nil {
				l.Release()
			}
		}()
		synctest.Wait()
		if _, reason, err := u.Open(time.Now(), Choice{}); reason != decision.DialTimeout || err == nil {
			t.Errorf("got %v %v, want a timeout", reason, err)
		}
		time.Sleep(2 * time.Second)
	})
}

// Who has more time than the one that makes the connection goes on when that one's is over.
func TestSharedByOneInAHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := sharing(t, Spec{ConnectTimeout: 3 * time.Second}, 10, nil)
		u.connectMux = func(s *shared, by time.Time) (decision.Reason, error) {
			if left := time.Until(by); left < 500*time.Millisecond {
				time.Sleep(left)
				return decision.DialTimeout, errNoPlace
			}
			time.Sleep(500 * time.Millisecond)
			s.mux = &fakeMux{s: s, room: 10}
			return decision.None, nil
		}
		var all sync.WaitGroup
		for i, patience := range []time.Duration{100 * time.Millisecond, 0, time.Second, 200 * time.Millisecond} {
			all.Go(func() {
				begun, c := time.Now(), Choice{}
				if patience > 0 {
					c.By = begun.Add(patience)
				}
				l, reason, err := u.Open(begun, c)
				took := time.Since(begun)
				switch {
				case patience == 0 || patience == time.Second:
					if err != nil || took > 700*time.Millisecond { // another in a hurry may have come between
						t.Errorf("request %d: got %v %v after %v, want a connection once it was made", i, reason, err, took)
						return
					}
					l.Release()
				case reason != decision.DialTimeout || took != patience:
					t.Errorf("request %d: got %v %v after %v, want an end with its time", i, reason, err, took)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

// Exchanges that wait for a connection are bounded as requests of HTTP/1.1 are.
func TestSharedPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := sharing(t, Spec{ConnectTimeout: time.Second}, 10, func() error {
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		th := limiter.New(config.Limits{Connections: 10, Pending: 2})
		u.budget = th
		var waiting sync.WaitGroup
		for range 2 {
			waiting.Go(func() { openStream(t, u).Release() })
		}
		synctest.Wait()
		if _, reason, err := u.Open(time.Now(), Choice{}); reason != decision.UpstreamOverflow || !errors.Is(err, errTooMany) {
			t.Errorf("beyond max_pending_requests: got %v %v", reason, err)
		}
		waiting.Wait()
		openStream(t, u).Release()
		th.States(func(name string, s limiter.State) {
			if want := (limiter.State{Limit: 2, Overflows: 1}); name == "max_pending_requests" && s != want {
				t.Errorf("got %+v, want %+v", s, want)
			}
		})
	})
}

func TestSharedTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, made := sharing(t, Spec{IdleTimeout: 10 * time.Second, MaxLifetime: time.Minute}, 10, nil)
		a := openStream(t, u)
		time.Sleep(30 * time.Second)
		if a.m.leaving.Load() {
			t.Error("a connection in use was taken for idle")
		}
		a.Release()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !a.m.shut.Load() {
			t.Error("idle for longer than the timeout: nobody closed it")
		}
		wantStats(t, u, 0, 0)
		b := openStream(t, u)
		time.Sleep(61 * time.Second)
		c := openStream(t, u)
		if c.m == b.m || !b.m.leaving.Load() || b.m.shut.Load() {
			t.Error("older than its lifetime: want it to finish, and to take nothing more")
		}
		b.Release()
		synctest.Wait()
		if !b.m.shut.Load() || made.Load() != 3 {
			t.Error("what has finished stays open")
		}
		c.m.leaving.Store(true) // its endpoint goes away
		if d := openStream(t, u); d.m == c.m {
			t.Error("a connection that leaves was taken")
		} else {
			d.Release()
		}
		c.Release()
	})
}

func TestSharedRetires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := sharing(t, Spec{}, 10, nil)
		a := openStream(t, u)
		u.Retire()
		if !a.m.leaving.Load() || a.m.shut.Load() {
			t.Error("want the connection to finish what goes on")
		}
		b := openStream(t, u) // who still holds the upstream can use it
		if b.m == a.m {
			t.Error("a retired connection takes an exchange")
		}
		a.Release()
		b.Release()
		synctest.Wait()
		if !a.m.shut.Load() || !b.m.shut.Load() || u.stats.live.Load() != 0 {
			t.Error("connections of a retired upstream were kept")
		}
	})
}

// An endpoint that takes nothing on new connections is not asked for ever.
func TestSharedTakesNothing(t *testing.T) {
	u, made := sharing(t, Spec{}, 0, nil)
	if _, reason, err := u.Open(time.Now(), Choice{}); reason != decision.UpstreamRefusedStream || !errors.Is(err, errLeft) {
		t.Errorf("got %v %v", reason, err)
	}
	if made.Load() != maxJoins {
		t.Errorf("%d connections were made", made.Load())
	}
}
