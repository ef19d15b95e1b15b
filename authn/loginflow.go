package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"net/url"
	"slices"
	"strings"
	"time"

	"legate/decision"
	"legate/wire"
)

// A trip is a login under way: what is sealed into state, and what one origin tells
// another.
type trip struct {
	To       string   `json:"u"`           // where the person wanted to go
	Browser  string   `json:"b"`           // a hash of the browser's cookie
	There    string   `json:"h,omitempty"` // the same at To's origin, where that is another
	Nonce    string   `json:"n,omitempty"`
	Verifier string   `json:"v,omitempty"` // of PKCE
	Scopes   []string `json:"q"`
	SameSite string   `json:"s,omitempty"`
	Attempt  int      `json:"a"`
	Until    int64    `json:"e"`
	Session  *session `json:"i,omitempty"` // of a ticket
}

// start sends c's browser to log in for scopes, and then back to where it is.
func (l *login) start(c *Call, scopes []string, sameSite string) Outcome {
	if c.Dry {
		c.Reply = Reply{Reason: decision.LoginRedirect, By: l.by, Status: 302}
		return Deny
	}
	_, external := l.origin(c)
	t := &trip{To: external + string(c.RawPath), Scopes: scopes, SameSite: sameSite}
	if query, has := c.Head.Query(); has {
		t.To += "?" + string(query)
	}
	l.deps.audit(c, decision.Event{Kind: decision.LoginStarted, By: l.by, Status: 302})
	return l.embark(c, t)
}

// embark begins or continues t at the origin that c came to: only the first one, which has
// its cookies in common with its subdomains, is where the provider sends people back to.
func (l *login) embark(c *Call, t *trip) Outcome {
	o, _ := l.origin(c)
	browser, lines := l.browser(c, o, t.SameSite)
	t.Until = c.Now.Add(stateLife).Unix()
	if o.external != l.origins[0].external {
		t.There = hashed(browser)
		sealed, err := l.seal.seal(purposeLogin, t)
		if err != nil {
			return l.refuse(c, decision.LoginInvalid, "the login cannot begin", err)
		}
		return l.redirect(c, l.origins[0].external+ownPaths+"multicookie?login="+l.realm+"."+sealed, decision.LoginRedirect, lines)
	}
	t.Browser = hashed(browser)
	t.Nonce, t.Verifier = l.random(16), l.random(32)
	d, err := l.provider.discover(c)
	if err == nil && d.Authorization == "" {
		err = errors.New("the provider has no authorization_endpoint")
	}
	if err != nil {
		return l.refuse(c, decision.ProviderUnavailable, "the identity provider does not answer", err)
	}
	sealed, err := l.seal.seal(purposeState, t)
	if err != nil {
		return l.refuse(c, decision.LoginInvalid, "the login cannot begin", err)
	}
	challenge := sha256.Sum256([]byte(t.Verifier))
	set := []parameter{
		{"response_type", "code"}, {"client_id", l.f.ClientID}, {"redirect_uri", l.redirection()},
		{"scope", strings.Join(t.Scopes, " ")}, {"state", l.realm + "." + sealed}, {"nonce", t.Nonce},
		{"code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:])}, {"code_challenge_method", "S256"},
	}
	for _, p := range l.f.ExtraAuthorizationParameters {
		set = append(set, parameter{p.Name, p.Value})
	}
	return l.redirect(c, withQuery(d.Authorization, set), decision.LoginRedirect, lines)
}

// redirection is where the provider sends people back to.
func (l *login) redirection() string {
	return l.origins[0].external + ownPaths + "redirection-endpoint"
}

// withQuery adds parameters to an address.
func withQuery(to string, set []parameter) string {
	var b strings.Builder
	b.WriteString(to)
	sep := byte('?')
	if strings.Contains(to, "?") {
		sep = '&'
	}
	for _, p := range set {
		b.WriteByte(sep)
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
		sep = '&'
	}
	return b.String()
}

// browser returns what tells c's browser from others, and what to write where it did not
// know yet.
func (l *login) browser(c *Call, o *origin, sameSite string) (string, []wire.Add) {
	name := l.browserName(o)
	j := l.jar(c, o, fromProvider(sameSite), 0)
	if value, several := c.cookie(name); !several && len(value) == 64 {
		return value, nil
	}
	value := l.random(32)
	j.keep = 0
	lines := []wire.Add{j.line(name, value, false, 0)}
	if xsrf, _ := c.cookie(l.xsrfName); xsrf == "" {
		lines = append(lines, j.line(l.xsrfName, l.random(32), true, 0))
	}
	return value, lines
}

var textHTML = []byte("text/html; charset=utf-8")

// redirect answers c with another address.
func (l *login) redirect(c *Call, to string, reason decision.Reason, lines []wire.Add) Outcome {
	c.Reply = Reply{
		Reason: reason, By: l.by, Status: 302, ContentType: textHTML,
		Headers: append([]wire.Add{{ID: wire.FieldLocation, Value: []byte(to)}, noStore}, lines...),
		Body:    []byte(`<a href="` + html.EscapeString(to) + `">Found</a>` + "\n"),
	}
	return Deny
}

// arrive sends the browser on to where it wanted to go. Cookies with SameSite=Strict are
// not sent after a redirect that began at the provider, but after one by a page of ours.
func (l *login) arrive(c *Call, to, sameSite string, lines []wire.Add) {
	l.redirect(c, to, decision.OwnEndpoint, lines)
	if sameSite == "strict" {
		c.Reply.Status, c.Reply.Headers = 200, append([]wire.Add{noStore}, lines...)
		c.Reply.Body = []byte(`<!doctype html><meta http-equiv="refresh" content="0;url=` + html.EscapeString(to) + `">` + "\n")
	}
}

// serveCallback answers who comes back from the provider (RFC 6749 §4.1.2).
func (l *login) serveCallback(c *Call, sealed string, q url.Values) {
	t := &trip{}
	o, external := l.origin(c)
	switch {
	case l.seal.open(purposeState, sealed, t) != nil || o == nil || external != l.origins[0].external:
		l.refuse(c, decision.LoginInvalid, "the login was not begun here", nil)
		return
	case c.Now.Unix() >= t.Until:
		l.again(c, o, t)
		return
	}
	if browser, several := c.cookie(l.browserName(o)); several || browser == "" || !same(hashed(browser), t.Browser) {
		l.again(c, o, t)
		return
	}
	d, err := l.provider.discover(c)
	if err != nil {
		l.refuse(c, decision.ProviderUnavailable, "the identity provider does not answer", err)
		return
	}
	if iss := q.Get("iss"); iss != "" && iss != d.Issuer || iss == "" && d.IssParameter { // RFC 9207 §2.4
		l.failed(c, decision.LoginInvalid, "the answer is of another identity provider", nil)
		return
	}
	if code := q.Get("error"); code != "" {
		l.failed(c, decision.LoginRefused, "the identity provider refused the login: "+visibleCode(code), nil)
		return
	}
	l.exchange(c, o, t, d, q.Get("code"))
}

// again sends a browser to the provider once more that came back with what is not its own,
// or too late. One that has a session meanwhile goes on.
func (l *login) again(c *Call, o *origin, t *trip) {
	if s, _, _ := l.opened(c, o); s != nil && t.There == "" && !lacks(s.Granted, t.Scopes) {
		l.arrive(c, t.To, t.SameSite, nil)
		return
	}
	if t.Attempt++; t.Attempt >= maxAttempts {
		l.failed(c, decision.LoginInvalid, "the browser does not keep this site's cookies, without which nobody can log in", nil)
		return
	}
	if secret, several := c.cookie(l.browserName(o)); t.There != "" && secret != "" && !several {
		l.arrive(c, t.To, t.SameSite, nil) // the other origin has to begin, as its cookie may be another too
		return
	}
	l.embark(c, t)
}

// failed writes the answer to a login that did not succeed.
func (l *login) failed(c *Call, reason decision.Reason, message string, err error) {
	l.refuse(c, reason, message, err)
	l.deps.audit(c, decision.Event{Kind: decision.LoginFailed, Reason: reason, By: l.by, Status: c.Reply.Status})
}

// exchange has the provider give tokens for code, and the browser a session.
func (l *login) exchange(c *Call, o *origin, t *trip, d *discovery, code string) {
	if code == "" {
		l.failed(c, decision.LoginInvalid, "the answer of the identity provider has no code", nil)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.wait(fetchTime, l.deps.Clock()))
	defer cancel()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.redirection()}, "code_verifier": {t.Verifier},
	}
	g, err := l.request(ctx, d, form, clientProof{id: l.f.ClientID, secret: l.secret})
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		l.failed(c, decision.LoginRefused, "the identity provider refused the login: "+refused.code, err)
		return
	case err != nil:
		l.failed(c, decision.ProviderUnavailable, "the identity provider does not answer", err)
		return
	}
	id, f := l.idToken(c, c.Now, d, g, t.Nonce)
	if f != nil {
		l.failed(c, decision.LoginInvalid, "the identity provider's word on who logged in does not hold", errors.Join(errors.New(f.message), f.err))
		return
	}
	s := &session{
		ID: l.random(sessionID / 2), XSRF: l.random(32), Access: g.Access, Refresh: g.Refresh, IDToken: g.IDToken, Subject: subject(id),
		Expires: seconds(g.expires(c.Now)), Asked: t.Scopes, Granted: g.ofLogin(t.Scopes), Used: c.Now.Unix(),
	}
	if err := l.replace(c, o, s); err != nil {
		reason, message := unkept(err)
		l.failed(c, reason, message, err)
		return
	}
	l.deps.audit(c, decision.Event{Kind: decision.LoginSucceeded, Allowed: true, By: l.by, Subject: s.Subject, Issuer: d.Issuer})
	l.settle(c, o, t, s)
}

// replace has s kept in the place of what session c's browser had.
func (l *login) replace(c *Call, o *origin, s *session) error {
	old, _, err := l.opened(c, o)
	if err == nil && old != nil {
		err = l.keeper.end(c, old)
	}
	if err != nil {
		return err
	}
	if _, shared := l.keeper.(storeKeeper); shared && old != nil { // other origins' cookies have the old one's id
		l.spread(c, old)
	}
	return l.keeper.add(c, s)
}

// settle gives c's browser s, and sends it on to where it wanted to go: by way of that
// origin, where it is another, as that keeps cookies of its own.
func (l *login) settle(c *Call, o *origin, t *trip, s *session) {
	var lines []wire.Add
	put := func(a wire.Add) { lines = append(lines, a) }
	if err := l.begin(c, o, s, t.SameSite, put); err != nil {
		reason, message := unkept(err)
		l.failed(c, reason, message, err)
		return
	}
	if t.There == "" {
		l.arrive(c, t.To, t.SameSite, lines)
		return
	}
	l.hand(c, t, s, lines)
}

// hand sends a browser with s to the origin that it wanted to go to.
func (l *login) hand(c *Call, t *trip, s *session, lines []wire.Add) {
	ticket := &trip{
		To: t.To, Browser: t.There, SameSite: t.SameSite, Scopes: t.Scopes, Until: c.Now.Add(ticketLife).Unix(), Session: l.keeper.handed(s),
	}
	sealed, err := l.seal.seal(purposeTicket, ticket)
	u, uerr := url.Parse(t.To)
	if err = errors.Join(err, uerr); err != nil {
		l.failed(c, decision.LoginInvalid, "the login cannot go on", err)
		return
	}
	l.arrive(c, u.Scheme+"://"+u.Host+ownPaths+"multicookie?ticket="+l.realm+"."+sealed, t.SameSite, lines)
}

// serveLogin answers a browser that another origin sent to the first one.
func (l *login) serveLogin(c *Call, sealed string) {
	t := &trip{}
	o, external := l.origin(c)
	if l.seal.open(purposeLogin, sealed, t) != nil || o == nil || external != l.origins[0].external || c.Now.Unix() >= t.Until {
		l.refuse(c, decision.LoginInvalid, "the login was not begun here", nil)
		return
	}
	s, _, _ := l.opened(c, o)
	if s != nil && !lacks(s.Granted, t.Scopes) && (s.Expires == 0 || c.Now.Add(l.f.SafetyMargin).Unix() < s.Expires) {
		l.hand(c, t, s, nil)
		return
	}
	l.embark(c, t)
}

// serveTicket gives a session to a browser that has logged in at the first origin.
func (l *login) serveTicket(c *Call, sealed string) {
	t := &trip{}
	o, external := l.origin(c)
	if l.seal.open(purposeTicket, sealed, t) != nil || o == nil || t.Session == nil || c.Now.Unix() >= t.Until || !strings.HasPrefix(t.To, external+"/") {
		l.refuse(c, decision.LoginInvalid, "the login was not begun here", nil)
		return
	}
	if browser, several := c.cookie(l.browserName(o)); several || browser == "" || !same(hashed(browser), t.Browser) {
		l.refuse(c, decision.LoginInvalid, "the login was begun by another browser", nil)
		return
	}
	s, err := l.keeper.taken(c, t.Session)
	switch {
	case err != nil:
		reason, message := unkept(err)
		l.failed(c, reason, message, err)
		return
	case s == nil:
		l.failed(c, decision.LoginInvalid, "the session is over", nil)
		return
	}
	t.There = ""
	l.settle(c, o, t, s)
}

// idToken verifies who a provider says has logged in (OpenID Connect Core 1.0 §3.1.3.7).
// nonce is "" for a refreshed one. c may be nil.
func (l *login) idToken(c *Call, now time.Time, d *discovery, g *granted, nonce string) (*Token, *failure) {
	if g.IDToken == "" {
		return nil, refuse(decision.TokenMissing, 0, "there is no id_token")
	}
	t, err := parseJWS(g.IDToken)
	if err != nil {
		return nil, refuse(decision.TokenMalformed, malformed, err.Error())
	}
	v := verifier{keys: l.keys, algorithms: safeAlgorithms}
	if _, f := v.checkSignature(c, &t, now); f != nil {
		return nil, f
	}
	claims, f := parseClaims(t.payload)
	if f != nil {
		return nil, f
	}
	rules := claimRules{audiences: []string{l.f.ClientID}, requireAudience: true, issuer: d.Issuer, requireIssuer: true}
	rules.expiresAt.Required = true
	rules.issuedAt.Leeway, rules.notBefore.Leeway = clocksDiffer, clocksDiffer
	if _, f := rules.judge(claims, now); f != nil {
		return nil, f
	}
	id := &Token{Raw: g.IDToken, Header: t.header, Claims: claims, Signature: t.sigText}
	said, _ := claims["nonce"].(string)
	azp, hasAZP := claims["azp"]
	many, _ := texts(claims["aud"])
	hash, hasHash := claims["at_hash"].(string)
	switch {
	case nonce != "" && !same(said, nonce):
		return nil, refuse(decision.TokenInvalid, claimsInvalid, "the nonce is another login's")
	case hasAZP && azp != l.f.ClientID, !hasAZP && slices.ContainsFunc(many, func(a string) bool { return a != l.f.ClientID }):
		return nil, refuse(decision.TokenAudience, wrongAudience, "the id_token is for another client")
	case subject(id) == "":
		return nil, refuse(decision.TokenClaims, claimsInvalid, "the id_token does not say who logged in")
	case hasHash && !atHash(t.alg, hash, g.Access):
		return nil, refuse(decision.TokenInvalid, claimsInvalid, "the access token is not the one that the id_token came with")
	}
	return id, nil
}
