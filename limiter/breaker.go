package limiter

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"legate/config"
)

// A BreakerState says what becomes of requests for a service.
type BreakerState uint8

// The states, the better ones first.
const (
	Closed   BreakerState = iota // all are sent
	HalfOpen                     // a few are, to see how it is
	Open                         // none is
)

var breakerStates = [...]string{"closed", "half-open", "open"}

// String returns the state's name as logs, explain and the dashboard show it.
func (s BreakerState) String() string { return breakerStates[s] }

// An Outcome is what a request says of how a service is.
type Outcome uint8

// The outcomes.
const (
	Unsaid Outcome = iota // nothing: the client left, or it was never sent
	Success
	Failure
)

// A Pass is the leave to send one request. Its outcome is told once.
type Pass struct {
	period uint64
	probe  uint64 // its number; 0 for none
	place  int    // that the probe has
	Probe  bool   // the service is tried by it
}

// A place is one for a probe that is on its way.
type place struct {
	probe    uint64    // that has it; 0 for none
	since    time.Time // when that was let through
	whole    bool      // the service has all of its request
	answered bool      // and has begun to answer
}

// A Transition is a change of a Breaker's state.
type Transition struct {
	Name     string // of the breaker
	From, To BreakerState
	Cause    string
}

// A Breaker leaves a service alone that fails its requests, and tries it again after a
// while. Counting and changing states is gobreaker's. What it is asked to count are
// outcomes, once there are some: so a request that has not ended says nothing yet, and
// one that began before the last change of the state never will.
type Breaker struct {
	name     string
	settings config.FailureBreaker
	clock    func() time.Time
	told     func(Transition)
	machine  *gobreaker.CircuitBreaker[struct{}]
	outcome  func() (struct{}, error) // what the machine is told: result

	now    atomic.Uint64 // period and state, as they are below
	opened atomic.Uint64 // how often

	mu      sync.Mutex // held while the machine is asked
	state   BreakerState
	period  uint64 // grows with every change of the state
	result  error
	places  []place   // for probes, as many as were needed
	probes  uint64    // that were let through, ever
	until   time.Time // nothing is sent, when open
	counts  gobreaker.Counts
	changes []Transition // not told yet
}

var errFailed = errors.New("the request failed")

// NewBreaker returns one that is closed. told is called for each change of its state, by
// whoever brings it about, and may block no longer than a request may.
func NewBreaker(name string, settings config.FailureBreaker, clock func() time.Time, told func(Transition)) *Breaker {
	b := &Breaker{name: name, settings: settings, clock: clock, told: told}
	b.outcome = func() (struct{}, error) { return struct{}{}, b.result }
	b.machine = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(settings.Probes), //nolint:gosec // because the decoder bounds it
		Interval:      settings.Interval,
		BucketPeriod:  settings.Interval / 10,
		Timeout:       settings.OpenFor,
		ReadyToTrip:   b.trips,
		OnStateChange: b.changed,
	})
	return b
}

// Name returns the name b has in metrics and logs.
func (b *Breaker) Name() string { return b.name }

// Enter asks whether a request may be sent, and if not, how long that will stay so.
// The outcome of one that may is told to Done. Budget: 0 allocs.
func (b *Breaker) Enter() (p Pass, wait time.Duration, ok bool) {
	if now := b.now.Load(); BreakerState(now&3) == Closed {
		return Pass{period: now >> 2}, 0, true
	}
	b.mu.Lock()
	defer b.unlock()
	b.machine.State() // turns half-open once it is time
	switch b.state {
	case Closed:
		return Pass{period: b.period}, 0, true
	case Open:
		return Pass{}, b.until.Sub(b.clock()), false
	default:
		return b.probe()
	}
}

// probe lets a request through if not as many as may be are on their way or back.
func (b *Breaker) probe() (p Pass, wait time.Duration, ok bool) {
	now := b.clock()
	taken, free := b.onTheirWay(now)
	if taken+int(b.machine.Counts().Requests) >= b.settings.Probes {
		return Pass{}, 0, false
	}
	if free == len(b.places) {
		b.places = append(b.places, place{})
	}
	b.probes++
	b.places[free] = place{probe: b.probes, since: now}
	return Pass{b.period, b.probes, free, true}, 0, true
}

// onTheirWay returns how many places for probes are taken, and the next that is free. Where it
// is the service that is waited for, a probe keeps its place. One whose client takes as long
// as b was open makes room for another, so that no client can keep b as it is by being slow;
// what it says in the end counts all the same.
func (b *Breaker) onTheirWay(now time.Time) (taken, free int) {
	free = len(b.places)
	for i := range b.places {
		if p := &b.places[i]; p.probe != 0 && (p.whole && !p.answered || now.Sub(p.since) <= b.settings.OpenFor) {
			taken++
		} else {
			free = i
		}
	}
	return taken, free
}

// Whole tells that the service has all of a probe's request. Anyone may call it at any time.
// Budget: 0 allocs.
func (b *Breaker) Whole(p Pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.placeOf(p); at != nil {
		at.whole = true
	}
}

// Answered tells that a probe's answer has begun. Budget: 0 allocs.
func (b *Breaker) Answered(p Pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.placeOf(p); at != nil {
		at.answered = true
	}
}

// placeOf returns the place that p has, nil if it has none any more.
func (b *Breaker) placeOf(p Pass) *place {
	if !p.Probe || p.period != b.period || b.places[p.place].probe != p.probe {
		return nil
	}
	return &b.places[p.place]
}

// Done tells what became of a request. Budget: 0 allocs.
func (b *Breaker) Done(p Pass, o Outcome) {
	if o == Unsaid && !p.Probe {
		return
	}
	b.mu.Lock()
	defer b.unlock()
	if p.period != b.period {
		return
	}
	if at := b.placeOf(p); at != nil {
		*at = place{}
	}
	if o == Unsaid {
		return
	}
	b.result = nil
	if o == Failure {
		b.result = errFailed
	}
	_, _ = b.machine.Execute(b.outcome) // its error is the result that it was told
}

// trips decides whether there were too many failures.
func (b *Breaker) trips(c gobreaker.Counts) bool {
	b.counts = c
	s := &b.settings
	if s.Consecutive > 0 && int64(c.ConsecutiveFailures) >= int64(s.Consecutive) {
		return true
	}
	return s.Ratio > 0 && int64(c.Requests) >= int64(s.MinRequests) && float64(c.TotalFailures) >= s.Ratio*float64(c.Requests)
}

// changed follows the machine, which calls it under its own lock and b's.
func (b *Breaker) changed(_ string, _, to gobreaker.State) {
	from := b.state
	b.state = [...]BreakerState{gobreaker.StateClosed: Closed, gobreaker.StateHalfOpen: HalfOpen, gobreaker.StateOpen: Open}[to]
	clear(b.places)
	b.period++
	cause := ""
	switch b.state {
	case Open:
		b.opened.Add(1)
		b.until = b.clock().Add(b.settings.OpenFor)
		cause = b.cause(from)
	case HalfOpen:
		cause = fmt.Sprintf("open for %v", b.settings.OpenFor)
	case Closed:
		cause = fmt.Sprintf("%d of %d probes succeeded", b.settings.Probes, b.settings.Probes)
	}
	b.publish()
	b.changes = append(b.changes, Transition{b.name, from, b.state, cause})
}

// cause says why b has opened.
func (b *Breaker) cause(from BreakerState) string {
	c := &b.counts
	switch {
	case from == HalfOpen:
		return "a probe failed"
	case b.settings.Consecutive > 0 && int64(c.ConsecutiveFailures) >= int64(b.settings.Consecutive):
		return fmt.Sprintf("%d failures in a row", c.ConsecutiveFailures)
	}
	return fmt.Sprintf("%d of %d requests failed", c.TotalFailures, c.Requests)
}

func (b *Breaker) publish() { b.now.Store(b.period<<2 | uint64(b.state)) }

// unlock gives the lock back and tells of what changed under it.
func (b *Breaker) unlock() {
	changes := b.changes
	b.changes = nil
	b.mu.Unlock()
	for _, c := range changes {
		b.told(c)
	}
}

// Closed reports whether all requests are sent. Budget: 0 allocs.
func (b *Breaker) Closed() bool { return b == nil || BreakerState(b.now.Load()&3) == Closed }

// A BreakerView is how things stand with a Breaker.
type BreakerView struct {
	State                       BreakerState
	Opened                      uint64        // how often, ever
	Wait                        time.Duration // until it is tried again; 0 where it can be now
	Requests, Failures, InARow  uint32        // since it closed, as far as remembered
	Probes, Succeeded, MaxProbe int           // on their way, back and well, and how many may be either
}

// View returns how things stand, and changes nothing.
func (b *Breaker) View() BreakerView {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.machine.Counts()
	v := BreakerView{State: b.state, Opened: b.opened.Load(), MaxProbe: b.settings.Probes}
	v.Probes, _ = b.onTheirWay(b.clock())
	switch b.state {
	case Closed:
		v.Requests, v.Failures, v.InARow = c.Requests, c.TotalFailures, c.ConsecutiveFailures
	case Open:
		v.Wait = max(b.until.Sub(b.clock()), 0)
	case HalfOpen:
		v.Succeeded = int(c.Requests)
	}
	return v
}

// Refuses reports whether a request that came now would not be sent.
func (v *BreakerView) Refuses() bool {
	return v.State == Open && v.Wait > 0 || v.State == HalfOpen && v.Probes+v.Succeeded >= v.MaxProbe
}
