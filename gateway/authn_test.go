package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An idp is an issuer of tokens with one key.
type idp struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
	i := &idp{httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys) })), key}
	t.Cleanup(i.Close)
	return i
}

// token returns a token with these claims.
func (i *idp) token(claims string) string {
	var c jwt.MapClaims
	if err := json.Unmarshal([]byte(claims), &c); err != nil {
		panic(err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	token.Header["kid"] = "k"
	text, err := token.SignedString(i.key)
	if err != nil {
		panic(err)
	}
	return text
}

// object is a manifest of one of Ambassador's kinds.
func object(kind, name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: getambassador.io/v3alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)
}

// asking is a GET with further fields.
func asking(path string, fields ...string) string { return request("GET", path, "", fields...) }

// echoUpstream is a service that answers with the fields that it got.
func echoUpstream(t testing.TB) (addr string) {
	t.Helper()
	return service(t, func(p *peer) {
		for {
			r, _ := p.request()
			if r == nil {
				return
			}
			var b strings.Builder
			_ = r.Header.Write(&b)
			p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", b.Len(), b.String()))
		}
	})
}

func TestFilterPolicies(t *testing.T) {
	i := newIDP(t)
	up := echoUpstream(t)
	bearer := "Authorization: Bearer " + i.token(`{"sub":"alice","exp":4102444800,"scope":"read"}`)
	manifests := everyone +
		object("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, injectRequestHeaders: [{name: X-User, value: "{{ .token.Claims.sub }}"}]}}`, i.URL)) +
		object("Filter", "keys", `{APIKey: {keys: [{secretName: none}]}}`) +
		object("Filter", "broken", `{JWT: {jwksURI: nowhere}}`) +
		object("FilterPolicy", "p", `{rules: [
  {host: "*", path: /api/public/*, filters: null},
  {host: "*", path: /api/scoped/*, filters: [{name: jwt, arguments: {scope: [write]}}]},
  {host: "*", path: /api/kept/*, filters: [{name: jwt, arguments: {propagateToken: false}}]},
  {host: "*", path: /api/implied/*, filters: [{name: nobody, arguments: {jwksURI: "`+i.URL+`"}}]},
  {host: "*", path: /api/missing/*, filters: [{name: nobody}]},
  {host: "*", path: /api/broken/*, filters: [{name: broken}]},
  {host: "*", path: /api/keys/*, filters: [{name: keys}]},
  {host: "*", path: /api/either/*, filters: [{name: jwt, onDeny: continue, onAllow: break}, {name: keys}]},
  {host: "*", path: /api/passed/*, filters: [{name: jwt, onDeny: continue}]},
  {host: "*", path: /api/if/*, filters: [{name: jwt, ifRequestHeader: {name: X-If}}]},
  {host: other.com, path: /open/*, filters: [{name: jwt}]},
  {path: /api/*, filters: [{name: jwt}]}]}`) +
		mapping("api", "/api/", up) + mapping("open", "/open/", up) + mapping("bypass", "/api/bypass/", up, "bypass_auth: true") +
		mapping("away", "/api/away/", "example.org", "host_redirect: true") + mapping("any", "/api/any/", up, "case_sensitive: false")
	for _, row := range []struct {
		name, request string
		want          verdict
	}{
		{"no token", asking("/api/x"), verdict{"authn", "token_missing", 401}},
		{"a token", asking("/api/x", bearer), verdict{"proxy", "", 200}},
		{"a path whose route has no case", asking("/API/any/x"), verdict{"authn", "token_missing", 401}},
		{"a path that services read from the root", asking("/open/..%2f..%2f..%2fapi/x"), verdict{"authn", "token_missing", 401}},
		{"a forged one", asking("/api/x", bearer+"x"), verdict{"authn", "token_malformed", 401}},
		{"a path that is not covered", asking("/open/x"), verdict{"proxy", "", 200}},
		{"an exception before the rule", asking("/api/public/x"), verdict{"proxy", "", 200}},
		{"a path that dodges", asking("/open/../api/x"), verdict{"authn", "token_missing", 401}},
		{"a path that dodges, escaped", asking("/%61pi/x"), verdict{"authn", "token_missing", 401}},
		{"a scope that is missing", asking("/api/scoped/x", bearer), verdict{"authn", "token_scope", 403}},
		{"a token that stays here", asking("/api/kept/x", bearer), verdict{"proxy", "", 200}},
		{"a filter that its arguments imply", asking("/api/implied/x", bearer), verdict{"proxy", "", 200}},
		{"and without a token", asking("/api/implied/x"), verdict{"authn", "token_missing", 401}},
		{"a filter that nobody wrote", asking("/api/missing/x", bearer), verdict{"authn", "filter_invalid", 500}},
		{"a filter that cannot be understood", asking("/api/broken/x", bearer), verdict{"authn", "filter_invalid", 500}},
		{"a key that is missing", asking("/api/keys/x"), verdict{"authn", "api_key_missing", 403}},
		{"a key that nobody has", asking("/api/keys/x", "X-API-Key: a"), verdict{"authn", "api_key_unknown", 403}},
		{"either: a token", asking("/api/either/x", bearer), verdict{"proxy", "", 200}},
		{"either: nothing", asking("/api/either/x"), verdict{"authn", "api_key_missing", 403}},
		{"denied and continued", asking("/api/passed/x"), verdict{"proxy", "", 200}},
		{"a condition that does not hold", asking("/api/if/x"), verdict{"proxy", "", 200}},
		{"a condition that holds", asking("/api/if/x", "X-If: 1"), verdict{"authn", "token_missing", 401}},
		{"bypass_auth", asking("/api/bypass/x"), verdict{"proxy", "", 200}},
		{"a redirect", asking("/api/away/x"), verdict{"proxy", "redirect", 301}},
		{"a rule for another host", strings.Replace(asking("/open/x"), "example.com", "other.com:8080", 1), verdict{"authn", "token_missing", 401}},
		{"the host's case", strings.Replace(asking("/open/x"), "example.com", "OTHER.com", 1), verdict{"authn", "token_missing", 401}},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, manifests)
			a, rec := g.send(row.request)
			if rec.verdict != row.want {
				t.Errorf("got %+v by %q, want %+v: %s", rec.verdict, rec.By, row.want, a.body)
			}
		})
	}
}

// Nobody learns which paths there are who may not ask for them.
func TestPoliciesWithoutMapping(t *testing.T) {
	i := newIDP(t)
	g := open(t, everyone+object("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q}}`, i.URL))+object("FilterPolicy", "p", `{rules: [{filters: [{name: jwt}]}]}`))
	if _, rec := g.send(asking("/nowhere")); rec.verdict != (verdict{"authn", "token_missing", 401}) {
		t.Errorf("without a token: got %+v", rec.verdict)
	}
	if _, rec := g.send(asking("/nowhere", "Authorization: Bearer "+i.token(`{}`))); rec.verdict != (verdict{"match", "no_route", 404}) {
		t.Errorf("with a token: got %+v", rec.verdict)
	}
	if _, rec := g.send(asking("/ambassador/v0/check_alive")); rec.verdict != (verdict{"match", "health_check", 200}) {
		t.Errorf("health: got %+v", rec.verdict)
	}
}

// What a Mapping's jwt asks for, by its own keys or by whom a Filter recognised.
func TestMappingJWT(t *testing.T) {
	i := newIDP(t)
	up := echoUpstream(t)
	inject := `injectRequestHeaders: [{name: X-User-ID, value: "{{ .token.sub }}"}, {name: X-User-Permissions, value: "{{ .token.permissions }}"}]`
	manifests := everyone +
		object("FilterPolicy", "p", `{rules: [{path: /filtered/*, filters: [{name: nobody, arguments: {jwksURI: "`+i.URL+`"}}]}]}`) +
		mapping("own", "/own/", up, `jwt: {requireToken: true, jwksURI: "`+i.URL+`", `+inject+`}`) +
		mapping("may", "/may/", up, `jwt: {jwksURI: "`+i.URL+`", `+inject+`}`) +
		mapping("issuer", "/issuer/", up, `jwt: {requireToken: true, jwksURI: "`+i.URL+`", issuer: me, requireIssuer: true}`) +
		mapping("filtered", "/filtered/", up, `jwt: {requireToken: true, `+inject+`}`) +
		mapping("nobody", "/nobody/", up, `jwt: {requireToken: true, `+inject+`}`) +
		mapping("broken", "/broken/", up, `jwt: {requireTokn: true}`) +
		mapping("template", "/template/", up, `jwt: {injectRequestHeaders: [{name: X, value: "{{"}]}`)
	bearer := "Authorization: Bearer " + i.token(`{"sub":"alice","permissions":["read","write"],"exp":4102444800}`)
	spoof := []string{"X-User-ID: root", "x-user-id: admin", "X-User-Permissions: all"}
	for _, row := range []struct {
		name, request string
		want          verdict
		user, may     string // that the service is told
	}{
		{"own keys", asking("/own/", append(spoof, bearer)...), verdict{"proxy", "", 200}, "alice", "read,write"},
		{"own keys, no token", asking("/own/", spoof...), verdict{"authn", "token_missing", 401}, "", ""},
		{"own keys, a stranger's token", asking("/own/", "Authorization: Bearer "+newIDP(t).token(`{"sub":"root"}`)), verdict{"authn", "token_invalid", 401}, "", ""},
		{"a token that may be missing", asking("/may/", spoof...), verdict{"proxy", "", 200}, "", ""},
		{"a token that may be missing, and is there", asking("/may/", append(spoof, bearer)...), verdict{"proxy", "", 200}, "alice", "read,write"},
		{"a token that may be missing, and is forged", asking("/may/", bearer+"x"), verdict{"authn", "token_malformed", 401}, "", ""},
		{"another issuer", asking("/issuer/", bearer), verdict{"authn", "token_issuer", 401}, "", ""},
		{"recognised by a Filter", asking("/filtered/", append(spoof, bearer)...), verdict{"proxy", "", 200}, "alice", "read,write"},
		{"nobody to verify it", asking("/nobody/", bearer), verdict{"authn", "token_issuer", 401}, "", ""},
		{"a misspelt lock", asking("/broken/", bearer), verdict{"authn", "policy_invalid", 503}, "", ""},
		{"a template that cannot be read", asking("/template/", bearer), verdict{"authn", "filter_invalid", 500}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, manifests)
			for range 2 { // the second time from memory
				a, rec := g.send(row.request)
				if rec.verdict != row.want {
					t.Fatalf("got %+v by %q, want %+v: %s", rec.verdict, rec.By, row.want, a.body)
				}
				if row.want.Status != 200 {
					continue
				}
				for name, want := range map[string]string{"x-user-id": row.user, "x-user-permissions": row.may} {
					if got := echoed(a.body, name); got != want {
						t.Errorf("%s: the service is told %q, want %q", name, got, want)
					}
				}
			}
		})
	}
}

// echoed returns the values of a field in a request that was echoed, joined by commas.
func echoed(request, name string) string {
	var values []string
	for line := range strings.Lines(request) {
		if n, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); ok && strings.EqualFold(n, name) {
			values = append(values, v)
		}
	}
	return strings.Join(values, ";")
}

// What operators see of the rules and of the keys, and nothing that would let anybody in.
func TestIdentityView(t *testing.T) {
	i := newIDP(t)
	g := open(t, everyone+mapping("api", "/api/", echoUpstream(t))+
		object("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, injectRequestHeaders: [{name: X-User, value: "{{ .token.sub }}"}]}}`, i.URL))+
		object("Filter", "keys", `{APIKey: {keys: [{secretName: keys}]}}`)+"\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: very-secret}\n"+
		object("FilterPolicy", "p", `{rules: [{path: /open/*}, {host: A.com, path: /api/*, precedence: 1, filters: [{name: jwt, ifRequestHeader: {name: X, negate: true}, onDeny: continue}, {name: keys, onAllow: break}, {name: lost}]}]}`))
	v := g.Identity()
	text, err := json.Marshal(v.Rules)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"rule":"FilterPolicy default/p rule 2","host":"a.com","path":"/api/*","precedence":1,"filters":[` +
		`{"filter":"Filter default/jwt","if":"not header x","continue_on_deny":true},{"filter":"Filter default/keys","break_on_allow":true},{"filter":"Filter default/lost","invalid":true,"why":"the Filter lost.default is missing or invalid"}]},` +
		`{"rule":"FilterPolicy default/p rule 1","host":"*","path":"/open/*","filters":[]}]`
	if string(text) != want {
		t.Errorf("rules:\n got %s\nwant %s", text, want)
	}
	if len(v.KeySets) != 1 || !strings.HasPrefix(v.KeySets[0].URI, i.URL) || strings.Join(v.KeySets[0].Keys, " ") != "k" || v.KeySets[0].Error != "" {
		t.Errorf("key sets: %+v", v.KeySets)
	}
	if strings.Join(v.Injected, " ") != "x-user" {
		t.Errorf("injected: %q", v.Injected)
	}
	if all, _ := json.Marshal(v); strings.Contains(string(all), "very-secret") {
		t.Error("a key is shown")
	}
}

// A token that the AuthService puts in the place of the client's speaks for the request,
// and one that it only hands on does not.
func TestMappingJWTOfReturnedToken(t *testing.T) {
	stranger, up := newIDP(t), echoUpstream(t)
	minted := stranger.token(`{"sub":"alice","permissions":["read"],"iss":"ambassador-jwt-issuer"}`)
	judge := service(t, func(p *peer) {
		for {
			r, _ := p.request()
			if r == nil {
				return
			}
			token := "Bearer " + minted
			if r.Header.Get("X-Echo") != "" {
				token = r.Header.Get("Authorization")
			}
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAuthorization: " + token + "\r\n\r\n")
		}
	})
	manifests := everyone + object("AuthService", "judge", fmt.Sprintf(`{auth_service: %q, proto: http, allowed_request_headers: [x-echo]}`, judge)) +
		mapping("a", "/", up, `jwt: {requireToken: true, injectRequestHeaders: [{name: X-User-ID, value: "{{ .token.sub }}"}]}`)
	g := open(t, manifests)
	for range 2 {
		if a, rec := g.send(asking("/", "Authorization: Basic YTpi", "X-User-ID: root")); rec.verdict != served || echoed(a.body, "x-user-id") != "alice" {
			t.Errorf("returned: got %+v, the service is told %q", rec.verdict, echoed(a.body, "x-user-id"))
		}
	}
	own := "Authorization: Bearer " + stranger.token(`{"sub":"root"}`)
	if _, rec := g.send(asking("/", "X-Echo: 1", own)); rec.verdict != (verdict{"authn", "token_issuer", 401}) {
		t.Errorf("handed on: got %+v", rec.verdict)
	}
}

// A service that hangs is waited for as long as all Filters have.
func TestFilterPatience(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	up := mapping("api", "/api/", echoUpstream(t))
	slow := everyone + up + object("Filter", "slow", fmt.Sprintf(`{External: {auth_service: %q, timeout_ms: 60000}}`, hangs.URL)) +
		object("FilterPolicy", "p", `{rules: [{filters: [{name: slow, onDeny: continue}, {name: slow}]}]}`)
	g := open(t, slow, func(o *Options) { o.Patience = 100 * time.Millisecond })
	if _, rec := g.send(asking("/api/x")); rec.verdict != (verdict{"authn", "auth_error", 403}) {
		t.Errorf("a service that hangs: got %+v", rec.verdict)
	}
}

// Dashboards know an AuthService by its stats_name, or by its service.
func TestAuthServiceInMetrics(t *testing.T) {
	auth := service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			p.say(plainOK)
		}
	})
	up := mapping("api", "/api/", echoUpstream(t))
	for spec, name := range map[string]string{
		`{auth_service: %q, stats_name: who}`:     "who",
		`{auth_service: %q, v3StatsName: elders}`: "elders",
		`{auth_service: %q}`:                      strings.NewReplacer(".", "_", ":", "_").Replace(auth),
	} {
		g := open(t, everyone+up+object("AuthService", "judge", fmt.Sprintf(spec, auth)))
		for range 2 {
			if _, rec := g.send(asking("/api/x")); rec.verdict != served {
				t.Fatalf("%s: got %+v", spec, rec.verdict)
			}
		}
		if got := g.sum("envoy_cluster_upstream_rq_total", "envoy_cluster_name", name); got != 2 {
			t.Errorf("%s: %q was asked %v times, want 2", spec, name, got)
		}
	}
}
