package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"legate/config"
)

// maxProviderAnswer bounds what is read of an identity provider's answers.
const maxProviderAnswer = 1 << 20

// A provider is an identity provider: what it says of itself. It is asked when that is
// needed, and shared by all Filters with the same wishes.
type provider struct {
	url    string // without a slash at its end
	policy config.FetchPolicy
	client *http.Client
	direct *http.Client // follows no redirect: what is sent with it is nobody else's
	deps   *Deps

	mu     sync.Mutex
	known  *discovery // nil before there is any
	tried  time.Time
	err    error
	flight *flight // the attempt under way; nil for none
}

// A discovery is what a provider says of itself (OpenID Connect Discovery 1.0 §3). It is
// not changed.
type discovery struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	UserInfo      string   `json:"userinfo_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	Keys          string   `json:"jwks_uri"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	IssParameter  bool     `json:"authorization_response_iss_parameter_supported"`

	until time.Time // it is believed so long
}

// newProvider returns the provider that c names.
func newProvider(c *config.OAuth2Filter, d *Deps) *provider {
	p := &provider{
		url: strings.TrimSuffix(c.AuthorizationURL, "/"), policy: c.Fetch, client: d.client(c.Fetch), deps: d,
	}
	direct := *p.client
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.direct = &direct
	return p
}

// discover returns what the provider says of itself. What is stale serves for as long as
// the provider does not answer, and only who asks it then waits for that. It blocks as a
// keySet's find does.
func (p *provider) discover(c *Call) (*discovery, error) {
	now := p.deps.Clock()
	fl, known := p.attempt(now)
	if fl != nil {
		wait := time.NewTimer(c.wait(waitTime, now))
		defer wait.Stop()
		select {
		case <-fl.done:
		case <-wait.C:
		}
	} else if known != nil {
		return known, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.usable(now):
		return p.known, nil
	case p.err != nil:
		return nil, p.err
	}
	return nil, fmt.Errorf("discover %q: %w", shownURI(p.url), errWaiting)
}

// usable reports whether what is known still serves at now, if only because nothing newer
// is to be had. The caller holds mu.
func (p *provider) usable(now time.Time) bool {
	return p.known != nil && now.Before(p.known.until.Add(staleFor))
}

// attempt returns the attempt that is to be waited for, nil for none, and what is known
// where none is. It begins one where that is due.
func (p *provider) attempt(now time.Time) (*flight, *discovery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := false
	switch {
	case p.known != nil && now.Before(p.known.until):
		return nil, p.known
	case p.flight == nil && (p.tried.IsZero() || now.Sub(p.tried) >= failedPause || p.known == nil && p.err == nil):
		p.flight, p.tried, mine = &flight{done: make(chan struct{})}, now, true
		go p.look(p.flight)
	}
	if p.usable(now) && (!mine || p.err != nil) { // others find out, or it did not answer before
		return nil, p.known
	}
	return p.flight, nil
}

// look asks the provider once, and tells who waits.
func (p *provider) look(fl *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	next, err := p.ask(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = err; err == nil {
		p.known = next
	} else {
		p.err = fmt.Errorf("discover %q: %w", shownURI(p.url), err)
		p.deps.Log.Warn("identity provider not discovered", "url", shownURI(p.url), "error", err)
	}
	p.flight = nil
	close(fl.done)
}

var errNoEndpoints = errors.New("the document names no token_endpoint at an address")

// ask returns what the provider says of itself now.
func (p *provider) ask(ctx context.Context) (*discovery, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+discoverySuffix, http.NoBody)
	if err != nil {
		return nil, plainError(err)
	}
	mayBeStale(r, p.policy)
	status, header, text, err := p.do(p.client, r)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK:
		return nil, fmt.Errorf("its answer has status %d", status)
	}
	d := &discovery{}
	if json.Unmarshal(text, d) != nil {
		return nil, errNoDiscovery
	}
	if !sameIssuer(d.Issuer, p.url) {
		return nil, errOtherIssuer
	}
	for _, at := range []string{d.Authorization, d.Token, d.UserInfo, d.EndSession} {
		if at != "" && !safeEndpoint(at, p.url) {
			return nil, fmt.Errorf("%q is no address that fits the issuer's", shownURI(at))
		}
	}
	if d.Token == "" {
		return nil, errNoEndpoints
	}
	now := p.deps.Clock()
	d.until = now.Add(lifetime(header, now, p.policy.MaxStale))
	return d, nil
}

// safeEndpoint reports whether an endpoint is at http or https, and at https where the
// provider is.
func safeEndpoint(at, issuer string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(issuer, "http://"))
}

// do sends r by client and returns the answer, whose body is bounded.
func (p *provider) do(client *http.Client, r *http.Request) (status int, h http.Header, text []byte, err error) {
	r.Header.Set("Accept", "application/json")
	a, err := client.Do(r)
	if err != nil {
		return 0, nil, nil, plainError(err)
	}
	defer a.Body.Close()
	text, err = io.ReadAll(io.LimitReader(a.Body, maxProviderAnswer+1))
	switch {
	case err != nil:
		return 0, nil, nil, plainError(err)
	case len(text) > maxProviderAnswer:
		return 0, nil, nil, fmt.Errorf("its answer is longer than %d bytes", maxProviderAnswer)
	}
	return a.StatusCode, a.Header, text, nil
}

// A userInfo is what a provider says of the person that an access token is for (OpenID
// Connect Core 1.0 §5.3).
func (p *provider) userInfo(ctx context.Context, d *discovery, access string) (claims map[string]any, refused bool, err error) {
	if d.UserInfo == "" {
		return nil, false, errors.New("the provider has no userinfo_endpoint")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.UserInfo, http.NoBody)
	if err != nil {
		return nil, false, plainError(err)
	}
	r.Header.Set("Authorization", "Bearer "+access)
	status, _, text, err := p.do(p.direct, r)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("ask %q: %w", shownURI(d.UserInfo), err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, true, nil
	case status != http.StatusOK:
		return nil, false, fmt.Errorf("ask %q: its answer has status %d", shownURI(d.UserInfo), status)
	case json.Unmarshal(text, &claims) != nil:
		claims = map[string]any{} // a signed answer proves the token's worth just as well
	}
	return claims, false, nil
}
