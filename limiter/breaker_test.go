package limiter

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
)

// A bench is a breaker with what it told.
type bench struct {
	*Breaker
	t    *testing.T
	mu   sync.Mutex
	told []string
}

func newBench(t *testing.T, change func(*config.FailureBreaker)) *bench {
	t.Helper()
	s := config.DefaultBreaker
	change(&s)
	b := &bench{t: t}
	b.Breaker = NewBreaker("orders", s, time.Now, func(c Transition) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, c.From.String()+" to "+c.To.String()+": "+c.Cause)
	})
	return b
}

// play sends requests one by one: F fails, S succeeds, U says nothing, and x is one that
// must be refused.
func (b *bench) play(outcomes string) {
	b.t.Helper()
	for i, o := range outcomes {
		p, _, ok := b.Enter()
		if ok != (o != 'x') {
			b.t.Fatalf("%s: request %d: let through %v", outcomes, i, ok)
		}
		if ok {
			b.Done(p, map[rune]Outcome{'F': Failure, 'S': Success, 'U': Unsaid}[o])
		}
	}
}

func (b *bench) wants(state BreakerState, told ...string) {
	b.t.Helper()
	if got := strings.Join(b.told, "; "); b.View().State != state || got != strings.Join(told, "; ") {
		b.t.Errorf("is %v and told %q; want %v and %q", b.View().State, got, state, told)
	}
}

// What trips a breaker, and what does not.
func TestBreakerTrips(t *testing.T) {
	inARow := func(n int) func(*config.FailureBreaker) {
		return func(s *config.FailureBreaker) { s.Consecutive = n }
	}
	share := func(s *config.FailureBreaker) { s.Ratio, s.MinRequests = 0.5, 4 }
	for _, row := range []struct {
		name     string
		settings func(*config.FailureBreaker)
		outcomes string
		cause    string // "" where it stays closed
	}{
		{"as many in a row", inARow(3), "SFFF", "closed to open: 3 failures in a row"},
		{"fewer", inARow(3), "FF", ""},
		{"a success between them", inARow(3), "FFSFF", ""},
		{"what says nothing does not interrupt them", inARow(3), "FFUUF", "closed to open: 3 failures in a row"},
		{"the first of one", inARow(1), "F", "closed to open: 1 failures in a row"},
		{"half of few", share, "FFF", ""},
		{"half of enough", share, "SFSF", "closed to open: 2 of 4 requests failed"},
		{"less than half", share, "SSFSFSSF", ""},
		{"neither is asked for", func(*config.FailureBreaker) {}, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.settings)
				b.play(row.outcomes)
				if row.cause == "" {
					b.wants(Closed)
					return
				}
				b.wants(Open, row.cause)
				b.play("xxx")
			})
		})
	}
}

// Failures longer ago than interval are forgotten.
func TestBreakerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Ratio, s.MinRequests, s.Interval = 0.5, 4, 10*time.Second })
		b.play("FFF")
		time.Sleep(11 * time.Second)
		b.play("SSSS")
		b.wants(Closed)
		if v := b.View(); v.Requests != 4 || v.Failures != 0 {
			t.Errorf("remembers %+v", v)
		}
	})
}

// The whole way round: open, half-open, open again, half-open, closed.
func TestBreakerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Consecutive, s.Probes, s.OpenFor = 2, 2, 5*time.Second })
		b.play("FF")
		time.Sleep(2 * time.Second)
		if _, wait, ok := b.Enter(); ok || wait != 3*time.Second {
			t.Errorf("let through %v, wait %v; want 3s", ok, wait)
		}
		time.Sleep(3*time.Second + time.Millisecond)
		b.play("SFx")
		time.Sleep(5*time.Second + time.Millisecond)
		b.play("USS")
		b.wants(Closed, "closed to open: 2 failures in a row", "open to half-open: open for 5s", "half-open to open: a probe failed",
			"open to half-open: open for 5s", "half-open to closed: 2 of 2 probes succeeded")
		if b.View().Opened != 2 {
			t.Errorf("opened %d times, want 2", b.View().Opened)
		}
		b.play("F")
		b.wants(Closed, b.told...)
	})
}

// However many ask at once, no more probes are on their way than there may be.
func TestBreakerProbesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Consecutive, s.Probes = 1, 3 })
		b.play("F")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		var now, most, sent atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				p, _, ok := b.Enter()
				if !ok {
					return
				}
				if !p.Probe {
					t.Error("no probe was needed")
				}
				sent.Add(1)
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Second)
				now.Add(-1)
				b.Done(p, Success)
			})
		}
		all.Wait()
		if most.Load() != 3 || sent.Load() != 3 {
			t.Errorf("%d probes, %d at once; want 3", sent.Load(), most.Load())
		}
		b.wants(Closed, "closed to open: 1 failures in a row", "open to half-open: open for 10s", "half-open to closed: 3 of 3 probes succeeded")
	})
}

// What began before a change says nothing after it.
func TestBreakerIgnoresStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Consecutive = 1 })
		early, _, _ := b.Enter()
		late, _, _ := b.Enter()
		b.play("F")
		b.Done(early, Success)
		b.wants(Open, "closed to open: 1 failures in a row")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		probe, _, _ := b.Enter()
		b.Done(late, Failure)
		b.wants(HalfOpen, "closed to open: 1 failures in a row", "open to half-open: open for 10s")
		b.Done(probe, Success)
		b.Done(probe, Failure)
		if b.View().State != Closed {
			t.Errorf("is %v", b.View().State)
		}
	})
}

// A probe that does not come back for as long as the breaker was open makes room for
// another; what it says in the end counts as long as the breaker is half-open.
func TestBreakerGivesProbesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Consecutive = 1 })
		b.play("F")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		lost, _, _ := b.Enter()
		b.play("xx")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		probe, _, ok := b.Enter()
		if !ok {
			t.Fatal("nobody tries any more")
		}
		b.Done(lost, Failure)
		b.Done(probe, Success)
		if b.View().State != Open {
			t.Errorf("is %v", b.View().State)
		}
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		lost, _, _ = b.Enter()
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		probe, _, _ = b.Enter()
		b.Done(lost, Unsaid)
		b.play("x")
		b.Done(probe, Success)
		if b.View().State != Closed {
			t.Errorf("then it is %v", b.View().State)
		}
	})
}

// A probe whose answer is waited for keeps its place, however long that takes: those that
// hang do not add up. Once it is its client again that takes its time, it does not.
func TestBreakerWaitsForTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *config.FailureBreaker) { s.Consecutive, s.Probes = 1, 2 })
		b.play("F")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		hangs, _, _ := b.Enter()
		b.Whole(hangs)
		comes, _, _ := b.Enter()
		b.play("x")
		time.Sleep(b.settings.OpenFor + time.Millisecond)
		other, _, ok := b.Enter() // in the place of the one that still comes
		if !ok {
			t.Fatal("who sends slowly has a place for ever")
		}
		b.Whole(comes) // it has no place any more
		b.Whole(other)
		time.Sleep(100 * b.settings.OpenFor)
		b.play("xx")
		if v := b.View(); v.Probes != 2 || !v.Refuses() {
			t.Errorf("probes on their way: %+v", v)
		}
		b.Answered(other)
		b.Whole(other) // told late
		if v := b.View(); v.Probes != 1 || v.Refuses() {
			t.Errorf("probes that wait for the service: %+v", v)
		}
		last, _, ok := b.Enter()
		if b.play("x"); !ok {
			t.Error("who reads slowly has a place for ever")
		}
		b.Done(hangs, Unsaid)
		b.Done(other, Success)
		b.play("x")
		b.Done(last, Success)
		if b.View().State != Closed {
			t.Errorf("is %v", b.View().State)
		}
		b.Whole(last) // all is over
		b.Answered(last)
	})
}

// A nil Breaker is closed: there is none.
func TestBreakerNone(t *testing.T) {
	var b *Breaker
	if !b.Closed() {
		t.Error("refuses")
	}
}

func TestAllocsBreaker(t *testing.T) {
	s := config.DefaultBreaker
	s.Consecutive, s.Ratio = 5, 0.9
	b := NewBreaker("orders", s, time.Now, func(Transition) {})
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		p, _, _ := b.Enter()
		i++
		b.Done(p, Success+Outcome(i%2))
	}); n != 0 {
		t.Errorf("closed: got %v allocations, want 0", n)
	}
	for range 5 {
		p, _, _ := b.Enter()
		b.Done(p, Failure)
	}
	if b.Closed() {
		t.Fatal("did not trip")
	}
	if n := testing.AllocsPerRun(1000, func() { b.Enter() }); n != 0 {
		t.Errorf("open: got %v allocations, want 0", n)
	}
}

func BenchmarkBreaker(b *testing.B) {
	br := NewBreaker("orders", config.DefaultBreaker, time.Now, func(Transition) {})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _, _ := br.Enter()
			br.Done(p, Success)
		}
	})
}
