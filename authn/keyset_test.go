package authn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
	"legate/decision"
)

// keySetOfIssuer returns the key set of i that nobody refreshes in the background.
func keySetOfIssuer(t *testing.T, d *Deps, uri string, p config.FetchPolicy) *keySet {
	t.Helper()
	s := newKeySets(d, nil).get(uri, p)
	t.Cleanup(s.retire)
	return s
}

func TestUnknownKeyIsLookedForOnceInTenSeconds(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, clock, _ := issuerDeps(t)
	s := keySetOfIssuer(t, d, i.URL, config.FetchPolicy{})
	find := func(kid string) int {
		t.Helper()
		list, _, err := s.find(nil, kid, "ES256", clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if find("ec") != 1 || i.asked.Load() != 1 {
		t.Fatalf("the first token: asked %d times", i.asked.Load())
	}
	i.publish(jwks("ec", "stranger"))
	for range 5 {
		if find("stranger") != 0 {
			t.Fatal("a key is known that nobody fetched")
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times within ten seconds", n)
	}
	clock.forward(unknownPause)
	if find("stranger") != 1 || i.asked.Load() != 2 {
		t.Errorf("after ten seconds: asked %d times", i.asked.Load())
	}
	if find("ec") != 1 || find("stranger") != 1 || i.asked.Load() != 2 {
		t.Errorf("known keys: asked %d times", i.asked.Load())
	}
	for range 5 {
		find("forged")
	}
	if n := i.asked.Load(); n != 2 {
		t.Errorf("a forged kid: asked %d times", n)
	}
}

func TestManyWaitForOneAttempt(t *testing.T) {
	i := newIssuer(t, "")
	gate := make(chan struct{})
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		<-gate
		fmt.Fprint(w, jwks("ec"))
	})
	d, clock, counts := issuerDeps(t)
	s := keySetOfIssuer(t, d, i.URL, config.FetchPolicy{})
	var all sync.WaitGroup
	found := make(chan int, 20)
	for range 20 {
		all.Go(func() {
			list, _, err := s.find(nil, "ec", "ES256", clock.Now())
			if err != nil {
				t.Error(err)
			}
			found <- len(list)
		})
	}
	close(gate)
	all.Wait()
	for range 20 {
		if n := <-found; n != 1 {
			t.Errorf("found %d keys", n)
		}
	}
	if i.asked.Load() != 1 || counts.of("refreshed", "success").n.Load() != 1 {
		t.Errorf("asked %d times", i.asked.Load())
	}
}

// While the issuer is down, known keys go on for a day beyond their time; then nobody
// passes, until it is back.
func TestStaleKeysServe(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, clock, _ := issuerDeps(t)
	s := keySetOfIssuer(t, d, i.URL, config.FetchPolicy{MaxStale: time.Hour})
	if _, _, err := s.find(nil, "ec", "ES256", clock.Now()); err != nil {
		t.Fatal(err)
	}
	i.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) })
	fl := func() {
		clock.forward(unknownPause)
		if f := s.attempt(clock.Now(), true); f != nil {
			<-f.done
		}
	}
	fl()
	clock.forward(minFresh + staleFor + time.Hour - time.Minute)
	if list, _, err := s.find(nil, "ec", "ES256", clock.Now()); err != nil || len(list) != 1 {
		t.Errorf("a minute before its end: %d keys, %v", len(list), err)
	}
	clock.forward(2 * time.Minute)
	if _, _, err := s.find(nil, "ec", "ES256", clock.Now()); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("after its end: %v", err)
	}
	i.publish(jwks("ec"))
	clock.forward(failedPause)
	if list, _, err := s.find(nil, "ec", "ES256", clock.Now()); err != nil || len(list) != 1 {
		t.Errorf("once it is back: %d keys, %v", len(list), err)
	}
}

// What an issuer may answer instead of a key set.
func TestBadKeySets(t *testing.T) {
	elsewhere := newIssuer(t, jwks("ec"))
	for _, row := range []struct {
		name string
		say  func(w http.ResponseWriter, r *http.Request)
		want string // of the error; "" for keys
	}{
		{"a key set", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwks("ec")) }, ""},
		{"an empty one", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) }, ""},
		{"one with keys of kinds to come", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[{"kty":"AKP"},1,null,{"kty":7}]}`)
		}, ""},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "parse key set"},
		{"nothing", func(http.ResponseWriter, *http.Request) {}, "parse key set"},
		{"an object without keys", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"error":"x"}`) }, "no list"},
		{"keys that are no list", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":{}}`) }, "parse key set"},
		{"too many keys", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"keys":[%s{}]}`, strings.Repeat("{},", maxKeys))
		}, "more than 100"},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"keys":[],"x":%q}`, strings.Repeat("x", maxKeySet))
		}, "longer than"},
		{"half of it", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, jwks("ec")[:10])
		}, "unexpected EOF"},
		{"404", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, jwks("ec"), http.StatusNotFound) }, "status 404"},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "status 204"},
		{"a broken connection", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, ""},
		{"redirects without end", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, "redirected more than 3 times"},
		{"a redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "unsupported protocol"},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := newIssuer(t, "")
			i.answer(row.say)
			d, clock, _ := issuerDeps(t)
			_, _, err := keySetOfIssuer(t, d, i.URL, config.FetchPolicy{}).find(nil, "ec", "ES256", clock.Now())
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// A key set over TLS is not followed into the clear, and its certificate counts unless
// insecureTLS says that it does not.
func TestKeySetsOverTLS(t *testing.T) {
	clear := newIssuer(t, jwks("ec"))
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, clear.URL, http.StatusFound)
			return
		}
		fmt.Fprint(w, jwks("ec"))
	}))
	t.Cleanup(secure.Close)
	for _, row := range []struct {
		path, want string
		insecure   bool
	}{{"", "certificate", false}, {"", "", true}, {"/away", "from https to http", true}} {
		d, clock, _ := issuerDeps(t)
		_, _, err := keySetOfIssuer(t, d, secure.URL+row.path, config.FetchPolicy{InsecureTLS: row.insecure}).find(nil, "ec", "ES256", clock.Now())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%+v: got %v", row, err)
		}
	}
}

func TestRenegotiation(t *testing.T) {
	d, _, _ := issuerDeps(t)
	for word, want := range map[string]tls.RenegotiationSupport{
		"": tls.RenegotiateNever, "never": tls.RenegotiateNever, "onceAsClient": tls.RenegotiateOnceAsClient, "freelyAsClient": tls.RenegotiateFreelyAsClient,
	} {
		transport, ok := d.client(config.FetchPolicy{RenegotiateTLS: word}).Transport.(*http.Transport)
		if !ok || transport.TLSClientConfig.Renegotiation != want {
			t.Errorf("%q: got %v", word, transport.TLSClientConfig.Renegotiation)
		}
	}
}

func TestLifetime(t *testing.T) {
	for _, row := range []struct {
		headers  []string
		maxStale time.Duration
		want     time.Duration
	}{
		{nil, 0, minFresh},
		{[]string{"Cache-Control", "max-age=3600"}, 0, time.Hour},
		{[]string{"Cache-Control", "public, Max-Age=3600, must-revalidate"}, 0, time.Hour},
		{[]string{"Cache-Control", "max-age=3600", "Age", "600"}, 0, 50 * time.Minute},
		{[]string{"Cache-Control", "max-age=1"}, 0, minFresh},
		{[]string{"Cache-Control", "max-age=99999999999"}, 0, minFresh},
		{[]string{"Cache-Control", "max-age=2147483647"}, 0, maxFresh},
		{[]string{"Cache-Control", "max-age=x"}, 0, minFresh},
		{[]string{"Cache-Control", "no-store"}, 0, minFresh},
		{[]string{"Cache-Control", "no-cache, max-age=3600"}, 0, minFresh},
		{[]string{"Cache-Control", "no-store"}, time.Hour, time.Hour},
		{[]string{"Expires", midday.Add(time.Hour).Format(http.TimeFormat)}, 0, time.Hour},
		{[]string{"Expires", midday.Add(time.Hour).Format(http.TimeFormat), "Cache-Control", "max-age=1200"}, 0, 20 * time.Minute},
		{[]string{"Expires", "0"}, 0, minFresh},
	} {
		h := http.Header{}
		for n := 0; n < len(row.headers); n += 2 {
			h.Add(row.headers[n], row.headers[n+1])
		}
		if got := lifetime(h, midday, row.maxStale); got != row.want {
			t.Errorf("%v: got %v, want %v", row.headers, got, row.want)
		}
	}
}

// A pipeIssuer answers over connections that only this process has, so that time may be
// the test's.
type pipeIssuer struct {
	mu    sync.Mutex
	asked []time.Time
	down  bool
}

// dial connects to the issuer.
func (i *pipeIssuer) dial(context.Context, string, string) (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, time.Now())
	if i.down {
		return nil, net.ErrClosed
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		buf := make([]byte, 4096)
		if _, err := there.Read(buf); err == nil {
			keys := jwks("ec")
			fmt.Fprintf(there, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(keys), keys)
		}
	}()
	return here, nil
}

func (i *pipeIssuer) set(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// times are when the issuer was asked, since start.
func (i *pipeIssuer) times(start time.Time) (list []time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, at := range i.asked {
		list = append(list, at.Sub(start))
	}
	i.asked = nil
	return list
}

// Keys are fetched before anybody asks, again before they are stale, and after a failure
// ever less often until the issuer is back.
func TestRefreshInTheBackground(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := issuerDeps(t)
		i := &pipeIssuer{}
		d.Dial, d.Clock = i.dial, time.Now
		start := time.Now()
		sets := newKeySets(d, nil)
		s := sets.get("http://id.example.com/keys", config.FetchPolicy{})
		sets.start()
		sets.start() // is started already
		sets.ready(t.Context())
		first := s.usable(time.Now())
		if first == nil {
			t.Fatal("there are no keys at the start")
		}
		if asked := i.times(start); len(asked) != 1 || asked[0] != 0 {
			t.Errorf("asked at %v", asked)
		}
		time.Sleep(11 * time.Minute)
		if asked := i.times(start); len(asked) != 1 || asked[0] < 590*time.Second || asked[0] > 600*time.Second {
			t.Errorf("asked again at %v", asked)
		}
		i.set(true)
		back := time.Now()
		time.Sleep(time.Hour)
		asked := i.times(back)
		if len(asked) < 5 || len(asked) > 40 || asked[1]-asked[0] != firstRetry || asked[2]-asked[1] != 2*firstRetry {
			t.Errorf("while it is down, asked at %v", asked)
		}
		for n := 1; n < len(asked); n++ {
			if asked[n]-asked[n-1] > maxRetry+time.Second {
				t.Errorf("a pause of %v", asked[n]-asked[n-1])
			}
		}
		if s.usable(time.Now()) == nil {
			t.Error("the keys are gone")
		}
		i.set(false)
		time.Sleep(2 * maxRetry)
		if k := s.usable(time.Now()); k == nil || !time.Now().Before(k.fresh) || k.generation != first.generation {
			t.Errorf("once it is back: %+v", k)
		}

		next := newKeySets(d, sets)
		if next.get("http://id.example.com/keys", config.FetchPolicy{}) != s {
			t.Error("the next configuration has other keys")
		}
		next.start()
		sets.retire(next)
		i.times(start)
		time.Sleep(20 * time.Minute)
		if len(i.times(start)) == 0 {
			t.Error("nobody refreshes keys that were carried over")
		}
		next.retire(nil)
		time.Sleep(time.Hour)
		if asked := i.times(start); len(asked) > 0 {
			t.Errorf("after the end, asked at %v", asked)
		}
	})
}

// A configuration that comes back asks for its keys anew, and believes nothing that others
// verified.
func TestKeysOfAFilterThatComesBack(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	for _, row := range []struct {
		keys string
		want decision.Reason
	}{
		{jwks("ec"), decision.None},
		{jwks("ed"), decision.TokenInvalid},
		{jwks("ec"), decision.None},
	} {
		i.publish(row.keys)
		j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil) // whose predecessor has gone
		c := callOf("authorization", "Bearer "+es256(`{"sub":"alice"}`))
		if j.Filter(c); c.Reply.Reason != row.want {
			t.Errorf("with the keys %s: %v, want %v", row.keys, c.Reply.Reason, row.want)
		}
	}
}
