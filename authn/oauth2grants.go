package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"time"

	"legate/config"
	"legate/decision"
)

// The headers by which clients say who they are to Filters of the other grants.
var (
	headerClientID  = newFieldName("x-ambassador-client-id")
	headerSecret    = newFieldName("x-ambassador-client-secret")
	headerAssertion = newFieldName("x-ambassador-client-assertion")
	headerUser      = newFieldName("x-ambassador-username")
	headerPassword  = newFieldName("x-ambassador-password")
)

// grantLife is how long tokens are kept of which nobody says when they lapse.
const grantLife = time.Minute

// byCredentials has the provider give tokens for what c brings. The service does not see
// it.
func (x *oauth2Filter) byCredentials(c *Call) Outcome {
	form, who, key, complete := x.credentials(c)
	if !complete {
		return x.refuse(c, decision.CredentialsMissing, "the request does not say who it is from", nil)
	}
	for _, n := range []*fieldName{&headerClientID, &headerSecret, &headerAssertion, &headerUser, &headerPassword} {
		if _, found := c.field(n); found {
			c.Edits.Remove(n.id, n.bytes)
		}
	}
	k := cacheKey{credential: key, policy: x.policy}
	if known := x.deps.Cache.get(&k, c.Now); known != nil {
		return x.admit(c, known)
	}
	if c.Dry {
		return x.refuse(c, decision.CredentialsMissing, "who only asks is not known to the provider", nil)
	}
	now := c.Now // of the question, which may outlive c
	g, err := x.parts.grants.do(key, c.Now, c.wait(fetchTime, x.deps.Clock()), func() (*granted, error) {
		d, err := x.provider.discover(nil)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
		defer cancel()
		return x.request(ctx, d, form, who)
	}, func(g *granted) time.Time { return x.until(g, now) })
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		x.deps.audit(c, decision.Event{Kind: decision.LoginFailed, Reason: decision.CredentialsRefused, By: x.by})
		return x.refuse(c, decision.CredentialsRefused, "the identity provider does not take what the request says of who it is from", err)
	case err != nil:
		return x.refuse(c, decision.ProviderUnavailable, "the identity provider does not answer", err)
	case lacks(g.scopes(x.scopes), x.scopes):
		return x.refuse(c, decision.TokenScope, "the scopes "+strings.Join(x.scopes, " ")+" were not granted", nil)
	}
	s := &session{Access: g.Access, Expires: seconds(g.expires(c.Now))}
	v, remember, outcome := x.verified(c, s)
	if v == nil {
		if r := c.Reply.Reason; r == decision.CredentialsRefused || r == decision.TokenExpired {
			x.parts.grants.forget(key) // the next request gets another token
		}
		return outcome
	}
	if v.Identity.Token.Claims != nil {
		v.Identity.Subject = subject(v.Identity.Token)
		v.Identity.Issuer, _ = v.Identity.Token.Claims["iss"].(string)
	}
	if remember {
		v = x.deps.Cache.put(&k, *v, c.Now, x.until(g, c.Now))
	}
	return x.admit(c, v)
}

// until is when g is no longer good.
func (x *oauth2Filter) until(g *granted, now time.Time) time.Time {
	if at := g.expires(now); !at.IsZero() {
		return at.Add(-x.f.SafetyMargin)
	}
	return now.Add(grantLife)
}

// credentials returns what c brings, and a key that stands for it.
func (x *oauth2Filter) credentials(c *Call) (form url.Values, who clientProof, key [sha256.Size]byte, complete bool) {
	text := func(n *fieldName) string { v, _ := c.field(n); return string(v) }
	form = url.Values{}
	if len(x.scopes) > 0 {
		form.Set("scope", strings.Join(x.scopes, " "))
	}
	var parts []string
	if x.f.Grant == config.PasswordGrant {
		user, password := text(&headerUser), text(&headerPassword)
		form.Set("grant_type", "password")
		form.Set("username", user)
		form.Set("password", password)
		who, complete = clientProof{id: x.f.ClientID, secret: x.secret}, user != "" && password != ""
		parts = []string{user, password}
	} else {
		form.Set("grant_type", "client_credentials")
		who = clientProof{id: text(&headerClientID), secret: text(&headerSecret)}
		complete = who.id != "" && who.secret != ""
		if x.f.ClientAuth.Method == "JWTAssertion" {
			who.assertion = text(&headerAssertion)
			complete = who.assertion != ""
		}
		parts = []string{who.id, who.secret, who.assertion}
	}
	parts = append(parts, x.scopes...)
	return form, who, sha256.Sum256([]byte(x.realm + "\x00" + strings.Join(parts, "\x00"))), complete
}
