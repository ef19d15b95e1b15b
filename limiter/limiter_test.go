package limiter

import (
	"sync"
	"sync/atomic"
	"testing"

	"legate/config"
)

// No more than the limit are ever in at once, and whoever comes when there is room gets in.
func TestThreshold(t *testing.T) {
	th := &New(config.Limits{Requests: 3}).Requests
	for i := range 5 {
		if got, want := th.Enter(), i < 3; got != want {
			t.Errorf("number %d: got %v, want %v", i+1, got, want)
		}
	}
	th.Leave()
	if !th.Enter() {
		t.Error("there was room again")
	}
	if s := th.State(); s != (State{Limit: 3, Now: 3, Overflows: 2}) {
		t.Errorf("got %+v", s)
	}
}

func TestThresholdTogether(t *testing.T) {
	th := &New(config.Limits{Requests: 10}).Requests
	var in, most atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 2000 {
				if !th.Enter() {
					continue
				}
				n := in.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				in.Add(-1)
				th.Leave()
			}
		})
	}
	wg.Wait()
	if most.Load() > 10 || th.State().Now != 0 {
		t.Errorf("%d were in at once, %d are left", most.Load(), th.State().Now)
	}
}

func TestAllocsThreshold(t *testing.T) {
	th := &New(config.DefaultLimits).Requests
	if n := testing.AllocsPerRun(1000, func() { th.Enter(); th.Leave() }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func got(place <-chan struct{}) bool {
	select {
	case <-place:
		return true
	default:
		return false
	}
}

// Who has waited longest gets the place, and nobody overtakes.
func TestPlaces(t *testing.T) {
	th := New(config.Limits{Connections: 2})
	if got := [3]bool{th.Connect(false), th.Connect(false), th.Connect(false)}; got != [3]bool{true, true, false} {
		t.Fatal("want two places")
	}
	first, leaveFirst := th.Line()
	second, leaveSecond := th.Line()
	third, leaveThird := th.Line()
	if th.Disconnect(); !got(first) || got(second) {
		t.Error("the place did not go to the first in line")
	}
	leaveFirst() // nothing to give back
	if th.Connect(false) {
		t.Error("somebody overtook")
	}
	leaveSecond()
	if th.Disconnect(); got(second) || !got(third) {
		t.Error("the place did not go past the one who left")
	}
	leaveThird()
	fourth, leaveFourth := th.Line()
	th.Disconnect()
	leaveFourth() // granted, and not taken
	if got(fourth) || !th.Connect(false) {
		t.Error("a place that was not taken is lost")
	}
	if s := th.connections.state(); s.Now != 2 || s.Limit != 2 || s.Overflows != 2 {
		t.Errorf("got %+v", s)
	}
}

// What must be is beyond the limit; until there are fewer, nobody in line gets a place.
func TestPlacesBeyond(t *testing.T) {
	th := New(config.Limits{Connections: 1})
	th.Connect(false)
	if !th.Connect(true) {
		t.Fatal("refused what must be")
	}
	place, leave := th.Line()
	defer leave()
	if th.Disconnect(); got(place) {
		t.Error("a place beyond the limit was passed on")
	}
	if th.Disconnect(); !got(place) {
		t.Error("a place was not passed on")
	}
}

func TestLineWithRoom(t *testing.T) {
	th := New(config.Limits{Connections: 1})
	if place, _ := th.Line(); !got(place) {
		t.Error("there was a place")
	}
	place, leave := th.Line()
	leave()
	th.Disconnect()
	if got(place) || th.connections.state().Now != 0 {
		t.Error("who had left got the place")
	}
}

func TestPlacesTogether(t *testing.T) {
	th := New(config.Limits{Connections: 3, Pending: 1000})
	var in atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for n := range 500 {
				if !th.Connect(false) {
					place, leave := th.Line()
					if (i+n)%3 == 0 {
						leave()
						continue
					}
					<-place
				}
				if in.Add(1) > 3 {
					t.Error("too many are connected")
				}
				in.Add(-1)
				th.Disconnect()
			}
		})
	}
	wg.Wait()
	if s := th.connections.state(); s.Now != 0 || th.connections.line.Len() != 0 {
		t.Errorf("in the end: %+v, %d in line", s, th.connections.line.Len())
	}
}

// Thresholds are carried over as they stand; others begin anew.
func TestSet(t *testing.T) {
	limits := func() *Thresholds { return New(config.DefaultLimits) }
	old := NewSet[string, Thresholds](nil)
	a := old.Get("a", limits)
	a.Requests.Enter()
	old.Get("b", limits)
	old.Ready()
	next := NewSet(old)
	for range 2 {
		if next.Get("a", limits) != a {
			t.Error("what stays was not carried over")
		}
	}
	if next.Get("c", limits) == a {
		t.Error("what is new is not new")
	}
	next.Ready()
	last := NewSet(next)
	if last.Get("b", limits) == old.byKey["b"] {
		t.Error("what had gone came back")
	}
	names := ""
	a.States(func(name string, s State) {
		if names += name + " "; (s.Now == 1) != (name == "max_requests") {
			t.Errorf("%s: %+v", name, s)
		}
	})
	if names != "max_connections max_pending_requests max_requests max_retries " {
		t.Errorf("got %s", names)
	}
}
