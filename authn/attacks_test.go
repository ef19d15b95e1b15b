package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

const rightClaims = `{"sub":"alice","iss":"https://id.example.com","aud":"api","exp":4102444800}`

// unsignedWith is a token that says that it is not signed, in this spelling.
func unsignedWith(alg string) string {
	header, err := json.Marshal(map[string]string{"alg": alg})
	if err != nil {
		panic(err)
	}
	return b64(header) + "." + b64([]byte(rightClaims)) + "."
}

// macBy is an HS256 token whose secret is something that is public.
func macBy(secret []byte, kid string) string {
	text := b64(fmt.Appendf(nil, `{"alg":"HS256","kid":%q}`, kid)) + "." + b64([]byte(rightClaims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func publicPEM(name string) []byte {
	var public any
	switch k := testKeys()[name].(type) {
	case *rsa.PrivateKey:
		public = &k.PublicKey
	case *ecdsa.PrivateKey:
		public = &k.PublicKey
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// withHeader is a token with this header that the key "ec" signed by ES256.
func withHeader(header string) string { return signedBy("ES256", "ec", header, rightClaims) }

// forged is a token with this header that a stranger signed.
func forged(header string) string { return signedBy("ES256", "stranger", header, rightClaims) }

// resigned returns token with the signature that change makes of it.
func resigned(token string, change func(sig []byte) []byte) string {
	head, sig := token[:strings.LastIndexByte(token, '.')+1], token[strings.LastIndexByte(token, '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		panic(err)
	}
	return head + b64(change(raw))
}

// parts cuts a token.
func parts(token string) (header, payload, sig string) {
	p := strings.Split(token, ".")
	return p[0], p[1], p[2]
}

func asASN1(sig []byte) []byte {
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		panic(err)
	}
	return der
}

// otherHalf is the signature that holds too by ECDSA's own symmetry.
func otherHalf(sig []byte) []byte {
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(sig[32:]))
	return append(append([]byte{}, sig[:32]...), s.FillBytes(make([]byte, 32))...)
}

// spareBits returns token with the bits changed that its last letter has too many.
func spareBits(token string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, token[len(token)-1])
	return token[:len(token)-1] + string(letters[last^1])
}

// embedded is a header that brings the stranger's own key along.
func embedded(member string) string {
	var value any = jwkOf("stranger", "ec")
	switch member {
	case "jku", "x5u":
		value = "https://attacker.example/jwks.json"
	case "x5c":
		value = []string{"MIIB"}
	}
	text, err := json.Marshal(map[string]any{"alg": "ES256", "kid": "ec", member: value})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// What attackers send, and what they get. The filter verifies by RSA, EC and EdDSA keys,
// asks for an issuer and an audience, and says nothing of algorithms.
func TestAttacks(t *testing.T) {
	i := newIssuer(t, jwks("rsa", "ec", "ed"))
	good := es256(rightClaims)
	header, payload, sig := parts(good)
	const (
		refused   = decision.TokenInvalid
		malformed = decision.TokenMalformed
		syntax    = decision.AuthorizationMalformed
		fine      = decision.None
	)
	rows := []struct {
		name, token string
		want        decision.Reason
	}{
		{"the honest one", good, fine},

		// No signature, or another algorithm than the key is for.
		{"none", unsignedWith("none"), refused},
		{"None", unsignedWith("None"), refused},
		{"NONE", unsignedWith("NONE"), refused},
		{"nOnE", unsignedWith("nOnE"), refused},
		{"none with a space", unsignedWith("none "), refused},
		{"none behind a zero byte", unsignedWith("none\x00"), refused},
		{"no algorithm", b64([]byte(`{}`)) + "." + payload + ".", malformed},
		{"an empty algorithm", unsignedWith(""), malformed},
		{"an algorithm that is no text", withHeader(`{"alg":["ES256"],"kid":"ec"}`), malformed},
		{"an algorithm in another case", withHeader(`{"alg":"es256","kid":"ec"}`), refused},
		{"Alg beside alg", forged(`{"alg":"ES256","Alg":"none","kid":"ec"}`), refused},
		{"none with the honest signature", b64([]byte(`{"alg":"none"}`)) + "." + payload + "." + sig, refused},
		{"the signature is missing", header + "." + payload + ".", refused},
		{"an unknown algorithm", withHeader(`{"alg":"ES256K","kid":"ec"}`), refused},
		{"an encrypting algorithm", withHeader(`{"alg":"RSA-OAEP","kid":"ec"}`), refused},
		{"HMAC with the RSA key as PEM", macBy(publicPEM("rsa"), "rsa"), refused},
		{"HMAC with the EC key as PEM", macBy(publicPEM("ec"), "ec"), refused},
		{"HMAC with the modulus", macBy(testKeys()["rsa"].(*rsa.PrivateKey).N.Bytes(), "rsa"), refused},
		{"HMAC with nothing", macBy(nil, "ec"), refused},
		{"HMAC with the kid", macBy([]byte("ec"), "ec"), refused},
		{"an RSA key for ECDSA", signedBy("ES256", "ec", `{"alg":"ES256","kid":"rsa"}`, rightClaims), refused},
		{"an EC key for RSA", signedBy("RS256", "rsa", `{"alg":"RS256","kid":"ec"}`, rightClaims), refused},
		{"ES384 on P-256", withHeader(`{"alg":"ES384","kid":"ec"}`), refused},
		{"PS256 said, RS256 made", signedBy("RS256", "rsa", `{"alg":"PS256","kid":"rsa"}`, rightClaims), refused},
		{"EdDSA said, ES256 made", withHeader(`{"alg":"EdDSA","kid":"ed"}`), refused},

		// Keys that the attacker chooses.
		{"a stranger's key", forged(`{"alg":"ES256","kid":"ec"}`), refused},
		{"a stranger's key, no kid", forged(`{"alg":"ES256"}`), refused},
		{"jwk", forged(embedded("jwk")), refused},
		{"jku", forged(embedded("jku")), refused},
		{"x5u", forged(embedded("x5u")), refused},
		{"x5c", forged(embedded("x5c")), refused},
		{"kid as a path", forged(`{"alg":"ES256","kid":"../../../../dev/null"}`), refused},
		{"kid as an address", forged(`{"alg":"ES256","kid":"https://attacker.example/k"}`), refused},
		{"kid as SQL", forged(`{"alg":"ES256","kid":"x' UNION SELECT 'secret"}`), refused},
		{"kid as a command", forged(`{"alg":"ES256","kid":"|/usr/bin/id"}`), refused},
		{"kid with a zero byte", forged(`{"alg":"ES256","kid":"ec\u0000"}`), refused},
		{"kid as a number", withHeader(`{"alg":"ES256","kid":1}`), malformed},
		{"kid as a list", withHeader(`{"alg":"ES256","kid":["ec"]}`), malformed},
		{"kid null", withHeader(`{"alg":"ES256","kid":null}`), malformed},
		{"a kid of a thousand letters", forged(fmt.Sprintf(`{"alg":"ES256","kid":%q}`, strings.Repeat("k", 1000))), refused},
		{"no kid at all", withHeader(`{"alg":"ES256"}`), fine},

		// Headers that readers read differently.
		{"crit", withHeader(`{"alg":"ES256","kid":"ec","crit":["exp"],"exp":1}`), malformed},
		{"an empty crit", withHeader(`{"alg":"ES256","kid":"ec","crit":[]}`), malformed},
		{"an unencoded payload", withHeader(`{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}`), malformed},
		{"alg twice", withHeader(`{"alg":"none","alg":"ES256","kid":"ec"}`), malformed},
		{"alg twice, escaped", withHeader(`{"\u0061lg":"none","alg":"ES256","kid":"ec"}`), malformed},
		{"a header that is a list", withHeader(`[{"alg":"ES256"}]`), malformed},
		{"a header that is null", withHeader(`null`), malformed},
		{"a header with more after it", withHeader(`{"alg":"ES256","kid":"ec"}{}`), malformed},
		{"a header nested deeply", withHeader(`{"alg":"ES256","x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`), malformed},

		// Signatures.
		{"one bit changed", tampered(good), refused},
		{"cut off", good[:len(good)-2], refused},
		{"longer", resigned(good, func(s []byte) []byte { return append(s, 0) }), refused},
		{"as ASN.1", resigned(good, asASN1), refused},
		{"all zero", resigned(good, func([]byte) []byte { return make([]byte, 64) }), refused},
		{"the order of the curve", resigned(good, func([]byte) []byte {
			n := elliptic.P256().Params().N.Bytes()
			return append(append([]byte{}, n...), n...)
		}), refused},
		{"the other half, which holds", resigned(good, otherHalf), fine},
		{"of another token", header + "." + b64([]byte(`{"sub":"root"}`)) + "." + sig, refused},
		{"spare bits in the last letter", spareBits(good), malformed},
		{"in the other alphabet", header + "." + payload + "." + strings.NewReplacer("-", "+", "_", "/").Replace(otherLetters()), malformed},

		// The form.
		{"two parts", header + "." + payload, malformed},
		{"four parts", good + ".x", malformed},
		{"five parts, as if encrypted", header + ".x.x.x.x", malformed},
		{"a dot at the end", good + ".", malformed},
		{"a dot at the beginning", "." + good, malformed},
		{"only dots", "..", malformed},
		{"padding", header + "==." + payload + "." + sig, syntax},
		{"padding at the end", good + "=", malformed},
		{"a line end within", header + ".\n" + payload + "." + sig, syntax},
		{"a space at the end of a part", header + " ." + payload + "." + sig, syntax},
		{"the JSON form", fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, header, payload, sig), syntax},
		{"letters that look alike", strings.Replace(good, "e", "е", 1), syntax},
		{"a zero byte", good + "\x00", syntax},
		{"an escape", strings.Replace(good, ".", "%2e", 1), syntax},
		{"two tokens with a comma", good + ",Bearer " + good, syntax},
		{"in quotes", `"` + good + `"`, syntax},

		// Claims, signed by the issuer itself but read by others too.
		{"a claim twice", es256(`{"sub":"alice","sub":"root","iss":"https://id.example.com","aud":"api"}`), malformed},
		{"a claim twice, escaped", es256(`{"sub":"alice","s\u0075b":"root","iss":"https://id.example.com","aud":"api"}`), malformed},
		{"twice in an object of a claim", es256(`{"iss":"https://id.example.com","aud":"api","realm":{"roles":[],"roles":["admin"]}}`), malformed},
		{"Iss beside iss", es256(`{"Iss":"https://id.example.com","iss":"https://attacker.example","aud":"api"}`), decision.TokenIssuer},
		{"claims nested deeply", es256(`{"x":` + strings.Repeat(`{"x":`, 100) + "1" + strings.Repeat("}", 101)), malformed},
		{"claims that are a list", es256(`[1]`), malformed},
		{"claims that are null", es256(`null`), malformed},
		{"claims that are nothing", es256(``), malformed},
		{"claims that are no JSON", es256(`{"sub":`), malformed},
		{"a number beyond all bounds", es256(`{"exp":1e999}`), malformed},
		{"an issuer in another case", es256(`{"iss":"https://ID.example.com","aud":"api"}`), decision.TokenIssuer},
		{"an issuer with a slash", es256(`{"iss":"https://id.example.com/","aud":"api"}`), decision.TokenIssuer},
		{"an issuer below", es256(`{"iss":"https://id.example.com.attacker.example","aud":"api"}`), decision.TokenIssuer},
		{"an issuer with letters that look alike", es256(`{"iss":"https://id.exаmple.com","aud":"api"}`), decision.TokenIssuer},
		{"an audience with a space", es256(`{"iss":"https://id.example.com","aud":"api "}`), decision.TokenAudience},
		{"audiences in one text", es256(`{"iss":"https://id.example.com","aud":"web api"}`), decision.TokenAudience},
		{"an audience that is a pattern", es256(`{"iss":"https://id.example.com","aud":"*"}`), decision.TokenAudience},
		{"exp in milliseconds, long past", es256(`{"iss":"https://id.example.com","aud":"api","exp":-1516239022000}`), decision.TokenExpired},
		{"exp as text", es256(`{"iss":"https://id.example.com","aud":"api","exp":"4102444800"}`), decision.TokenClaims},
		{"exp that wraps around", es256(`{"iss":"https://id.example.com","aud":"api","nbf":9223372036854775807}`), decision.TokenNotYetValid},
		{"exp true", es256(`{"iss":"https://id.example.com","aud":"api","exp":true}`), decision.TokenClaims},
	}
	if len(rows) < 60 {
		t.Fatalf("only %d rows", len(rows))
	}
	d, _, _ := issuerDeps(t)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Issuer: "https://id.example.com", Audiences: []string{"api"}}, nil)
	for _, row := range rows {
		for range 2 { // nothing that was refused once passes the next time
			call := callOf("authorization", "Bearer "+row.token)
			outcome := j.Filter(call)
			if call.Reply.Reason != row.want || (outcome == Allow) != (row.want == fine) || (call.Identity != nil) != (row.want == fine) {
				t.Errorf("%s: got %q, want %q: %s", row.name, call.Reply.Reason, row.want, row.token)
			}
			if row.want != fine && strings.Contains(string(call.Reply.Body)+replyField(call, "www-authenticate"), row.token) && len(row.token) > 10 {
				t.Errorf("%s: the client is shown its token", row.name)
			}
		}
	}
	if n := d.Cache.len(); n != 3 {
		t.Errorf("%d tokens are remembered, not the three that hold", n)
	}
}

// otherLetters returns a signature of the good token's text that has letters by which the
// two alphabets of base64 differ.
func otherLetters() string {
	for {
		_, _, sig := parts(es256(rightClaims))
		if strings.ContainsAny(sig, "-_") {
			return sig
		}
	}
}

// Where else a token may be, and what else may be in Authorization.
func TestAttackingRequests(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	good := "Bearer " + es256(rightClaims)
	for _, row := range []struct {
		name   string
		fields []string
		edit   func(c *Call)
		want   decision.Reason
	}{
		{"once", []string{"authorization", good}, nil, decision.None},
		{"twice the same", []string{"authorization", good, "authorization", good}, nil, decision.AuthorizationMalformed},
		{"two of them", []string{"authorization", good, "authorization", "Bearer x"}, nil, decision.AuthorizationMalformed},
		{"in another case of the name", []string{"authorization", "Basic x", "AUTHORIZATION", good}, nil, decision.AuthorizationMalformed},
		{"in Proxy-Authorization", []string{"proxy-authorization", good}, nil, decision.TokenMissing},
		{"in a cookie", []string{"cookie", "access_token=" + good[7:]}, nil, decision.TokenMissing},
		{"in X-Authorization", []string{"x-authorization", good}, nil, decision.TokenMissing},
		{"two spaces", []string{"authorization", "Bearer  " + good[7:]}, nil, decision.AuthorizationMalformed},
		{"a tab", []string{"authorization", "Bearer\t" + good[7:]}, nil, decision.AuthorizationMalformed},
		{"a colon", []string{"authorization", "Bearer: " + good[7:]}, nil, decision.AuthorizationMalformed},
		{"the token alone", []string{"authorization", good[7:]}, nil, decision.TokenMissing},
		{"token= before it", []string{"authorization", "Bearer token=" + good[7:]}, nil, decision.AuthorizationMalformed},
		{"nothing", []string{"authorization", ""}, nil, decision.TokenMissing},
		{"an earlier filter took it away", []string{"authorization", good}, func(c *Call) { c.Edits.DropName([]byte("authorization")) }, decision.TokenMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			d, _, _ := issuerDeps(t)
			call := callOf(row.fields...)
			if row.edit != nil {
				row.edit(call)
			}
			newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil).Filter(call)
			if call.Reply.Reason != row.want {
				t.Errorf("got %q, want %q", call.Reply.Reason, row.want)
			}
		})
	}
	t.Run("an earlier filter brought one", func(t *testing.T) {
		d, _, _ := issuerDeps(t)
		call := callOf("authorization", "Bearer forged")
		call.Edits.SetName([]byte("authorization"), []byte(good))
		if newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil).Filter(call) != Allow {
			t.Errorf("got %+v", call.Reply)
		}
	})
}

// What one policy believes says nothing to another, nor what was believed by keys that are
// gone.
func TestNoVerdictLeaks(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, clock, _ := issuerDeps(t)
	lax := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil)
	strict := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, RequireIssuer: true}, nil)
	token := "Bearer " + es256(`{"sub":"alice"}`)
	if c := callOf("authorization", token); lax.Filter(c) != Allow {
		t.Fatalf("got %+v", c.Reply)
	}
	if c := callOf("authorization", token); strict.Filter(c) != Deny || c.Reply.Reason != decision.TokenIssuer {
		t.Errorf("the strict one: got %+v", c.Reply)
	}
	i.publish(jwks("stranger"))
	clock.forward(unknownPause)
	fl := lax.keys.attempt(clock.Now(), true)
	<-fl.done
	if c := callOf("authorization", token); lax.Filter(c) != Deny || c.Reply.Reason != decision.TokenInvalid {
		t.Errorf("once the key is gone: got %+v", c.Reply)
	}
}

// A verdict ends with the token.
func TestCachedTokenExpires(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, ExpiresAt: config.ClaimRule{Leeway: time.Minute}}, nil)
	token := "Bearer " + es256(fmt.Sprintf(`{"exp":%d}`, after(time.Minute)))
	for _, row := range []struct {
		at   time.Duration
		want decision.Reason
	}{{0, decision.None}, {2*time.Minute - 1, decision.None}, {2 * time.Minute, decision.TokenExpired}, {0, decision.None}} {
		c := callOf("authorization", token)
		c.Now = midday.Add(row.at)
		j.Filter(c)
		if c.Reply.Reason != row.want {
			t.Errorf("after %v: got %q, want %q", row.at, c.Reply.Reason, row.want)
		}
	}
}

// Whatever Authorization says, it is taken apart without a panic, and what is taken for a
// token is what a strict reader takes for one.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer ", "bearer a.b.c", "Bearer a=", "Bearer =", "Basic x", "Bearer\ta", "Bearer " + es256(rightClaims), "Bearer a b", "Bearer é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\r\n\x00") || strings.Trim(value, " \t") != value {
			return // no engine lets that through
		}
		token, fail := callOf("authorization", value).bearer()
		scheme, rest, spaced := strings.Cut(value, " ")
		want := spaced && strings.EqualFold(scheme, "bearer") && isASCII(scheme) && strings.Trim(strings.TrimRight(rest, "="), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") == "" && strings.TrimRight(rest, "=") != ""
		if got := fail == nil; got != want || want && string(token) != rest {
			t.Errorf("%q: got %q %v, want %t", value, token, fail, want)
		}
		if fail == nil {
			if parsed, err := parseJWS(string(token)); err == nil && (parsed.alg == "" || strings.Count(string(token), ".") != 2) {
				t.Errorf("%q was parsed as %+v", value, parsed)
			}
		}
	})
}

func isASCII(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 }
