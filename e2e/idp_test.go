package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// An idp is an identity provider that is not ours, on a port of its own.
type idp struct {
	t      testing.TB
	issuer string // ends in a slash
}

// startIDP starts one. Its users are reader and other, whose password is verysecure.
func startIDP(t testing.TB) *idp {
	t.Helper()
	return &idp{t, companion(t, "idp")}
}

// The people who can log in, and what they are called in tokens.
const (
	reader, readerSub, readerMail = "test-user@localhost", "id1", "test-user@zitadel.ch"
	other, otherSub               = "test-user2", "id2"
	theirPassword                 = "verysecure"
)

// tell has the provider do something.
func (i *idp) tell(what string, values url.Values) {
	i.t.Helper()
	resp, err := operators.PostForm(i.issuer+"control/"+what, values)
	must(i.t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		i.t.Fatalf("the identity provider answers %d when told %s", resp.StatusCode, what)
	}
}

// fault has a path answered wrongly: see test/tools/idp. "" ends it. to is where people
// are sent by a redirect.
func (i *idp) fault(path, kind, to string) {
	i.t.Helper()
	i.tell("fault", url.Values{"path": {path}, "kind": {kind}, "to": {to}})
}

// The paths of the provider.
const (
	idpAuthorize = "/auth"
	idpTokens    = "/oauth/token"
	idpKeys      = "/keys"
	idpDiscovery = "/.well-known/openid-configuration"
	byCode       = idpTokens + " authorization_code"
	byRefresh    = idpTokens + " refresh_token"
)

// life says how long access tokens are good from now on. They count in seconds.
func (i *idp) life(seconds int) {
	i.t.Helper()
	i.tell("life", url.Values{"milliseconds": {fmt.Sprint(seconds * 1000)}})
}

// asked returns how often each path was.
func (i *idp) asked() map[string]int {
	i.t.Helper()
	resp, err := operators.Get(i.issuer + "control/counts")
	must(i.t, err)
	defer resp.Body.Close()
	counts := map[string]int{}
	must(i.t, json.NewDecoder(resp.Body).Decode(&counts))
	return counts
}

const clientSecret = "a-secret-of-at-least-thirty-two-bytes"

// register makes the gateway known to the provider, as one that people come back to at
// origins.
func (i *idp) register(id string, more url.Values, origins ...string) {
	i.t.Helper()
	v := url.Values{"id": {id}, "secret": {clientSecret}}
	for _, o := range origins {
		v.Add("redirect", o+"/.ambassador/oauth2/redirection-endpoint")
		v.Add("logout", o+"/.ambassador/oauth2/post-logout-redirect")
	}
	maps.Copy(v, more)
	i.tell("client", v)
}

// oauth2 renders an OAuth2 Filter called web, its Secret and the FilterPolicy that has
// people log in with it everywhere but below /open/. more are further fields of the Filter.
func (i *idp) oauth2(arguments string, origins []string, more ...string) string {
	var protected []string
	for _, o := range origins {
		protected = append(protected, fmt.Sprintf("{origin: %q}", o))
	}
	fields := append([]string{
		fmt.Sprintf("authorizationURL: %q", i.issuer), "clientID: web", "secretName: web-client",
		"protectedOrigins: [" + strings.Join(protected, ", ") + "]",
		`injectRequestHeaders: [{name: X-Sub, value: "{{ .idToken.Claims.sub }}"}, {name: X-Email, value: "{{ .idToken.Claims.email }}"}]`,
	}, more...)
	return "---\napiVersion: v1\nkind: Secret\nmetadata: {name: web-client}\nstringData: {oauth2-client-secret: " + clientSecret + "}\n" +
		manifest("Filter", "web", "{OAuth2: {"+strings.Join(fields, ", ")+"}}") +
		manifest("FilterPolicy", "web", `{rules: [{host: "*", path: "/open/*"}, {host: "*", path: "*", filters: [{name: web, arguments: `+arguments+`}]}]}`)
}
