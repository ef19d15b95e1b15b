package limiter

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	soon = time.Millisecond
	late = 10 * time.Millisecond
)

// congestion is one whose target lies between soon and late, and what it tells.
func congestion() (*Congestion, *[]bool) {
	var told []bool
	return NewCongestion(5*time.Millisecond, 1000, time.Now, func(on bool) { told = append(told, on) }), &told
}

// Congestion begins when all have waited too long for an interval, and only then.
func TestCongestionBegins(t *testing.T) {
	for _, row := range []struct {
		name string
		at   []int // milliseconds
		wait []time.Duration
		want Ruling // of the last
	}{
		{"one that is late", []int{0}, []time.Duration{late}, Serve},
		{"late for less than the interval", []int{0, 50, 99}, []time.Duration{late, late, late}, Serve},
		{"late for the interval", []int{0, 50, 100}, []time.Duration{late, late, late}, Refuse},
		{"one between that was not", []int{0, 50, 100, 149}, []time.Duration{late, soon, late, late}, Serve},
		{"one between of which nobody knows", []int{0, 50, 100}, []time.Duration{late, 0, late}, Refuse},
		{"one that is not late", []int{0, 50, 100, 101}, []time.Duration{late, late, late, soon}, Serve},
		{"long ago", []int{0, 100, 150}, []time.Duration{late, soon, late}, Serve},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := congestion()
			begin, got := time.Now(), Serve
			for i, ms := range row.at {
				got = c.Judge(row.wait[i], begin.Add(time.Duration(ms)*time.Millisecond))
			}
			if got != row.want {
				t.Errorf("%s: got %v, want %v", row.name, got, row.want)
			}
		})
	}
}

// stays is of a client that waits.
func stays() bool { return false }

// congested is one that has begun.
func congested() (*Congestion, *[]bool) {
	c, told := congestion()
	c.Judge(late, time.Now())
	time.Sleep(congestionInterval)
	c.budget, c.filled = 0, time.Now()
	c.begins(time.Now())
	return c, told
}

// Refusals cost no more than their share of the time, however many come too late.
func TestRefusalsHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := congested()
		c.share, c.cost = 0.1, 20*time.Microsecond
		refused := 0
		for range 100_000 { // ten seconds, ten thousand each
			time.Sleep(100 * time.Microsecond)
			if c.Judge(late, time.Now()) == Refuse {
				refused++
			}
		}
		if got := float64(refused) * 20e-6; got < 0.99 || got > 1.01 {
			t.Errorf("%d refusals cost %.3f s of ten, want a tenth", refused, got)
		}
	})
}

// What is held is refused as the budget allows, and served when the congestion is over.
func TestHeldRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := congested()
		stop := make(chan struct{})
		var run, held sync.WaitGroup
		run.Go(func() { c.Run(stop) })
		c.share, c.cost = 0.1, 10*time.Millisecond // one each 100 ms
		var mu sync.Mutex
		var outcomes []bool
		var waits []time.Duration
		for range 5 {
			if got := c.Judge(late, time.Now()); got != Hold {
				t.Fatalf("got %v, want it held", got)
			}
			since := time.Now()
			held.Go(func() {
				served := c.Wait(since, stays) == Serve
				mu.Lock()
				defer mu.Unlock()
				outcomes, waits = append(outcomes, served), append(waits, time.Since(since))
			})
			synctest.Wait()
		}
		for range 3 { // it goes on for so long
			time.Sleep(90 * time.Millisecond)
			c.late.Store(time.Now().UnixNano())
		}
		held.Wait()
		if refused := slices.Index(outcomes, true); refused < 2 || refused > 4 || !outcomes[4] {
			t.Errorf("served, in turn: %v after %v", outcomes, waits)
		}
		if c.Judge(late, time.Now()) != Serve {
			t.Error("it is not over")
		}
		close(stop)
		run.Wait()
		if !slices.Equal(*told, []bool{true, false}) {
			t.Errorf("told %v", *told)
		}
	})
}

// Who is held for long is refused before those that have just come.
func TestHeldRequestsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := congested()
		since := time.Now()
		var held sync.WaitGroup
		var served bool
		held.Go(func() { served = c.Wait(since, stays) == Serve })
		synctest.Wait()
		time.Sleep(longestHold + time.Millisecond)
		if got := c.Judge(late, time.Now()); got != Hold {
			t.Errorf("somebody has waited for a second, and who has just come is told %v", got)
		}
		c.look(time.Now())
		held.Wait()
		if served {
			t.Error("who was held is served")
		}
		if got := c.Judge(late, time.Now()); got != Refuse {
			t.Errorf("nobody waits, and who has just come is told %v", got)
		}
	})
}

// No more are held than may be; those beyond are refused at once, and that is no debt that those
// who are held would have to wait for.
func TestHeldRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := congested()
		c.most, c.share, c.cost = 3, 0.1, time.Millisecond
		var held sync.WaitGroup
		for range 3 {
			if got := c.Judge(late, time.Now()); got != Hold {
				t.Fatalf("got %v, want it held", got)
			}
			held.Go(func() {
				if c.Wait(time.Now(), stays) != Refuse {
					t.Error("who was held is served")
				}
			})
			synctest.Wait()
		}
		for range 10_000 {
			if got := c.Judge(late, time.Now()); got != Refuse {
				t.Fatalf("three are held, and who comes is told %v", got)
			}
		}
		for range 5 {
			time.Sleep(2 * refusalBurst)
			c.late.Store(time.Now().UnixNano())
			c.look(time.Now())
		}
		held.Wait()
	})
}

// Whose client leaves is held no more, costs nothing, and is not served in the end.
func TestHeldRequestsLoseTheirClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := congested()
		c.most, c.share, c.budget = 3, 0, 0
		var leaves [3]atomic.Bool
		var held sync.WaitGroup
		got := make([]Ruling, len(leaves))
		for i := range leaves {
			if ruling := c.Judge(late, time.Now()); ruling != Hold {
				t.Fatalf("got %v, want it held", ruling)
			}
			held.Go(func() { got[i] = c.Wait(time.Now(), leaves[i].Load) })
			synctest.Wait()
		}
		leaves[0].Store(true)
		leaves[2].Store(true)
		c.look(time.Now())
		if ruling := c.Judge(late, time.Now()); ruling != Hold {
			t.Errorf("the first has left and has its place still: who comes is told %v", ruling)
		}
		if c.budget != 0 {
			t.Errorf("that has cost %v", -c.budget)
		}
		time.Sleep(2 * congestionInterval)
		c.look(time.Now()) // it is over
		held.Wait()
		if !slices.Equal(got, []Ruling{Forget, Serve, Forget}) {
			t.Errorf("got %v", got)
		}
	})
}

// Nobody is held any more once it is stopped.
func TestCongestionStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := congested()
		stop := make(chan struct{})
		var run, held sync.WaitGroup
		run.Go(func() { c.Run(stop) })
		c.share, c.budget = 0, 0
		for range 3 {
			held.Go(func() {
				if c.Wait(time.Now(), stays) != Serve {
					t.Error("refused")
				}
			})
		}
		synctest.Wait()
		close(stop)
		run.Wait()
		held.Wait()
		if c.Wait(time.Now(), stays) != Serve {
			t.Error("refused afterwards")
		}
		for range 3 { // nobody would look after who is held
			time.Sleep(congestionInterval)
			if got := c.Judge(late, time.Now()); got != Serve {
				t.Errorf("afterwards: got %v", got)
			}
		}
	})
}

// The beginning and the end of congestions are told in turn, whoever finds out.
func TestCongestionIsToldInTurn(t *testing.T) {
	congested, told := false, 0
	c := NewCongestion(5*time.Millisecond, 1000, time.Now, func(on bool) {
		if on == congested {
			t.Errorf("told %v twice", on)
		}
		congested, told = on, told+1
	})
	begin := time.Now()
	var both sync.WaitGroup
	both.Go(func() {
		for i := range 20_000 {
			c.Judge(late, begin.Add(time.Duration(i)*congestionInterval))
		}
	})
	both.Go(func() {
		for range 20_000 {
			c.look(begin.Add(20_001 * congestionInterval))
		}
	})
	both.Wait()
	if told == 0 {
		t.Error("nothing was told")
	}
}

// The cost of a refusal is what most of them cost.
func TestCostOfRefusals(t *testing.T) {
	c, _ := congestion()
	for n := range 3000 {
		d := 5 * time.Microsecond
		if n%5 == 0 {
			d = 30 * time.Millisecond // interrupted
		}
		c.Cost(d)
	}
	if c.cost < 9*time.Microsecond || c.cost > 12*time.Microsecond {
		t.Errorf("got %v for refusals of 5µs and their reading", c.cost)
	}
}

func TestAllocsCongestion(t *testing.T) {
	c, _ := congestion()
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { c.Judge(soon, now); c.Judge(late, now) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}
