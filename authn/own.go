package authn

import (
	"net/netip"
	"slices"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

var (
	failForeign  = refuse(decision.TokenIssuer, wrongIssuer, "the token is of another issuer")
	failInternal = refuse(decision.TokenAudience, wrongAudience, "the token is for services, not for the gateway")
	failRevoked  = refuse(decision.TokenRevoked, signatureInvalid, "the token was revoked")
	failOrigin   = refuse(decision.TokenOrigin, 0, "the token is not for pages of this origin")
	failAddress  = refuse(decision.TokenAddress, 0, "the token is not for clients of this address")
	failService  = refuse(decision.TokenService, 0, "the token is not for this service")
)

// ownRules are what is asked of the claims of a token that m made, maybe in another replica
// whose clock is ahead.
func (m *Minter) ownRules() *claimRules {
	return &claimRules{
		issuer: m.f.Issuer, requireIssuer: true, expiresAt: config.ClaimRule{Required: true}, issuedAt: config.ClaimRule{Leeway: clockSkew},
	}
}

// verifyOwn returns whom a token speaks of that m made, and when it lapses. Whether it may
// be used for a request is another question: see enforce.
func (m *Minter) verifyOwn(raw string, now time.Time) (id *Identity, lapse time.Time, f *failure) {
	t, err := parseJWS(raw)
	if err != nil {
		return nil, lapse, refuse(decision.TokenMalformed, malformed, "the token is malformed: "+err.Error())
	}
	k := m.signer.current.Load().find(t.kid)
	switch {
	case k == nil:
		return nil, lapse, failNoKey
	case k.alg != t.alg:
		return nil, lapse, failAlgorithm
	}
	if verifying := (key{id: k.id, alg: k.alg, material: k.private.Public()}); verifying.verify(t.alg, t.signed, t.signature) != nil {
		return nil, lapse, failSignature
	}
	claims, f := parseClaims(t.payload)
	if f != nil {
		return nil, lapse, f
	}
	if lapse, f = m.ownRules().judge(claims, now); f != nil {
		return nil, lapse, f
	}
	id = &Identity{By: m.by, Expires: lapse, Token: &Token{Raw: raw, Header: t.header, Claims: claims, Signature: t.sigText}}
	id.Subject, _ = claims["sub"].(string)
	id.Issuer, _ = claims["iss"].(string)
	return id, lapse, nil
}

// enforce says why a token that m made must not be used for c, nil if it may: it was
// revoked, or it is for other origins, addresses or services. Budget: 0 allocs.
func (m *Minter) enforce(c *Call, claims map[string]any) *failure {
	if jti, _ := claims["jti"].(string); m.revoked.Has(jti) {
		return failRevoked
	}
	if origin := c.Head.Get(wire.FieldOrigin); len(origin) > 0 && !allows(claims["allowed_origins"], func(o string) bool { return o == string(origin) }) {
		return failOrigin // without one it is no browser's page
	}
	client := c.Client.Unmap()
	if !allows(claims["ip_ranges"], func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Contains(client)
	}) {
		return failAddress
	}
	if c.Service != nil && !allows(claims["allowed_services"], func(s string) bool { return s == c.Service.Name }) {
		return failService
	}
	return nil
}

// allows reports whether a claim that is a list has an item that is ok. One that is
// missing allows everything, and one that is no list nothing.
func allows(claim any, ok func(string) bool) bool {
	if claim == nil {
		return true
	}
	list, _ := claim.([]any)
	for _, item := range list {
		if text, is := item.(string); is && ok(text) {
			return true
		}
	}
	return false
}

// forEdge reports whether a token that m made is meant to be shown to the gateway, as those
// of its token endpoint are, or is one that a service got.
func (m *Minter) forEdge(claims map[string]any) bool {
	list, _ := texts(claims["aud"])
	return slices.Contains(list, m.f.Issuer)
}
