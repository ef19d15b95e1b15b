package e2e

import (
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// A replica of a shop is a second gateway with the same objects.
func (w *shop) replica(t testing.TB, s setup, arguments string, more ...string) *gateway {
	t.Helper()
	s.manifests = w.manifests(arguments, more...)
	return start(t, s)
}

// logOut posts what the page's form would.
func (v *visitor) logOut(t testing.TB) reply {
	t.Helper()
	xsrf := v.cookie(v.w.first, "ambassador_xsrf.web.default")
	return v.post(t, v.w.first+"/.ambassador/oauth2/logout", url.Values{"realm": {"web.default"}, "_xsrf": {xsrf}})
}

// Two gateways with one Redis: who logs in at one is known at the other, one refresh does
// for both, and who logs out is out everywhere. Without the Redis nobody gets on; when it
// goes on, so does everybody.
func TestSharedSessions(t *testing.T) {
	t.Parallel()
	const arguments = "{scope: [offline_access, email]}"
	server := redistest.Start(t)
	s := setup{args: []string{"--redis", server.Addr}}
	w := openShop(t, s, arguments)
	second := w.replica(t, s, arguments)
	w.idp.life(4)
	v, page := w.visitor(t), w.first+"/data"
	before := v.logIn(t, page, reader)
	v.judged(t, before, verdict{"proxy", "", 200})
	v.through = second
	r := v.get(t, page)
	v.judged(t, r, verdict{"proxy", "", 200})
	if got := r.data(t); got.Sub != readerSub || got.Token != before.data(t).Token {
		t.Errorf("the second gateway says %+v", got)
	}

	eventually(t, patience(30*time.Second), "the access token is another", func() bool {
		var all sync.WaitGroup
		for _, g := range []*gateway{w.gateway, second, w.gateway, second} {
			one := *v
			client := *v.Client
			one.Client, one.through, one.secrets = &client, g, nil
			all.Go(func() {
				if r := one.get(t, page); r.status != 200 {
					t.Errorf("answered %d: %s", r.status, r.body)
				}
			})
		}
		all.Wait()
		return t.Failed() || w.idp.asked()[byRefresh] > 0
	})
	if n := w.idp.asked(); n[byCode] != 1 {
		t.Errorf("the provider was asked %v", n)
	}

	w.idp.life(3600)
	eventually(t, patience(30*time.Second), "the access token lasts", func() bool { return v.get(t, page).data(t).Token != r.data(t).Token })
	server.Signal(syscall.SIGSTOP)
	eventually(t, patience(20*time.Second), "the gateway looks the session up again", func() bool { return v.get(t, page).status == 503 })
	v.judged(t, v.get(t, page), verdict{"authn", "session_store_down", 503})
	server.Signal(syscall.SIGCONT)
	v.judged(t, v.get(t, page), verdict{"proxy", "", 200})

	stolen := v.cookieLine(w.first)
	thief := w.visitor(t)
	thief.judged(t, thief.get(t, page, "Cookie", stolen), verdict{"proxy", "", 200})
	v.judged(t, v.logOut(t), verdict{"authn", "own_endpoint", 302})
	if left := server.Do(t, "KEYS", "*session*"); strings.Contains(left, "session.web") {
		t.Errorf("the Redis keeps %s", left)
	}
	eventually(t, patience(20*time.Second), "the session is over at the first gateway", func() bool {
		return thief.get(t, page, "Cookie", stolen).status == 302
	})
	secrets := append(v.secrets, r.data(t).Token)
	w.saysNoSecrets(t, secrets)
	second.saysNoSecrets(t, secrets)
}
