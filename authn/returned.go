package authn

import (
	"bytes"
	"crypto/sha256"
	"time"

	"legate/wire"
)

// returned takes for c's identity whom a service speaks of by the token that it has put in
// the place of the client's: it vouches for what it made. A token that the client sent
// itself is nobody's word, even if the service hands it on and lets the request pass, and
// neither is one that was in the Authorization that it was shown: a script or a filter may
// have put there what the client says of itself somewhere else.
// Budget: 0 allocs for a token seen before.
func (e *external) returned(c *Call, shown []byte) {
	if !c.replaced() {
		return
	}
	token, f := c.bearer()
	if f != nil || !mayBeJWT(token) || c.sent(token) || bytes.Contains(shown, token) {
		return
	}
	k := cacheKey{credential: sha256.Sum256(token), policy: e.returns}
	if known := e.deps.Cache.get(&k, c.Now); known != nil {
		c.Identity = known.Identity
		return
	}
	id, lapse, ok := unverified(e.by, string(token), c.Now)
	if !ok {
		return // nobody is known by it
	}
	c.Identity = e.deps.Cache.put(&k, Verified{Identity: id}, c.Now, lapse).Identity
}

// mayBeJWT reports whether token looks like one: three parts, the first of which begins as
// the encoding of an object does. Budget: 0 allocs.
func mayBeJWT(token []byte) bool {
	return bytes.HasPrefix(token, []byte("e")) && bytes.Count(token, dot) == 2
}

var dot = []byte(".")

// replaced reports whether somebody has given the request an Authorization.
func (c *Call) replaced() bool {
	adds := c.Edits.Adds()
	for i := range adds {
		if adds[i].ID == wire.FieldAuthorization {
			return true
		}
	}
	return false
}

// sent reports whether token is in an Authorization that the client sent.
func (c *Call) sent(token []byte) bool {
	for n := 0; ; n++ {
		value, found := c.Head.Nth(wire.FieldAuthorization, n)
		if !found {
			return false
		}
		if bytes.Contains(value, token) {
			return true
		}
	}
}

// unverified reads a token whose maker is believed for other reasons than its signature,
// unless its times say that it does not hold.
func unverified(by, raw string, now time.Time) (id *Identity, lapse time.Time, ok bool) {
	t, err := parseJWS(raw)
	if err != nil {
		return nil, lapse, false
	}
	claims, f := parseClaims(t.payload)
	if f != nil {
		return nil, lapse, false
	}
	var rules claimRules
	if lapse, f = rules.judge(claims, now); f != nil {
		return nil, lapse, false
	}
	id = &Identity{By: by, Expires: lapse, Token: &Token{Raw: raw, Header: t.header, Claims: claims, Signature: t.sigText}}
	id.Subject, _ = claims["sub"].(string)
	id.Issuer, _ = claims["iss"].(string)
	return id, lapse, true
}
