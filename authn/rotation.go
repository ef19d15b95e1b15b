package authn

import (
	"slices"
	"time"
)

// A rotation says when signing keys come and go: one is published, waits until everybody
// who verifies has looked again, signs, is kept until the last of its tokens has lapsed,
// and goes.
type rotation struct {
	every time.Duration // how long a key signs; 0: somebody else brings keys and takes them away
	wait  time.Duration // from publishing to signing
	keep  time.Duration // after the next one signs
}

// istiod looks at a key set every 20 minutes. Waiting longer than that before a key signs,
// and keeping it for longer than that and the longest token's life after, no token meets a
// verifier that does not know its key.
const (
	keyWait = 30 * time.Minute
	keyKeep = time.Hour
)

// A plan is what is due for a row of keys at one moment.
type plan struct {
	signing int       // which of them signs; -1 where there is none
	drop    int       // so many of the oldest go
	publish bool      // another one is to be made
	signs   time.Time // from when on that one signs
	again   time.Time // when something will be due next; zero for never
}

// plan says what is due at now for keys, which are sorted by when they sign. alg is what
// they should sign by. It is only a calculation.
func (r rotation) plan(keys []*signingKey, alg string, now time.Time) plan {
	p := plan{signing: -1}
	for i, k := range keys {
		if !k.signs.After(now) {
			p.signing = i
		}
	}
	if len(keys) == 0 {
		if r.every > 0 {
			p.publish, p.signs = true, now
		}
		return p
	}
	p.signing = max(p.signing, 0) // of keys that all wait, the first signs: nobody else can
	if p.signing+1 < len(keys) {
		p.at(keys[p.signing+1].signs, now)
	}
	if r.every == 0 {
		return p
	}
	for i := range p.signing {
		if gone := keys[i+1].signs.Add(r.keep); gone.After(now) {
			p.at(gone, now)
			break
		}
		p.drop = i + 1
	}
	if p.signing+1 == len(keys) {
		r.succeed(&p, keys[p.signing], alg, now)
	}
	return p
}

// succeed plans for the key that comes after the last one.
func (r rotation) succeed(p *plan, last *signingKey, alg string, now time.Time) {
	turn := last.signs.Add(r.every)
	if last.alg != alg {
		turn = now // as soon as may be
	}
	if due := turn.Add(-r.wait); due.After(now) {
		p.at(due, now)
		return
	}
	p.publish, p.signs = true, turn
	if soonest := now.Add(r.wait); turn.Before(soonest) {
		p.signs = soonest
	}
}

// at notes that something is due then.
func (p *plan) at(then, now time.Time) {
	if then.After(now) && (p.again.IsZero() || then.Before(p.again)) {
		p.again = then
	}
}

// sortKeys puts keys into the order in which they sign.
func sortKeys(keys []*signingKey) {
	slices.SortStableFunc(keys, func(a, b *signingKey) int { return a.signs.Compare(b.signs) })
}
