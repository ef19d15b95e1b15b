package authn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/decision"
	"legate/templates"
	"legate/wire"
)

// An oauth2Filter is an OAuth2 Filter as one rule uses it.
type oauth2Filter struct {
	*login
	scopes   []string
	sameSite string
	policy   [sha256.Size]byte // of all that makes a difference to a verdict
	access   *verifier         // of access tokens that are JSON Web Tokens
	judge    *jwtFilter        // accessTokenJWTFilter; nil for none
	counters *verdicts

	instead     bool // of redirects: answer with status, or ask filters
	insteadWhen *condition
	status      int
	filters     *rule // nil for none
}

// newOAuth2 makes what l does for a rule with args. judge and filters may be nil.
func newOAuth2(l *login, args *config.Arguments, judge *jwtFilter, filters *rule, sets *keySets, d *Deps) (*oauth2Filter, error) {
	x := &oauth2Filter{login: l, scopes: l.scope(args), judge: judge, filters: filters, counters: newVerdicts(d.Metrics, l.realm)}
	rules := &config.JWTFilter{
		Issuer: l.f.AuthorizationURL, ValidAlgorithms: []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}, Fetch: l.f.Fetch,
	}
	var err error
	if x.access, err = newVerifier(l.by, rules, nil, sets, d); err != nil {
		return nil, err
	}
	x.access.rules.issuer = "" // it is the document's, which differs by a slash
	x.access.offenders = nil   // the provider gave the token, and not who asks
	if args != nil {
		x.sameSite = args.SameSite
		if i := args.Instead; i != nil {
			x.instead, x.status = true, cmp.Or(i.Status, decision.LoginRequired.Status())
			if x.insteadWhen, err = newCondition(i.If); err != nil {
				return nil, &fieldError{"arguments.insteadOfRedirect.ifRequestHeader", err}
			}
		}
	}
	wishes, err := json.Marshal(struct { //nolint:gosec // because nothing but its digest is kept
		By, Secret string
		OAuth2     *config.OAuth2Filter
		Args       *config.Arguments
		Judge      [sha256.Size]byte
	}{l.by, l.secret, l.f, args, x.judging()})
	x.policy = sha256.Sum256(wishes)
	return x, err
}

// judging stands for what the JWT Filter asks of access tokens.
func (x *oauth2Filter) judging() (policy [sha256.Size]byte) {
	if x.judge != nil {
		policy = x.judge.policy
	}
	return policy
}

// Filter lets those pass who have logged in, and sends others to the provider. Budget: 0
// allocs for a session seen before, where no template looks at the request.
func (x *oauth2Filter) Filter(c *Call) Outcome {
	if x.f.Grant != config.AuthorizationCode {
		return x.byCredentials(c)
	}
	i := x.originIndex(c)
	if i < 0 {
		return x.refuse(c, decision.OriginUnprotected, c.origin()+" is none of the Filter's protectedOrigins", nil)
	}
	k := cacheKey{credential: x.credential(c), policy: x.policy}
	known := x.deps.Cache.get(&k, c.Now)
	if known == nil {
		var outcome Outcome
		if known, outcome = x.recognise(c, &k); known == nil {
			return outcome
		}
	} else if x.parts.ended.Has(known.Identity.Session) {
		return x.enter(c, x.scopes)
	}
	return x.admit(c, known)
}

// credential stands for the cookies that c's session is in. Budget: 0 allocs.
func (x *oauth2Filter) credential(c *Call) [sha256.Size]byte {
	var spare []byte
	m := c.Memory
	if m == nil {
		m = &spare
	}
	before := len(*m)
	all := *m
	c.cookies(func(name, value []byte) {
		if x.ownCookie(name) {
			all = append(append(append(append(all, name...), '='), value...), ';')
		}
	})
	all = append(all, c.Head.Host()...)
	sum := sha256.Sum256(all[before:])
	*m = all[:before]
	return sum
}

// admit tells the service of whom known is. Budget: 0 allocs where no template looks at
// the request.
func (x *oauth2Filter) admit(c *Call, known *Verified) Outcome {
	if x.judge != nil && x.judge.inject.PerRequest() { // before x's own of the same name
		lines, f := x.judge.render(known.Identity, c)
		if f != nil {
			return x.refuse(c, f.reason, f.message, f.err)
		}
		templates.Set(c.Edits, lines)
	}
	templates.Set(c.Edits, known.Lines)
	if x.inject.PerRequest() {
		lines, err := x.inject.Render(x.data(known.Identity, c), true)
		if err != nil {
			return x.refuse(c, decision.TemplateFailed, "the headers for the service cannot be made", err)
		}
		templates.Set(c.Edits, lines)
	}
	if x.f.Grant == config.AuthorizationCode {
		x.withoutOwn(c)
	}
	c.Identity = known.Identity
	x.counters[decision.None].Add()
	return Allow
}

// recognise finds out whose session c has, when nobody remembers it. Without one it
// returns nil, and what becomes of c.
func (x *oauth2Filter) recognise(c *Call, k *cacheKey) (*Verified, Outcome) {
	o, _ := x.origin(c)
	s, several, err := x.opened(c, o)
	if err != nil {
		reason, message := unkept(err)
		return nil, x.refuse(c, reason, message, err)
	}
	if several {
		return nil, x.refuse(c, decision.SessionAmbiguous, "the browser sent two sessions, and only one can be this person's: remove the site's cookies", nil)
	}
	if s == nil {
		return nil, x.enter(c, x.scopes)
	}
	changed, err := x.fresh(c, s)
	switch refused := (*refusedError)(nil); {
	case errors.As(err, &refused):
		return nil, x.enter(c, x.scopes)
	case errors.Is(err, errStoreDown):
		reason, message := unkept(err)
		return nil, x.refuse(c, reason, message, err)
	case err != nil:
		return nil, x.refuse(c, decision.ProviderUnavailable, "the identity provider does not answer", err)
	}
	if lacks(s.Granted, x.scopes) {
		if lacks(s.Asked, x.scopes) {
			return nil, x.enter(c, union(s.Asked, x.scopes))
		}
		return nil, x.refuse(c, decision.TokenScope, "the login did not grant the scopes "+strings.Join(x.scopes, " "), nil)
	}
	v, remember, outcome := x.verified(c, s)
	if v == nil {
		return nil, outcome
	}
	if (changed || !c.Now.Before(s.due)) && !c.Dry {
		if err := x.renew(c, o, s, x.sameSite); err != nil {
			reason, message := unkept(err)
			return nil, x.refuse(c, reason, message, err)
		}
		return v, Allow // the next request may bring other cookies
	}
	if !remember {
		return v, Allow
	}
	lapse := s.due
	if trust := c.Now.Add(x.keeper.remembers()); trust.Before(lapse) {
		lapse = trust
	}
	if end := v.Identity.Expires; !end.IsZero() && end.Before(lapse) {
		lapse = end
	}
	return x.deps.Cache.put(k, *v, c.Now, lapse), Allow
}

var errExpired = &refusedError{"the access token has expired, and there is no refresh token"}

// fresh has s hold an access token that has not expired, and reports whether it had to be
// asked for.
func (x *oauth2Filter) fresh(c *Call, s *session) (changed bool, err error) {
	if s.Expires == 0 || c.Now.Add(x.f.SafetyMargin).Unix() < s.Expires {
		return false, nil
	}
	if s.Refresh == "" || c.Dry {
		return false, errExpired
	}
	from, now := *s, c.Now // of the question, which may outlive c
	told := x.deps.noted(c, decision.Event{Kind: decision.SessionRefreshed, Allowed: true, By: x.by, Subject: s.Subject})
	key := sha256.Sum256([]byte(s.ID + "\x00" + s.Refresh))
	next, err := x.parts.refreshes.do(key, now, c.wait(fetchTime, x.deps.Clock()), func() (*session, error) {
		return x.keeper.refresh(&from, func(s *session) (*session, error) {
			next, err := x.ask(s, now)
			if err == nil {
				x.deps.tell(&told)
			}
			return next, err
		})
	}, func(next *session) time.Time {
		lapse := now.Add(time.Minute)
		if next.Expires != 0 && next.Expires < lapse.Add(x.f.SafetyMargin).Unix() {
			lapse = time.Unix(next.Expires, 0).Add(-x.f.SafetyMargin)
		}
		return lapse
	})
	if err != nil {
		return false, err
	}
	*s = *next
	return true, nil
}

// ask has the provider refresh s.
func (x *oauth2Filter) ask(s *session, now time.Time) (*session, error) {
	d, err := x.provider.discover(nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.Refresh}}
	g, err := x.request(ctx, d, form, clientProof{id: x.f.ClientID, secret: x.secret})
	if err != nil {
		return nil, err
	}
	next := *s
	next.Access, next.Granted, next.Expires, next.Used = g.Access, g.ofLogin(s.Granted), seconds(g.expires(now)), now.Unix()
	if g.Refresh != "" {
		next.Refresh = g.Refresh
	}
	if g.IDToken != "" {
		t, f := x.idToken(nil, now, d, g, "")
		if f != nil || subject(t) != s.Subject { // Core 1.0 §12.2
			return nil, &refusedError{"the ID token of the refreshed session does not hold"}
		}
		next.IDToken = g.IDToken
	}
	return &next, nil
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func subject(t *Token) string {
	text, _ := t.Claims["sub"].(string)
	return text
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// verified looks whether s' access token holds, by whichever way was asked for. remember
// reports whether that is so for a while.
func (x *oauth2Filter) verified(c *Call, s *session) (v *Verified, remember bool, outcome Outcome) {
	id := &Identity{Subject: s.Subject, By: x.by, Session: s.ID, Token: &Token{Raw: s.Access}}
	if s.Expires != 0 {
		id.Expires = time.Unix(s.Expires, 0).Add(-x.f.SafetyMargin)
	}
	if s.IDToken != "" {
		t, err := takeApart(s.IDToken)
		if err != nil {
			return nil, false, x.refuse(c, decision.TemplateFailed, "Could not parse id_token jwt", err)
		}
		id.IDToken = t
		id.Issuer, _ = t.Claims["iss"].(string)
	}
	remember, f := x.validate(c, id)
	if f != nil {
		if x.judge != nil {
			x.judge.refuse(c, f)
			return nil, false, Deny
		}
		switch over := f.reason == decision.TokenExpired || f == failRefused; {
		case over && x.f.Grant == config.AuthorizationCode:
			return nil, false, x.enter(c, x.scopes)
		case over: // nobody is there who could log in
			return nil, false, x.refuse(c, decision.CredentialsRefused, f.message, f.err)
		}
		return nil, false, x.refuse(c, f.reason, f.message, f.err)
	}
	lines, err := x.inject.Render(x.data(id, nil), false)
	if err != nil {
		return nil, false, x.refuse(c, decision.TemplateFailed, "the headers for the service cannot be made", err)
	}
	all := []wire.Add{{ID: wire.FieldAuthorization, Value: []byte("Bearer " + s.Access)}}
	if x.judge != nil {
		more, f := x.judge.render(id, nil)
		if f != nil {
			return nil, false, x.refuse(c, f.reason, f.message, f.err)
		}
		all = append(all, more...)
	}
	return &Verified{Identity: id, Lines: append(all, lines...)}, remember, Allow
}

// takeApart reads a token that was verified when it came.
func takeApart(raw string) (*Token, error) {
	t, err := parseJWS(raw)
	if err != nil {
		return nil, err
	}
	claims, f := parseClaims(t.payload)
	if f != nil {
		return nil, errors.New(f.message)
	}
	return &Token{Raw: raw, Header: t.header, Claims: claims, Signature: t.sigText}, nil
}

var (
	failRefused  = refuse(decision.TokenInvalid, signatureInvalid, "the identity provider does not take the access token any more")
	failProvider = func(err error) *failure {
		return &failure{reason: decision.ProviderUnavailable, message: "the identity provider does not answer", err: err}
	}
)

// validate says what is wrong with id's access token, nil for nothing. remember reports
// whether that need not be asked again for a while.
func (x *oauth2Filter) validate(c *Call, id *Identity) (remember bool, f *failure) {
	raw := []byte(id.Token.Raw)
	if x.judge != nil {
		known, _, f := x.judge.verify(c, raw)
		if f != nil {
			return false, f
		}
		id.Token = known.Identity.Token
		return true, nil
	}
	mode := x.f.Validation
	if mode == "auto" && x.f.Grant == config.ClientCredentials {
		mode = "jwt"
	}
	if mode != "userinfo" {
		known, _, f := x.access.verify(c, raw)
		if f == nil {
			f = x.claims(c, known.Identity.Token.Claims)
		}
		if f == nil {
			id.Token = known.Identity.Token
			return true, nil
		}
		unsigned := f.reason == decision.TokenMalformed || f.reason == decision.TokenInvalid
		if mode == "jwt" || !unsigned {
			return false, f
		}
	}
	if c.Dry {
		return false, nil
	}
	d, err := x.provider.discover(c)
	if err != nil {
		return false, failProvider(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.wait(fetchTime, x.deps.Clock()))
	defer cancel()
	said, refused, err := x.provider.userInfo(ctx, d, id.Token.Raw)
	switch {
	case err != nil:
		return false, failProvider(err)
	case refused:
		return false, failRefused
	}
	if sub, ok := said["sub"].(string); ok && id.Subject != "" && sub != id.Subject { // Core 1.0 §5.3.2
		return false, failRefused
	}
	return false, nil
}

// claims says what of the access token's claims is not as it should be, beside the times.
func (x *oauth2Filter) claims(c *Call, claims map[string]any) *failure {
	if iss, ok := claims["iss"].(string); ok && !sameIssuer(iss, x.f.AuthorizationURL) {
		if d, err := x.provider.discover(c); err != nil || d.Issuer != iss {
			return refuse(decision.TokenIssuer, wrongIssuer, "the access token is of another issuer")
		}
	}
	_, scope := claims["scope"]
	_, scp := claims["scp"]
	if (scope || scp) && x.f.Grant != config.AuthorizationCode && lacks(Scopes(claims), x.scopes) {
		return refuse(decision.TokenScope, 0, "the access token lacks the scopes "+strings.Join(x.scopes, " "))
	}
	return nil
}

// data is what templates see of id and, unless it is nil, of c.
func (x *oauth2Filter) data(id *Identity, c *Call) map[string]any {
	none := &Token{}
	t, idt := id.Token, id.IDToken
	if idt == nil {
		idt = none
	}
	data := map[string]any{
		"token":   x.inject.TokenFor(t.Raw, t.Header, t.Claims, t.Signature),
		"idToken": x.inject.TokenFor(idt.Raw, idt.Header, idt.Claims, idt.Signature),
	}
	if c != nil {
		data["httpRequestHeader"] = templates.RequestHeader(c.Head, c.Edits)
	}
	return data
}

// enter sends c's browser to the provider, or does what the rule wants instead.
func (x *oauth2Filter) enter(c *Call, scopes []string) Outcome {
	if x.instead && x.insteadWhen.holds(c) {
		if x.filters != nil {
			return x.filters.Filter(c)
		}
		a := plainResponse.Render(&templates.Refusal{Status: x.status, Message: "a login is required", RequestID: string(c.RequestID)})
		c.Reply = Reply{Reason: decision.LoginRequired, By: x.by, Status: a.Status, ContentType: a.ContentType, Body: a.Body}
		return Deny
	}
	return x.start(c, scopes, x.sameSite)
}

// refuse writes the answer to a request that goes no further. err is for operators only.
func (l *login) refuse(c *Call, reason decision.Reason, message string, err error) Outcome {
	refusePlainly(c, l.by, reason, message)
	c.Reply.Err = err
	if reason.Status() >= 500 {
		l.deps.audit(c, decision.Event{Kind: decision.AuthFailed, Reason: reason, By: l.by, Status: c.Reply.Status})
	}
	return Deny
}
