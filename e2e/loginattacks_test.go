package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/e2e/redistest"
)

var (
	passes    = verdict{"proxy", "", 200}
	sentAway  = verdict{"authn", "login_redirect", 302}
	arrives   = verdict{"authn", "own_endpoint", 302}
	noLogin   = verdict{"authn", "login_invalid", 400}
	refused   = verdict{"authn", "login_refused", 403}
	ambiguous = verdict{"authn", "session_ambiguous", 400}
)

const shopSession, shopBrowser = "ambassador_session.web.default", "__Host-legate_browser.web.default"

// attacked runs a test with sessions that browsers keep, and with those that a Redis does.
// In the end nothing that a visitor has seen is in a log.
func attacked(t *testing.T, test func(t *testing.T, w *shop, visitor func() *visitor)) {
	t.Helper()
	for _, kept := range []string{"cookies", "redis"} {
		t.Run(kept, func(t *testing.T) {
			t.Parallel()
			var s setup
			if kept == "redis" {
				s.args = []string{"--redis", redistest.Start(t).Addr}
			}
			w := openShop(t, s, "{scope: [offline_access, email]}", "postLogoutRedirectURI: SHOP/open/bye")
			var all []*visitor
			test(t, w, func() *visitor {
				v := w.visitor(t)
				all = append(all, v)
				return v
			})
			for _, v := range all {
				w.saysNoSecrets(t, v.secrets)
			}
		})
	}
}

// withQuery returns address with its query changed.
func withQuery(t testing.TB, address string, change func(q url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

// hasSession reports whether r gives the visitor a session.
func (r reply) hasSession() bool {
	return slices.ContainsFunc(r.header["Set-Cookie"], func(c string) bool {
		return strings.HasPrefix(c, shopSession+"=") && !strings.Contains(c, "Max-Age=0")
	})
}

// What comes back from the provider and is not what this browser set out with.
func TestForgedCallbacks(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		for _, c := range []struct {
			name   string
			change func(q url.Values)
			want   verdict
		}{
			{"as it should be", func(url.Values) {}, arrives},
			{"the provider's own issuer", func(q url.Values) { q.Set("iss", w.idp.issuer) }, arrives},
			{"another issuer: a mix-up", func(q url.Values) { q.Set("iss", "https://evil.test/") }, noLogin},
			{"the code of somebody else's login", func(q url.Values) {
				u, err := url.Parse(visitor().callback(t, other))
				must(t, err)
				q.Set("code", u.Query().Get("code"))
			}, refused},
			{"a code that the provider never gave", func(q url.Values) { q.Set("code", "AAAA") }, refused},
			{"no code", func(q url.Values) { q.Del("code") }, noLogin},
			{"no state", func(q url.Values) { q.Del("state") }, noLogin},
			{"two states", func(q url.Values) { q.Add("state", q.Get("state")) }, noLogin},
			{"a changed state", func(q url.Values) { q.Set("state", q.Get("state")[:60]+"AAAA") }, noLogin},
			{"a state of another realm", func(q url.Values) { q.Set("state", "api"+strings.TrimPrefix(q.Get("state"), "web")) }, noLogin},
			{"a refusal", func(q url.Values) { q.Set("error", "access_denied") }, refused},
			{"a refusal that is a script", func(q url.Values) { q.Set("error", "<script>alert(1)</script>") }, refused},
		} {
			t.Run(c.name, func(t *testing.T) {
				v := visitor()
				r := v.get(t, withQuery(t, v.callback(t, reader), c.change))
				v.judged(t, r, c.want)
				if r.hasSession() != (c.want == arrives) {
					t.Errorf("gives a session: %v", r.hasSession())
				}
				if kind := r.header.Get("Content-Type"); strings.Contains(r.body, "<script") || c.want != arrives && kind != "application/json" {
					t.Errorf("the page is %s: %s", kind, r.body)
				}
			})
		}
	})
}

// A state is good for one login, of the browser that began it.
func TestStatesOfOthers(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		attacker, victim := visitor(), visitor()
		back := attacker.callback(t, other)
		r := victim.get(t, back) // login CSRF: the victim would be the attacker from now on
		victim.judged(t, r, sentAway)
		if r.hasSession() {
			t.Error("the victim got the attacker's session")
		}
		attacker.judged(t, attacker.get(t, back), arrives)
		before := w.idp.asked()[byCode]
		r = attacker.get(t, back) // a replay by who is logged in leads to the page
		attacker.judged(t, r, arrives)
		if r.hasSession() || r.to() != w.first+"/data" {
			t.Errorf("a replayed state leads to %s, and gives a session: %v", r.to(), r.hasSession())
		}
		attacker.judged(t, attacker.logOut(t), arrives)
		r = attacker.get(t, back) // and by who has logged out, to the provider
		attacker.judged(t, r, sentAway)
		if r.hasSession() || w.idp.asked()[byCode] != before {
			t.Error("a state was good for two logins")
		}
	})
}

// Sessions that were given to one browser and come from another, or that a page of another
// host of the domain has set.
func TestPlantedCookies(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		page := w.first + "/data"
		attacker, victim := visitor(), visitor()
		attacker.judged(t, attacker.logIn(t, page, other), passes)
		victim.judged(t, victim.logIn(t, page, reader), passes)
		theirs, mine, secret := attacker.cookie(w.first, shopSession), victim.cookie(w.first, shopSession), victim.cookie(w.first, shopBrowser)
		for _, c := range []struct {
			name, cookies string
			want          verdict
		}{
			{"the victim's own", shopSession + "=" + mine + "; " + shopBrowser + "=" + secret, passes},
			{"the same twice", shopSession + "=" + mine + "; " + shopSession + "=" + mine + "; " + shopBrowser + "=" + secret, passes},
			{"a session without its browser: stolen, or fixed", shopSession + "=" + mine, sentAway},
			{"a session of another browser: fixed", shopSession + "=" + theirs + "; " + shopBrowser + "=" + secret, sentAway},
			{"two sessions: one was tossed in", shopSession + "=" + theirs + "; " + shopSession + "=" + mine + "; " + shopBrowser + "=" + secret, ambiguous},
			{"two sessions, the other way round", shopSession + "=" + mine + "; " + shopSession + "=" + theirs + "; " + shopBrowser + "=" + secret, ambiguous},
			{"two browsers: one was tossed in", shopSession + "=" + mine + "; " + shopBrowser + "=" + secret + "; " + shopBrowser + "=x", ambiguous},
			{"a part that is none", shopSession + "=" + mine + "; " + shopSession + ".1=" + theirs + "; " + shopBrowser + "=" + secret, passes},
			{"parts of two sessions", shopSession + "=" + strings.Repeat("A", 3800) + "; " + shopSession + ".1=" + mine + "; " + shopBrowser + "=" + secret, sentAway},
			{"a quoted session", shopSession + `="` + mine + `"; ` + shopBrowser + "=" + secret, sentAway},
			{"another case of its name", strings.ToUpper(shopSession) + "=" + mine + "; " + shopBrowser + "=" + secret, sentAway},
			{"one bit of it", shopSession + "=" + mine[:len(mine)-1] + map[bool]string{true: "b", false: "a"}[mine[len(mine)-1] == 'a'] + "; " + shopBrowser + "=" + secret, sentAway},
			{"half of it", shopSession + "=" + mine[:len(mine)/2] + "; " + shopBrowser + "=" + secret, sentAway},
			{"nothing", shopSession + "=; " + shopBrowser + "=", sentAway},
			{"a session that follows a comma", "x=y, " + shopSession + "=" + mine + "; " + shopBrowser + "=" + secret, sentAway},
		} {
			t.Run(c.name, func(t *testing.T) {
				v := visitor()
				r := v.get(t, page, "Cookie", c.cookies)
				v.judged(t, r, c.want)
				if c.want == passes && r.data(t).Sub != readerSub {
					t.Errorf("it is %s's", r.data(t).Sub)
				}
				if c.want == passes && strings.Contains(r.data(t).Cookies, mine) {
					t.Errorf("the service gets %q", r.data(t).Cookies)
				}
			})
		}
		planted := visitor() // who knows the browser's secret before the login does not know it after
		u, err := url.Parse(w.first)
		must(t, err)
		known := strings.Repeat("ab", 32)
		planted.Jar.SetCookies(u, []*http.Cookie{{Name: shopBrowser, Value: known, Secure: true, Path: "/"}})
		planted.judged(t, planted.logIn(t, page, reader), passes)
		if planted.cookie(w.first, shopBrowser) == known {
			t.Error("the browser's secret is the one that was planted")
		}
	})
}

// Wherever somebody is sent, it is to the provider, or to an origin of the Filter.
func TestRedirectsStayHome(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		for _, target := range []string{
			"/data", "//evil.test/data", `/\evil.test/`, "/data?next=https://evil.test/", "/data/%0d%0aLocation:%20https://evil.test/", "/data;@evil.test/", "/.evil.test/data",
		} {
			t.Run(target, func(t *testing.T) {
				v := visitor()
				address := w.first + target
				for range 8 {
					r := v.get(t, address, "X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test", "Referer", "https://evil.test/")
					switch {
					case r.to() == "":
						return
					case strings.HasPrefix(r.to(), w.idp.issuer):
						if back := withQuery(t, r.to(), func(url.Values) {}); strings.Contains(back, "evil.test%2F.ambassador") {
							t.Errorf("the provider is to send people to %s", back)
						}
						address = v.atProvider(t, r.to(), reader)
					default:
						address = r.to()
					}
					if u, err := url.Parse(address); err != nil || u.Scheme+"://"+u.Host != w.first {
						t.Fatalf("sent to %s", address)
					}
				}
				t.Error("the redirects do not end")
			})
		}
		v := visitor()
		for _, c := range []struct {
			target string
			want   verdict
		}{
			{"post-logout-redirect?state=web.default&post_logout_redirect_uri=https://evil.test/", arrives},
			{"post-logout-redirect?state=https://evil.test/", noLogin},
			{"multicookie?ticket=web.default.AAAA", noLogin},
			{"multicookie?login=web.default.AAAA", noLogin},
			{"multicookie?login=https://evil.test/", noLogin},
			{"redirection-endpoint?state=https://evil.test/&code=x", noLogin},
			{"elsewhere?to=https://evil.test/", noLogin},
		} {
			r := v.get(t, w.first+"/.ambassador/oauth2/"+c.target)
			v.judged(t, r, c.want)
			if to := r.to(); to != "" && !strings.HasPrefix(to, w.first+"/") {
				t.Errorf("%s leads to %s", c.target, to)
			}
		}
	})
}

// Nobody else's page logs people out.
func TestLogoutIsTheirs(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		v := visitor()
		page, logout := w.first+"/data", w.first+"/.ambassador/oauth2/logout"
		v.judged(t, v.logIn(t, page, reader), passes)
		xsrf := v.cookie(w.first, "ambassador_xsrf.web.default")
		for _, c := range []struct {
			name, query string
			form        url.Values
			want        verdict
		}{
			{"no proof", "", url.Values{"realm": {"web.default"}}, noLogin},
			{"a wrong proof", "", url.Values{"realm": {"web.default"}, "_xsrf": {strings.Repeat("0", 64)}}, noLogin},
			{"the proof in the query", "?_xsrf=" + xsrf, url.Values{"realm": {"web.default"}}, noLogin},
			{"two proofs", "", url.Values{"realm": {"web.default"}, "_xsrf": {xsrf, xsrf}}, noLogin},
			{"another realm", "", url.Values{"realm": {"web.other"}, "_xsrf": {xsrf}}, noLogin},
			{"the realm in the query", "?realm=web.default", url.Values{"_xsrf": {xsrf}}, arrives},
		} {
			v.judged(t, v.get(t, page), passes) // so far it has not worked
			v.judged(t, v.post(t, logout+c.query, c.form), c.want)
		}
		v.judged(t, v.get(t, page), sentAway)
	})
}

// A person who takes longer than a browser's attempts, or whose browser keeps no cookies,
// is told so instead of being sent around.
func TestBrowserWithoutCookies(t *testing.T) {
	t.Parallel()
	attacked(t, func(t *testing.T, w *shop, visitor func() *visitor) {
		t.Helper()
		v := visitor()
		address := w.first + "/data"
		for began := time.Now(); time.Since(began) < patience(time.Minute); {
			v.Jar = noJar{}
			r := v.get(t, address)
			if r.to() == "" {
				v.judged(t, r, noLogin)
				return
			}
			address = r.to()
			if strings.HasPrefix(address, w.idp.issuer) {
				address = v.atProvider(t, address, reader)
			}
		}
		t.Error("the redirects do not end")
	})
}

// noJar keeps nothing.
type noJar struct{}

func (noJar) SetCookies(*url.URL, []*http.Cookie) {}
func (noJar) Cookies(*url.URL) (l []*http.Cookie) { return l }
