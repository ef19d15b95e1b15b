package authn

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"net/url"
	"strings"

	"legate/decision"
	"legate/wire"
)

// atHash reports whether an id_token's at_hash is of an access token (OpenID Connect Core
// 1.0 §3.1.3.6). EdDSA's is SHA-512's.
func atHash(alg, hash, access string) bool {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		s := sha256.Sum256([]byte(access))
		sum = s[:]
	case strings.HasSuffix(alg, "384"):
		s := sha512.Sum384([]byte(access))
		sum = s[:]
	default:
		s := sha512.Sum512([]byte(access))
		sum = s[:]
	}
	return same(base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]), hash)
}

// loginPaths are the paths of all OAuth2 Filters, which have them in common.
type loginPaths struct {
	byRealm map[string]*login
	deps    *Deps
}

const loginPathsBy = "OAuth2 Filters"

// Serve answers.
func (p *loginPaths) Serve(c *Call) {
	query, _ := c.Head.Query()
	q, err := url.ParseQuery(string(query))
	if err != nil {
		p.refuse(c, "the query cannot be read")
		return
	}
	path := strings.TrimPrefix(string(c.Path), ownPaths)
	method := string(c.Head.MethodName())
	switch {
	case path == "logout" && method == "OPTIONS":
		p.preflight(c)
	case path == "logout" && method == "POST":
		p.logout(c, q)
	case path == "redirection-endpoint" && method == "GET":
		p.sealed(c, q, "state", func(l *login, sealed string) { l.serveCallback(c, sealed, q) })
	case path == "multicookie" && method == "GET" && q.Has("ticket"):
		p.sealed(c, q, "ticket", func(l *login, sealed string) { l.serveTicket(c, sealed) })
	case path == "multicookie" && method == "GET":
		p.sealed(c, q, "login", func(l *login, sealed string) { l.serveLogin(c, sealed) })
	case path == "post-logout-redirect" && method == "GET":
		p.loggedOut(c, q.Get("state"))
	default:
		p.refuse(c, "there is nothing here for that method")
	}
}

func (p *loginPaths) refuse(c *Call, message string) {
	refusePlainly(c, loginPathsBy, decision.LoginInvalid, message)
}

// sealed finds the login that wrote a parameter.
func (p *loginPaths) sealed(c *Call, q url.Values, name string, serve func(l *login, sealed string)) {
	value := q.Get(name)
	i := strings.LastIndexByte(value, '.')
	if i < 0 || len(q[name]) > 1 || p.byRealm[value[:i]] == nil {
		p.refuse(c, "the login was not begun here")
		return
	}
	serve(p.byRealm[value[:i]], value[i+1:])
}

// preflight tells pages of protected origins that they may log out.
func (p *loginPaths) preflight(c *Call) {
	c.Reply = Reply{Reason: decision.Preflight, By: loginPathsBy, Status: 204}
	c.ToClient.AddName(nameVary, valueOrigin)
	origin := c.Head.Get(wire.FieldOrigin)
	for _, l := range p.byRealm {
		for i := range l.origins {
			if len(origin) > 0 && l.origins[i].external == string(origin) {
				c.ToClient.AddName(nameAllowOrigin, origin)
				c.ToClient.AddName(nameAllowMethods, []byte("POST"))
				c.ToClient.AddName(nameAllowHeaders, []byte("content-type"))
				return
			}
		}
	}
}

// logout ends a session, here and at the provider.
func (p *loginPaths) logout(c *Call, q url.Values) {
	f, bad := readForm(c)
	if bad != nil {
		p.refuse(c, bad.description)
		return
	}
	realm := f.get("realm")
	if realm == "" {
		realm = q.Get("realm")
	}
	l := p.byRealm[realm]
	if l == nil {
		p.refuse(c, "there is no such realm")
		return
	}
	o, external := l.origin(c)
	xsrf, several := c.cookie(l.xsrfName)
	if o == nil || several || !same(f.get("_xsrf"), xsrf) {
		l.refuse(c, decision.LoginInvalid, "_xsrf is not that of the browser's session", nil)
		return
	}
	s, _, err := l.opened(c, o)
	if err != nil {
		reason, message := unkept(err)
		l.refuse(c, reason, message, err)
		return
	}
	if s != nil && !same(s.XSRF, xsrf) {
		l.refuse(c, decision.LoginInvalid, "_xsrf is not that of the browser's session", nil)
		return
	}
	lines, err := l.leave(c, o, s)
	if err != nil {
		reason, message := unkept(err)
		l.refuse(c, reason, message, err)
		return
	}
	var hint string
	if s != nil {
		hint = s.IDToken
	}
	if d, err := l.provider.discover(c); err == nil && d.EndSession != "" {
		set := []parameter{{"client_id", l.f.ClientID}}
		if hint != "" {
			set = append(set, parameter{"id_token_hint", hint})
		}
		if l.f.PostLogoutRedirectURI != "" {
			set = append(set, parameter{"post_logout_redirect_uri", external + ownPaths + "post-logout-redirect"}, parameter{"state", realm})
		}
		l.redirect(c, withQuery(d.EndSession, set), decision.OwnEndpoint, lines)
		return
	}
	l.farewell(c, lines)
}

// leave ends s, nil for none, and returns what has c's browser forget it.
func (l *login) leave(c *Call, o *origin, s *session) (lines []wire.Add, err error) {
	if s != nil {
		if err := l.keeper.end(c, s); err != nil {
			return nil, err
		}
		l.spread(c, s)
		l.deps.audit(c, decision.Event{Kind: decision.LoggedOut, Allowed: true, By: l.by, Subject: s.Subject})
	}
	l.forget(c, o, func(a wire.Add) { lines = append(lines, a) })
	return lines, nil
}

// farewell sends who has logged out to where the Filter says, or says so itself.
func (l *login) farewell(c *Call, lines []wire.Add) {
	if to := l.f.PostLogoutRedirectURI; to != "" {
		l.redirect(c, to, decision.OwnEndpoint, lines)
		return
	}
	c.Reply = Reply{
		Reason: decision.OwnEndpoint, By: l.by, Status: 200, ContentType: []byte("text/plain"),
		Headers: append([]wire.Add{noStore}, lines...), Body: []byte("You are logged out.\n"),
	}
}

// loggedOut answers who comes back from the provider without a session there: nor has the
// browser one here any more, though it has logged out nowhere but there.
func (p *loginPaths) loggedOut(c *Call, realm string) {
	l := p.byRealm[realm]
	if l == nil {
		p.refuse(c, "there is no such realm")
		return
	}
	o, _ := l.origin(c)
	if o == nil {
		l.farewell(c, nil)
		return
	}
	s, _, err := l.opened(c, o)
	var lines []wire.Add
	if err == nil {
		lines, err = l.leave(c, o, s)
	}
	if err != nil {
		reason, message := unkept(err)
		l.refuse(c, reason, message, err)
		return
	}
	l.farewell(c, lines)
}

// spread has no gateway believe s any more, which has ended, because of what it remembers:
// this one at once, and others as soon as they hear of it.
func (l *login) spread(c *Call, s *session) {
	if err := l.parts.ended.Revoke(context.Background(), s.ID, c.Now.Add(l.idle(s)), c.Now); err != nil {
		l.deps.Log.Warn("other gateways may not know that a session ended", "error", err)
	}
}
