package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/templates"
	"legate/wire"
)

// A Set is everything that decides about who asks, of one configuration.
type Set struct {
	deps         *Deps // without what only building may use
	keys         *keySets
	mints        *mints
	logins       *logins
	policies     policies
	asked        Filter // the AuthServices, and who stands in for them; nil for none
	requirements map[*config.Mapping]Filter
	endpoints    Endpoints
	injected     []fieldName
}

// New makes what decides in w. Key sets, signing keys and what else has a life of its own
// is taken over from old, which may be nil. Nothing starts, and old does not change.
func New(w *config.World, old *Set, d *Deps) (*Set, []config.Problem) {
	live := *d
	live.AuthService, live.External = nil, nil // what goes on living must not hold what it was built with
	s := &Set{deps: &live, requirements: map[*config.Mapping]Filter{}}
	var keys *keySets
	var mints *mints
	var logins *logins
	if old != nil {
		keys, mints, logins = old.keys, old.mints, old.logins
	}
	s.keys = newKeySets(&live, keys)
	b := &setBuilder{Set: s, world: w, building: d, told: map[string]bool{}}
	b.mint(mints)
	b.login(logins)
	b.ask()
	var problems []config.Problem
	s.policies, problems = newPolicies(w, b.deps, b.use)
	s.policies.patience, s.policies.offenders = d.Patience, d.Offenders
	b.problems = append(b.problems, problems...)
	b.require()
	slices.SortFunc(s.injected, func(x, y fieldName) int { return strings.Compare(x.text, y.text) })
	s.injected = slices.CompactFunc(s.injected, func(x, y fieldName) bool { return x.text == y.text })
	return s, b.problems
}

// Start starts what is new. It waits for nobody but those who keep the keys of Mint filters,
// for each at most two seconds.
func (s *Set) Start() {
	s.keys.start()
	s.mints.start()
}

// Ready waits until every new key set was asked for once, or for the end of ctx.
func (s *Set) Ready(ctx context.Context) { s.keys.ready(ctx) }

// Retire ends what next, which may be nil, does not have. A nil Set has nothing.
func (s *Set) Retire(next *Set) {
	switch {
	case s == nil:
	case next == nil:
		s.keys.retire(nil)
		s.mints.retire(nil)
		s.logins.retire(nil)
	default:
		s.keys.retire(next.keys)
		s.mints.retire(next.mints)
		s.logins.retire(next.logins)
	}
}

// Endpoints returns the paths that are answered for the Set's own objects.
func (s *Set) Endpoints() *Endpoints { return &s.endpoints }

// KeySet renders the public keys that minted tokens are verified with (RFC 7517). A nil Set
// has none.
func (s *Set) KeySet() []byte {
	if s == nil {
		return renderKeySet(nil)
	}
	return s.mints.keySet()
}

// SigningKeyAge returns for how long the oldest of the keys that sign at now has been
// published, and whether one whose age is known signs at all.
func (s *Set) SigningKeyAge(now time.Time) (time.Duration, bool) {
	if s == nil {
		return 0, false
	}
	return s.mints.signingKeyAge(now)
}

// Decides reports whether there are rules that may have something to say about requests.
func (s *Set) Decides() bool { return s != nil && len(s.policies.rules) > 0 }

// Mints reports whether requests may get tokens that are made here.
func (s *Set) Mints() bool { return s != nil && len(s.mints.names) > 0 }

// Filter asks the Filters of the rules that decide about c; without one c passes.
// Budget: 0 allocs beside the Filters'.
func (s *Set) Filter(c *Call) Outcome { return s.policies.Filter(c) }

// AuthService returns what asks the AuthServices, nil for nothing.
func (s *Set) AuthService() Filter { return s.asked }

// Requirement returns what judges m's requests by its jwt, nil for nothing.
func (s *Set) Requirement(m *config.Mapping) Filter { return s.requirements[m] }

// Sets reports whether there are headers that are set here.
func (s *Set) Sets() bool { return s != nil && len(s.injected) > 0 }

// Strip removes what the client that sent head said under names that are set here: nobody
// else may speak of who asks. Budget: 0 allocs.
func (s *Set) Strip(head *wire.Head, edits *wire.Edits) {
	for i := range s.injected {
		n := &s.injected[i]
		if _, sent := n.in(head, edits); sent {
			edits.Remove(n.id, n.bytes)
		}
	}
}

// A setBuilder holds what is needed while a Set is made.
type setBuilder struct {
	*Set
	world    *config.World
	building *Deps
	problems []config.Problem
	told     map[string]bool // Filters whose Problems are among problems
}

// secret finds a Secret.
func (b *setBuilder) secret(namespace, name string) *config.Secret {
	i := slices.IndexFunc(b.world.Secrets, func(s config.Secret) bool { return s.Is(namespace, name) })
	if i < 0 {
		return nil
	}
	return &b.world.Secrets[i]
}

// mint makes the Mint filters and their endpoints.
func (b *setBuilder) mint(old *mints) {
	var problems []config.Problem
	b.mints, problems = newMints(b.world, old, b.keys, b.deps)
	b.problems = append(b.problems, problems...)
	b.problems = append(b.problems, b.mints.addTo(&b.endpoints, b.world)...)
}

// login makes the OAuth2 Filters and their paths.
func (b *setBuilder) login(old *logins) {
	var problems []config.Problem
	b.logins, problems = newLogins(b.world, old, b.secret, b.keys, b.deps)
	b.problems = append(b.problems, problems...)
	b.logins.addTo(&b.endpoints, b.deps)
}

// ask makes what asks the AuthServices, or the Mint filters that stand in for some.
func (b *setBuilder) ask() {
	others := *b.world
	others.AuthServices = nil
	var both inTurn
	for i := range b.world.AuthServices {
		a := &b.world.AuthServices[i]
		o := StandsInFor(b.world, a)
		if o == nil || a.BuiltIn {
			others.AuthServices = append(others.AuthServices, *a)
			continue
		}
		if m := b.mints.get(o.Namespace, o.Name); m != nil && !m.broken {
			both = append(both, m.Minter)
			continue
		}
		invalid := newInvalid(o.Namespace, o.Name, b.deps)
		invalid.message = "the Filter that stands in for an AuthService is invalid"
		both = append(both, invalid)
	}
	service, problems := NewAuthService(&others, b.building)
	b.problems = append(b.problems, problems...)
	if service != nil {
		both = append(both, service)
	}
	switch len(both) {
	case 0:
	case 1:
		b.asked = both[0]
	default:
		b.asked = both
	}
}

// inTurn are Filters of which each must let a request pass.
type inTurn []Filter

// Filter asks them. Budget: 0 allocs beside the Filters'.
func (f inTurn) Filter(c *Call) Outcome {
	for _, each := range f {
		if each.Filter(c) == Deny {
			return Deny
		}
	}
	return Allow
}

// Explain tells what those have to say that have something.
func (f inTurn) Explain(c *Call) (notes []string) {
	for _, each := range f {
		if e, ok := each.(Explainer); ok {
			notes = append(notes, e.Explain(c)...)
		}
	}
	return notes
}

// use makes the Filter that a rule of p uses. field is where p does.
func (b *setBuilder) use(p *config.FilterPolicy, field string, u *config.FilterUse) (Filter, []config.Problem) {
	i := slices.IndexFunc(b.world.Filters, func(f config.Filter) bool { return f.Is(u.Namespace, u.Name) })
	if i >= 0 {
		b.speaks(&b.world.Filters[i])
	}
	if i >= 0 && b.world.Filters[i].OAuth2 != nil && b.world.Filters[i].Broken == "" {
		return b.oauth2(p, field, &b.world.Filters[i], u.Arguments)
	}
	if i >= 0 {
		return b.filter(&b.world.Filters[i], u.Arguments)
	}
	if u.Arguments == nil || u.Arguments.JWKSURI == "" {
		problem := p.Problem(field, fmt.Sprintf("there is no Filter %s.%s", u.Name, u.Namespace), config.RouteClosed)
		problem.Instead = filterCloses
		return newInvalid(u.Namespace, u.Name, b.deps), []config.Problem{problem}
	}
	implied := &config.JWTFilter{ExpiresAt: config.ClaimRule{Required: true}}
	j, err := newJWT(fmt.Sprintf("Filter %s/%s", u.Namespace, u.Name), u.Name+"."+u.Namespace, implied, u.Arguments, b.keys, b.deps)
	if err != nil {
		return newInvalid(u.Namespace, u.Name, b.deps), []config.Problem{p.Problem(field+".arguments", err.Error(), config.RouteClosed)}
	}
	j.minters = b.mints.minters()
	return j, nil
}

const filterCloses = "every request that it would decide about answers 500"

// filter makes o as a rule with args uses it. What is wrong with it is told once.
func (b *setBuilder) filter(o *config.Filter, args *config.Arguments) (Filter, []config.Problem) {
	invalid := newInvalid(o.Namespace, o.Name, b.deps)
	once := func(problems []config.Problem) []config.Problem {
		if len(problems) == 0 || b.told[o.FullName()] {
			return nil
		}
		b.told[o.FullName()] = true
		return problems
	}
	switch {
	case o.Broken != "": // the decoder told why
		return invalid, nil
	case o.JWT != nil:
		j, err := newJWT(invalid.by, o.FullName(), o.JWT, args, b.keys, b.deps)
		if err != nil {
			return invalid, once([]config.Problem{objectProblem(&o.Meta, "JWT.", err, filterCloses)})
		}
		j.minters = b.mints.minters()
		return j, nil
	case o.External != nil:
		x, broken, problems := newExternalFilter(o, b.building)
		if broken != "" {
			return invalid, once(problems)
		}
		return x, once(problems)
	case o.APIKey != nil:
		k, problems := newAPIKey(o, b.secret, b.deps)
		return k, once(problems)
	case o.Mint != nil:
		if m := b.mints.get(o.Namespace, o.Name); m != nil && !m.broken {
			return m.Minter, nil
		}
		return invalid, nil // newMints told why
	}
	return invalid, nil
}

// objectProblem is the Problem of err, which is one field's of m below prefix.
func objectProblem(m *config.Meta, prefix string, err error, instead string) config.Problem {
	field := strings.TrimSuffix(prefix, ".")
	if f, ok := errors.AsType[*fieldError](err); ok {
		field = prefix + f.field
	}
	p := m.Problem(field, err.Error(), config.RouteClosed)
	p.Instead = instead
	return p
}

// speaks notes the headers that o sets. Where o is broken nobody else sets them either: what
// it would decide about is closed, but services that it speaks to are asked for more than that.
func (b *setBuilder) speaks(o *config.Filter) {
	switch {
	case o.JWT != nil:
		b.injects(templates.Names(o.JWT.Inject))
	case o.OAuth2 != nil:
		b.injects(templates.Names(o.OAuth2.Inject))
	}
}

// injects notes names of headers that are set here. By some of them clients say themselves
// who they are, which is what Filters have to see; these are replaced, and not taken away.
func (b *setBuilder) injects(names [][]byte) {
	for _, name := range names {
		if n := newFieldName(string(name)); n.id != wire.FieldAuthorization && n.id != wire.FieldCookie {
			b.injected = append(b.injected, n)
		}
	}
}

// require makes what judges requests by their Mappings' jwt.
func (b *setBuilder) require() {
	minters := b.mints.minters()
	trusted := make([]believer, len(minters))
	for i, m := range minters {
		trusted[i] = m
	}
	for _, m := range b.world.Mappings {
		if m.JWT == nil {
			continue
		}
		b.injects(templates.Names(m.JWT.Filter.Inject))
		if m.JWTBroken {
			continue
		}
		q, err := newRequirement(m, trusted, b.keys, b.deps)
		if err != nil {
			b.problems = append(b.problems, objectProblem(&m.Meta, "jwt.", err, "every request of the route answers 500"))
			i := newInvalid(m.Namespace, m.Name, b.deps)
			i.by, i.message = fmt.Sprintf("Mapping %s/%s", m.Namespace, m.Name), fmt.Sprintf("the jwt of Mapping %s.%s is invalid", m.Name, m.Namespace)
			b.requirements[m] = i
			continue
		}
		q.minters = minters
		b.requirements[m] = q
	}
}
