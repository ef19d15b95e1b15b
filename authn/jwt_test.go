package authn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

func after(d time.Duration) int64 { return midday.Add(d).Unix() }

// What each outcome is answered with, byte for byte.
func TestJWTAnswers(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	good := fmt.Sprintf(`{"sub":"alice","iss":"https://id.example.com","aud":"api","exp":%d,"scope":"read write"}`, after(time.Hour))
	c := &config.JWTFilter{JWKSURI: i.URL, Issuer: "https://id.example.com", Audiences: []string{"api"}}
	const realm = `Bearer realm="api.shop"`
	invalid := func(text string) string { return realm + `, error="invalid_token", error_description="` + text + `"` }
	body := func(status int, message string) string {
		return fmt.Sprintf("{\n\t\"message\": %q,\n\t\"status_code\": %d\n}", message, status)
	}
	for _, row := range []struct {
		name, authorization string
		args                config.Arguments
		reason              decision.Reason
		status              int
		challenge, message  string
	}{
		{"no Authorization", "", config.Arguments{}, decision.TokenMissing, 401, realm, "no Bearer token"},
		{"another scheme", "Basic YTpi", config.Arguments{}, decision.TokenMissing, 401, realm, "no Bearer token"},
		{"a scheme that begins alike", "Bearers x.y.z", config.Arguments{}, decision.TokenMissing, 401, realm, "no Bearer token"},
		{"only a scheme", "Bearer", config.Arguments{}, decision.AuthorizationMalformed, 400,
			realm + `, error="invalid_request", error_description="the Authorization header has no token after Bearer"`, "the Authorization header has no token after Bearer"},
		{"two tokens", "Bearer a b", config.Arguments{}, decision.AuthorizationMalformed, 400,
			realm + `, error="invalid_request", error_description="the Authorization header holds characters that no Bearer token has"`, "the Authorization header holds characters that no Bearer token has"},
		{"no JWT", "Bearer opaque", config.Arguments{}, decision.TokenMalformed, 401,
			invalid("the token is malformed: it does not have three parts"), "the token is malformed: it does not have three parts"},
		{"bad signature", "Bearer " + tampered(es256(good)), config.Arguments{}, decision.TokenInvalid, 401, invalid("the token's signature does not hold"), "the token's signature does not hold"},
		{"unknown kid", "Bearer " + signedBy("ES256", "ec", `{"alg":"ES256","kid":"other"}`, good), config.Arguments{}, decision.TokenInvalid, 401, invalid("no known key fits the token"), "no known key fits the token"},
		{"wrong alg", "Bearer " + es256(good), config.Arguments{ValidAlgorithms: []string{"RS256"}}, decision.TokenInvalid, 401, invalid("the token's algorithm is not accepted"), "the token's algorithm is not accepted"},
		{"expired", "Bearer " + es256(fmt.Sprintf(`{"exp":%d}`, after(-time.Second))), config.Arguments{}, decision.TokenExpired, 401, invalid("the token has expired"), "the token has expired"},
		{"not yet valid", "Bearer " + es256(fmt.Sprintf(`{"nbf":%d}`, after(time.Second))), config.Arguments{}, decision.TokenNotYetValid, 401, invalid("the token is not valid yet"), "the token is not valid yet"},
		{"issued later", "Bearer " + es256(fmt.Sprintf(`{"iat":%d}`, after(time.Second))), config.Arguments{}, decision.TokenNotYetValid, 401, invalid("the token was issued in the future"), "the token was issued in the future"},
		{"wrong audience", "Bearer " + es256(`{"aud":"web"}`), config.Arguments{}, decision.TokenAudience, 401, invalid("the token is for another audience"), "the token is for another audience"},
		{"wrong issuer", "Bearer " + es256(`{"iss":"https://id.example.com/"}`), config.Arguments{}, decision.TokenIssuer, 401, invalid("the token is of another issuer"), "the token is of another issuer"},
		{"claim missing", "Bearer " + es256(`{}`), config.Arguments{ExpiresAt: config.ClaimOverride{Required: new(true)}}, decision.TokenClaims, 401, invalid("exp is required and missing"), "exp is required and missing"},
		{"scope missing", "Bearer " + es256(good), config.Arguments{Scope: []string{"read", "admin"}}, decision.TokenScope, 403,
			realm + `, error="insufficient_scope", scope="read admin"`, "the token needs the scopes read admin"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d, _, counts := issuerDeps(t)
			j := newTestFilter(t, d, c, &row.args)
			fields := []string{}
			if row.authorization != "" {
				fields = []string{"authorization", row.authorization}
			}
			call := callOf(fields...)
			if j.Filter(call) != Deny {
				t.Fatal("it passes")
			}
			r := call.Reply
			if r.Reason != row.reason || r.Status != row.status || r.By != "Filter shop/api" || string(r.ContentType) != "application/json" {
				t.Errorf("got %v %d %s by %q", r.Reason, r.Status, r.ContentType, r.By)
			}
			if got := replyField(call, "www-authenticate"); got != row.challenge {
				t.Errorf("challenge %s, want %s", got, row.challenge)
			}
			if got := string(r.Body); got != body(row.status, row.message) {
				t.Errorf("body %s, want %s", got, body(row.status, row.message))
			}
			if call.Identity != nil || len(call.Edits.Adds()) > 0 {
				t.Error("something is told of a client that was refused")
			}
			if n := counts.of("verified", "api.shop", row.reason.String()).n.Load(); n != 1 {
				t.Errorf("counted %d times", n)
			}
		})
	}
	t.Run("and a good one passes", func(t *testing.T) {
		d, _, counts := issuerDeps(t)
		j := newTestFilter(t, d, c, &config.Arguments{Scope: []string{"write"}})
		for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
			call := callOf("authorization", scheme+" "+es256(good))
			if j.Filter(call) != Allow {
				t.Fatalf("%s: %+v", scheme, call.Reply)
			}
			if id := call.Identity; id.Subject != "alice" || id.Issuer != "https://id.example.com" || id.By != "Filter shop/api" || id.Expires.Unix() != after(time.Hour) {
				t.Errorf("got %+v", id)
			}
			if got := upstreamField(call, "authorization"); len(got) != 1 || !strings.HasPrefix(got[0], scheme+" ") {
				t.Errorf("the service gets %q", got)
			}
		}
		if n := counts.of("verified", "api.shop", "none").n.Load(); n != 3 {
			t.Errorf("counted %d times", n)
		}
	})
}

// tampered returns token with one letter of its signature changed.
func tampered(token string) string {
	i := strings.LastIndexByte(token, '.') + 5
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func TestKeySetUnavailable(t *testing.T) {
	i := newIssuer(t, "<html>this is no key set</html>")
	d, _, counts := issuerDeps(t)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL + "/keys?secret=1"}, nil)
	call := callOf("authorization", "Bearer "+es256(`{}`))
	if j.Filter(call) != Deny || call.Reply.Reason != decision.KeySetUnavailable || call.Reply.Status != 500 {
		t.Fatalf("got %+v", call.Reply)
	}
	const body = "{\n\t\"message\": \"the keys to verify tokens with cannot be had\",\n\t\"request_id\": \"id-1\",\n\t\"status_code\": 500\n}"
	if string(call.Reply.Body) != body || replyField(call, "www-authenticate") != "" {
		t.Errorf("got %s with %v", call.Reply.Body, call.Reply.Headers)
	}
	if err := call.Reply.Err.Error(); !strings.Contains(err, "/keys\"") || strings.Contains(err, "secret") {
		t.Errorf("operators are told %q", err)
	}
	if counts.of("refreshed", "failure").n.Load() == 0 {
		t.Error("the attempt was not counted")
	}
}

// What claims are asked for, and how far.
func TestClaims(t *testing.T) {
	leeway := func(d time.Duration) config.ClaimRule { return config.ClaimRule{Leeway: d} }
	required := config.ClaimRule{Required: true}
	for _, row := range []struct {
		name   string
		rules  claimRules
		claims string
		want   decision.Reason
		bits   validation
	}{
		{"nothing asked, nothing said", claimRules{}, `{}`, decision.None, 0},
		{"exp now", claimRules{}, fmt.Sprintf(`{"exp":%d}`, after(0)), decision.TokenExpired, expired},
		{"exp in a moment", claimRules{}, fmt.Sprintf(`{"exp":%d.001}`, after(0)), decision.None, 0},
		{"exp within leeway", claimRules{expiresAt: leeway(time.Minute)}, fmt.Sprintf(`{"exp":%d}`, after(-59*time.Second)), decision.None, 0},
		{"exp at the end of leeway", claimRules{expiresAt: leeway(time.Minute)}, fmt.Sprintf(`{"exp":%d}`, after(-time.Minute)), decision.TokenExpired, expired},
		{"exp 0", claimRules{}, `{"exp":0}`, decision.TokenExpired, expired},
		{"exp before all time", claimRules{}, `{"exp":-1e300}`, decision.TokenExpired, expired},
		{"exp after all time", claimRules{}, `{"exp":1e300}`, decision.None, 0},
		{"exp beyond 64 bits", claimRules{}, `{"exp":9223372036854775808}`, decision.None, 0},
		{"exp as text", claimRules{}, `{"exp":"99999999999"}`, decision.TokenClaims, claimsInvalid},
		{"exp null", claimRules{}, `{"exp":null}`, decision.TokenClaims, claimsInvalid},
		{"exp missing", claimRules{expiresAt: required}, `{}`, decision.TokenClaims, expired},
		{"nbf now", claimRules{}, fmt.Sprintf(`{"nbf":%d}`, after(0)), decision.None, 0},
		{"nbf within leeway", claimRules{notBefore: leeway(time.Minute)}, fmt.Sprintf(`{"nbf":%d}`, after(time.Minute)), decision.None, 0},
		{"nbf beyond leeway", claimRules{notBefore: leeway(time.Minute)}, fmt.Sprintf(`{"nbf":%d}`, after(61*time.Second)), decision.TokenNotYetValid, notValidYet},
		{"nbf after all time", claimRules{}, `{"nbf":1e308}`, decision.TokenNotYetValid, notValidYet},
		{"nbf missing", claimRules{notBefore: required}, `{}`, decision.TokenClaims, notValidYet},
		{"nbf as a list", claimRules{}, `{"nbf":[1]}`, decision.TokenClaims, claimsInvalid},
		{"iat within leeway", claimRules{issuedAt: leeway(time.Minute)}, fmt.Sprintf(`{"iat":%d}`, after(time.Minute)), decision.None, 0},
		{"iat missing", claimRules{issuedAt: required}, `{}`, decision.TokenClaims, wrongIssuedAt},
		{"aud the one", claimRules{audiences: []string{"api"}}, `{"aud":"api"}`, decision.None, 0},
		{"aud one of a list", claimRules{audiences: []string{"api"}}, `{"aud":["web","api"]}`, decision.None, 0},
		{"any of several", claimRules{audiences: []string{"x", "api"}}, `{"aud":["web","api"]}`, decision.None, 0},
		{"no aud passes", claimRules{audiences: []string{"api"}}, `{}`, decision.None, 0},
		{"unless required", claimRules{audiences: []string{"api"}, requireAudience: true}, `{}`, decision.TokenAudience, wrongAudience},
		{"an empty list is none", claimRules{audiences: []string{"api"}, requireAudience: true}, `{"aud":[]}`, decision.TokenAudience, wrongAudience},
		{"aud begins alike", claimRules{audiences: []string{"api"}}, `{"aud":"api2"}`, decision.TokenAudience, wrongAudience},
		{"aud in another case", claimRules{audiences: []string{"api"}}, `{"aud":"API"}`, decision.TokenAudience, wrongAudience},
		{"aud as a number", claimRules{audiences: []string{"1"}}, `{"aud":1}`, decision.TokenAudience, wrongAudience},
		{"aud as an object", claimRules{audiences: []string{"api"}}, `{"aud":{"api":true}}`, decision.TokenAudience, wrongAudience},
		{"aud among other things", claimRules{audiences: []string{"api"}}, `{"aud":["api",1]}`, decision.TokenAudience, wrongAudience},
		{"aud nested", claimRules{audiences: []string{"api"}}, `{"aud":[["api"]]}`, decision.TokenAudience, wrongAudience},
		{"aud null", claimRules{audiences: []string{"api"}}, `{"aud":null}`, decision.TokenAudience, wrongAudience},
		{"iss the one", claimRules{issuer: "a"}, `{"iss":"a"}`, decision.None, 0},
		{"no iss passes", claimRules{issuer: "a"}, `{}`, decision.None, 0},
		{"unless required", claimRules{issuer: "a", requireIssuer: true}, `{}`, decision.TokenIssuer, wrongIssuer},
		{"iss as a list", claimRules{issuer: "a"}, `{"iss":["a"]}`, decision.TokenIssuer, wrongIssuer},
		{"scope as text", claimRules{scope: []string{"a", "b"}}, `{"scope":"b  a c"}`, decision.None, 0},
		{"scope as a list", claimRules{scope: []string{"a", "b"}}, `{"scope":["a","b"]}`, decision.None, 0},
		{"scp where there is no scope", claimRules{scope: []string{"a"}}, `{"scp":["a"]}`, decision.None, 0},
		{"scp beside scope", claimRules{scope: []string{"a"}}, `{"scope":"b","scp":"a"}`, decision.TokenScope, 0},
		{"scope begins alike", claimRules{scope: []string{"read"}}, `{"scope":"read:all"}`, decision.TokenScope, 0},
		{"scope in a list with spaces", claimRules{scope: []string{"a"}}, `{"scope":["a b"]}`, decision.TokenScope, 0},
		{"no scope", claimRules{scope: []string{"a"}}, `{}`, decision.TokenScope, 0},
		{"all that is wrong", claimRules{audiences: []string{"a"}, issuer: "a"}, `{"exp":1,"aud":"b","iss":"b"}`, decision.TokenExpired, expired | wrongAudience | wrongIssuer},
	} {
		claims, f := parseClaims([]byte(row.claims))
		if f == nil {
			_, f = row.rules.judge(claims, midday)
		}
		var got decision.Reason
		var bits validation
		if f != nil {
			got, bits = f.reason, f.bits
		}
		if got != row.want || bits != row.bits {
			t.Errorf("%s: %s: got %q with bits %d, want %q with %d", row.name, row.claims, got, bits, row.want, row.bits)
		}
	}
}

// Templates of users test these numbers.
func TestValidationBits(t *testing.T) {
	got := []validation{malformed, unverifiable, signatureInvalid, wrongAudience, expired, wrongIssuedAt, wrongIssuer, notValidYet, claimsInvalid}
	if want := []validation{1, 2, 4, 8, 16, 32, 64, 128, 512}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What a rule says in place of its Filter.
func TestArguments(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	other := newIssuer(t, jwks("stranger"))
	token := "Bearer " + es256(`{"sub":"alice"}`)
	for _, row := range []struct {
		name string
		c    config.JWTFilter
		args *config.Arguments
		want decision.Reason
	}{
		{"nothing said", config.JWTFilter{}, nil, decision.None},
		{"another key set", config.JWTFilter{}, &config.Arguments{JWKSURI: other.URL}, decision.TokenInvalid},
		{"an audience is meant", config.JWTFilter{}, &config.Arguments{Audiences: []string{"api"}}, decision.TokenAudience},
		{"unless it says otherwise", config.JWTFilter{}, &config.Arguments{Audiences: []string{"api"}, RequireAudience: new(false)}, decision.None},
		{"an issuer", config.JWTFilter{RequireIssuer: true, Issuer: "a"}, &config.Arguments{RequireIssuer: new(false)}, decision.None},
		{"an issuer that is required", config.JWTFilter{}, &config.Arguments{Issuer: "a", RequireIssuer: new(true)}, decision.TokenIssuer},
		{"times", config.JWTFilter{ExpiresAt: config.ClaimRule{Required: true}}, &config.Arguments{ExpiresAt: config.ClaimOverride{Required: new(false)}}, decision.None},
		{"other times", config.JWTFilter{}, &config.Arguments{IssuedAt: config.ClaimOverride{Required: new(true)}}, decision.TokenClaims},
		{"other algorithms", config.JWTFilter{}, &config.Arguments{ValidAlgorithms: []string{"EdDSA"}}, decision.TokenInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			d, _, _ := issuerDeps(t)
			row.c.JWKSURI = i.URL
			call := callOf("authorization", token)
			newTestFilter(t, d, &row.c, row.args).Filter(call)
			if call.Reply.Reason != row.want {
				t.Errorf("got %q, want %q", call.Reply.Reason, row.want)
			}
		})
	}
	t.Run("the token stays here", func(t *testing.T) {
		d, _, _ := issuerDeps(t)
		call := callOf("authorization", token)
		j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, &config.Arguments{PropagateToken: new(false)})
		if j.Filter(call) != Allow || call.Identity == nil || len(upstreamField(call, "authorization")) > 0 {
			t.Errorf("got %+v, the service gets %q", call.Reply, upstreamField(call, "authorization"))
		}
	})
	t.Run("algorithms that need keys that nobody named", func(t *testing.T) {
		d, _, _ := issuerDeps(t)
		c := &config.JWTFilter{ValidAlgorithms: []string{none}}
		if _, err := newJWT("Filter a/b", "b.a", c, &config.Arguments{ValidAlgorithms: []string{"RS256"}}, newKeySets(d, nil), d); err == nil {
			t.Error("it is made")
		}
	})
}

// Headers are set in the place of the client's own, once per identity where they can be.
func TestInjectedHeaders(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Inject: []config.HeaderTemplate{
		{Name: "X-User", Value: "{{ .token.Claims.sub }}"},
		{Name: "X-Agent", Value: `{{ .httpRequestHeader.Get "User-Agent" }} for {{ .token.sub }}`},
		{Name: "X-Kept", Value: `{{ doNotSet }}`},
		{Name: "X-Mail", Value: "{{ .token.email }}"},
	}}, nil)
	for _, agent := range []string{"curl/8", "firefox"} {
		call := callOf("authorization", "Bearer "+es256(`{"sub":"alice"}`), "x-user", "root", "X-USER", "admin", "user-agent", agent, "x-kept", "mine")
		if j.Filter(call) != Allow {
			t.Fatalf("got %+v", call.Reply)
		}
		for name, want := range map[string][]string{"x-user": {"alice"}, "x-agent": {agent + " for alice"}, "x-kept": {"mine"}, "x-mail": nil} {
			if got := upstreamField(call, name); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
	for _, propagates := range []bool{true, false} {
		in := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Inject: []config.HeaderTemplate{
			{Name: "Authorization", Value: "Basic c2hvcA=="}, {Name: "X-Raw", Value: `{{ .httpRequestHeader.Get "Authorization" }}`},
		}}, &config.Arguments{PropagateToken: &propagates})
		token := "Bearer " + es256(`{"sub":"alice"}`)
		call := callOf("authorization", token)
		if in.Filter(call) != Allow {
			t.Fatalf("got %+v", call.Reply)
		}
		for name, want := range map[string]string{"authorization": "Basic c2hvcA==", "x-raw": token} {
			if got := upstreamField(call, name); len(got) != 1 || got[0] != want {
				t.Errorf("propagateToken %v: %s is %q, want %q", propagates, name, got, want)
			}
		}
	}
	bad := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Inject: []config.HeaderTemplate{{Name: "X-First", Value: "{{ index .token.Claims.groups 0 }}"}}}, nil)
	call := callOf("authorization", "Bearer "+es256(`{"sub":"alice"}`))
	if bad.Filter(call) != Deny || call.Reply.Reason != decision.TemplateFailed || call.Reply.Status != 500 || call.Reply.Err == nil {
		t.Errorf("a template that fails: got %+v", call.Reply)
	}
	if strings.Contains(string(call.Reply.Body), "index") {
		t.Errorf("the client is told %s", call.Reply.Body)
	}
}

// errorResponse decides what refusals look like.
func TestErrorResponse(t *testing.T) {
	d, _, _ := issuerDeps(t)
	i := newIssuer(t, jwks("ec"))
	expiredToken := "Bearer " + es256(`{"exp":1}`)
	for _, row := range []struct {
		name, authorization string
		c                   config.ErrorResponse
		status              int
		contentType, body   string
		header, value       string
	}{
		{"realm", "", config.ErrorResponse{Realm: `the "shop"`}, 401, "application/json", "{\n\t\"message\": \"no Bearer token\",\n\t\"status_code\": 401\n}", "www-authenticate", `Bearer realm="the \"shop\""`},
		{"headers", "", config.ErrorResponse{Headers: []config.HeaderTemplate{{Name: "X-Status", Value: "{{ .status_code }} {{ .httpStatus }}"}}}, 401, "", "{\n\t\"message\": \"no Bearer token\",\n\t\"status_code\": 401\n}", "x-status", "401 401"},
		{"content type", "", config.ErrorResponse{Headers: []config.HeaderTemplate{{Name: "Content-Type", Value: "text/plain"}}, Body: "{{ .message }}!"}, 401, "text/plain", "no Bearer token!", "", ""},
		{"the request's fields", "", config.ErrorResponse{Headers: []config.HeaderTemplate{{Name: "X-Host", Value: `{{ .httpRequestHeader.Get "X-A" }}`}}}, 401, "", "{\n\t\"message\": \"no Bearer token\",\n\t\"status_code\": 401\n}", "x-host", "a"},
		{"error bits", expiredToken, config.ErrorResponse{Body: `{{ if .error.ValidationError }}{{ .error.ValidationError.Errors }}{{ end }} {{ .error }}`}, 401, "application/json", "16 the token has expired", "", ""},
		{"no bits", "", config.ErrorResponse{Body: `{{ if .error.ValidationError }}{{ .error.ValidationError.Errors }}{{ else }}none{{ end }}`}, 401, "application/json", "none", "", ""},
		{"request id", "", config.ErrorResponse{Body: `{{ .request_id }} {{ .requestId }}`}, 401, "application/json", "id-1 id-1", "", ""},
		{"json of a part", "", config.ErrorResponse{Body: `{{ json "  " .message }}`}, 401, "application/json", `"no Bearer token"`, "", ""},
		{"json of all", "", config.ErrorResponse{Body: `{{ . | json ">" }}`}, 401, "application/json", "{\n>\t\"message\": \"no Bearer token\",\n>\t\"status_code\": 401\n>}", "", ""},
		{"a body that fails", "", config.ErrorResponse{Body: `{{ index .message 99 }}`}, 500, "application/json",
			"{\n\t\"message\": \"errorResponse: generating body: 1:3: executing \\\"\\\" at \\u003cindex .message 99\\u003e: error calling index: index out of range: 99\",\n\t\"request_id\": \"id-1\",\n\t\"status_code\": 500\n}", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			fields := []string{"x-a", "a"}
			if row.authorization != "" {
				fields = append(fields, "authorization", row.authorization)
			}
			call := callOf(fields...)
			newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Error: row.c}, nil).Filter(call)
			if call.Reply.Status != row.status || string(call.Reply.ContentType) != row.contentType || string(call.Reply.Body) != row.body {
				t.Errorf("got %d %q\n%s\nwant %d %q\n%s", call.Reply.Status, call.Reply.ContentType, call.Reply.Body, row.status, row.contentType, row.body)
			}
			if row.header != "" && replyField(call, row.header) != row.value {
				t.Errorf("%s: got %q, want %q", row.header, replyField(call, row.header), row.value)
			}
			if challenge := replyField(call, "www-authenticate"); (challenge != "") != (row.status < 500) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

// Each algorithm verifies with a key of its kind.
func TestAlgorithms(t *testing.T) {
	i := newIssuer(t, jwks("rsa", "ec", "ec384", "ec521", "ed"))
	secret := newIssuer(t, jwks("oct"))
	d, _, _ := issuerDeps(t)
	for alg, key := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "ec", "ES384": "ec384", "ES512": "ec521", "EdDSA": "ed", "HS256": "oct", "HS384": "oct", "HS512": "oct",
	} {
		c := &config.JWTFilter{JWKSURI: i.URL}
		if key == "oct" {
			c.JWKSURI, c.ValidAlgorithms = secret.URL, []string{alg}
		}
		for _, header := range []string{fmt.Sprintf(`{"alg":%q}`, alg), fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, key)} {
			call := callOf("authorization", "Bearer "+signedBy(alg, key, header, `{"sub":"alice"}`))
			if newTestFilter(t, d, c, nil).Filter(call) != Allow {
				t.Errorf("%s: %+v", header, call.Reply)
			}
		}
	}
	unsigned := b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"sub":"alice"}`)) + "."
	for _, c := range []*config.JWTFilter{{ValidAlgorithms: []string{none}}, {JWKSURI: i.URL, ValidAlgorithms: []string{"RS256", none}}} {
		call := callOf("authorization", "Bearer "+unsigned)
		if newTestFilter(t, d, c, nil).Filter(call) != Allow || call.Identity.Token.Signature != "" {
			t.Errorf("none, listed: %+v", call.Reply)
		}
	}
}
