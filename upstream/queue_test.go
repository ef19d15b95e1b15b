package upstream

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
	"legate/decision"
	"legate/limiter"
)

// bounded makes an upstream with those limits.
func bounded(t *testing.T, l config.Limits, addrs ...string) (*Upstream, *limiter.Thresholds) {
	t.Helper()
	u := fakeUpstream(t, Spec{ConnectTimeout: time.Second}, Options{}, addrs...)
	th := limiter.New(l)
	u.budget = th
	return u, th
}

// A result is what came of an Open.
type result struct {
	link   *fakeLink
	reason decision.Reason
	err    error
	took   time.Duration
}

// ask opens in a goroutine of its own, and has begun to wait when it returns.
func ask(u *Upstream, c Choice) <-chan result {
	done := make(chan result, 1)
	go func() {
		begun := time.Now()
		link, reason, err := u.Open(begun, c)
		r := result{reason: reason, err: err, took: time.Since(begun)}
		if link != nil {
			r.link = link.(*fakeLink)
		}
		done <- r
	}()
	synctest.Wait()
	return done
}

// waits reports that nothing has come of an Open yet.
func waits(done <-chan result) bool {
	synctest.Wait()
	return len(done) == 0
}

// Requests beyond the connections wait, and are served in the order in which they came.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := bounded(t, config.Limits{Connections: 2, Pending: 10}, "10.0.0.1")
		a, b := open(t, u), open(t, u)
		first, second, third := ask(u, Choice{}), ask(u, Choice{}), ask(u, Choice{})
		if !waits(first) || !waits(second) || !waits(third) {
			t.Fatal("a third connection was made")
		}
		a.Release()
		if r := <-first; r.link != a {
			t.Errorf("the first got %+v, want the connection that came to rest", r)
		}
		if !waits(second) || !waits(third) {
			t.Error("one connection served two")
		}
		b.Close() // its place is free
		if r := <-second; r.link == nil || r.link == a || r.link == b {
			t.Errorf("the second got %+v, want a new connection", r)
		}
		if late := ask(u, Choice{}); !waits(third) || !waits(late) {
			t.Error("somebody was served without a connection")
		} else {
			a.Release()
			if r := <-third; r.link != a || !waits(late) {
				t.Errorf("the third got %+v", r)
			}
			a.Release()
			(<-late).link.Release()
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, th := bounded(t, config.Limits{Connections: 1, Pending: 2}, "10.0.0.1")
		held := open(t, u)
		first, second := ask(u, Choice{}), ask(u, Choice{By: time.Now().Add(3 * time.Second)})
		if r := <-ask(u, Choice{}); r.reason != decision.UpstreamOverflow || !errors.Is(r.err, errTooMany) {
			t.Errorf("beyond max_pending_requests: got %+v", r)
		}
		if r := <-first; r.reason != decision.DialTimeout || !errors.Is(r.err, errNoPlace) || r.took != time.Second {
			t.Errorf("without a time of its own: got %+v, want an end after the connect timeout", r)
		}
		if r := <-second; r.reason != decision.DialTimeout || r.took != 3*time.Second {
			t.Errorf("with a time of its own: got %+v, want an end then", r)
		}
		held.Release()
		if next := open(t, u); next != held {
			t.Error("who gave up has the connection")
		} else {
			next.Release()
		}
		th.States(func(name string, s limiter.State) {
			if want := map[string]limiter.State{
				"max_connections":      {Limit: 1, Now: 1, Overflows: 2},
				"max_pending_requests": {Limit: 2, Overflows: 1},
			}[name]; s != want {
				t.Errorf("%s: got %+v, want %+v", name, s, want)
			}
		})
	})
}

// Every endpoint has one connection at least, whatever the limit; and upstreams that
// share a budget hand places to one another.
func TestQueueAcrossUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, th := bounded(t, config.Limits{Connections: 1, Pending: 10}, "10.0.0.1")
		b := fakeUpstream(t, Spec{ConnectTimeout: time.Second}, Options{}, "10.0.0.2")
		b.budget = th
		one, other := open(t, a), open(t, b)
		wait := ask(b, Choice{})
		if one.Close(); !waits(wait) {
			t.Error("there is one connection still, and one is the limit")
		}
		other.Release()
		if r := <-wait; r.link != other {
			t.Errorf("got %+v", r)
		}
		wait = ask(b, Choice{})
		again := open(t, a)
		again.Close()
		other.Close()
		if r := <-wait; r.err != nil {
			t.Errorf("got %+v", r)
		}
	})
}

// Who waits at an endpoint that goes finds another.
func TestQueueMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := bounded(t, config.Limits{Connections: 1, Pending: 10}, "10.0.0.1")
		open(t, u)
		wait := ask(u, Choice{})
		u.update(ips("10.0.0.2"), nil)
		if r := <-wait; r.err != nil || r.link.Endpoint() != "10.0.0.2:80" {
			t.Errorf("got %+v", r)
		}
	})
}

// Who waits when the upstream is retired has its turn all the same.
func TestQueueOfARetiredUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, th := bounded(t, config.Limits{Connections: 1, Pending: 10}, "10.0.0.1")
		held := open(t, u)
		wait := ask(u, Choice{})
		u.Retire()
		late := ask(u, Choice{})
		if !waits(wait) || !waits(late) {
			t.Fatalf("got %+v and %+v", <-wait, <-late)
		}
		held.Release()
		for _, each := range []<-chan result{wait, late} {
			r := <-each
			if r.err != nil || r.link == held {
				t.Fatalf("got %+v, want a new connection", r)
			}
			r.link.Release()
		}
		th.States(func(name string, s limiter.State) {
			if s.Now != 0 {
				t.Errorf("in the end %s: %+v", name, s)
			}
		})
	})
}

// A request whose client leaves gives its place back soon, wherever it waits.
func TestQueueLosesItsClients(t *testing.T) {
	leaves := func(after time.Duration) Choice {
		at := time.Now().Add(after)
		return Choice{By: time.Now().Add(time.Minute), Gone: func() bool { return !time.Now().Before(at) }}
	}
	synctest.Test(t, func(t *testing.T) {
		u, th := bounded(t, config.Limits{Connections: 1, Pending: 2}, "10.0.0.1")
		held := open(t, u)
		left, stays := ask(u, leaves(3*time.Second)), ask(u, leaves(time.Hour))
		if r := <-left; r.reason != decision.ClientGone || !errors.Is(r.err, errNobody) || r.took < 3*time.Second || r.took > 3*time.Second+lookEvery {
			t.Errorf("in the queue: got %+v", r)
		}
		if next := ask(u, Choice{}); !waits(next) {
			t.Errorf("the place of who has left is not free: got %+v", <-next)
		}
		held.Release()
		if r := <-stays; r.link != held {
			t.Errorf("who has stayed got %+v", r)
		}
		held.Close()
		synctest.Wait()
		th.States(func(name string, s limiter.State) {
			if name == "max_pending_requests" && s.Now != 0 {
				t.Errorf("in the end: %+v", s)
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		u, _ := sharing(t, Spec{ConnectTimeout: time.Minute}, 10, func() error {
			time.Sleep(10 * time.Second)
			return nil
		})
		var all sync.WaitGroup
		all.Go(func() { openStream(t, u).Release() })
		synctest.Wait()
		begun := time.Now()
		if _, reason, err := u.Open(begun, leaves(3*time.Second)); reason != decision.ClientGone || !errors.Is(err, errNobody) || time.Since(begun) > 3*time.Second+lookEvery {
			t.Errorf("while another makes a connection: got %v %v after %v", reason, err, time.Since(begun))
		}
		all.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		r, u := scripted(t, &script{answers: []answer{found("10.0.0.1")}, delay: time.Minute}, "foo")
		u.Start()
		begun := time.Now()
		if _, reason, err := u.Open(begun, leaves(time.Second)); reason != decision.ClientGone || !errors.Is(err, errNobody) || time.Since(begun) > time.Second+lookEvery {
			t.Errorf("before the first answer: got %v %v after %v", reason, err, time.Since(begun))
		}
		u.Retire()
		r.Close()
	})
}

// Who comes while the janitor looks at the connections that rest gets one of them.
func TestQueueWhileTheJanitorLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := bounded(t, config.Limits{Connections: 2, Pending: 10}, "10.0.0.1")
		a, b := open(t, u), open(t, u)
		var first, second, third <-chan result
		a.looked = func() { first, second, third = ask(u, Choice{}), ask(u, Choice{}), ask(u, Choice{}) }
		a.Release()
		b.Release()
		time.Sleep(sweepEvery + time.Millisecond)
		synctest.Wait()
		if r := <-first; r.link != b || r.took != 0 {
			t.Errorf("the first got %+v, want the connection that rested least", r)
		}
		if r := <-second; r.link != a || !waits(third) {
			t.Errorf("the second got %+v, want the other one", r)
		}
		b.Release()
		if r := <-third; r.link != b {
			t.Errorf("the third got %+v", r)
		}
		a.Release()
		b.Release()
		wantStats(t, u, 0, 2)
	})
}

// Under load nothing is lost: neither a connection nor a place nor a waiter.
func TestQueueUnderLoad(t *testing.T) {
	u, th := bounded(t, config.Limits{Connections: 3, Pending: 1000}, "10.0.0.1", "10.0.0.2")
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			for n := range 300 {
				l, reason, err := u.Open(time.Now(), Choice{By: time.Now().Add(20 * time.Second)})
				if err != nil {
					t.Errorf("got %v %v", reason, err)
					return
				}
				if (i+n)%7 == 0 {
					l.(*fakeLink).Close()
				} else {
					l.Release()
				}
			}
		})
	}
	wg.Wait()
	if s := u.Stats(); s.Active != 0 || s.Idle > 3 {
		t.Errorf("in the end: %+v", s)
	}
	th.States(func(name string, s limiter.State) {
		if name != "max_connections" && s.Now != 0 || s.Now > 3 {
			t.Errorf("in the end %s: %+v", name, s)
		}
	})
}
