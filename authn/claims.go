package authn

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/decision"
)

// claimRules are what is asked of a token's claims once its signature holds.
type claimRules struct {
	audiences       []string // one of them; empty for any
	requireAudience bool
	issuer          string // "" for any
	requireIssuer   bool
	expiresAt       config.ClaimRule
	notBefore       config.ClaimRule
	issuedAt        config.ClaimRule
	scope           []string // all of them
}

// parseClaims reads a token's payload, whose signature holds.
func parseClaims(payload []byte) (map[string]any, *failure) {
	claims, err := readObject(payload)
	switch {
	case errors.Is(err, errNotObject):
		return nil, refuse(decision.TokenMalformed, malformed, "the token's claims are no JSON object")
	case err != nil:
		return nil, refuse(decision.TokenMalformed, malformed, "the token's claims cannot be read: "+err.Error())
	}
	return claims, nil
}

// judge returns what is wrong with claims at now, nil for nothing, and when they lapse,
// leeway included; zero for never. Where several things are wrong the first is told, and
// the bits name all.
func (r *claimRules) judge(claims map[string]any, now time.Time) (lapse time.Time, f *failure) {
	var all validation
	note := func(g *failure) {
		if g == nil {
			return
		}
		all |= g.bits
		if f == nil {
			f = g
		}
	}
	lapse, g := r.judgeExpiry(claims, now)
	note(g)
	note(r.judgeBeginning(claims, now))
	note(r.judgeAudience(claims))
	note(r.judgeIssuer(claims))
	if f == nil {
		note(r.judgeScope(claims))
	}
	if f != nil {
		f.bits = all
	}
	return lapse, f
}

func (r *claimRules) judgeExpiry(claims map[string]any, now time.Time) (time.Time, *failure) {
	exp, found, ok := date(claims, "exp")
	switch {
	case !ok:
		return time.Time{}, refuse(decision.TokenClaims, claimsInvalid, "exp is no number")
	case !found && r.expiresAt.Required:
		return time.Time{}, refuse(decision.TokenClaims, expired, "exp is required and missing")
	case !found:
		return time.Time{}, nil
	}
	lapse := exp.Add(r.expiresAt.Leeway)
	if !now.Before(lapse) {
		return lapse, refuse(decision.TokenExpired, expired, "the token has expired")
	}
	return lapse, nil
}

// judgeBeginning looks at nbf and iat.
func (r *claimRules) judgeBeginning(claims map[string]any, now time.Time) *failure {
	for _, c := range []struct {
		name string
		rule config.ClaimRule
		bits validation
		text string
	}{
		{"nbf", r.notBefore, notValidYet, "the token is not valid yet"},
		{"iat", r.issuedAt, wrongIssuedAt, "the token was issued in the future"},
	} {
		at, found, ok := date(claims, c.name)
		switch {
		case !ok:
			return refuse(decision.TokenClaims, claimsInvalid, c.name+" is no number")
		case !found && c.rule.Required:
			return refuse(decision.TokenClaims, c.bits, c.name+" is required and missing")
		case found && now.Add(c.rule.Leeway).Before(at):
			return refuse(decision.TokenNotYetValid, c.bits, c.text)
		}
	}
	return nil
}

func (r *claimRules) judgeAudience(claims map[string]any) *failure {
	value, found := claims["aud"]
	list, ok := texts(value)
	found = found && (!ok || len(list) > 0)
	switch {
	case !found && r.requireAudience:
		return refuse(decision.TokenAudience, wrongAudience, "aud is required and missing")
	case !found || len(r.audiences) == 0:
		return nil
	case ok && slices.ContainsFunc(list, func(a string) bool { return slices.Contains(r.audiences, a) }):
		return nil
	}
	return refuse(decision.TokenAudience, wrongAudience, "the token is for another audience")
}

func (r *claimRules) judgeIssuer(claims map[string]any) *failure {
	value, found := claims["iss"]
	text, ok := value.(string)
	switch {
	case (!found || text == "" && ok) && r.requireIssuer:
		return refuse(decision.TokenIssuer, wrongIssuer, "iss is required and missing")
	case !found || r.issuer == "" || ok && text == r.issuer:
		return nil
	}
	return refuse(decision.TokenIssuer, wrongIssuer, "the token is of another issuer")
}

func (r *claimRules) judgeScope(claims map[string]any) *failure {
	if len(r.scope) == 0 {
		return nil
	}
	has := Scopes(claims)
	if !slices.ContainsFunc(r.scope, func(s string) bool { return !slices.Contains(has, s) }) {
		return nil
	}
	needs := strings.Join(r.scope, " ")
	return &failure{reason: decision.TokenScope, message: "the token needs the scopes " + needs, scope: needs}
}

// Scopes returns the scopes that a token grants: those of its claim scope, which is a text
// with spaces or a list, or of scp where there is none.
func Scopes(claims map[string]any) []string {
	value, found := claims["scope"]
	if !found {
		value = claims["scp"]
	}
	if text, ok := value.(string); ok {
		return strings.Fields(text)
	}
	list, _ := texts(value)
	return list
}

// texts returns what a claim lists: a text alone is a list of one. It reports false for
// anything but texts.
func texts(value any) ([]string, bool) {
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, text)
		}
		return list, true
	}
	return nil, false
}

// lastSecond is the last one of the year 9999: no time beyond it can be told.
const lastSecond = 253402300799

// date returns a claim that is a NumericDate (RFC 7519 §2). It reports false for ok where
// the claim is something else.
func date(claims map[string]any, name string) (at time.Time, found, ok bool) {
	value, found := claims[name]
	if !found {
		return at, false, true
	}
	seconds, ok := value.(float64)
	if !ok {
		return at, true, false
	}
	whole, fraction := math.Modf(max(-lastSecond, min(seconds, lastSecond)))
	return time.Unix(int64(whole), int64(fraction*1e9)), true, true
}
