package authn

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A believer verifies tokens that the gateway takes from anybody: of its own making, and
// of the issuers that its Mint filters trust.
type believer interface {
	// recogniseToken returns whom token speaks of. It fails with the reason TokenIssuer
	// where it has nothing to do with whoever issued it.
	recogniseToken(c *Call, token []byte) (*Identity, *failure)
}

// A requirement is what a Mapping's jwt asks of its requests. It comes after whoever else
// decides, and believes whom they recognised.
type requirement struct {
	verifier
	refusals
	required  bool
	propagate bool
	own       bool       // the Mapping says itself by what tokens are verified
	trusted   []believer // where it does not
}

// newRequirement makes the requirement of m, which has one. An error is a *fieldError.
func newRequirement(m *config.Mapping, trusted []believer, sets *keySets, d *Deps) (*requirement, error) {
	by := fmt.Sprintf("Mapping %s/%s", m.Namespace, m.Name)
	c := m.JWT.Filter
	own := c.JWKSURI != "" || len(c.ValidAlgorithms) == 1 && c.ValidAlgorithms[0] == none
	if !own {
		c.ValidAlgorithms = []string{none} // nothing is verified by it, so it needs no keys
	}
	v, err := newVerifier(by, &c, nil, sets, d)
	if err != nil {
		return nil, err
	}
	r, err := newRefusals(by, m.FullName(), &c.Error, d)
	if err != nil {
		return nil, err
	}
	return &requirement{
		verifier: *v, refusals: *r, required: m.JWT.RequireToken, propagate: m.JWT.PropagateToken, own: own, trusted: trusted,
	}, nil
}

// Filter judges c. A request without a token passes where none is required, and then
// nothing is told of anybody. Budget: 0 allocs for an identity seen before, where no
// template looks at the request.
func (q *requirement) Filter(c *Call) Outcome {
	id, f := q.who(c)
	if f == failNoToken && !q.required {
		return Allow
	}
	if f == nil {
		f = q.tell(c, id)
	}
	if f != nil {
		q.refuse(c, f)
		return Deny
	}
	q.offenders.settle(c)
	return Allow
}

// who returns whom the request's token speaks of: whoever was recognised by one already,
// else who the Mapping's own keys say, or those whom the gateway trusts. Nobody's claims
// are believed because somebody else let the request pass.
func (q *requirement) who(c *Call) (*Identity, *failure) {
	if c.Identity != nil && c.Identity.Token != nil {
		return c.Identity, nil
	}
	token, f := c.bearer()
	if f != nil {
		return nil, f
	}
	if q.own {
		known, seen, f := q.verify(c, token)
		if f == nil {
			f = q.enforce(c, known.Identity)
		}
		if f != nil {
			return nil, f
		}
		q.accepted(c, known.Identity, seen)
		return known.Identity, nil
	}
	for _, b := range q.trusted {
		id, f := b.recogniseToken(c, token)
		if f == nil || f.reason != decision.TokenIssuer {
			return id, f
		}
	}
	return nil, failStranger
}

var failStranger = refuse(decision.TokenIssuer, wrongIssuer, "nobody who is trusted here issued the token")

// A telling is what one requirement made of an identity. It is not changed.
type telling struct {
	policy [sha256.Size]byte
	lines  []wire.Add
	lapse  time.Time // when its judgement does; zero for never
}

// maxTellings bounds how many are kept with one identity.
const maxTellings = 16

// tellings are kept with an identity, the latest last.
type tellings struct {
	list atomic.Pointer[[]*telling]
}

// find returns what policy made at now, nil for nothing. Budget: 0 allocs.
func (s *tellings) find(policy *[sha256.Size]byte, now time.Time) *telling {
	list := s.list.Load()
	if list == nil {
		return nil
	}
	for _, t := range *list {
		if t.policy == *policy && (t.lapse.IsZero() || now.Before(t.lapse)) {
			return t
		}
	}
	return nil
}

// weight is how many bytes t takes.
func (t *telling) weight() int64 { return tellCost + linesCost(t.lines) }

// put keeps t, and returns how many bytes more than before that takes. What gets lost
// because somebody else put another one meanwhile is made again.
func (s *tellings) put(t *telling) (grown int64) {
	old := s.list.Load()
	var next []*telling
	if old != nil {
		grown = -weightOf(*old)
		next = slices.DeleteFunc(slices.Clone(*old), func(o *telling) bool { return o.policy == t.policy })
	}
	if len(next) >= maxTellings {
		next = slices.Delete(next, 0, len(next)-maxTellings+1)
	}
	next = append(next, t)
	if !s.list.CompareAndSwap(old, &next) {
		return 0
	}
	return grown + weightOf(next)
}

// tell judges id by what the Mapping asks, and makes the request's headers speak of it.
// Budget: 0 allocs for an identity seen before, where no template looks at the request.
func (q *requirement) tell(c *Call, id *Identity) *failure {
	t := id.told.find(&q.policy, c.Now)
	if t == nil {
		lapse, f := q.rules.judge(id.Token.Claims, c.Now)
		if f != nil {
			return f
		}
		lines, f := q.render(id, nil)
		if f != nil {
			return f
		}
		t = &telling{policy: q.policy, lines: lines, lapse: lapse}
		id.grew(id.told.put(t), c.Now)
	}
	return q.admit(c, &Verified{Identity: id, Lines: t.lines}, q.propagate)
}
