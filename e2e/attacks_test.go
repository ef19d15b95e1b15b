package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// guarded are routes that ask for tokens and for keys, and say who somebody is.
func guarded(t testing.TB, i *issuer) string {
	t.Helper()
	return everyone + mapping("api", "/api/", echo(t, "api")) + mapping("open", "/open/", echo(t, "open")) +
		mapping("root", "/open/", echo(t, "root"), "headers: {x-user-id: root}") +
		manifest("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, issuer: %q, requireIssuer: true, audience: my-client, requireAudience: true, requireExpiresAt: true,
  injectRequestHeaders: [{name: X-User-ID, value: "{{ .token.sub }}"}, {name: X-User-Permissions, value: "{{ .token.permissions }}"}, {name: X-Tenant, value: "{{ doNotSet }}"}]}}`, i.url+"/keys", i.url)) +
		manifest("Filter", "key", "{APIKey: {keys: [{secretName: keys}]}}") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: a-key-of-somebody}\n" +
		manifest("FilterPolicy", "all", "{rules: [{path: /api/keys/*, filters: [{name: key}]}, {path: /api/*, filters: [{name: jwt}]}]}")
}

// injected are the names that guarded sets.
var injected = []string{"X-User-ID", "X-User-Permissions", "X-Tenant"}

// Whatever way a client finds to say who it is, the services hear of it from nobody but
// the gateway.
func TestSpoofedHeaders(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	manifests := guarded(t, i)
	g := start(t, setup{manifests: manifests})
	token := "Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice", "permissions": []string{"read"}})
	want := map[string]string{"X-User-Id": "alice", "X-User-Permissions": "read", "X-Tenant": ""}
	for _, name := range injected {
		lower := strings.ToLower(name)
		for _, row := range []struct {
			how    string
			header []string
			want   verdict
		}{
			{"as it is", []string{name + ": root"}, served},
			{"in lower case", []string{lower + ": root"}, served},
			{"in upper case", []string{strings.ToUpper(name) + ": root"}, served},
			{"twice", []string{name + ": root", lower + ": admin"}, served},
			{"many times", slices.Repeat([]string{name + ": root"}, 20), served},
			{"in a list", []string{name + ": alice, root"}, served},
			{"empty", []string{name + ":"}, served},
			{"nominated by Connection", []string{"Connection: " + lower, name + ": root"}, served},
			{"nominated in another case, beside others", []string{"Connection: keep-alive, " + strings.ToUpper(name) + ", te", name + ": root"}, served},
			{"nominated by two lines", []string{"Connection: x", "Connection: " + name}, served},
			{"nominated without a line of its own", []string{"Connection: " + name}, served},
			{"with a tab before the value", []string{name + ":\troot"}, served},
			{"with a space before the colon", []string{name + " : root"}, verdict{"accept", "bad_request", 400}},
			{"with a space before the name", []string{"A: 1", " " + name + ": root"}, verdict{"accept", "bad_request", 400}},
			{"with a tab before the name", []string{"A: 1", "\t" + name + ": root"}, verdict{"accept", "bad_request", 400}},
			{"behind a bare CR", []string{"A: 1\r" + name + ": root"}, verdict{"accept", "bad_request", 400}},
			{"behind a bare LF", []string{"A: 1\n" + name + ": root"}, verdict{"accept", "bad_request", 400}},
			{"behind a zero byte", []string{"A: 1\x00", name + ": root"}, verdict{"accept", "bad_request", 400}},
			{"with letters that look alike", []string{strings.Replace(name, "e", "е", 1) + ": root", "X-Usеr: 1"}, verdict{"accept", "bad_request", 400}},
		} {
			t.Run(name+" "+row.how, func(t *testing.T) {
				a := g.send(t, request{target: "/api/x", header: append(row.header, token)})
				if v := g.judged(t, a); v != row.want {
					t.Fatalf("got %v, want %v", v, row.want)
				}
				if row.want != served {
					return
				}
				for n, v := range want {
					if got := strings.Join(a.saw.Header.Values(n), "|"); got != v {
						t.Errorf("the service reads %s: %q, want %q", n, got, v)
					}
				}
				if a.saw.Header.Get("Authorization") != token[len("Authorization: "):] {
					t.Error("the service does not get the token")
				}
			})
		}
		t.Run(name+" where nobody asks", func(t *testing.T) {
			a := g.send(t, request{target: "/open/x", header: []string{name + ": root", "Connection: " + name}})
			if v := g.verdict(t, a); v != served || a.saw.Service != "open" || a.saw.Header.Values(name) != nil {
				t.Errorf("got %v by %s with %q", v, a.saw.Service, a.saw.Header.Values(name))
			}
		})
		t.Run(name+" in a trailer", func(t *testing.T) {
			a := g.send(t, request{method: "POST", target: "/api/x", header: []string{token, "Transfer-Encoding: chunked", "Trailer: " + name}, body: "1\r\nx\r\n0\r\n" + name + ": root\r\n\r\n"})
			if v := g.verdict(t, a); v != served || a.saw.Header.Get(name) != want[http.CanonicalHeaderKey(name)] {
				t.Errorf("got %v, the service reads %q", v, a.saw.Header.Get(name))
			}
		})
		t.Run(name+" over HTTP/2", func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.clear+"/api/x", nil)
			must(t, err)
			r.Header[lower] = []string{"root", "admin"}
			r.Header.Set("Authorization", token[len("Authorization: "):])
			tr := priorKnowledge()
			defer tr.CloseIdleConnections()
			resp, err := tr.RoundTrip(r)
			must(t, err)
			defer resp.Body.Close()
			var s seen
			must(t, json.NewDecoder(resp.Body).Decode(&s))
			if got := strings.Join(s.Header.Values(name), "|"); resp.StatusCode != 200 || got != want[http.CanonicalHeaderKey(name)] {
				t.Errorf("got %d, the service reads %q", resp.StatusCode, got)
			}
		})
	}
	t.Run("as Ambassador lets them", func(t *testing.T) {
		g := start(t, setup{manifests: manifests, args: []string{"--keep-injected"}})
		a := g.send(t, request{target: "/api/x", header: []string{"X-Tenant: mine", "X-User-ID: root", token}})
		if v := g.verdict(t, a); v != served || a.saw.Header.Get("X-Tenant") != "mine" || strings.Join(a.saw.Header.Values("X-User-Id"), "|") != "alice" {
			t.Errorf("got %v, the service reads %v", v, a.saw.Header)
		}
		if a = g.send(t, request{target: "/open/x", header: []string{"X-User-ID: root"}}); a.saw == nil || a.saw.Header.Get("X-User-Id") != "root" {
			t.Error("it is taken away all the same")
		}
	})
}

// judged is verdict for requests that may be refused before they have an id: their record
// is awaited, so that it is taken for nobody else's.
func (g *gateway) judged(t testing.TB, a answer) verdict {
	t.Helper()
	return g.log.next(t, a.from, func(r *record) bool {
		return r.RequestID == a.id || r.RequestID == "" && r.Status == a.StatusCode
	}).verdict
}

// priorKnowledge speaks HTTP/2 in cleartext.
func priorKnowledge() *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

// Requests and tokens of attackers, through the whole gateway: nobody gets past, and
// nobody is shown what was sent.
func TestAttacks(t *testing.T) {
	t.Parallel()
	i, stranger := startIssuer(t), newIssuer(t)
	g := start(t, setup{manifests: guarded(t, i)})
	good := i.token(t, map[string]any{"sub": "alice"})
	parts := strings.Split(good, ".")
	claims := func(text string) string {
		return i.sign(t, strings.NewReplacer("ISS", fmt.Sprintf("%q", i.url)).Replace(text))
	}
	header := func(text string) string { return signedWith(t, i.key, text, decodedText(t, good)) }
	missing, syntax := verdict{"authn", "token_missing", 401}, verdict{"authn", "authorization_malformed", 400}
	malformed, invalid := verdict{"authn", "token_malformed", 401}, verdict{"authn", "token_invalid", 401}
	bad := verdict{"accept", "bad_request", 400}
	reason := func(r string) verdict { return verdict{"authn", r, 401} }
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	rows := []struct {
		name, target string
		header       []string
		want         verdict
	}{
		{"the honest one", "/api/x", bearer(good), served},

		// Where the token is.
		{"in the query", "/api/x?access_token=" + good, nil, missing},
		{"in the path", "/api/" + parts[1], nil, missing}, // paths are logged, so not all of it
		{"in a cookie", "/api/x", []string{"Cookie: access_token=" + good}, missing},
		{"in a cookie called Authorization", "/api/x", []string{"Cookie: Authorization=Bearer " + good}, missing},
		{"in Proxy-Authorization", "/api/x", []string{"Proxy-Authorization: Bearer " + good}, missing},
		{"in X-Forwarded-Authorization", "/api/x", []string{"X-Forwarded-Authorization: Bearer " + good}, missing},
		{"in X-Forwarded-Access-Token", "/api/x", []string{"X-Forwarded-Access-Token: " + good}, missing},
		{"in Sec-WebSocket-Protocol", "/api/x", []string{"Sec-WebSocket-Protocol: bearer, " + good}, missing},
		{"as a user of Basic", "/api/x", []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(good+":"))}, missing},
		{"in two lines", "/api/x", append(bearer(good), bearer(good)...), syntax},
		{"in two lines of two cases", "/api/x", append(bearer(good), "AUTHORIZATION: Bearer "+good), syntax},
		{"a good one before a forged one", "/api/x", append(bearer(good), bearer(stranger.token(t, nil))...), syntax},
		{"a forged one before a good one", "/api/x", append(bearer(stranger.token(t, nil)), bearer(good)...), syntax},
		{"behind an empty line of its name", "/api/x", append([]string{"Authorization:"}, bearer(good)...), syntax},
		{"behind another scheme", "/api/x", append([]string{"Authorization: Basic YTpi"}, bearer(good)...), syntax},
		{"two in one line", "/api/x", bearer(good + " " + good), syntax},
		{"two in one line with a comma", "/api/x", bearer(good + ", Bearer " + good), syntax},
		{"nominated by Connection", "/api/x", append(bearer(good), "Connection: authorization"), missing},
		{"with a space before the colon", "/api/x", []string{"Authorization : Bearer " + good}, bad},
		{"in a line that is folded", "/api/x", []string{"Authorization: Bearer\r\n " + good}, bad},
		{"in a trailer", "/api/x", []string{"Transfer-Encoding: chunked", "Trailer: Authorization"}, missing},

		// How it is written.
		{"a scheme in other letters", "/api/x", []string{"authorization: bEaReR " + good}, served},
		{"a scheme with a letter that looks alike", "/api/x", []string{"Authorization: Вearer " + good}, missing},
		{"two spaces", "/api/x", []string{"Authorization: Bearer  " + good}, syntax},
		{"a tab", "/api/x", []string{"Authorization: Bearer\t" + good}, syntax},
		{"a space that does not break", "/api/x", []string{"Authorization: Bearer\u00a0" + good}, syntax},
		{"no space", "/api/x", []string{"Authorization: Bearer" + good}, missing},
		{"quotes", "/api/x", bearer(`"` + good + `"`), syntax},
		{"brackets", "/api/x", bearer("<" + good + ">"), syntax},
		{"a zero byte within", "/api/x", bearer(parts[0] + "\x00." + parts[1] + "." + parts[2]), bad},
		{"a bell within", "/api/x", bearer(parts[0] + "\a." + parts[1] + "." + parts[2]), bad},
		{"a delete within", "/api/x", bearer(parts[0] + "\x7f." + parts[1] + "." + parts[2]), bad},
		{"a mark of byte order before it", "/api/x", bearer("\ufeff" + good), syntax},
		{"a space of no width within", "/api/x", bearer(parts[0] + "\u200b." + parts[1] + "." + parts[2]), syntax},
		{"wide letters", "/api/x", bearer(strings.Replace(good, "e", "ｅ", 1)), syntax},
		{"bytes that are no text", "/api/x", bearer(good + "\xff"), syntax},
		{"an escape", "/api/x", bearer(strings.Replace(good, ".", "%2e", 1)), syntax},
		{"two lines in base64", "/api/x", bearer(parts[0] + "." + b64([]byte(decodedText(t, good)+"\r\n")) + "." + parts[2]), invalid},
		{"padding", "/api/x", bearer(good + "="), malformed},
		{"the other alphabet", "/api/x", bearer(parts[0] + "." + parts[1] + ".+/" + parts[2][2:]), malformed},
		{"60 KiB of it", "/api/x", bearer(strings.Repeat("a", 60_000)), verdict{"authn", "token_malformed", 401}},
		{"more than a head may have", "/api/x", bearer(strings.Repeat("a", 70_000)), verdict{"accept", "header_too_large", 431}},

		// What it says.
		{"none", "/api/x", bearer(b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."), invalid},
		{"nOnE", "/api/x", bearer(b64([]byte(`{"alg":"nOnE"}`)) + "." + parts[1] + "."), invalid},
		{"none with a signature", "/api/x", bearer(b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2]), invalid},
		{"HS256", "/api/x", bearer(b64([]byte(`{"alg":"HS256","kid":"k"}`)) + "." + parts[1] + "." + parts[2]), invalid},
		{"a stranger's", "/api/x", bearer(stranger.sign(t, decodedText(t, good))), invalid},
		{"a stranger's key within", "/api/x", bearer(signedWith(t, stranger.key, `{"alg":"ES256","kid":"k","jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}`, decodedText(t, good))), invalid},
		{"a key set elsewhere", "/api/x", bearer(signedWith(t, stranger.key, `{"alg":"ES256","kid":"k","jku":"https://evil.example.com/keys"}`, decodedText(t, good))), invalid},
		{"kid as a path", "/api/x", bearer(signedWith(t, stranger.key, `{"alg":"ES256","kid":"../../../../etc/passwd"}`, decodedText(t, good))), invalid},
		{"kid with control characters", "/api/x", bearer(signedWith(t, stranger.key, `{"alg":"ES256","kid":"k\u0000\r\nX-Admin: 1"}`, decodedText(t, good))), invalid},
		{"crit", "/api/x", bearer(header(`{"alg":"ES256","kid":"k","crit":["exp"]}`)), malformed},
		{"alg twice", "/api/x", bearer(header(`{"alg":"none","alg":"ES256","kid":"k"}`)), malformed},
		{"sub twice", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client","exp":4102444800,"sub":"alice","sub":"root"}`)), malformed},
		{"a claim nested a thousand times", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client","exp":4102444800,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}")), malformed},
		{"no exp", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client"}`)), reason("token_claims")},
		{"exp as text", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client","exp":"4102444800"}`)), reason("token_claims")},
		{"exp below zero", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client","exp":-1}`)), reason("token_expired")},
		{"nbf beyond all time", "/api/x", bearer(claims(`{"iss":ISS,"aud":"my-client","exp":4102444800,"nbf":9223372036854775807}`)), reason("token_not_yet_valid")},
		{"another issuer", "/api/x", bearer(claims(`{"iss":"https://evil.example.com","aud":"my-client","exp":4102444800}`)), reason("token_issuer")},
		{"an issuer with a slash", "/api/x", bearer(i.token(t, map[string]any{"iss": i.url + "/"})), reason("token_issuer")},
		{"an audience that is a pattern", "/api/x", bearer(i.token(t, map[string]any{"aud": "*"})), reason("token_audience")},
		{"an audience in an object", "/api/x", bearer(i.token(t, map[string]any{"aud": map[string]any{"my-client": true}})), reason("token_audience")},
		{"an audience that looks alike", "/api/x", bearer(i.token(t, map[string]any{"aud": "my-сlient"})), reason("token_audience")},

		// How the path is written.
		{"no token", "/api/x", nil, missing},
		{"two slashes", "//api/x", nil, missing},
		{"a dot", "/./api/x", nil, missing},
		{"two dots", "/open/../api/x", nil, missing},
		{"two dots, escaped", "/open/%2e%2e/api/x", nil, missing},
		{"two dots and a semicolon", "/open/..;/api/x", nil, missing},
		{"a letter escaped", "/%61pi/x", nil, missing},
		{"a slash escaped", "/api%2fx", nil, missing},
		{"a backslash", "/api\\x", nil, missing},
		{"a parameter of the path", "/api;v=1/x", nil, missing},
		{"a fragment", "/api/x#/open/", nil, verdict{"accept", "bad_path", 400}},
		{"the whole address", "http://gate.test/api/x", nil, missing},
		{"the whole address of another host", "http://other.test/api/x", nil, verdict{"accept", "bad_host", 400}},

		// Keys.
		{"a key", "/api/keys/x", []string{"X-API-Key: a-key-of-somebody"}, served},
		{"a key as a bearer", "/api/keys/x", bearer("a-key-of-somebody"), verdict{"authn", "api_key_missing", 403}},
		{"a key that begins alike", "/api/keys/x", []string{"X-API-Key: a-key-of"}, verdict{"authn", "api_key_unknown", 403}},
		{"a longer key", "/api/keys/x", []string{"X-API-Key: a-key-of-somebody-else"}, verdict{"authn", "api_key_unknown", 403}},
		{"an empty key", "/api/keys/x", []string{"X-API-Key:"}, verdict{"authn", "api_key_unknown", 403}},
		{"two keys", "/api/keys/x", []string{"X-API-Key: wrong", "X-API-Key: a-key-of-somebody"}, verdict{"authn", "api_key_unknown", 403}},
		{"keys in a list", "/api/keys/x", []string{"X-API-Key: wrong, a-key-of-somebody"}, verdict{"authn", "api_key_unknown", 403}},
		{"a token instead of a key", "/api/keys/x", bearer(good), verdict{"authn", "api_key_missing", 403}},
	}
	if len(rows) < 60 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for range 2 { // nobody passes the second time either
				r := request{target: row.target, header: row.header}
				if row.name == "in a trailer" {
					r.method, r.body = "POST", "0\r\nAuthorization: Bearer "+good+"\r\n\r\n"
				}
				a := g.send(t, r)
				if v := g.judged(t, a); v != row.want {
					t.Errorf("got %v, want %v", v, row.want)
				}
				if row.want != served && (a.saw != nil || shows(a, row.header)) {
					t.Errorf("it reaches %+v, or the client reads what it sent: %s %v", a.saw, a.body, a.Header)
				}
			}
		})
	}
	g.noSecrets(t, parts[2], "a-key-of-somebody", "etc/passwd", "X-Admin")
}

// decodedText is the payload of a token.
func decodedText(t testing.TB, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	return string(text)
}

// shows reports whether a shows the end of a credential that was sent.
func shows(a answer, header []string) bool {
	for _, h := range header {
		if _, value, _ := strings.Cut(h, ": "); len(value) > 20 && strings.Contains(string(a.body)+fmt.Sprint(a.Header), value[len(value)-15:]) {
			return true
		}
	}
	return false
}
