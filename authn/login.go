package authn

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/templates"
	"legate/wire"
)

const (
	ownPaths      = "/.ambassador/oauth2/"
	stateLife     = time.Hour   // that people may take to log in
	ticketLife    = time.Minute // that a browser takes from one origin to the next
	longIdle      = 14 * 24 * time.Hour
	maxAttempts   = 3 // of a browser that keeps no cookies
	purposeState  = "state"
	purposeTicket = "ticket"
	purposeLogin  = "login"
	purposeCookie = "session"
)

// A login is one OAuth2 Filter, whichever rules use it. It is not changed once built.
type login struct {
	by, realm    string // "Filter shop/web" and "web.shop"
	f            *config.OAuth2Filter
	secret       string // the client's
	assertionKey any
	provider     *provider
	keys         *keySet
	parts        *loginParts
	seal         *sealer
	keeper       keeper
	origins      []origin
	inject       *templates.Headers
	sessionOnly  *condition // of SessionCookies
	deps         *Deps

	sessionName, xsrfName string
}

// loginParts are what of a login outlives a configuration.
type loginParts struct {
	own       []byte // makes the sealer's key where no Secret does
	ended     *Revocations
	refreshes exchanges[*session]
	grants    exchanges[*granted]
	storeDown atomic.Bool // and that was told
}

// An origin is one of those whose pages people log in to.
type origin struct {
	external   string // scheme and authority, as browsers have it
	scheme     string // "" for any
	host       string // as the gateway sees it; "" for any
	subdomains bool
}

// newOrigins compiles list.
func newOrigins(list []config.ProtectedOrigin) []origin {
	var origins []origin
	for _, p := range list {
		internal := p.InternalOrigins
		if len(internal) == 0 {
			internal = []string{p.Origin}
		}
		for _, i := range internal {
			scheme, host, _ := strings.Cut(i, "://")
			o := origin{external: p.Origin, scheme: scheme, host: host, subdomains: p.IncludeSubdomains}
			if scheme == "*" {
				o.scheme = ""
			}
			if host == "*" {
				o.host = ""
			}
			origins = append(origins, o)
		}
	}
	return origins
}

// matches reports whether a request to host is one of o's. Budget: 0 allocs.
func (o *origin) matches(secure bool, host []byte) bool {
	if o.scheme != "" && (o.scheme == "https") != secure {
		return false
	}
	host = withoutUsualPort(host, secure)
	if o.host == "" || len(host) == len(o.host) && wire.EqualFold(host, o.host) {
		return true
	}
	n := len(host) - len(o.host)
	return o.subdomains && n > 1 && host[n-1] == '.' && wire.EqualFold(host[n:], o.host)
}

// withoutUsualPort cuts off the port that the scheme has of itself. Budget: 0 allocs.
func withoutUsualPort(host []byte, secure bool) []byte {
	port := ":80"
	if secure {
		port = ":443"
	}
	if n := len(host) - len(port); n > 0 && string(host[n:]) == port {
		return host[:n]
	}
	return host
}

// origin returns which origin c came to and how browsers call it, nil for none.
func (l *login) origin(c *Call) (*origin, string) {
	i := l.originIndex(c)
	if i < 0 {
		return nil, ""
	}
	o := &l.origins[i]
	host := withoutUsualPort(c.Head.Host(), c.Secure)
	if !o.subdomains || len(host) <= len(o.host) {
		return o, o.external
	}
	scheme, outside, _ := strings.Cut(o.external, "://")
	return o, scheme + "://" + strings.ToLower(string(host[:len(host)-len(o.host)])) + outside
}

// originIndex returns which origin c came to, -1 for none. Budget: 0 allocs.
func (l *login) originIndex(c *Call) int {
	host := c.Head.Host()
	for i := range l.origins {
		if l.origins[i].matches(c.Secure, host) {
			return i
		}
	}
	return -1
}

// origin returns the origin that c came to, as people read it.
func (c *Call) origin() string {
	scheme := "http://"
	if c.Secure {
		scheme = "https://"
	}
	return scheme + string(c.Head.Host())
}

// secure reports whether browsers have a secure connection to o.
func (o *origin) secure() bool { return strings.HasPrefix(o.external, "https://") }

// browserName is what the cookie is called that tells one browser from others. Nobody but
// this very host can set one whose name begins with __Host-.
func (l *login) browserName(o *origin) string {
	if o.secure() && !o.subdomains {
		return "__Host-legate_browser." + l.realm
	}
	return "legate_browser." + l.realm
}

// jar returns what c's cookies have in common.
func (l *login) jar(c *Call, o *origin, sameSite string, idle time.Duration) *cookieJar {
	j := &cookieJar{secure: o.secure(), sameSite: sameSite, keep: idle}
	if o.subdomains {
		_, host, _ := strings.Cut(o.external, "://")
		j.domain = string(withoutPort([]byte(host)))
	}
	if s := l.f.SessionCookies; s != nil {
		if (l.sessionOnly == nil || l.sessionOnly.holds(c)) == s.Value {
			j.keep = 0
		}
	}
	return j
}

// fromProvider is the SameSite of cookies that must come back with who returns from the
// provider.
func fromProvider(sameSite string) string {
	if sameSite == "none" {
		return "none"
	}
	return "lax"
}

// A session is what is kept, sealed, of who logged in.
type session struct {
	ID      string   `json:"i"`
	Browser string   `json:"b,omitempty"` // a hash of the cookie of the browser that keeps it
	XSRF    string   `json:"x"`
	Access  string   `json:"a"`
	Refresh string   `json:"r,omitempty"`
	IDToken string   `json:"t,omitempty"`
	Subject string   `json:"u"`
	Expires int64    `json:"e,omitempty"` // of the access token
	Asked   []string `json:"q"`
	Granted []string `json:"g"`
	Used    int64    `json:"l"` // about when it was used last, or when it was refreshed

	due time.Time // to be renewed, if it is still used then
}

// idle is how long s lives without being used.
func (l *login) idle(s *session) time.Duration {
	switch {
	case l.f.MaxIdle > 0:
		return l.f.MaxIdle
	case s.Refresh != "" || s.Expires == 0:
		return longIdle
	}
	return time.Duration(max(1, s.Expires-s.Used)) * time.Second
}

// renews is how old what a session says of its last use may become.
func (l *login) renews(s *session) time.Duration { return min(l.idle(s)/4, time.Hour) }

// random returns n random bytes in hex.
func (l *login) random(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(l.deps.Random, b); err != nil {
		panic("BUG: no random bytes: " + err.Error())
	}
	return hex.EncodeToString(b)
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// same compares two secrets in a time that tells nothing of them. Nothing is the same as
// nothing.
func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// opened returns the session that c's browser has, nil for none. several says that it has
// two, of which one may be somebody else's.
func (l *login) opened(c *Call, o *origin) (s *session, several bool, err error) {
	value, several := c.joined(l.sessionName)
	if value == "" || several {
		return nil, several, nil
	}
	browser, several := c.cookie(l.browserName(o))
	if browser == "" || several {
		return nil, several, nil
	}
	s, err = l.keeper.open(c, value, browser)
	if err != nil || s == nil || l.parts.ended.Has(s.ID) {
		return nil, false, err
	}
	return s, false, nil
}

// renew has s, which was used now, live on.
func (l *login) renew(c *Call, o *origin, s *session, sameSite string) error {
	browser, _ := c.cookie(l.browserName(o))
	if err := l.keeper.renew(c, s); err != nil {
		return err
	}
	return l.write(s, browser, l.jar(c, o, sameSite, l.idle(s)), c.ToClient.AddLine)
}

// write has the browser with that secret keep s.
func (l *login) write(s *session, browser string, j *cookieJar, put func(wire.Add)) error {
	value, err := l.keeper.value(s, browser)
	if err != nil {
		return err
	}
	parts, err := chunks(value)
	if err != nil {
		return err
	}
	for i, p := range parts {
		put(j.line(chunkName(l.sessionName, i), p, false, j.keep))
	}
	put(j.line(l.xsrfName, s.XSRF, true, j.keep))
	return nil
}

// begin gives the browser of c a new secret of its own, binds s to it, and writes both.
func (l *login) begin(c *Call, o *origin, s *session, sameSite string, put func(wire.Add)) error {
	secret := l.random(32)
	j := l.jar(c, o, sameSite, l.idle(s))
	if err := l.write(s, secret, j, put); err != nil {
		return err
	}
	b := *j
	b.sameSite = fromProvider(sameSite)
	put(b.line(l.browserName(o), secret, false, j.keep))
	return nil
}

// forget has c's browser drop the session.
func (l *login) forget(c *Call, o *origin, put func(wire.Add)) {
	j := l.jar(c, o, "", 0)
	put(j.line(l.sessionName, "", false, -1))
	put(j.line(l.xsrfName, "", true, -1))
	put(j.line(l.browserName(o), "", false, -1))
	c.cookies(func(name, _ []byte) {
		if n := string(name); strings.HasPrefix(n, l.sessionName+".") && l.ownCookie(name) {
			put(j.line(n, "", false, -1))
		}
	})
}

// ownCookie reports whether a cookie is the gateway's own, and nothing to a service: who
// has it has the session. Budget: 0 allocs.
func (l *login) ownCookie(name []byte) bool {
	if n := len(l.sessionName); len(name) >= n && string(name[:n]) == l.sessionName {
		rest := name[n:]
		return len(rest) == 0 || len(rest) == 2 && rest[0] == '.' && '0' < rest[1] && rest[1] <= '9'
	}
	const host, plain = "__Host-legate_browser.", "legate_browser."
	for _, prefix := range [...]string{host, plain} {
		if n := len(prefix); len(name) == n+len(l.realm) && string(name[:n]) == prefix && string(name[n:]) == l.realm {
			return true
		}
	}
	return false
}

// scope returns the scopes that a rule with args needs.
func (l *login) scope(args *config.Arguments) []string {
	var list []string
	if args != nil {
		list = slices.Clone(args.Scope)
	}
	if l.f.Grant == config.AuthorizationCode && !slices.Contains(list, "openid") {
		list = append([]string{"openid"}, list...)
	}
	return list
}

// lacks reports whether has is short of one of needs. offline_access is not missed.
func lacks(has, needs []string) bool {
	return slices.ContainsFunc(needs, func(s string) bool { return s != "offline_access" && !slices.Contains(has, s) })
}

// newLogin makes the OAuth2 Filter o. What is wrong with it is an error of a field.
func newLogin(o *config.Filter, parts *loginParts, p *provider, secrets func(namespace, name string) *config.Secret, sets *keySets, d *Deps) (*login, bool, error) {
	f := o.OAuth2
	realm := o.Name + "." + o.Namespace
	l := &login{
		by: fmt.Sprintf("Filter %s/%s", o.Namespace, o.Name), realm: realm, f: f, secret: f.Secret, provider: p, parts: parts,
		keys: sets.discover(f.AuthorizationURL, f.Fetch), origins: newOrigins(f.Origins), deps: d,
		sessionName: "ambassador_session." + realm, xsrfName: "ambassador_xsrf." + realm,
	}
	var from *config.Secret
	if ref := f.SecretRef; ref.Name != "" {
		if from = secrets(ref.Namespace, ref.Name); from == nil {
			return nil, false, &fieldError{"secretName", fmt.Errorf("there is no Secret %s.%s", ref.Name, ref.Namespace)}
		}
		value, found := from.Data["oauth2-client-secret"]
		if !found {
			return nil, false, &fieldError{"secretName", fmt.Errorf("the Secret %s.%s has no oauth2-client-secret", ref.Name, ref.Namespace)}
		}
		l.secret = string(value)
	}
	var err error
	if f.ClientAuth.Method == "JWTAssertion" && f.Grant != config.ClientCredentials {
		if l.assertionKey, err = assertionKey(f.ClientAuth.Assertion.SigningMethod, l.secret); err != nil {
			return nil, false, &fieldError{"clientAuthentication.jwtAssertion.signingMethod", err}
		}
	}
	if l.inject, err = templates.NewHeaders(f.Inject); err != nil {
		return nil, false, inField("injectRequestHeaders", err)
	}
	if f.SessionCookies != nil {
		if l.sessionOnly, err = newCondition(f.SessionCookies.If); err != nil {
			return nil, false, &fieldError{"useSessionCookies.ifRequestHeader", err}
		}
	}
	var shared bool
	if l.seal, shared, err = newSealer(realm, l.secret, from, parts.own, d); err != nil {
		return nil, false, &fieldError{"secretName", err}
	}
	l.keeper = cookieKeeper{l}
	if d.Sessions != nil {
		l.keeper = storeKeeper{l, d.Sessions, &parts.storeDown}
	}
	return l, shared || f.Grant != config.AuthorizationCode, nil
}
