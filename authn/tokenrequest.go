package authn

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"legate/wire"
)

// granted are the tokens that a provider gave.
type granted struct {
	Access    string      `json:"access_token"`
	Type      string      `json:"token_type"`
	ExpiresIn json.Number `json:"expires_in"` // some write it as a text
	Refresh   string      `json:"refresh_token"`
	IDToken   string      `json:"id_token"`
	Scope     *string     `json:"scope"`
}

// A refusedError is what a provider said in the words of OAuth (RFC 6749 §5.2).
type refusedError struct{ code string }

func (e *refusedError) Error() string { return "the provider refuses: " + e.code }

var (
	errNoAccess  = errors.New("its answer has no access_token")
	errTokenType = errors.New("its token_type is not Bearer")
)

// request asks the token endpoint for tokens, as the client id with secret. assertion is
// one that the client made itself, "" for none.
func (l *login) request(ctx context.Context, d *discovery, form url.Values, who clientProof) (*granted, error) {
	r, err := l.tokenRequest(ctx, d, form, who)
	if err != nil {
		return nil, err
	}
	status, _, text, err := l.provider.do(l.provider.direct, r)
	if err != nil {
		return nil, fmt.Errorf("ask %q: %w", shownURI(d.Token), err)
	}
	if status != http.StatusOK {
		var said struct {
			Code string `json:"error"`
		}
		if json.Unmarshal(text, &said) == nil && said.Code != "" && status < http.StatusInternalServerError {
			return nil, &refusedError{visibleCode(said.Code)}
		}
		return nil, fmt.Errorf("ask %q: its answer has status %d", shownURI(d.Token), status)
	}
	g := &granted{}
	switch err := json.Unmarshal(text, g); {
	case err != nil || g.Access == "":
		return nil, fmt.Errorf("ask %q: %w", shownURI(d.Token), errNoAccess)
	case g.Type != "" && !strings.EqualFold(g.Type, "Bearer"):
		return nil, fmt.Errorf("ask %q: %w", shownURI(d.Token), errTokenType)
	case !l.f.AllowMalformedAccessToken && !isB64Token([]byte(g.Access)), !wire.IsFieldValue([]byte(g.Access)):
		return nil, fmt.Errorf("ask %q: %w", shownURI(d.Token), errors.New("its access_token has characters that no Bearer token has; allowMalformedAccessToken would take it"))
	}
	return g, nil
}

// visibleCode returns an error code as it may be shown: RFC 6749 §4.1.2.1 allows no others.
func visibleCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, code[:min(len(code), 200)])
}

// A clientProof is who asks for tokens, and how that is proved.
type clientProof struct{ id, secret, assertion string }

func (l *login) tokenRequest(ctx context.Context, d *discovery, form url.Values, who clientProof) (*http.Request, error) {
	method := l.f.ClientAuth.Method
	switch {
	case method == "JWTAssertion":
		if who.assertion == "" {
			var err error
			if who.assertion, err = l.assertion(d); err != nil {
				return nil, err
			}
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", who.assertion)
		if l.f.ClientAuth.Assertion.SetClientID && who.id != "" {
			form.Set("client_id", who.id)
		}
	case who.secret == "":
		form.Set("client_id", who.id) // a public client
	case method == "BodyPassword":
		form.Set("client_id", who.id)
		form.Set("client_secret", who.secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, plainError(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if method == "HeaderPassword" && who.secret != "" {
		r.SetBasicAuth(url.QueryEscape(who.id), url.QueryEscape(who.secret))
	}
	return r, nil
}

// assertion makes what the gateway proves with who it is (RFC 7523 §3).
func (l *login) assertion(d *discovery) (string, error) {
	a := &l.f.ClientAuth.Assertion
	now := l.deps.Clock()
	claims := jwt.MapClaims{}
	maps.Copy(claims, a.OtherClaims)
	claims["iss"], claims["sub"], claims["aud"], claims["jti"] = l.f.ClientID, l.f.ClientID, a.Audience, rand.Text()
	if a.Audience == "" {
		claims["aud"] = d.Token
	}
	claims["exp"] = now.Add(a.Lifetime).Unix()
	if a.SetNBF {
		claims["nbf"] = now.Add(-a.NBFSafetyMargin).Unix()
	}
	if a.SetIAT {
		claims["iat"] = now.Unix()
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(a.SigningMethod), claims)
	for name, value := range a.OtherHeaderParameters {
		if name != "alg" {
			t.Header[name] = value
		}
	}
	return t.SignedString(l.assertionKey)
}

// assertionKey reads the key that assertions are signed with: a secret's bytes, or PEM.
func assertionKey(method, secret string) (any, error) {
	if strings.HasPrefix(method, "HS") {
		return []byte(secret), nil
	}
	if block, _ := pem.Decode([]byte(secret)); block == nil {
		return nil, errors.New("the client's secret is no PEM, as " + method + " needs")
	}
	var key any
	var err error
	if strings.HasPrefix(method, "ES") {
		key, err = jwt.ParseECPrivateKeyFromPEM([]byte(secret))
	} else {
		key, err = jwt.ParseRSAPrivateKeyFromPEM([]byte(secret))
	}
	if err != nil {
		return nil, errors.New("the client's secret is no private key that fits " + method)
	}
	if _, err := jwt.New(jwt.GetSigningMethod(method)).SignedString(key); err != nil {
		return nil, errors.New("the client's secret is no private key that fits " + method)
	}
	return key, nil
}

// scopes returns what was granted: what the provider says, or what was asked for where it
// says nothing (RFC 6749 §5.1).
func (g *granted) scopes(asked []string) []string {
	if g.Scope == nil {
		return asked
	}
	return strings.Fields(*g.Scope)
}

// ofLogin is scopes of a login. There is none without an id_token, and that is what openid
// asks for: providers that list the scopes of the access token alone leave it out.
func (g *granted) ofLogin(asked []string) []string {
	return union(g.scopes(asked), []string{"openid"})
}

// maxExpiry is how long an access token is believed to live at most: some that never lapse
// say so by the last second of the year 9999.
const maxExpiry = 1e8 * time.Second

// expires returns when the access token lapses by what the provider said, or else by what
// stands in it; zero for nobody knows.
func (g *granted) expires(now time.Time) time.Time {
	latest := now.Add(maxExpiry)
	if lasts, err := g.ExpiresIn.Float64(); (err == nil || errors.Is(err, strconv.ErrRange)) && lasts > 0 {
		return now.Add(time.Duration(min(lasts, maxExpiry.Seconds())) * time.Second)
	}
	if t, err := parseJWS(g.Access); err == nil {
		if claims, f := parseClaims(t.payload); f == nil {
			if exp, found, ok := date(claims, "exp"); found && ok && exp.After(latest) {
				return latest
			} else if found && ok {
				return exp
			}
		}
	}
	return time.Time{}
}
