package authn

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"legate/decision"
)

// Offenders know which addresses send token after token that does not hold, so that no
// processor time is spent on the signatures of more. An address may fail so often each
// second, and what it leaves of ten seconds is kept for when it needs it. It takes half a
// megabyte, whoever sends what; nil knows nobody.
//
// Each place of the table holds one address: a part of its keyed hash, and when it will have
// made up for its failures. Those that make up first give way to others. Two addresses are
// taken for one another with a chance of one in a million, and only to those whose tokens
// nobody has seen yet makes that a difference.
type Offenders struct {
	seed  maphash.Seed
	start time.Time
	each  uint64 // that one failure takes to make up for, in ticks
	sets  [offenderSets][offenderWays]atomic.Uint64
}

const (
	offenderSets = 1 << 14
	offenderWays = 4

	// The clock of the table goes for 13 years.
	offenderTick = 100 * time.Microsecond
	timeBits     = 42
	timeMask     = 1<<timeBits - 1

	offenderSavings = uint64(10 * time.Second / offenderTick)
)

// MaxTokenFailures is the most that Offenders can let an address fail each second.
const MaxTokenFailures = int(time.Second / offenderTick)

// DefaultTokenFailures is how often an address may fail each second where nothing is said:
// many people's may be one, and all that costs a hundredth of a core.
const DefaultTokenFailures = 50

// NewOffenders returns a table in which an address may fail so often each second, up to
// MaxTokenFailures; nil for 0 and less.
func NewOffenders(failures int, now time.Time) *Offenders {
	if failures <= 0 {
		return nil
	}
	return &Offenders{
		seed: maphash.MakeSeed(), start: now,
		each: uint64(MaxTokenFailures / min(failures, MaxTokenFailures)), //nolint:gosec // because it is at least 1
	}
}

// place returns where client would be found, and what stands for it there. Budget: 0 allocs.
func (o *Offenders) place(client netip.Addr) (set *[offenderWays]atomic.Uint64, tag uint64) {
	text := network(client).Addr().As16()
	sum := maphash.Bytes(o.seed, text[:])
	return &o.sets[sum%offenderSets], sum &^ timeMask
}

// ticks is the table's time at now, which is never 0.
func (o *Offenders) ticks(now time.Time) uint64 {
	return uint64(max(now.Sub(o.start)/offenderTick, 0)) + 1
}

// wait returns how long no token of client's is looked at any more at now; 0 for now.
// Budget: 0 allocs.
func (o *Offenders) wait(client netip.Addr, now time.Time) time.Duration {
	set, tag := o.place(client)
	for i := range set {
		v := set[i].Load()
		if v != 0 && v&^timeMask == tag {
			if until, latest := v&timeMask+o.each, o.ticks(now)+offenderSavings; until > latest {
				return time.Duration(until-latest) * offenderTick //nolint:gosec // because it is a few seconds
			}
			return 0
		}
	}
	return 0
}

// failed notes a failure of client's. Of two at once in a full set one may be lost.
// Budget: 0 allocs.
func (o *Offenders) failed(client netip.Addr, now time.Time) {
	set, tag := o.place(client)
	at := o.ticks(now)
	var first *atomic.Uint64
	var least uint64
	for i := range set {
		v := set[i].Load()
		for v != 0 && v&^timeMask == tag {
			if set[i].CompareAndSwap(v, tag|(max(v&timeMask, at)+o.each)&timeMask) {
				return
			}
			v = set[i].Load()
		}
		if first == nil || v&timeMask < least {
			first, least = &set[i], v&timeMask
		}
	}
	first.Store(tag | (at+o.each)&timeMask)
}

// forgive takes back n failures of client's. Budget: 0 allocs.
func (o *Offenders) forgive(client netip.Addr, n int) {
	set, tag := o.place(client)
	for i := range set {
		v := set[i].Load()
		for v != 0 && v&^timeMask == tag {
			back := v&timeMask - min(v&timeMask, uint64(n)*o.each) //nolint:gosec // because it counts
			if set[i].CompareAndSwap(v, tag|back) {
				return
			}
			v = set[i].Load()
		}
	}
}

// flooded refuses c where no token of its client's is looked at, nil where one is.
// Budget: 0 allocs for who has not failed too often.
func (o *Offenders) flooded(c *Call) *failure {
	if o == nil {
		return nil
	}
	wait := o.wait(c.Client, c.Now)
	if wait == 0 {
		return nil
	}
	f := failFlood
	f.retryAfter = wait
	return &f
}

var failFlood = failure{reason: decision.TokenFlood, message: "too many tokens did not hold; try again later"}

// note counts that c's token was refused for f. What is not the client's fault, and what is
// only asked about, is not counted. Budget: 0 allocs.
func (o *Offenders) note(c *Call, f *failure) {
	if o != nil && !c.Dry && f.reason.Fault() == decision.ClientFault {
		o.failed(c.Client, c.Now)
		c.failures++
	}
}

// settle forgives what was counted of c: somebody has recognised whom it is from, and who
// was asked before only does not know such tokens. Budget: 0 allocs.
func (o *Offenders) settle(c *Call) {
	if c.failures > 0 && c.Identity != nil {
		o.forgive(c.Client, c.failures)
		c.failures = 0
	}
}
