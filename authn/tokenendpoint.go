package authn

import (
	"context"
	"slices"
	"strings"
	"time"

	"legate/decision"
	"legate/wire"
)

// The grants that a token endpoint knows.
const (
	grantPassword = "password"
	grantClient   = "client_credentials"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

	tokenTypes  = "urn:ietf:params:oauth:token-type:" //nolint:gosec // because it is a name of RFC 8693, no credential
	typeAccess  = tokenTypes + "access_token"
	typeIDToken = tokenTypes + "id_token"
	typeJWT     = tokenTypes + "jwt"
)

// grants are those that the filter's credentials make possible.
func (m *Minter) grants() []string {
	list := []string{grantExchange}
	if m.passwords != nil {
		list = append(list, grantPassword)
	}
	if m.clients != nil {
		list = append(list, grantClient)
	}
	return list
}

// serveToken answers who asks for a token (RFC 6749 §3.2, RFC 8693 §2).
func (m *Minter) serveToken(c *Call) {
	f, e := readForm(c)
	if e != nil {
		m.refuseOAuth(c, e)
		return
	}
	g, e := m.grant(c, f)
	if e == nil {
		e = m.target(c, f, g)
	}
	if e != nil {
		m.refuseOAuth(c, e)
		return
	}
	t, err := m.sign(g, c.Now)
	if err != nil {
		m.refuseOAuth(c, &oauthError{code: "server_error", description: "no token can be made", status: 500, cause: mintFailed(err)})
		return
	}
	m.minted.Add()
	event := decision.Event{Kind: decision.TokenMinted, Allowed: true, By: m.by, MintedJTI: t.jti, KeyID: t.key, Status: 200}
	about(&event, g.identity)
	m.deps.audit(c, event)
	issued := issuedToken{
		Token: string(t.line.Value[len("Bearer "):]), Type: "Bearer", Expires: int64(t.expires.Sub(c.Now) / time.Second),
		Scope: g.scope,
	}
	if f.get("grant_type") == grantExchange {
		issued.IssuedType = typeAccess
	}
	m.answer(c, issued)
}

// An issuedToken is the answer to who gets one (RFC 6749 §5.1, RFC 8693 §2.2.1).
type issuedToken struct {
	Token      string  `json:"access_token"`
	IssuedType string  `json:"issued_token_type,omitempty"`
	Type       string  `json:"token_type"`
	Expires    int64   `json:"expires_in"`
	Scope      *string `json:"scope,omitempty"`
}

// grant finds out whom a token is asked for.
func (m *Minter) grant(c *Call, f *form) (*grant, *oauthError) {
	kind := f.get("grant_type")
	switch {
	case kind == "":
		return nil, oauthRefusal("invalid_request", "grant_type is missing")
	case !slices.Contains(m.grants(), kind):
		return nil, oauthRefusal("unsupported_grant_type", "")
	}
	client, proved, e := m.clientOfForm(c, f)
	if e != nil {
		return nil, e
	}
	g := &grant{clientID: client}
	switch kind {
	case grantPassword:
		g.identity, e = m.byPassword(c, f)
	case grantClient:
		if !proved {
			return nil, errNeedsClient
		}
		g.identity = &Identity{Subject: client, By: m.by}
	case grantExchange:
		g.identity, e = m.byToken(c, f)
	}
	if e != nil {
		return nil, e
	}
	return g, m.scope(f, g)
}

// byPassword is the resource owner password credentials grant (RFC 6749 §4.3).
func (m *Minter) byPassword(c *Call, f *form) (*Identity, *oauthError) {
	user, password := f.get("username"), f.get("password")
	if user == "" || password == "" {
		return nil, oauthRefusal("invalid_request", "username and password are needed")
	}
	if failed := m.passwords.check(user, password, c.Client, c.Now); failed != nil {
		m.deps.audit(c, decision.Event{Kind: decision.LoginFailed, Reason: failed.reason, By: m.by, Subject: user})
		e := &oauthError{code: "invalid_grant", description: failed.message, status: 400, cause: failed}
		if failed.retryAfter > 0 {
			e.status = failed.reason.Status()
		}
		return nil, e
	}
	m.deps.audit(c, decision.Event{Kind: decision.LoginSucceeded, Allowed: true, By: m.by, Subject: user})
	return &Identity{Subject: user, By: m.by}, nil
}

// byToken is token exchange (RFC 8693). A token that is no good is the request's fault
// (§2.2.2).
func (m *Minter) byToken(c *Call, f *form) (*Identity, *oauthError) {
	token, kind, wanted := f.get("subject_token"), f.get("subject_token_type"), f.get("requested_token_type")
	switch {
	case token == "" || kind == "":
		return nil, oauthRefusal("invalid_request", "subject_token and subject_token_type are needed")
	case kind != typeAccess && kind != typeIDToken && kind != typeJWT:
		return nil, oauthRefusal("invalid_request", "the subject_token_type is not supported")
	case wanted != "" && wanted != typeAccess && wanted != typeJWT:
		return nil, oauthRefusal("invalid_request", "the requested_token_type is not supported")
	case f.get("actor_token") != "" || f.get("actor_token_type") != "":
		return nil, oauthRefusal("invalid_request", "actor_token is not supported")
	}
	known, seen, failed := m.believe(c, []byte(token))
	if failed == nil && known.Identity.Issuer == m.f.Issuer {
		failed = m.enforce(c, known.Identity.Token.Claims)
	}
	switch {
	case failed != nil && failed.reason.Status() >= 500:
		return nil, &oauthError{code: "temporarily_unavailable", description: failed.message, status: 503, cause: failed}
	case failed != nil:
		m.count(c, failed.reason)
		m.deps.audit(c, decision.Event{Kind: decision.TokenRejected, Reason: failed.reason, By: m.by})
		e := oauthRefusal("invalid_request", "subject_token: "+failed.message)
		e.cause = failed
		if failed.reason == decision.TokenFlood {
			e.status = failed.reason.Status()
		}
		return nil, e
	case known.Identity.Subject == "":
		return nil, oauthRefusal("invalid_request", "subject_token: it does not say who it is about")
	}
	m.accepted(c, known.Identity, seen)
	return known.Identity, nil
}

// scope grants what is asked for as far as the identity has it. Nobody gets more by asking
// for it.
func (m *Minter) scope(f *form, g *grant) *oauthError {
	asked := strings.Fields(f.get("scope"))
	if len(asked) == 0 {
		return nil
	}
	has := m.scopes(g.identity)
	granted := slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return !slices.Contains(has, s) })
	if len(granted) == 0 && f.get("grant_type") == grantExchange {
		return oauthRefusal("invalid_scope", "the subject_token has none of these scopes")
	}
	text := strings.Join(granted, " ")
	g.scope = &text
	return nil
}

// scopes are those that id's token would have where nobody asks for fewer.
func (m *Minter) scopes(id *Identity) []string {
	for _, c := range m.f.Claims {
		if c.Name == "scope" {
			text, _ := m.mapped(c.Name, c.From, id).(string)
			return strings.Fields(text)
		}
	}
	return nil
}

// target settles what g's token is for: the gateway, or services that may be asked for.
func (m *Minter) target(c *Call, f *form, g *grant) *oauthError {
	wanted := append(slices.Clone(f.values["audience"]), f.values["resource"]...)
	for _, a := range wanted {
		if a != m.f.Issuer && !slices.Contains(m.f.Audience, a) && !slices.Contains(m.f.AllowedServices, a) {
			return oauthRefusal("invalid_target", "no token can be had for that audience")
		}
	}
	p := &profile{audience: wanted, services: m.f.AllowedServices}
	if len(wanted) == 0 {
		p.audience = []string{m.f.Issuer}
	} else if only := slices.DeleteFunc(slices.Clone(wanted), func(a string) bool { return a == m.f.Issuer }); len(only) > 0 {
		p.services = only
	}
	p.origins = serialised(m.f.AllowedOrigins.List)
	if origin := c.Head.Get(wire.FieldOrigin); m.f.AllowedOrigins.CORS && len(origin) > 0 {
		if !m.pages(string(origin)) {
			return oauthRefusal("invalid_request", "pages of this origin get no tokens")
		}
		p.origins = []string{string(origin)}
	}
	p.claims = appendMember(nil, "aud", p.audience)
	if len(p.services) > 0 {
		p.claims = appendMember(p.claims, "allowed_services", p.services)
	}
	if len(p.origins) > 0 {
		p.claims = appendMember(p.claims, "allowed_origins", p.origins)
	}
	if len(m.f.IPRanges) > 0 {
		p.claims = appendMember(p.claims, "ip_ranges", m.f.IPRanges)
	}
	g.profile, g.client = p, m.client(c)
	return nil
}

// serveIntrospection tells clients that prove who they are what a token is worth (RFC
// 7662). Of any but the filter's own it says only that it is not active.
func (m *Minter) serveIntrospection(c *Call) {
	f, e := readForm(c)
	if e == nil {
		var proved bool
		if _, proved, e = m.clientOfForm(c, f); e == nil && !proved {
			e = errNeedsClient
		}
	}
	if e == nil && f.get("token") == "" {
		e = oauthRefusal("invalid_request", "token is missing")
	}
	if e != nil {
		m.refuseOAuth(c, e)
		return
	}
	id, _, failed := m.verifyOwn(f.get("token"), c.Now)
	if failed != nil {
		m.answer(c, map[string]bool{"active": false})
		return
	}
	claims := id.Token.Claims
	if jti, _ := claims["jti"].(string); m.revoked.Has(jti) {
		m.answer(c, map[string]bool{"active": false})
		return
	}
	told := map[string]any{"active": true, "token_type": "Bearer"}
	for _, name := range []string{"scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "act"} {
		if value, ok := claims[name]; ok {
			told[name] = value
		}
	}
	m.answer(c, told)
}

// feedTime is how long it may take to tell the other gateways.
const feedTime = 2 * time.Second

// serveRevocation refuses a token from now on (RFC 7009). One that is not ours, or not
// good any more, needs no revoking.
func (m *Minter) serveRevocation(c *Call) {
	f, e := readForm(c)
	var client string
	var proved bool
	if e == nil {
		client, proved, e = m.clientOfForm(c, f)
	}
	if e == nil && f.get("token") == "" {
		e = oauthRefusal("invalid_request", "token is missing")
	}
	if e != nil {
		m.refuseOAuth(c, e)
		return
	}
	if failed := m.deps.Offenders.flooded(c); failed != nil {
		m.refuseOAuth(c, &oauthError{code: "temporarily_unavailable", description: failed.message, status: failed.reason.Status(), cause: failed})
		return
	}
	id, lapse, failed := m.verifyOwn(f.get("token"), c.Now)
	if failed != nil {
		m.deps.Offenders.note(c, failed)
		m.answer(c, nil)
		return
	}
	owner, _ := id.Token.Claims["client_id"].(string)
	confidential := m.clients != nil && m.clients.hashes[owner] != nil
	switch {
	case confidential && !proved:
		m.refuseOAuth(c, errNeedsClient)
		return
	case proved && owner != client:
		m.refuseOAuth(c, errOtherClient)
		return
	}
	jti, _ := id.Token.Claims["jti"].(string)
	ctx, cancel := context.WithTimeout(context.Background(), feedTime)
	defer cancel()
	if err := m.revoked.Revoke(ctx, jti, lapse, c.Now); err != nil {
		m.refuseOAuth(c, &oauthError{
			code: "temporarily_unavailable", description: "not every gateway knows of it yet; try again", status: 503,
			cause: &failure{reason: decision.TokenRequestRefused, err: err},
		})
		return
	}
	event := decision.Event{Kind: decision.Revoked, Allowed: true, By: m.by, Status: 200}
	about(&event, id)
	m.deps.audit(c, event)
	m.answer(c, nil)
}
