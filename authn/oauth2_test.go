package authn

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"legate/config"
	"legate/decision"
	"legate/devidp"
	"legate/e2e/redistest"
	"legate/wire"
)

// A loginWorld is a gateway with one OAuth2 Filter, an identity provider, and browsers.
type loginWorld struct {
	t        *testing.T
	ahead    atomic.Int64 // of midday, in nanoseconds: refreshers look at the clock too
	set      *Set
	world    *config.World
	deps     *Deps
	idp      *httptest.Server
	asked    atomic.Int64     // for tokens
	provider *devidp.Provider // at idp

	redis *redis.Client // keeps the sessions; nil for browsers that do
	mu    sync.Mutex
	other http.HandlerFunc // answers instead of the provider; nil for nobody
}

// forward lets time pass, in Redis too.
func (w *loginWorld) forward(d time.Duration) {
	w.t.Helper()
	w.ahead.Add(int64(d))
	if w.redis == nil {
		return
	}
	keys, err := w.redis.Keys(w.t.Context(), "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range keys {
		left, err := w.redis.PTTL(w.t.Context(), k).Result()
		if err == nil && left > d {
			err = w.redis.PExpire(w.t.Context(), k, left-d).Err()
		} else if err == nil {
			err = w.redis.Del(w.t.Context(), k).Err()
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// keepers are who keeps sessions: browsers, or a Redis.
var keepers = map[string]func(t *testing.T) *redis.Client{
	"cookies": func(*testing.T) *redis.Client { return nil },
	"redis": func(t *testing.T) *redis.Client {
		t.Helper()
		return redisAt(t, redistest.Start(t))
	},
}

func redisAt(t *testing.T, s *redistest.Server) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

// now is the time of w, which a test moves.
func (w *loginWorld) now() time.Time { return midday.Add(time.Duration(w.ahead.Load())) }

// newLoginWorld makes one in which change was made, with objects beside it. kept keeps the sessions, nil for the
// browsers.
func newLoginWorld(t *testing.T, kept *redis.Client, change func(f *config.OAuth2Filter, args *config.Arguments), beside ...func(w *config.World)) *loginWorld {
	t.Helper()
	w := &loginWorld{t: t, redis: kept}
	w.idp = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.asked.Add(1)
		}
		w.mu.Lock()
		other := w.other
		w.mu.Unlock()
		if other != nil {
			other(rw, r)
			return
		}
		w.provider.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.idp.Close)
	var err error
	if w.provider, err = devidp.New(devidp.Options{Issuer: w.idp.URL, Clock: w.now}); err != nil {
		t.Fatal(err)
	}
	f := &config.OAuth2Filter{
		AuthorizationURL: w.idp.URL + "/", ClientID: "web", Secret: strings.Repeat("s", 40), Validation: "auto",
		ClientAuth: config.ClientAuthentication{Method: "HeaderPassword"},
		Origins:    []config.ProtectedOrigin{{Origin: "https://shop.example.com"}, {Origin: "https://admin.example.org"}},
		Inject:     []config.HeaderTemplate{{Name: "X-Email", Value: "{{ .idToken.Claims.email }}"}, {Name: "X-Sub", Value: "{{ .token.Claims.sub }}"}},
	}
	args := &config.Arguments{Scope: []string{"offline_access"}}
	if change != nil {
		change(f, args)
	}
	w.world = &config.World{
		Filters: []config.Filter{{Meta: config.Meta{Kind: "Filter", Name: "web", Namespace: "shop"}, OAuth2: f}},
		FilterPolicies: []config.FilterPolicy{{
			Meta:  config.Meta{Kind: "FilterPolicy", Name: "all", Namespace: "shop"},
			Rules: []config.FilterRule{{Host: "*", Path: "*", Filters: []config.FilterUse{{Name: "web", Namespace: "shop", Arguments: args}}}},
		}},
	}
	for _, add := range beside {
		add(w.world)
	}
	w.begin()
	return w
}

// begin has w serve.
func (w *loginWorld) begin() {
	w.t.Helper()
	w.deps = testDeps(w.t, new(time.Time))
	w.deps.Clock = w.now
	w.deps.Dial = (&net.Dialer{}).DialContext
	if w.redis != nil {
		w.deps.Sessions = NewRedisSessions(w.redis)
	}
	w.build()
	w.t.Cleanup(func() { w.set.Retire(nil) })
}

// another returns a second gateway with the same configuration and the same Redis.
func (w *loginWorld) another() *loginWorld {
	w.t.Helper()
	o := &loginWorld{t: w.t, idp: w.idp, world: w.world, redis: w.redis}
	o.ahead.Store(w.ahead.Load())
	o.begin()
	return o
}

// at returns b, with its cookies, before another gateway.
func (b *browser) at(w *loginWorld) *browser { return &browser{w, b.cookies} }

func (w *loginWorld) build() {
	w.t.Helper()
	set, problems := New(w.world, w.set, w.deps)
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	old := w.set
	w.set = set
	set.Start()
	set.Ready(context.Background())
	old.Retire(set)
}

// A browser keeps cookies by host, or by domain, which begins with a dot.
type browser struct {
	w       *loginWorld
	cookies map[string]map[string]string
}

func (w *loginWorld) browser() *browser { return &browser{w, map[string]map[string]string{}} }

// ask sends a request, follows nothing, and keeps cookies.
func (b *browser) ask(method, address string, fields ...string) *Call {
	b.w.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.w.t.Fatal(err)
	}
	var pairs []string
	for name, value := range b.cookies[u.Host] {
		pairs = append(pairs, name+"="+value)
	}
	for domain, list := range b.cookies {
		if !strings.HasPrefix(domain, ".") || !strings.HasSuffix("."+u.Host, domain) {
			continue
		}
		for name, value := range list {
			pairs = append(pairs, name+"="+value)
		}
	}
	if len(pairs) > 0 {
		fields = append(fields, "Cookie", strings.Join(pairs, "; "))
	}
	c := visit(b.w.now(), method, u, fields...)
	b.w.serve(c)
	b.keep(u.Host, c)
	return c
}

func (b *browser) keep(host string, c *Call) {
	if b.cookies[host] == nil {
		b.cookies[host] = map[string]string{}
	}
	for _, list := range [][]wire.Add{c.Reply.Headers, c.ToClient.Adds()} {
		for _, a := range list {
			if a.ID != wire.FieldSetCookie {
				continue
			}
			pair, attributes, _ := strings.Cut(string(a.Value), ";")
			name, value, _ := strings.Cut(pair, "=")
			at := host
			if _, domain, found := strings.Cut(attributes, "; Domain="); found {
				domain, _, _ = strings.Cut(domain, ";")
				at = "." + domain
			}
			if strings.Contains(attributes, "Max-Age=0") {
				delete(b.cookies[at], name)
				continue
			}
			if b.cookies[at] == nil {
				b.cookies[at] = map[string]string{}
			}
			b.cookies[at][name] = value
		}
	}
}

func visit(now time.Time, method string, u *url.URL, fields ...string) *Call {
	head := &wire.Head{}
	head.BuildRequest(method, u.Host, u.RequestURI(), fields...)
	return &Call{
		Head: head, Edits: &wire.Edits{}, ToClient: &wire.Edits{}, Peer: &wire.Peer{}, Secure: u.Scheme == "https",
		Path: head.Path(), RawPath: head.Path(), RequestID: []byte("r1"), Now: now, Memory: &[]byte{},
	}
}

// serve does with c what the gateway does.
func (w *loginWorld) serve(c *Call) {
	if e, _ := w.set.Endpoints().Find(c.Path); e != nil {
		e.Serve(c)
		return
	}
	w.set.Strip(c.Head, c.Edits)
	if w.set.Filter(c) == Allow {
		c.Reply = Reply{}
	}
}

func location(c *Call) string {
	for _, a := range c.Reply.Headers {
		if a.ID == wire.FieldLocation {
			return string(a.Value)
		}
	}
	return ""
}

// atProvider logs user in, and returns where the provider sends the browser.
func (w *loginWorld) atProvider(address, user string) string {
	w.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := url.Values{"username": {user}, "password": {user}}
	if user == "" {
		form = url.Values{"refuse": {"1"}}
	}
	a, err := client.PostForm(address, form)
	if err != nil {
		w.t.Fatal(err)
	}
	a.Body.Close()
	return a.Header.Get("Location")
}

// login goes to address, logs user in, and returns the last answer.
func (b *browser) login(address, user string) *Call {
	b.w.t.Helper()
	for range 10 {
		c := b.ask("GET", address)
		to := location(c)
		switch {
		case to == "":
			return c
		case strings.HasPrefix(to, b.w.idp.URL):
			address = b.w.atProvider(to, user)
		default:
			address = to
		}
	}
	b.w.t.Fatal("the redirects do not end")
	return nil
}

func wantReply(t *testing.T, c *Call, reason decision.Reason, status int) {
	t.Helper()
	if c.Reply.Reason != reason || c.Reply.Status != status {
		t.Fatalf("answered %s %d (%s, %v), want %s %d", c.Reply.Reason, c.Reply.Status, c.Reply.Body, c.Reply.Err, reason, status)
	}
}

// received returns what the service would receive under a name.
func received(c *Call, name string) string {
	n := newFieldName(name)
	value, _ := c.field(&n)
	return string(value)
}

const page = "https://shop.example.com/cart?x=1"

func TestLogin(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			b := w.browser()
			first := b.ask("GET", page)
			wantReply(t, first, decision.LoginRedirect, 302)
			to, err := url.Parse(location(first))
			if err != nil {
				t.Fatal(err)
			}
			q := to.Query()
			for name, want := range map[string]string{
				"response_type": "code", "client_id": "web", "scope": "openid offline_access", "code_challenge_method": "S256",
				"redirect_uri": "https://shop.example.com/.ambassador/oauth2/redirection-endpoint",
			} {
				if q.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, q.Get(name), want)
				}
			}
			c := b.login(page, "alice")
			wantReply(t, c, decision.None, 0)
			if got := string(c.Head.Host()) + string(c.Path); got != "shop.example.com/cart" {
				t.Errorf("ended at %s", got)
			}
			if !strings.HasPrefix(received(c, "authorization"), "Bearer ey") || received(c, "x-email") != "alice@example.com" || received(c, "x-sub") != "alice" {
				t.Errorf("the service gets %q, %q, %q", received(c, "authorization"), received(c, "x-email"), received(c, "x-sub"))
			}
			if c.Identity == nil || c.Identity.Subject != "alice" || c.Identity.Issuer != w.idp.URL {
				t.Errorf("recognised %+v", c.Identity)
			}
			if got := received(c, "cookie"); strings.Contains(got, "session") || strings.Contains(got, "browser") {
				t.Errorf("the service gets the session: %q", got)
			}
			spoof := b.ask("GET", page, "Authorization", "Bearer mine", "X-Email", "root@example.com", "X-Sub", "root")
			wantReply(t, spoof, decision.None, 0)
			if received(spoof, "x-email") != "alice@example.com" || received(spoof, "x-sub") != "alice" || received(spoof, "authorization") == "Bearer mine" {
				t.Error("what the client says of itself reaches the service")
			}
			w.build() // a reload logs nobody out
			wantReply(t, b.ask("GET", page), decision.None, 0)
		})
	}
}

func TestTwoOrigins(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			b := w.browser()
			const other = "https://admin.example.org/users"
			c := b.login(other, "bob")
			wantReply(t, c, decision.None, 0)
			if got := string(c.Head.Host()); got != "admin.example.org" {
				t.Errorf("ended at %s", got)
			}
			asked := w.asked.Load()
			wantReply(t, b.ask("GET", page), decision.None, 0) // the first origin has a session by now
			c = w.browser().ask("GET", "https://evil.example.net/")
			wantReply(t, c, decision.OriginUnprotected, 400)
			if want := `"https://evil.example.net is none of the Filter's protectedOrigins"`; !strings.Contains(string(c.Reply.Body), want) {
				t.Errorf("the page says %s", c.Reply.Body)
			}
			if w.asked.Load() != asked {
				t.Error("somebody logged in again")
			}
		})
	}
}

// A refresh token is good for one use here, and two origins have it. Whoever comes second
// gets the other's session, without a word of the provider's.
func TestTwoOriginsRefresh(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			b := w.browser()
			const other = "https://admin.example.org/users"
			wantReply(t, b.login(other, "bob"), decision.None, 0)
			for range 2 {
				w.forward(6 * time.Minute)
				wantReply(t, b.ask("GET", page), decision.None, 0)
				w.forward(2 * time.Minute)
				address := other
				for range 3 {
					c := b.ask("GET", address)
					if address = location(c); address == "" {
						wantReply(t, c, decision.None, 0)
						break
					}
					if strings.HasPrefix(address, w.idp.URL) {
						t.Fatalf("sent to the provider")
					}
				}
			}
		})
	}
}

// A browser that keeps no cookies is told so, and not sent around for ever, whichever origin
// it came to.
func TestNoCookies(t *testing.T) {
	for _, address := range []string{page, "https://admin.example.org/users"} {
		w := newLoginWorld(t, nil, nil)
		atProvider := 0
		for c := w.browser().ask("GET", address); ; c = w.browser().ask("GET", address) {
			if address = location(c); address == "" {
				wantReply(t, c, decision.LoginInvalid, 400)
				break
			}
			if strings.HasPrefix(address, w.idp.URL) {
				if atProvider++; atProvider > maxAttempts {
					t.Fatalf("sent to the provider %d times", atProvider)
				}
				address = w.atProvider(address, "alice")
			}
		}
	}
}

func TestRefreshAndExpiry(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			b := w.browser()
			b.login(page, "alice")
			old := maps.Clone(b.cookies["shop.example.com"])
			w.forward(6 * time.Minute)
			asked := w.asked.Load()
			var all sync.WaitGroup
			for range 8 { // one page asks for many things at once
				all.Go(func() {
					one := &browser{w, map[string]map[string]string{"shop.example.com": maps.Clone(old)}}
					if c := one.ask("GET", page); c.Reply.Status != 0 {
						t.Errorf("answered %s", c.Reply.Reason)
					}
				})
			}
			all.Wait()
			if n := w.asked.Load() - asked; n != 1 {
				t.Errorf("the provider was asked %d times for one refresh", n)
			}
			wantReply(t, b.ask("GET", page), decision.None, 0)
			w.forward(15 * 24 * time.Hour)
			wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
}

func TestExpiryWithoutRefresh(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), func(_ *config.OAuth2Filter, args *config.Arguments) { args.Scope = nil })
			b := w.browser()
			b.login(page, "alice")
			wantReply(t, b.ask("GET", page), decision.None, 0)
			w.forward(5 * time.Minute)
			wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
}

// TestStolenAndForged is what does not log anybody in.
func TestStolenAndForged(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			begin := func(b *browser) string { return w.atProvider(location(b.ask("GET", page)), "alice") }
			attacker, victim := w.browser(), w.browser()

			callback := begin(attacker)
			c := victim.ask("GET", callback)
			wantReply(t, c, decision.LoginRedirect, 302) // login CSRF: the victim begins a login of its own
			if len(victim.cookies["shop.example.com"]) != 2 {
				t.Errorf("the victim has %v", victim.cookies)
			}
			wantReply(t, attacker.ask("GET", callback), decision.OwnEndpoint, 302)
			again := attacker.ask("GET", callback) // replayed
			if strings.Contains(fmt.Sprint(again.Reply.Headers), "ambassador_session") {
				t.Error("a state was good for two logins")
			}
			rows := []struct {
				name, query string
				reason      decision.Reason
				status      int
			}{
				{"no state", "code=x", decision.LoginInvalid, 400},
				{"a state of nobody", "code=x&state=web.shop.AAAA", decision.LoginInvalid, 400},
				{"another realm", "code=x&state=other.shop.AAAA", decision.LoginInvalid, 400},
				{"two states", "code=x&state=web.shop.A&state=web.shop.B", decision.LoginInvalid, 400},
			}
			for _, r := range rows {
				t.Run(r.name, func(t *testing.T) {
					wantReply(t, w.browser().ask("GET", "https://shop.example.com/.ambassador/oauth2/redirection-endpoint?"+r.query), r.reason, r.status)
				})
			}
			for _, r := range []struct {
				name   string
				change func(q url.Values)
				reason decision.Reason
				status int
			}{
				{"another issuer", func(q url.Values) { q.Set("iss", "https://evil.example.com") }, decision.LoginInvalid, 400},
				{"no issuer", func(q url.Values) { q.Del("iss") }, decision.LoginInvalid, 400},
				{"no code", func(q url.Values) { q.Del("code") }, decision.LoginInvalid, 400},
				{"a code of nobody", func(q url.Values) { q.Set("code", "x") }, decision.LoginRefused, 403},
				{"another login's code", func(q url.Values) {
					u, _ := url.Parse(begin(w.browser()))
					q.Set("code", u.Query().Get("code"))
				}, decision.LoginRefused, 403},
				{"an error", func(q url.Values) { q.Set("error", "access_denied") }, decision.LoginRefused, 403},
			} {
				t.Run(r.name, func(t *testing.T) {
					b := w.browser()
					u, err := url.Parse(begin(b))
					if err != nil {
						t.Fatal(err)
					}
					q := u.Query()
					r.change(q)
					u.RawQuery = q.Encode()
					wantReply(t, b.ask("GET", u.String()), r.reason, r.status)
				})
			}
		})
	}
}

func TestTossedCookies(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			attacker, victim := w.browser(), w.browser()
			attacker.login(page, "bob")
			victim.login(page, "alice")
			const host, name = "shop.example.com", "ambassador_session.web.shop"
			stolen := attacker.cookies[host][name]
			c := visit(w.now(), "GET", must(url.Parse(page)), "Cookie", name+"="+stolen)
			w.serve(c)
			wantReply(t, c, decision.LoginRedirect, 302) // without the browser's own secret it is nothing
			c = victim.ask("GET", page, "Cookie", name+"="+stolen)
			wantReply(t, c, decision.SessionAmbiguous, 400)
			victim.cookies[host][name] = stolen
			wantReply(t, victim.ask("GET", page), decision.LoginRedirect, 302)
			attacker.cookies[host][name] = stolen[:len(stolen)-4] + "AAAA"
			wantReply(t, attacker.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A formBody is the body of a request.
type formBody string

func (f formBody) Peek(int) ([]byte, bool, error) { return []byte(f), true, nil }

func TestLogout(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			kept := open(t)
			const logout = "https://shop.example.com/.ambassador/oauth2/logout"
			w := newLoginWorld(t, kept, func(f *config.OAuth2Filter, _ *config.Arguments) {
				f.PostLogoutRedirectURI = "https://shop.example.com/bye"
			})
			b := w.browser()
			b.login(page, "alice")
			const host = "shop.example.com"
			xsrf := b.cookies[host]["ambassador_xsrf.web.shop"]
			stolen := maps.Clone(b.cookies[host])
			send := func(address, body string) *Call {
				var pairs []string
				for n, v := range b.cookies[host] {
					pairs = append(pairs, n+"="+v)
				}
				c := visit(w.now(), "POST", must(url.Parse(address)), "Content-Type", "application/x-www-form-urlencoded", "Cookie", strings.Join(pairs, "; "))
				c.Body = formBody(body)
				w.serve(c)
				return c
			}
			wantReply(t, send(logout+"?realm=web.shop&_xsrf="+xsrf, ""), decision.LoginInvalid, 400)
			wantReply(t, send(logout, "realm=web.shop&_xsrf=x"), decision.LoginInvalid, 400)
			wantReply(t, send(logout, "realm=other.shop&_xsrf="+xsrf), decision.LoginInvalid, 400)
			wantReply(t, b.ask("GET", page), decision.None, 0)
			c := send(logout+"?realm=web.shop", "_xsrf="+xsrf)
			wantReply(t, c, decision.OwnEndpoint, 302)
			to := must(url.Parse(location(c)))
			if q := to.Query(); !strings.HasPrefix(to.String(), w.idp.URL+"/logout?") || q.Get("id_token_hint") == "" || q.Get("post_logout_redirect_uri") != "https://shop.example.com/.ambassador/oauth2/post-logout-redirect" {
				t.Errorf("sent to %s", to)
			}
			b.keep(host, c)
			if len(b.cookies[host]) != 0 {
				t.Errorf("the browser keeps %v", b.cookies[host])
			}
			thief := &browser{w, map[string]map[string]string{host: stolen}}
			wantReply(t, thief.ask("GET", page), decision.LoginRedirect, 302)
			bye := b.ask("GET", "https://shop.example.com/.ambassador/oauth2/post-logout-redirect?state=web.shop")
			if location(bye) != "https://shop.example.com/bye" {
				t.Errorf("sent to %q", location(bye))
			}
		})
	}
}

// Who has logged out at the provider, and comes from there, has no session here either.
func TestLogoutThatBeganAtTheProvider(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), func(f *config.OAuth2Filter, _ *config.Arguments) {
				f.PostLogoutRedirectURI = "https://shop.example.com/bye"
			})
			const back = "https://shop.example.com/.ambassador/oauth2/post-logout-redirect?state="
			b := w.browser()
			b.login(page, "alice")
			wantReply(t, b.ask("GET", back+"other.shop"), decision.LoginInvalid, 400)
			wantReply(t, b.ask("GET", page), decision.None, 0)
			stolen := maps.Clone(b.cookies[shopHost])
			c := b.ask("GET", back+"web.shop")
			wantReply(t, c, decision.OwnEndpoint, 302)
			if location(c) != "https://shop.example.com/bye" || len(b.cookies[shopHost]) != 0 {
				t.Errorf("sent to %q; the browser keeps %v", location(c), b.cookies[shopHost])
			}
			wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
			thief := &browser{w, map[string]map[string]string{shopHost: stolen}}
			wantReply(t, thief.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
}

func TestInsteadOfRedirect(t *testing.T) {
	xhr := "XMLHttpRequest"
	w := newLoginWorld(t, nil, func(_ *config.OAuth2Filter, args *config.Arguments) {
		args.Instead = &config.InsteadOfRedirect{If: &config.HeaderCondition{Name: "x-requested-with", Value: &xhr}, Status: 401}
	})
	b := w.browser()
	c := b.ask("GET", page, "X-Requested-With", xhr)
	wantReply(t, c, decision.LoginRequired, 401)
	if len(b.cookies["shop.example.com"]) != 0 {
		t.Errorf("it got cookies: %v", b.cookies)
	}
	if want := "{\n\t\"message\": \"a login is required\",\n\t\"status_code\": 401\n}"; string(c.Reply.Body) != want {
		t.Errorf("the body is %s", c.Reply.Body)
	}
	wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
}

func TestProviderDown(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			in := w.browser()
			in.login(page, "alice")
			for _, r := range []struct {
				name  string
				other http.HandlerFunc
			}{
				{"errors", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }},
				{"garbage", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") }},
				{"nothing", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
			} {
				t.Run(r.name, func(t *testing.T) {
					b := w.browser()
					w.mu.Lock()
					w.other = nil
					w.mu.Unlock()
					callback := w.atProvider(location(b.ask("GET", page)), "alice")
					w.mu.Lock()
					w.other = r.other
					w.mu.Unlock()
					c := b.ask("GET", callback)
					wantReply(t, c, decision.ProviderUnavailable, 502)
					if strings.Contains(string(c.Reply.Body), "127.0.0.1") {
						t.Errorf("the client reads %s", c.Reply.Body)
					}
					wantReply(t, in.ask("GET", page), decision.None, 0) // who is in stays in
				})
			}
		})
	}
}

func TestScopes(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			b := w.browser()
			b.login(page, "alice")
			rules := w.world.FilterPolicies[0].Rules
			more := rules[0]
			more.Path = "/admin"
			more.Filters = []config.FilterUse{{Name: "web", Namespace: "shop", Arguments: &config.Arguments{Scope: []string{"admin"}}}}
			w.world.FilterPolicies[0].Rules = append([]config.FilterRule{more}, rules...)
			w.build()
			c := b.ask("GET", "https://shop.example.com/admin")
			wantReply(t, c, decision.LoginRedirect, 302)
			if got := must(url.Parse(location(c))).Query().Get("scope"); got != "openid offline_access admin" {
				t.Errorf("asks for %q", got)
			}
			wantReply(t, b.login("https://shop.example.com/admin", "alice"), decision.None, 0)
			wantReply(t, b.ask("GET", page), decision.None, 0)
		})
	}
}

func TestOtherGrants(t *testing.T) {
	for _, r := range []struct {
		name   string
		grant  config.GrantType
		fields []string
		reason decision.Reason
		sub    string
	}{
		{"password", config.PasswordGrant, []string{"X-Ambassador-Username", "bob", "X-Ambassador-Password", "bob"}, decision.None, "bob"},
		{"a wrong password", config.PasswordGrant, []string{"X-Ambassador-Username", "bob", "X-Ambassador-Password", "x"}, decision.CredentialsRefused, ""},
		{"no password", config.PasswordGrant, []string{"X-Ambassador-Username", "bob"}, decision.CredentialsMissing, ""},
		{"a client", config.ClientCredentials, []string{"X-Ambassador-Client-ID", "batch", "X-Ambassador-Client-Secret", "s"}, decision.None, "batch"},
		{"no client", config.ClientCredentials, nil, decision.CredentialsMissing, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, args *config.Arguments) {
				f.Grant, f.Origins, args.Scope = r.grant, nil, nil
			})
			for range 2 {
				c := w.browser().ask("GET", page, r.fields...)
				wantReply(t, c, r.reason, map[bool]int{true: 0, false: r.reason.Status()}[r.reason == decision.None])
				if got := received(c, "x-sub"); got != r.sub {
					t.Errorf("the service reads %q", got)
				}
				if r.reason == decision.None && received(c, "x-ambassador-password")+received(c, "x-ambassador-client-secret") != "" {
					t.Error("the service gets the secret")
				}
			}
			if n := w.asked.Load(); r.reason == decision.None && n != 1 {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}

func TestAllocsLogin(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			kept := open(t)
			if raceEnabled {
				t.Skip("the race detector allocates")
			}
			w := newLoginWorld(t, kept, nil)
			b := w.browser()
			b.login(page, "alice")
			c := b.ask("GET", page)
			if n := testing.AllocsPerRun(200, func() {
				c.Edits.Reset()
				c.Identity, *c.Memory = nil, (*c.Memory)[:0]
				if w.set.Filter(c) == Deny {
					t.Fatal("refused")
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
