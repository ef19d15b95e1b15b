package e2e

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// A shop is a gateway with two origins, an identity provider that people log in at, and a
// service whose pages say who asked.
type shop struct {
	*gateway
	idp          *idp
	cert         certificate
	first, other string // the origins
	service      string
}

// openShop opens one. arguments are those of the rule that has people log in; more are
// further fields of the Filter, in which SHOP is the first origin.
func openShop(t testing.TB, s setup, arguments string, more ...string) *shop {
	t.Helper()
	w := &shop{idp: startIDP(t), cert: authority.issue(t, "shop.test", "admin.test"), service: serve(t, http.HandlerFunc(shopPage))}
	w.gateway = launch(t, s) // the origins have its ports
	port := portOf(w.secure)
	w.first, w.other = "https://shop.test:"+port, "https://admin.test:"+port
	w.idp.register("web", nil, w.first, w.other)
	w.write(w.manifests(arguments, more...))
	w.awaitReady()
	return w
}

func (w *shop) manifests(arguments string, more ...string) string {
	return w.cert.secret("cert") + tlsHost("all", "*", "cert", route) + mapping("all", "/", w.service) +
		strings.ReplaceAll(w.idp.oauth2(arguments, []string{w.first, w.other}, more...), "SHOP", w.first)
}

var shopTemplate = template.Must(template.New("shop").Parse(`<!doctype html>
<title>shop</title>
<p id="who">{{.Sub}} {{.Email}}</p>
<p id="cookies">{{.Cookies}}</p>
<form method="post" action="/.ambassador/oauth2/logout">
<input type="hidden" name="realm" value="web.default"><input type="hidden" name="_xsrf"><button id="logout">Log out</button>
</form>
<script>
document.querySelector('[name=_xsrf]').value = (document.cookie.match(/ambassador_xsrf\.web\.default=(\w+)/) || ['', ''])[1];
</script>
`))

// shopPage tells of the request: as a page, or below /data in words for scripts.
func shopPage(w http.ResponseWriter, r *http.Request) {
	said := struct{ Sub, Email, Token, Cookies string }{
		r.Header.Get("X-Sub"), r.Header.Get("X-Email"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), strings.Join(r.Header["Cookie"], "; "),
	}
	w.Header().Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.URL.Path, "/data") {
		_ = json.NewEncoder(w).Encode(said) // who left needs none
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_ = shopTemplate.Execute(w, said)
}

const readerSays = readerSub + " " + readerMail

// A real browser and a real provider: somebody comes, logs in, sees who they are, goes on
// when the access token lapses, is known at the other origin, and logs out.
func TestBrowserLogin(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"cookies", "redis"} {
		t.Run(kept, func(t *testing.T) {
			t.Parallel()
			var s setup
			if kept == "redis" {
				s.args = []string{"--redis", redistest.Start(t).Addr}
			}
			w := openShop(t, s, "{scope: [offline_access, email]}", "postLogoutRedirectURI: SHOP/open/bye")
			w.idp.life(3600)
			b := browse(t, w.cert, "shop.test", "admin.test")
			from := w.log.size()

			b.open(w.first + "/cart?item=7")
			b.signIn(reader)
			if got := b.text("#who"); got != readerSays {
				t.Errorf("the page says %q", got)
			}
			if got, want := b.at(), w.first+"/cart?item=7"; got != want {
				t.Errorf("ended at %s, want %s", got, want)
			}
			if got := b.text("#cookies"); strings.Contains(got, "session") || strings.Contains(got, "browser") {
				t.Errorf("the service got %q", got)
			}
			w.wantRecords(t, from, verdict{"authn", "login_redirect", 302}, verdict{"authn", "own_endpoint", 302}, verdict{"proxy", "", 200})
			w.audited(t, "login_start", "login_success")
			w.sealedCookies(t, b)

			b.open(w.other + "/users")
			if got := b.text("#who"); got != readerSays {
				t.Errorf("the other origin says %q", got)
			}
			if n := w.idp.asked(); n[byCode] != 1 {
				t.Errorf("logged in %d times for two origins", n[byCode])
			}

			b.open(w.first + "/")
			b.do("log out", clickOn("#logout"))
			eventually(t, 20*time.Second, "the browser is told that it is logged out", func() bool { return b.at() == w.first+"/open/bye" })
			w.audited(t, "logout")
			for _, origin := range []string{w.first, w.other} { // the session ends at both
				b.open(origin + "/cart")
				b.do("see the login form", visible("#username"))
			}
			b.signIn(other)
			if got := b.text("#who"); !strings.HasPrefix(got, otherSub+" ") {
				t.Errorf("after somebody else logged in, the page says %q", got)
			}
			w.saysNoSecrets(t, b.secrets())
		})
	}
}

// The access token lapses while a page is open: with a refresh token nobody notices.
func TestBrowserRefreshes(t *testing.T) {
	t.Parallel()
	w := openShop(t, setup{}, "{scope: [offline_access, email]}")
	w.idp.life(2)
	b := browse(t, w.cert, "shop.test")
	b.open(w.first + "/")
	b.signIn(reader)
	b.text("#who")
	ask := `fetch('/data').then(r => r.ok && !r.redirected ? r.text() : 'status ' + r.status)`
	first := b.run(ask)
	eventually(t, 30*time.Second, "the access token is another", func() bool {
		all := b.run(`Promise.all([1, 2, 3, 4].map(() => ` + ask + `)).then(all => all.join('\n'))`)
		if n := strings.Count(all, `"Sub":"`+readerSub+`"`); n != 4 {
			t.Fatalf("the page was answered\n%s", all)
		}
		return !strings.Contains(all, first)
	})
	if n := w.idp.asked(); n[byCode] != 1 || n[byRefresh] == 0 || n[idpAuthorize] != 1 {
		t.Errorf("the provider was asked %v", n)
	}
	w.audited(t, "refresh")
	w.saysNoSecrets(t, append(b.secrets(), first))
}

// Without a refresh token the session is over with the access token.
func TestBrowserSessionExpires(t *testing.T) {
	t.Parallel()
	w := openShop(t, setup{}, "{scope: [email], insteadOfRedirect: {ifRequestHeader: {name: X-Requested-With, value: XMLHttpRequest}, httpStatusCode: 401}}")
	w.idp.life(3)
	b := browse(t, w.cert, "shop.test")
	b.open(w.first + "/")
	b.signIn(reader)
	b.text("#who")
	ask := `fetch('/data', {headers: {'X-Requested-With': 'XMLHttpRequest'}}).then(r => '' + r.status)`
	if got := b.run(ask); got != "200" {
		t.Errorf("a fresh session is answered %s", got)
	}
	eventually(t, 30*time.Second, "the session is over", func() bool { return b.run(ask) == "401" })
	w.log.next(t, 0, func(r *record) bool { return r.verdict == verdict{"authn", "login_required", 401} })
	b.open(w.first + "/")
	b.do("see the login form", visible("#username"))
	if n := w.idp.asked(); n[byRefresh] != 0 {
		t.Errorf("the provider was asked %v", n)
	}
}

// wantRecords waits for records of these verdicts from index from on.
func (g *gateway) wantRecords(t testing.TB, from int, want ...verdict) {
	t.Helper()
	for _, v := range want {
		g.log.next(t, from, func(r *record) bool { return r.verdict == v })
	}
}

// sealedCookies looks at how the browser keeps the session.
func (w *shop) sealedCookies(t testing.TB, b *chromium) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range b.cookies() {
		seen[c.Name] = true
		scripts := strings.HasPrefix(c.Name, "ambassador_xsrf.")
		if c.HTTPOnly == scripts || !c.Secure || c.Path != "/" || c.Domain != "shop.test" {
			t.Errorf("%s: HttpOnly %v, Secure %v, path %s, domain %s", c.Name, c.HTTPOnly, c.Secure, c.Path, c.Domain)
		}
	}
	for _, name := range []string{"ambassador_session.web.default", "ambassador_xsrf.web.default", "__Host-legate_browser.web.default"} {
		if !seen[name] {
			t.Errorf("there is no cookie %s in %v", name, seen)
		}
	}
}

// secrets are the values of the cookies that the browser keeps.
func (b *chromium) secrets() (list []string) {
	b.t.Helper()
	for _, c := range b.cookies() {
		list = append(list, c.Value)
	}
	return list
}

// saysNoSecrets looks through all that the gateway has written for secrets, and for what
// tokens, codes and queries begin with.
func (g *gateway) saysNoSecrets(t testing.TB, secrets []string) {
	t.Helper()
	never := append([]string{"code=", "state=", "code_verifier", "eyJ", clientSecret, "id_token_hint", "access_token", "Bearer "}, secrets...)
	for _, line := range slices.Concat(g.log.text(), g.errors.all()) {
		for _, s := range never {
			if len(s) > 4 && strings.Contains(line, s) || s == "eyJ" && strings.Contains(line, s) {
				t.Errorf("the gateway writes %q in %s", s, line)
			}
		}
	}
}
