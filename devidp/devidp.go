// Package devidp is a small OpenID Connect provider for laptops and tests: two people whose
// passwords are their names, one client that anybody may be. It must never be reachable
// from anywhere but this machine.
package devidp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	keyID       = "dev"
	codeLife    = time.Minute
	refreshLife = 24 * time.Hour
)

// Options are how a Provider behaves.
type Options struct {
	Issuer    string           // where it is reached
	Clock     func() time.Time // nil for the system's
	TokenLife time.Duration    // of access tokens; 0 for five minutes
}

// A Provider is an identity provider. It is an http.Handler, for several goroutines.
type Provider struct {
	opts Options
	mux  *http.ServeMux
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	grants map[string]*grant // by code or refresh token, each good for one use
}

// A grant is what somebody agreed to.
type grant struct {
	user, client, redirect, nonce, challenge string
	scope                                    []string
	refresh                                  bool
	until                                    time.Time
}

// Users are those who can log in, with their passwords.
func Users() map[string]string { return map[string]string{"alice": "alice", "bob": "bob"} }

// New returns a Provider with a key of its own.
func New(o Options) (*Provider, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.TokenLife == 0 {
		o.TokenLife = 5 * time.Minute
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &Provider{opts: o, mux: http.NewServeMux(), key: key, grants: map[string]*grant{}}
	p.mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	p.mux.HandleFunc("GET /keys", p.keys)
	p.mux.HandleFunc("GET /authorize", p.authorize)
	p.mux.HandleFunc("POST /authorize", p.login)
	p.mux.HandleFunc("POST /token", p.token)
	p.mux.HandleFunc("GET /userinfo", p.userInfo)
	p.mux.HandleFunc("GET /logout", p.logout)
	return p, nil
}

// ServeHTTP answers.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	i := p.opts.Issuer
	answer(w, 200, map[string]any{
		"issuer": i, "authorization_endpoint": i + "/authorize", "token_endpoint": i + "/token", "jwks_uri": i + "/keys",
		"userinfo_endpoint": i + "/userinfo", "end_session_endpoint": i + "/logout",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "password", "client_credentials"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := p.key.PublicKey.Bytes()
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	b64 := base64.RawURLEncoding.EncodeToString
	answer(w, 200, map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": keyID, "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // the client may have gone
}

var page = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Log in</title>
<style>body{font:16px sans-serif;max-width:20em;margin:4em auto}input,button{display:block;width:100%;margin:.4em 0 1em;padding:.5em;box-sizing:border-box}</style>
<h1>Log in</h1>
{{if .Failed}}<p role="alert">That is not right.</p>{{end}}
<p>alice or bob; the password is the name.</p>
<form method="post" action="?{{.Query}}">
<label>Name <input name="username" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button>
<button name="refuse" value="1" formnovalidate>Refuse</button>
</form></html>
`))

// asked reads an authorization request (RFC 6749 §4.1.1). What is wrong with it is told to
// the person, never to whoever redirect_uri names.
func (p *Provider) asked(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		http.Error(w, "redirect_uri is no address", http.StatusBadRequest)
	case q.Get("response_type") != "code" || q.Get("client_id") == "" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "":
		http.Error(w, "response_type must be code, with a client_id and a code_challenge by S256", http.StatusBadRequest)
	default:
		return q, true
	}
	return nil, false
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.asked(w, r); ok {
		p.form(w, r, false)
	}
}

func (p *Provider) form(w http.ResponseWriter, r *http.Request, failed bool) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	if failed {
		w.WriteHeader(http.StatusUnauthorized)
	}
	_ = page.Execute(w, struct { // the client may have gone
		Failed bool
		Query  template.URL
	}{failed, template.URL(r.URL.RawQuery)}) //nolint:gosec // because the query is escaped already, and goes nowhere but to this page
}

func (p *Provider) login(w http.ResponseWriter, r *http.Request) {
	q, ok := p.asked(w, r)
	if !ok {
		return
	}
	back := url.Values{"state": {q.Get("state")}, "iss": {p.opts.Issuer}}
	user, password := r.PostFormValue("username"), r.PostFormValue("password")
	switch {
	case r.PostFormValue("refuse") != "":
		back.Set("error", "access_denied")
	case !right(user, password):
		p.form(w, r, true)
		return
	default:
		back.Set("code", p.keep(&grant{
			user: user, client: q.Get("client_id"), redirect: q.Get("redirect_uri"), nonce: q.Get("nonce"), challenge: q.Get("code_challenge"),
			scope: strings.Fields(q.Get("scope")), until: p.opts.Clock().Add(codeLife),
		}))
	}
	sep := "?"
	if strings.Contains(q.Get("redirect_uri"), "?") {
		sep = "&"
	}
	http.Redirect(w, r, q.Get("redirect_uri")+sep+back.Encode(), http.StatusSeeOther) //nolint:gosec // because sending people back to who asked is what a provider does; on loopback
}

// right reports whether somebody can log in.
func right(user, password string) bool {
	want, known := Users()[user]
	return known && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
}

// keep returns what g can be had for, once.
func (p *Provider) keep(g *grant) string {
	name := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, o := range p.grants {
		if !p.opts.Clock().Before(o.until) {
			delete(p.grants, other)
		}
	}
	p.grants[name] = g
	return name
}

// take returns what was kept as name, once; nil for nothing.
func (p *Provider) take(name string, refresh bool) *grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.grants[name]
	if g == nil || g.refresh != refresh || !p.opts.Clock().Before(g.until) {
		return nil
	}
	delete(p.grants, name)
	return g
}

// token is the token endpoint (RFC 6749 §3.2). Clients need no secret, and may have any.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	client := r.PostFormValue("client_id")
	if id, _, ok := r.BasicAuth(); ok {
		client, _ = url.QueryUnescape(id)
	}
	scope := strings.Fields(r.PostFormValue("scope"))
	var g *grant
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		if g = p.take(r.PostFormValue("code"), false); g != nil {
			sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
			if g.redirect != r.PostFormValue("redirect_uri") || g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
				g = nil
			}
		}
	case "refresh_token":
		g = p.take(r.PostFormValue("refresh_token"), true)
	case "password":
		if user := r.PostFormValue("username"); right(user, r.PostFormValue("password")) {
			g = &grant{user: user, client: client, scope: scope}
		}
	case "client_credentials":
		g = &grant{user: client, client: client, scope: scope}
	default:
		answer(w, 400, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	if g == nil || g.client != client || client == "" {
		answer(w, 400, map[string]string{"error": "invalid_grant"})
		return
	}
	p.issue(w, g)
}

// issue answers with tokens for g.
func (p *Provider) issue(w http.ResponseWriter, g *grant) {
	now := p.opts.Clock()
	claims := func(more jwt.MapClaims) jwt.MapClaims {
		more["iss"], more["sub"], more["iat"], more["exp"] = p.opts.Issuer, g.user, now.Unix(), now.Add(p.opts.TokenLife).Unix()
		return more
	}
	access, err := p.sign(claims(jwt.MapClaims{"scope": strings.Join(g.scope, " "), "client_id": g.client, "aud": g.client, "jti": rand.Text()}))
	doc := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int64(p.opts.TokenLife / time.Second), "scope": strings.Join(g.scope, " "),
	}
	if slices.Contains(g.scope, "openid") && err == nil {
		sum := sha256.Sum256([]byte(access))
		id := claims(jwt.MapClaims{
			"aud": g.client, "at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]),
			"name": strings.ToUpper(g.user[:1]) + g.user[1:], "email": g.user + "@example.com",
		})
		if g.nonce != "" {
			id["nonce"] = g.nonce
		}
		doc["id_token"], err = p.sign(id)
	}
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	if slices.Contains(g.scope, "offline_access") {
		again := *g
		again.refresh, again.nonce, again.until = true, "", now.Add(refreshLife)
		doc["refresh_token"] = p.keep(&again)
	}
	answer(w, 200, doc)
}

func (p *Provider) sign(claims jwt.MapClaims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	t.Header["kid"] = keyID
	return t.SignedString(p.key)
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return &p.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(p.opts.Issuer), jwt.WithExpirationRequired(), jwt.WithTimeFunc(p.opts.Clock))
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, 200, map[string]any{"sub": claims["sub"]})
}

// logout ends nothing, as people log in anew each time, and sends the browser back.
func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to := q.Get("post_logout_redirect_uri")
	if u, err := url.Parse(to); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		answer(w, 200, map[string]string{"logout": "done"})
		return
	}
	if state := q.Get("state"); state != "" {
		to += "?state=" + url.QueryEscape(state)
	}
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // because sending people back to who asked is what a provider does; on loopback
}
