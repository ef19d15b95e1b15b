package authn

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A trusted is somebody whose tokens a Mint filter accepts, and how they are verified.
type trusted struct {
	issuer string
	*verifier
}

// clocksDiffer is how far the clock of who issues tokens may be ahead: the gateway is shown
// them at once.
const clocksDiffer = time.Minute

// trust makes the verifiers of the issuers that the filter by accepts.
func trust(by string, c *config.Credentials, sets *keySets, d *Deps) ([]trusted, error) {
	var list []trusted
	for _, i := range c.Issuers {
		j := config.JWTFilter{
			JWKSURI: i.JWKSURI, Issuer: i.Issuer, RequireIssuer: true, Audiences: i.Audiences, RequireAudience: len(i.Audiences) > 0,
			ExpiresAt: config.ClaimRule{Required: true}, NotBefore: config.ClaimRule{Leeway: clocksDiffer}, IssuedAt: config.ClaimRule{Leeway: clocksDiffer},
		}
		v, err := newVerifier(by, &j, nil, sets, d)
		if err != nil {
			return nil, err
		}
		list = append(list, trusted{i.Issuer, v})
	}
	return list, nil
}

// recognise establishes by the filter's own credentials who asks. Budget: 0 allocs for
// credentials seen before.
func (m *Minter) recognise(c *Call) *failure {
	value, found, several := c.authorization()
	switch {
	case several:
		return failSeveral
	case !found:
		return failNobody
	case m.passwords != nil && isBasic(value):
		return m.recogniseUser(c, value)
	}
	token, f := c.bearer()
	if f != nil {
		if f == failNoToken {
			f = failNobody
		}
		return f
	}
	id, f := m.recogniseToken(c, token)
	if f != nil {
		return f
	}
	c.Identity = id
	return nil
}

// recogniseToken returns whom a bearer token speaks of, by whoever the filter trusts. One
// that m made is for some requests only. Budget: 0 allocs for a token seen before.
func (m *Minter) recogniseToken(c *Call, token []byte) (*Identity, *failure) {
	known, seen, f := m.believe(c, token)
	if f != nil {
		return nil, f
	}
	if claims := known.Identity.Token.Claims; known.Identity.Issuer == m.f.Issuer {
		if f := m.enforce(c, claims); f != nil {
			return nil, f
		}
	}
	m.accepted(c, known.Identity, seen)
	return known.Identity, nil
}

// believe returns what a bearer token proves, from memory where it was seen before.
// Who only asks has nothing remembered, and nobody looks at one that was not seen before of
// a client whose tokens fail too often. Budget: 0 allocs for one seen before.
func (m *Minter) believe(c *Call, token []byte) (known *Verified, seen bool, f *failure) {
	now := c.Now
	k := cacheKey{credential: sha256.Sum256(token), policy: m.policy, generation: m.generation(now)}
	if known = m.deps.Cache.get(&k, now); known != nil {
		return known, true, nil
	}
	if f = m.deps.Offenders.flooded(c); f != nil {
		return nil, false, f
	}
	j, f := m.judge(c, string(token), now)
	if f != nil {
		m.deps.Offenders.note(c, f)
		return nil, false, f
	}
	k.generation = m.generation(now) // judging may have fetched keys, and more may have come since
	if c.Dry || j.by != nil && j.by(now) != j.generation {
		return &Verified{Identity: j.identity}, false, nil
	}
	return m.deps.Cache.put(&k, Verified{Identity: j.identity}, now, j.lapse), false, nil
}

// A judged is whom a token speaks of, and by which keys it was found to.
type judged struct {
	identity   *Identity
	lapse      time.Time                  // when that is to be looked at again; zero for never
	by         func(now time.Time) uint64 // the generation of those keys; nil where others vouched for the token
	generation uint64                     // that they had
}

// judge verifies a token by who issued it, by its own account.
func (m *Minter) judge(c *Call, raw string, now time.Time) (j judged, f *failure) {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	issuer, subject := sourceOf(payload)
	if m.accounts != nil && strings.HasPrefix(subject, accountPrefix) && issuer != m.f.Issuer {
		return m.accounts.judge(c, raw, now) // nobody else speaks of them
	}
	if issuer == m.f.Issuer {
		j.by, j.generation = m.signer.generation, m.signer.generation(now)
		j.identity, j.lapse, f = m.verifyOwn(raw, now)
		if f == nil && !m.trustsItself && !m.forEdge(j.identity.Token.Claims) {
			f = failInternal
		}
		return j, f
	}
	f = failForeign
	for i := range m.issuers {
		t := &m.issuers[i]
		if t.issuer != issuer {
			continue
		}
		known, generation, lapse, refused := t.look(c, raw, now)
		if refused == nil {
			return judged{known.Identity, lapse, t.keys.generation, generation}, nil
		}
		if f.reason != decision.KeySetUnavailable { // it is not known then that the token does not hold
			f = refused
		}
	}
	if _, err := parseJWS(raw); err != nil {
		f = refuse(decision.TokenMalformed, malformed, "the token is malformed: "+err.Error())
	}
	return judged{}, f
}

// sourceOf returns the issuer and the subject that an encoded payload claims, "" for none.
func sourceOf(payload string) (issuer, subject string) {
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", ""
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return "", ""
	}
	return claims.Issuer, claims.Subject
}

// generation is a number that changes whenever keys come or go that m believes tokens by.
// Budget: 0 allocs.
func (m *Minter) generation(now time.Time) uint64 {
	const odd = 0x9e3779b97f4a7c15 // so that it matters whose keys are whose
	n := m.signer.generation(now)
	for i := range m.issuers {
		n = n*odd + m.issuers[i].keys.generation(now)
	}
	if m.accounts != nil {
		n = n*odd + m.accounts.keys.generation(now)
	}
	return n
}

const basicScheme = "basic "

func isBasic(value []byte) bool {
	return len(value) > len(basicScheme) && wire.EqualFold(value[:len(basicScheme)], basicScheme)
}

// recogniseUser establishes who asks by a name and a password (RFC 7617), which are
// remembered as tokens are: hashing one costs a core a tenth of a second.
func (m *Minter) recogniseUser(c *Call, value []byte) *failure {
	k := cacheKey{credential: sha256.Sum256(value), policy: m.policy}
	if known := m.deps.Cache.get(&k, c.Now); known != nil {
		c.Identity = known.Identity
		m.accepted(c, known.Identity, true)
		return nil
	}
	user, password, ok := basicCredentials(value)
	if !ok {
		return refuse(decision.AuthorizationMalformed, 0, "the Authorization header holds no name and password")
	}
	check := m.passwords.check
	if c.Dry {
		check = m.passwords.look
	}
	if f := check(user, password, c.Client, c.Now); f != nil {
		m.deps.audit(c, decision.Event{Kind: decision.LoginFailed, Reason: f.reason, By: m.by, Subject: user})
		return f
	}
	// What speaks of the user looks into a token: this one says no more than the password did.
	id := &Identity{Subject: user, By: m.by, Token: &Token{Claims: map[string]any{"sub": user}}}
	if c.Identity = id; c.Dry { // nobody has logged in
		return nil
	}
	known := m.deps.Cache.put(&k, Verified{Identity: id}, c.Now, time.Time{})
	c.Identity = known.Identity
	m.deps.audit(c, decision.Event{Kind: decision.LoginSucceeded, Allowed: true, By: m.by, Subject: user})
	m.accepted(c, known.Identity, true)
	return nil
}

// basicCredentials takes the value of an Authorization apart (RFC 7617 §2).
func basicCredentials(value []byte) (user, password string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(value[len(basicScheme):])))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(text), ":")
	return user, password, ok && user != ""
}
