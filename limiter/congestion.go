package limiter

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Congestion knows whether requests wait too long for a processor, and what becomes of those
// that have. To refuse a request costs a good part of what it costs to serve one, so that who
// refuses all that is too much is soon busy with nothing else. Hence only a share of the
// processors' time goes into refusals. What is beyond that is held, which costs nothing but
// memory and keeps its client from asking for more, until it is refused in its turn or the
// congestion is over. Served are those that have not waited: their answers are still waited for.
//
// Congestion begins when everybody has waited for more than a target for an interval (RFC 8289
// §3), however it came about, and ends when nobody has for as long.
type Congestion struct {
	target time.Duration
	most   int64   // that are held at once
	share  float64 // of a second, for refusals of each second
	clock  func() time.Time
	tell   func(congested bool)
	began  chan struct{} // of capacity 1: congestion did

	all  atomic.Int64 // since when all have waited too long, in nanoseconds since 1970; 0 where the last has not
	late atomic.Int64 // when the last that has was looked at
	on   atomic.Bool

	mu     sync.Mutex
	budget time.Duration // what refusals may cost now
	filled time.Time     // when it was last added to
	cost   time.Duration // of one
	held   []heldRequest // who has waited longest is the first
	ended  bool          // nobody looks after what is held
}

// A heldRequest is told what becomes of it.
type heldRequest struct {
	since time.Time
	left  func() bool // see Wait
	told  chan Ruling
}

// A Ruling is what becomes of a request.
type Ruling uint8

const (
	Serve  Ruling = iota // it is served
	Refuse               // it is refused at once
	Hold                 // Wait says what becomes of it
	Forget               // nobody waits for its answer any more
)

const (
	// congestionInterval is how long requests have to wait too long for it to be congestion, which
	// bursts and pauses are not.
	congestionInterval = 100 * time.Millisecond
	// refusalShare is the part of the processors' time that refusals may take.
	refusalShare = 1.0 / 24
	// refusalBurst is for how long it is saved.
	refusalBurst = 20 * time.Millisecond
	// longestHold is how long a request is held before it is refused rather than one that has
	// just come.
	longestHold = time.Second
	// congestionTick is how often held requests are looked at.
	congestionTick = 5 * time.Millisecond
)

// What a refusal is taken to cost before any was made, and at least and at most.
const (
	firstCost   = 15 * time.Microsecond
	lowestCost  = time.Microsecond
	highestCost = 200 * time.Microsecond
)

// NewCongestion returns one that begins where requests wait for more than target, and holds no
// more than most of them. tell hears of its beginning and end, one after the other, and may block
// no longer than a request may.
func NewCongestion(target time.Duration, most int64, clock func() time.Time, tell func(congested bool)) *Congestion {
	return &Congestion{
		target: target, most: most, clock: clock, tell: tell, began: make(chan struct{}, 1),
		share: refusalShare * float64(runtime.GOMAXPROCS(0)), cost: firstCost, filled: clock(),
	}
}

// Judge says what becomes of a request that has waited so long, 0 for nobody knows how long.
// Budget: 0 allocs.
func (c *Congestion) Judge(waited time.Duration, now time.Time) Ruling {
	if waited <= c.target {
		if waited > 0 && c.all.Load() != 0 {
			c.all.Store(0)
		}
		return Serve
	}
	c.late.Store(now.UnixNano())
	if !c.on.Load() && !c.begins(now) {
		return Serve
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fill(now)
	if full := int64(len(c.held)) >= c.most; !full && (c.budget <= 0 || c.overdue(now)) {
		return Hold
	}
	c.budget = max(c.budget-c.cost, -c.savings()) // who is held has a turn soon all the same
	return Refuse
}

// begins reports whether congestion has begun.
func (c *Congestion) begins(now time.Time) bool {
	since := c.all.Load()
	if since == 0 {
		c.all.CompareAndSwap(0, now.UnixNano())
		return false
	}
	if now.UnixNano()-since < int64(congestionInterval) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if !c.on.Load() {
		c.on.Store(true)
		c.tell(true)
		select {
		case c.began <- struct{}{}:
		default: // Run has not come to the last one yet
		}
	}
	return true
}

// fill adds to the budget what time has brought.
func (c *Congestion) fill(now time.Time) {
	if d := now.Sub(c.filled); d > 0 {
		c.budget = min(c.budget+time.Duration(float64(d)*c.share), c.savings())
		c.filled = now
	}
}

// savings are what refusals may cost at once after a pause.
func (c *Congestion) savings() time.Duration { return time.Duration(float64(refusalBurst) * c.share) }

// overdue reports whether somebody was held for long.
func (c *Congestion) overdue(now time.Time) bool {
	return len(c.held) > 0 && now.Sub(c.held[0].since) > longestHold
}

// Cost notes how long the answer to a refused request has taken, without its reading. Its
// median is what counts: whoever is interrupted takes long and uses nothing.
func (c *Congestion) Cost(d time.Duration) {
	const reading = 2 // times the answer, with waking up
	c.mu.Lock()
	defer c.mu.Unlock()
	step := max(c.cost/64, 1)
	if reading*d < c.cost {
		step = -step
	}
	c.cost = min(max(c.cost+step, lowestCost), highestCost)
}

// Wait returns when it is clear what becomes of a held request: it is served, refused or
// forgotten. left says whether its client has; it may be asked by others, but not once Wait
// has returned.
func (c *Congestion) Wait(since time.Time, left func() bool) Ruling {
	h := heldRequest{since, left, make(chan Ruling, 1)}
	c.mu.Lock()
	if !c.on.Load() {
		c.mu.Unlock()
		return Serve // it has just ended
	}
	c.held = append(c.held, h)
	c.mu.Unlock()
	return <-h.told
}

// Run looks after held requests until stop is closed. From then on all are served.
func (c *Congestion) Run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			c.end()
			return
		case <-c.began:
		}
		tick := time.NewTicker(congestionTick)
		for busy := true; busy; {
			select {
			case <-stop:
				tick.Stop()
				c.end()
				return
			case <-tick.C:
				busy = c.look(c.clock())
			}
		}
		tick.Stop()
	}
}

// look does for held requests what is to be done now, and reports whether there is more to do
// later.
func (c *Congestion) look(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fill(now)
	c.forget()
	if c.on.Load() && now.UnixNano()-c.late.Load() > int64(congestionInterval) {
		c.all.Store(0)
		c.on.Store(false)
		c.tell(false)
	}
	if c.on.Load() {
		for c.budget > 0 && len(c.held) > 0 { // as nobody who has just come has used it
			c.budget -= c.cost
			c.release(1, Refuse)
			c.forget()
		}
		return true
	}
	c.release(max(8, len(c.held)/16), Serve) // few at a time, as they would be the next congestion
	return len(c.held) > 0
}

// forget lets those go that have been held longest and whose clients have left: they cost
// nothing, and are not to be served when the congestion is over. Those behind them have
// waited for less and have their turn.
func (c *Congestion) forget() {
	for len(c.held) > 0 && c.held[0].left() {
		c.release(1, Forget)
	}
}

// release tells those that have been held longest what becomes of them.
func (c *Congestion) release(n int, r Ruling) {
	n = min(n, len(c.held))
	for i := range n {
		if h := &c.held[i]; r == Serve && h.left() {
			h.told <- Forget
		} else {
			h.told <- r
		}
		c.held[i] = heldRequest{}
	}
	c.held = c.held[n:]
}

func (c *Congestion) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on.Store(false)
	c.ended = true
	c.release(len(c.held), Serve)
}
