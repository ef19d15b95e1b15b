package authn

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"legate/config"
	"legate/decision"
	"legate/templates"
	"legate/wire"
)

// A verifier judges bearer tokens by one set of wishes.
type verifier struct {
	by         string  // the object whose wishes they are: "Filter shop/api"
	keys       *keySet // nil where only tokens that nobody signed are taken
	algorithms []string
	rules      claimRules
	cache      *Cache
	offenders  *Offenders
	policy     [sha256.Size]byte // of all that makes a difference to a verdict
	inject     *templates.Headers
	minters    []*Minter // whose tokens are for some requests only
}

// newVerifier makes what verifies tokens as c says. c is not kept.
func newVerifier(by string, c *config.JWTFilter, scope []string, sets *keySets, d *Deps) (*verifier, error) {
	v, err := newKeyless(by, c, scope, d)
	if err != nil {
		return nil, err
	}
	if onlyUnsigned := !slices.ContainsFunc(v.algorithms, func(a string) bool { return a != none }); !onlyUnsigned {
		v.keys = sets.of(c)
	}
	return v, nil
}

// newKeyless is newVerifier without keys.
func newKeyless(by string, c *config.JWTFilter, scope []string, d *Deps) (*verifier, error) {
	inject, err := templates.NewHeaders(c.Inject)
	if err != nil {
		return nil, inField("injectRequestHeaders", err)
	}
	v := &verifier{
		by: by, cache: d.Cache, offenders: d.Offenders, inject: inject,
		algorithms: c.ValidAlgorithms,
		rules: claimRules{
			audiences: c.Audiences, requireAudience: c.RequireAudience,
			issuer: c.Issuer, requireIssuer: c.RequireIssuer,
			expiresAt: c.ExpiresAt, notBefore: c.NotBefore, issuedAt: c.IssuedAt, scope: scope,
		},
	}
	if len(v.algorithms) == 0 {
		v.algorithms = safeAlgorithms
	}
	wishes, err := json.Marshal(struct {
		By    string
		JWT   *config.JWTFilter
		Scope []string
	}{by, c, scope})
	v.policy = sha256.Sum256(wishes)
	return v, err
}

// verify returns what c's token proves, from memory where it was seen before. hit reports
// whether it was. Nobody looks at one that was not, of a client whose tokens fail too often. Budget: 0 allocs for a token seen before.
func (v *verifier) verify(c *Call, token []byte) (known *Verified, hit bool, f *failure) {
	k := cacheKey{credential: sha256.Sum256(token), policy: v.policy}
	now, current := c.Now, true
	if v.keys != nil {
		set := v.keys.usable(now)
		if current = set != nil; current {
			k.generation = set.generation
		}
	}
	if current {
		if known = v.cache.get(&k, now); known != nil {
			return known, true, nil
		}
	}
	if f = v.offenders.flooded(c); f != nil {
		return nil, false, f
	}
	fresh, generation, lapse, f := v.look(c, string(token), now)
	if f != nil {
		v.offenders.note(c, f)
		return nil, false, f
	}
	if c.Dry { // the first use is still to come
		return fresh, false, nil
	}
	k.generation = generation
	return v.cache.put(&k, *fresh, now, lapse), false, nil
}

// look verifies a token that nobody remembers, of c, which may be nil. It returns the generation of the keys that
// it was verified with, and when the verdict lapses, zero for never.
func (v *verifier) look(c *Call, raw string, now time.Time) (known *Verified, generation uint64, lapse time.Time, f *failure) {
	t, err := parseJWS(raw)
	if err != nil {
		return nil, 0, lapse, refuse(decision.TokenMalformed, malformed, "the token is malformed: "+err.Error())
	}
	if generation, f = v.checkSignature(c, &t, now); f != nil {
		return nil, 0, lapse, f
	}
	claims, f := parseClaims(t.payload)
	if f != nil {
		return nil, 0, lapse, f
	}
	if lapse, f = v.rules.judge(claims, now); f != nil {
		return nil, 0, lapse, f
	}
	id := &Identity{By: v.by, Token: &Token{Raw: raw, Header: t.header, Claims: claims, Signature: t.sigText}}
	id.Subject, _ = claims["sub"].(string)
	id.Issuer, _ = claims["iss"].(string)
	if !lapse.IsZero() {
		id.Expires = lapse.Add(-v.rules.expiresAt.Leeway)
	}
	lines, f := v.render(id, nil)
	return &Verified{Identity: id, Lines: lines}, generation, lapse, f
}

// enforce says why c must not come by a token that a Mint filter made for others, nil where it
// may: who trusts that issuer's keys does not trust its tokens for more than they say.
// Budget: 0 allocs.
func (v *verifier) enforce(c *Call, id *Identity) *failure {
	for _, m := range v.minters {
		if m.f.Issuer == id.Issuer {
			return m.enforce(c, id.Token.Claims)
		}
	}
	return nil
}

var (
	failAlgorithm = refuse(decision.TokenInvalid, signatureInvalid, "the token's algorithm is not accepted")
	failUnsigned  = refuse(decision.TokenInvalid, signatureInvalid, "the token says that it is not signed, and has a signature")
	failNoKey     = refuse(decision.TokenInvalid, unverifiable, "no known key fits the token")
	failSignature = refuse(decision.TokenInvalid, signatureInvalid, "the token's signature does not hold")
)

// checkSignature says what is wrong with t's signature, nil for nothing, and by the keys
// of which generation.
func (v *verifier) checkSignature(c *Call, t *jws, now time.Time) (generation uint64, f *failure) {
	switch {
	case !slices.Contains(v.algorithms, t.alg):
		return 0, failAlgorithm
	case t.alg == none && len(t.sigText) > 0:
		return 0, failUnsigned
	case t.alg == none && v.keys == nil:
		return 0, nil
	}
	list, set, err := v.keys.find(c, t.kid, t.alg, now)
	switch {
	case err != nil:
		return 0, &failure{reason: decision.KeySetUnavailable, bits: unverifiable, message: "the keys to verify tokens with cannot be had", err: err}
	case t.alg == none:
		return set.generation, nil
	case len(list) == 0:
		return 0, failNoKey
	}
	for _, k := range list {
		if k.verify(t.alg, t.signed, t.signature) == nil {
			return set.generation, nil
		}
	}
	return 0, failSignature
}

// render makes the headers that speak of id: those that depend on c, or with nil those
// that do not.
func (v *verifier) render(id *Identity, c *Call) ([]wire.Add, *failure) {
	t := id.Token
	data := map[string]any{"token": v.inject.TokenFor(t.Raw, t.Header, t.Claims, t.Signature)}
	if c != nil {
		data["httpRequestHeader"] = templates.RequestHeader(c.Head, c.Edits)
	}
	lines, err := v.inject.Render(data, c != nil)
	if err != nil {
		return nil, &failure{reason: decision.TemplateFailed, message: "the headers for the service cannot be made", err: err}
	}
	return lines, nil
}

// admit makes the request's headers speak of whom known is. Its own Authorization goes on
// where propagate says so, and what a template sets there in any case. Budget: 0 allocs where
// no template looks at the request.
func (v *verifier) admit(c *Call, known *Verified, propagate bool) *failure {
	var more []wire.Add
	if v.inject.PerRequest() {
		var f *failure
		if more, f = v.render(known.Identity, c); f != nil {
			return f
		}
	}
	if !propagate {
		c.Edits.Remove(wire.FieldAuthorization, nil)
	}
	templates.Set(c.Edits, known.Lines)
	templates.Set(c.Edits, more)
	c.Identity = known.Identity
	return nil
}

// A jwtFilter lets requests through that bring a token which its verifier believes.
type jwtFilter struct {
	verifier
	refusals
	propagate bool
}

// newJWT makes the JWT Filter by, called "name.namespace", as one rule uses it. An error
// is one of package templates about what c injects or answers.
func newJWT(by, name string, c *config.JWTFilter, args *config.Arguments, sets *keySets, d *Deps) (*jwtFilter, error) {
	c, scope, propagate := withArguments(c, args)
	if c.JWKSURI == "" && !(len(c.ValidAlgorithms) == 1 && c.ValidAlgorithms[0] == none) {
		return nil, &fieldError{"jwksURI", errNoURI} // a rule may ask for more than its Filter
	}
	v, err := newVerifier(by, c, scope, sets, d)
	if err != nil {
		return nil, err
	}
	r, err := newRefusals(by, name, &c.Error, d)
	if err != nil {
		return nil, err
	}
	return &jwtFilter{verifier: *v, refusals: *r, propagate: propagate}, nil
}

var errNoURI = errors.New("is required")

// withArguments returns c as a rule with args has it, which scopes the rule asks for, and
// whether the service gets the token.
func withArguments(c *config.JWTFilter, args *config.Arguments) (changed *config.JWTFilter, scope []string, propagate bool) {
	if args == nil {
		return c, nil, true
	}
	w := *c
	w.JWKSURI = cmp.Or(args.JWKSURI, w.JWKSURI)
	w.Issuer = cmp.Or(args.Issuer, w.Issuer)
	if args.Audiences != nil {
		w.Audiences, w.RequireAudience = args.Audiences, true // who names one in a rule means it
	}
	if args.ValidAlgorithms != nil {
		w.ValidAlgorithms = args.ValidAlgorithms
	}
	override(&w.RequireAudience, args.RequireAudience)
	override(&w.RequireIssuer, args.RequireIssuer)
	for _, o := range []struct {
		rule *config.ClaimRule
		by   config.ClaimOverride
	}{{&w.ExpiresAt, args.ExpiresAt}, {&w.NotBefore, args.NotBefore}, {&w.IssuedAt, args.IssuedAt}} {
		override(&o.rule.Required, o.by.Required)
		override(&o.rule.Leeway, o.by.Leeway)
	}
	propagate = true
	override(&propagate, args.PropagateToken)
	return &w, args.Scope, propagate
}

func override[T any](value *T, by *T) {
	if by != nil {
		*value = *by
	}
}

// Filter verifies the bearer token of c. Budget: 0 allocs for a token seen before, where
// no template looks at the request.
func (j *jwtFilter) Filter(c *Call) Outcome {
	token, f := c.bearer()
	if f == nil {
		f = j.believe(c, token)
	}
	if f != nil {
		j.refuse(c, f)
		return Deny
	}
	return Allow
}

// believe admits c by its token, or says why not.
func (j *jwtFilter) believe(c *Call, token []byte) *failure {
	known, seen, f := j.verify(c, token)
	if f == nil {
		f = j.enforce(c, known.Identity)
	}
	if f != nil {
		return f
	}
	if f = j.admit(c, known, j.propagate); f != nil {
		return f
	}
	j.accepted(c, known.Identity, seen)
	return nil
}

// refusals make the answers of one object's refusals, and count its verdicts.
type refusals struct {
	by       string
	realm    string // quoted
	response *templates.Response
	counters *verdicts
	deps     *Deps
}

// newRefusals makes the answers of the object by, called "name.namespace".
func newRefusals(by, name string, c *config.ErrorResponse, d *Deps) (*refusals, error) {
	response, err := templates.NewResponse(c)
	if err != nil {
		return nil, inField("errorResponse", err)
	}
	return &refusals{by: by, realm: quoted(cmp.Or(c.Realm, name)), response: response, counters: newVerdicts(d.Metrics, name), deps: d}, nil
}

// accepted notes that a token of id's was believed, and whether it was seen before.
// Budget: 0 allocs where it was.
func (r *refusals) accepted(c *Call, id *Identity, seen bool) {
	r.count(c, decision.None)
	if !seen && r.deps.Audit != nil {
		e := decision.Event{Kind: decision.TokenAccepted, Allowed: true, By: r.by}
		about(&e, id)
		r.deps.audit(c, e)
	}
}

// count counts what became of c's token, unless c is only asked about. Budget: 0 allocs.
func (r *refusals) count(c *Call, outcome decision.Reason) {
	if !c.Dry {
		r.counters[outcome].Add()
	}
}

// refuse writes the answer to a request that f refuses.
func (r *refusals) refuse(c *Call, f *failure) {
	answer := r.response.Render(&templates.Refusal{
		Status: f.reason.Status(), Message: f.message, Err: f.visible(), RequestID: string(c.RequestID),
		Header: func() http.Header { return templates.RequestHeader(c.Head, c.Edits) },
	})
	c.Reply = Reply{
		Reason: f.reason, By: r.by, Status: answer.Status, ContentType: answer.ContentType,
		Headers: answer.Headers, Body: answer.Body, Err: f.err,
	}
	if answer.Err != nil {
		c.Reply.Reason, c.Reply.Err = decision.TemplateFailed, errors.Join(f.err, answer.Err)
	} else if challenge := f.challenge(r.realm); challenge != "" {
		c.Reply.Headers = append(c.Reply.Headers, wire.Add{ID: wire.FieldWWWAuthenticate, Value: []byte(challenge)})
	}
	if f.retryAfter > 0 {
		c.Reply.Headers = append(c.Reply.Headers, retryLine(f))
	}
	r.count(c, f.reason)
	kind := decision.TokenRejected
	switch {
	case f.reason == decision.TokenMissing: // nobody said who they are
		return
	case c.Reply.Status >= http.StatusInternalServerError:
		kind = decision.AuthFailed
	}
	r.deps.audit(c, decision.Event{Kind: kind, Reason: c.Reply.Reason, By: r.by, Status: c.Reply.Status})
}
