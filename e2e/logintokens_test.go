package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
)

// Access tokens that say nothing: the provider is asked about them on every request.
func TestOpaqueAccessTokens(t *testing.T) {
	t.Parallel()
	w := openShop(t, setup{}, "{scope: [email]}")
	w.idp.register("web", url.Values{"tokens": {"opaque"}}, w.first, w.other)
	v, page := w.visitor(t), w.first+"/data"
	r := v.logIn(t, page, reader)
	v.judged(t, r, passes)
	if d := r.data(t); d.Sub != readerSub || d.Token == "" || strings.Count(d.Token, ".") == 2 {
		t.Errorf("the service gets %+v", d)
	}
	before := w.idp.asked()["/userinfo"]
	for range 3 {
		v.judged(t, v.get(t, page), passes)
	}
	if n := w.idp.asked()["/userinfo"] - before; n != 3 {
		t.Errorf("three requests asked %d times", n)
	}
	w.idp.fault("/userinfo", "500", "")
	v.judged(t, v.get(t, page), verdict{"authn", "provider_unavailable", 502})
	w.idp.fault("/userinfo", "", "")
	v.judged(t, v.get(t, page), passes)
	w.saysNoSecrets(t, append(v.secrets, r.data(t).Token))
}

// The gateway proves who it is by an assertion that it signs, to a provider that believes
// nothing else.
func TestSignedAssertions(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	written := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}

	w := openShop(t, setup{}, "{scope: [email]}")
	w.idp.register("web", url.Values{"method": {"private_key_jwt"}, "key": {written("PUBLIC KEY", public)}, "secret": {""}}, w.first, w.other)
	with := func(secret, assertion string) string {
		all := w.manifests("{scope: [email]}", "clientAuthentication: {method: JWTAssertion, jwtAssertion: {signingMethod: ES256, setIAT: true, audience: "+
			w.idp.issuer+", otherHeaderParameters: {kid: k1}"+assertion+"}}")
		return strings.ReplaceAll(all, clientSecret, `"`+strings.ReplaceAll(secret, "\n", `\n`)+`"`)
	}
	v := w.visitor(t)
	w.replace(with(written("PRIVATE KEY", private), ""))
	v.judged(t, v.logIn(t, w.first+"/data", reader), passes)

	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err = x509.MarshalPKCS8PrivateKey(stranger)
	must(t, err)
	w.replace(with(written("PRIVATE KEY", private), ""))
	v = w.visitor(t)
	v.judged(t, v.get(t, v.callback(t, reader)), refused)
	w.saysNoSecrets(t, v.secrets)
}
