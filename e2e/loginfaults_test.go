package e2e

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// What a provider may do when it should give tokens, and what becomes of the login. Who is
// in stays in, and with the fault the trouble ends.
func TestProviderFaults(t *testing.T) {
	t.Parallel()
	w := openShop(t, setup{}, "{scope: [email]}")
	w.idp.life(3600)
	in := w.visitor(t)
	in.judged(t, in.logIn(t, w.first+"/data", reader), verdict{"proxy", "", 200})
	secrets := in.secrets
	var strays atomic.Int64 // requests at where the provider sends us that it is not
	stray := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { strays.Add(1) }))
	for _, c := range []struct {
		path, kind string
		want       verdict
	}{
		{idpTokens, "500", verdict{"authn", "provider_unavailable", 502}},
		{idpTokens, "html", verdict{"authn", "provider_unavailable", 502}},
		{idpTokens, "redirect", verdict{"authn", "provider_unavailable", 502}},
		{idpTokens, "slow", verdict{"authn", "provider_unavailable", 502}},
		{idpTokens, "invalid_grant", verdict{"authn", "login_refused", 403}},
	} {
		t.Run(c.path+" "+c.kind, func(t *testing.T) {
			v := w.visitor(t)
			back := v.callback(t, reader)
			w.idp.fault(c.path, c.kind, "http://"+stray+"/")
			v.judged(t, v.get(t, back), c.want)
			in.judged(t, in.get(t, w.first+"/data"), verdict{"proxy", "", 200})
			w.idp.fault(c.path, "", "")
			v.judged(t, v.logIn(t, w.first+"/data", reader), verdict{"proxy", "", 200})
			secrets = append(secrets, v.secrets...)
		})
	}
	if n := strays.Load(); n != 0 {
		t.Errorf("codes and secrets were sent to somebody else %d times", n)
	}
	w.saysNoSecrets(t, secrets)
}

// The provider signs with another key, of another kind, from one moment to the next.
func TestProviderRotatesKeys(t *testing.T) {
	t.Parallel()
	w := openShop(t, setup{}, "{scope: [email]}")
	w.idp.life(3600)
	in := w.visitor(t)
	in.judged(t, in.logIn(t, w.first+"/data", reader), verdict{"proxy", "", 200})
	for _, how := range []url.Values{{}, {"alg": {"ES256"}, "retire": {"1"}}} {
		w.idp.tell("rotate", how)
		var last reply
		v := w.visitor(t)
		// Unknown keys are asked for every ten seconds at most.
		eventually(t, 30*time.Second, "logins by the new key succeed", func() bool {
			v = w.visitor(t)
			last = v.logIn(t, w.first+"/data", other)
			return last.status == 200
		})
		v.judged(t, last, verdict{"proxy", "", 200})
		if who := last.data(t).Sub; who != otherSub {
			t.Errorf("logged in as %q", who)
		}
		in.judged(t, in.get(t, w.first+"/data"), verdict{"proxy", "", 200})
	}
}
