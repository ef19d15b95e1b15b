package gateway

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// tierJudge is an AuthService that says of which tier a request is, by its path.
func tierJudge(t testing.TB) (addr string, asked <-chan saw) {
	t.Helper()
	c := make(chan saw, 1000)
	return service(t, func(p *peer) {
		for {
			r, body := p.request()
			if r == nil {
				return
			}
			c <- saw{r, body}
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
			for part := range strings.SplitSeq(r.URL.Path, "/") {
				if tier, ok := strings.CutPrefix(part, "tier-"); ok {
					answer += "X-Tier: " + tier + "\r\n"
				}
				switch part {
				case "strip":
					answer += "X-Envoy-Auth-Headers-To-Remove: x-tier\r\n"
				case "denied":
					answer = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n"
				}
			}
			p.say(answer + "\r\n")
		}
	}), c
}

// Who decides may change the headers that routes look at: then another route serves, and
// whoever protects that one is asked.
func TestRoutesAreFoundAnew(t *testing.T) {
	i := newIDP(t)
	plain, gold, locked := named(t, "plain"), named(t, "gold"), named(t, "locked")
	auth, _ := tierJudge(t)
	manifests := everyone + object("AuthService", "auth", `{auth_service: "`+auth+`", allowed_authorization_headers: [x-tier], allowed_request_headers: [x-tier]}`) +
		mapping("plain", "/x/", plain, "add_response_headers: {x-of: {value: plain, append: false}}") +
		mapping("gold", "/x/", gold, "headers: {x-tier: gold}", "add_response_headers: {x-of: {value: gold, append: false}}", "rewrite: /golden/") +
		mapping("locked", "/x/", locked, "headers: {x-tier: locked}", fmt.Sprintf("jwt: {requireToken: true, jwksURI: %q}", i.URL)) +
		mapping("broken", "/x/", locked, "headers: {x-tier: broken}", "jwt: {requireTokn: true}") +
		mapping("away", "/x/", "example.org", "headers: {x-tier: away}", "host_redirect: true") +
		mapping("open", "/x/", plain, "headers: {x-tier: open}", "bypass_auth: true") +
		mapping("only", "/only/", plain, "headers: {x-tier: gold}", "rewrite: /only-golden/", "add_response_headers: {x-of: {value: only, append: false}}") +
		mapping("lonely", "/only/", locked, "headers: {x-tier: locked}", fmt.Sprintf("jwt: {requireToken: true, jwksURI: %q}", i.URL))
	for _, row := range []struct {
		name, request string
		want          verdict
		by, of        string // who answers, and whose header the answer has
	}{
		{"nothing changes", asking("/x/"), verdict{"proxy", "", 200}, "plain", "plain"},
		{"a header leads elsewhere", asking("/x/tier-gold"), verdict{"proxy", "", 200}, "gold /golden/tier-gold", "gold"},
		{"what the client says does not count in the end", asking("/x/strip", "X-Tier: gold"), verdict{"proxy", "", 200}, "plain", "plain"},
		{"nor where it is overwritten", asking("/x/tier-silver", "X-Tier: gold"), verdict{"proxy", "", 200}, "plain", "plain"},
		{"a forged way around who is asked leads nowhere else", asking("/x/denied", "X-Tier: gold"), verdict{"authn", "auth_denied", 403}, "", "gold"},
		{"the new route's own lock", asking("/x/tier-locked"), verdict{"authn", "token_missing", 401}, "", ""},
		{"and its key", asking("/x/tier-locked", "Authorization: Bearer "+i.token(`{"sub":"alice"}`)), verdict{"proxy", "", 200}, "locked", ""},
		{"a lock that is broken", asking("/x/tier-broken"), verdict{"authn", "policy_invalid", 503}, "", ""},
		{"a redirect", asking("/x/tier-away"), verdict{"proxy", "redirect", 301}, "", ""},
		{"bypass_auth counts where the request came from", asking("/x/denied", "X-Tier: open"), verdict{"proxy", "", 200}, "plain", ""},
		{"a header leads to a route where there was none", asking("/only/tier-gold"), verdict{"proxy", "", 200}, "plain /only-golden/tier-gold", "only"},
		{"whose lock is asked", asking("/only/tier-locked"), verdict{"authn", "token_missing", 401}, "", ""},
		{"a header leads nowhere", asking("/only/tier-silver"), verdict{"match", "no_route", 404}, "", ""},
		{"no route is left", asking("/only/strip", "X-Tier: gold"), verdict{"match", "no_route", 404}, "", ""},
		{"nobody learns which routes there are", asking("/nowhere/denied"), verdict{"authn", "auth_denied", 403}, "", ""},
		{"but who may ask", asking("/nowhere/"), verdict{"match", "no_route", 404}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, manifests)
			for range 2 {
				a, rec := g.send(row.request)
				if rec.verdict != row.want || !strings.HasPrefix(a.body, row.by) || a.Header.Get("X-Of") != row.of {
					t.Fatalf("got %+v by %q: %s, %v; want %+v, %s, %s", rec.verdict, rec.By, a.body, a.Header, row.want, row.by, row.of)
				}
			}
		})
	}
}

// named is a service that answers with its name and the path that it sees.
func named(t testing.TB, name string) (addr string) {
	t.Helper()
	return service(t, func(p *peer) {
		for {
			r, _ := p.request()
			if r == nil {
				return
			}
			text := name + " " + r.URL.Path
			p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
		}
	})
}

// Filters come first, unless AuthServices are to have their place.
func TestFiltersBesideAuthServices(t *testing.T) {
	auth, _ := tierJudge(t)
	manifests := everyone + object("AuthService", "auth", `{auth_service: "`+auth+`"}`) + object("FilterPolicy", "p", `{rules: [{filters: [{name: nobody}]}]}`) + mapping("x", "/x/", named(t, "up"))
	for only, want := range map[bool][2]verdict{
		false: {{"authn", "filter_invalid", 500}, {"authn", "filter_invalid", 500}},
		true:  {{"authn", "auth_denied", 403}, {"match", "no_route", 404}},
	} {
		g := open(t, manifests, func(o *Options) { o.OnlyAsk = only })
		if _, rec := g.send(asking("/x/denied")); rec.verdict != want[0] {
			t.Errorf("only asked %v: got %+v, want %+v", only, rec.verdict, want[0])
		}
		if _, rec := g.send(asking("/nowhere")); rec.verdict != want[1] {
			t.Errorf("only asked %v: got %+v, want %+v", only, rec.verdict, want[1])
		}
	}
}

// The stages that were entered are ended once, whichever route they are of: the first
// route's up to the choice, the second's from there on.
func TestStagesOfTwoRoutes(t *testing.T) {
	up := named(t, "up")
	auth, _ := tierJudge(t)
	g := open(t, everyone+object("AuthService", "auth", `{auth_service: "`+auth+`", allowed_authorization_headers: [x-tier]}`)+
		mapping("plain", "/x/", up, `cors: {origins: ["https://a.test"]}`, "circuit_breakers: [{max_requests: 1}]")+
		mapping("gold", "/x/", up, "headers: {x-tier: gold}", "circuit_breakers: [{max_requests: 1}]"))
	ended := make(chan string, 10)
	g.insert(trial{finish: func(x *Exchange) { ended <- x.Route.name }})
	for n := range 3 { // were the first route's threshold left, or the second's kept, it would be full
		a, rec := g.send(asking("/x/tier-gold", "Origin: https://a.test"))
		if rec.verdict != (verdict{"proxy", "", 200}) || rec.Route != "gold.default" || a.Header.Get("Access-Control-Allow-Origin") != "https://a.test" {
			t.Fatalf("request %d: got %+v, %v", n, rec, a.Header)
		}
		if route := <-ended; route != "gold.default" || len(ended) > 0 {
			t.Errorf("the first stage was ended for %s, and %d times more", route, len(ended))
		}
	}
	e, err := g.Explain(Question{URL: "http://a/x/tier-gold"})
	if err != nil || e.Route != "plain.default" { // nobody is asked, so nothing changes
		t.Errorf("explained %+v, %v", e, err)
	}
}

// What it costs to ask an AuthService, beside a request that nobody is asked about.
func BenchmarkAuthService(b *testing.B) {
	for _, manifests := range []string{"", object("AuthService", "auth", `{auth_service: "`+echoing(b, "\r\n\r\n", authAnswer)+`", path_prefix: /auth}`)} {
		b.Run(fmt.Sprintf("asked=%v", manifests != ""), func(b *testing.B) {
			g := open(b, everyone+manifests+mapping("r", "/r/", echoing(b, "\r\n\r\n", plainOK)), deaf(b))
			c, say, hear := g.dial(), []byte(asking("/r/x", "Authorization: Bearer client", "Cookie: a=b")), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(say); err != nil {
					b.Fatal(err)
				}
				if n, err := c.Read(hear); err != nil || !strings.HasSuffix(string(hear[:n]), "ok") {
					b.Fatalf("got %q, %v", hear[:n], err)
				}
			}
		})
	}
}

const authAnswer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nauthorization: Bearer minted\r\nx-envoy-auth-headers-to-remove: accept, x-none\r\n\r\n"

// The service gets a token that is for itself, and not for the one whose route it was before
// somebody changed the request.
func TestMintForTheRouteThatServes(t *testing.T) {
	i := newIDP(t)
	up := echoUpstream(t)
	other := strings.Replace(up, "127.0.0.1", "localhost", 1)
	g := open(t, everyone+
		object("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, injectRequestHeaders: [{name: X-Tier, value: "{{ .token.Claims.tier }}"}]}}`, i.URL))+
		object("Filter", "mint", `{Mint: {}}`)+
		object("FilterPolicy", "p", `{rules: [{filters: [{name: jwt}, {name: mint}]}]}`)+
		mapping("plain", "/x/", up)+mapping("gold", "/x/", other, "headers: {x-tier: gold}")+
		mapping("only", "/only/", other, "headers: {x-tier: gold}"))
	for _, row := range []struct{ path, tier, audience string }{
		{"/x/", "plain", "127.0.0.1"},
		{"/x/", "gold", "localhost"},
		{"/only/", "gold", "localhost"},
	} {
		a, rec := g.send(asking(row.path, "Authorization: Bearer "+i.token(fmt.Sprintf(`{"sub":"alice","tier":%q}`, row.tier))))
		if rec.verdict != (verdict{"proxy", "", 200}) {
			t.Fatalf("%s, %s: %+v", row.path, row.tier, rec.verdict)
		}
		parts := strings.Split(echoed(a.body, "Authorization"), ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		if want := `"aud":["` + row.audience + `"],"allowed_services":["` + row.audience + `"]`; !strings.Contains(string(payload), want) {
			t.Errorf("%s, %s: %s does not have %s", row.path, row.tier, payload, want)
		}
	}
}
