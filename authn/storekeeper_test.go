package authn

import (
	"context"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
	"legate/e2e/redistest"
)

const (
	shopHost    = "shop.example.com"
	shopSession = "ambassador_session.web.shop"
)

// kept returns all that is in w's Redis, by key.
func (w *loginWorld) kept() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	keys, err := w.redis.Keys(w.t.Context(), "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range keys {
		if all[k], err = w.redis.Get(w.t.Context(), k).Result(); err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// Who reads the Redis learns nothing, and who writes to it is believed nothing.
func TestStoreKeepsSecrets(t *testing.T) {
	w := newLoginWorld(t, redisAt(t, redistest.Start(t)), nil)
	alice, bob := w.browser(), w.browser()
	alice.login(page, "alice")
	c := alice.ask("GET", page)
	wantReply(t, c, decision.None, 0)
	cookie := alice.cookies[shopHost][shopSession]
	if len(cookie) != 64 || strings.Trim(cookie, "0123456789abcdef") != "" {
		t.Errorf("the browser keeps %q", cookie)
	}
	all := w.kept()
	if len(all) != 1 {
		t.Fatalf("the Redis keeps %v", all)
	}
	token := strings.TrimPrefix(received(c, "authorization"), "Bearer ")
	for key, value := range all {
		for _, secret := range []string{"alice", "eyJ", token, cookie[:32], cookie[32:], strings.Repeat("s", 40)} {
			if strings.Contains(key+value, secret) {
				t.Errorf("%q is in %s: %s", secret, key, value)
			}
		}
	}
	bob.login(page, "bob")
	for key, value := range w.kept() { // alice's in the place of bob's
		if _, old := all[key]; !old {
			for _, hers := range all {
				if err := w.redis.Set(t.Context(), key, hers, time.Hour).Err(); err != nil {
					t.Fatal(err)
				}
			}
			w.forward(storeTrust)
			wantReply(t, bob.ask("GET", page), decision.LoginRedirect, 302)
			if err := w.redis.Set(t.Context(), key, value[:len(value)-8], time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
			wantReply(t, bob.ask("GET", page), decision.LoginRedirect, 302)
		}
	}
}

// Two gateways with one Redis are one to whoever logs in.
func TestTwoGateways(t *testing.T) {
	w := newLoginWorld(t, redisAt(t, redistest.Start(t)), nil)
	other := w.another()
	b := w.browser()
	b.login(page, "alice")
	wantReply(t, b.at(other).ask("GET", page), decision.None, 0)

	w.forward(6 * time.Minute)
	other.ahead.Store(w.ahead.Load())
	asked := w.asked.Load()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			one := &browser{[]*loginWorld{w, other}[i%2], map[string]map[string]string{shopHost: maps.Clone(b.cookies[shopHost])}}
			if c := one.ask("GET", page); c.Reply.Status != 0 {
				t.Errorf("answered %s (%v)", c.Reply.Reason, c.Reply.Err)
			}
		})
	}
	all.Wait()
	if n := w.asked.Load() - asked; n != 1 {
		t.Errorf("the provider was asked %d times for one refresh", n)
	}
	for key := range w.kept() {
		if strings.HasSuffix(key, ".lock") {
			t.Errorf("%s is left", key)
		}
	}

	wantReply(t, b.at(other).ask("GET", page), decision.None, 0)
	wantReply(t, b.logOut(), decision.OwnEndpoint, 302)
	if all := w.kept(); len(all) != 0 {
		t.Errorf("the Redis keeps %v", all)
	}
	w.forward(storeTrust)
	other.ahead.Store(w.ahead.Load())
	wantReply(t, b.at(other).ask("GET", page), decision.LoginRedirect, 302)
}

// hears has w share with other gateways which sessions have ended.
func (w *loginWorld) hears() {
	w.t.Helper()
	w.set.Retire(nil)
	w.set, w.deps.Revocations = nil, newFollowerAt(w.t, w.redis, w.now).Revocations
	w.build()
}

// Who has logged out at one gateway is out at the others as soon as they hear of it, though
// they have just let the browser pass.
func TestLogoutIsHeard(t *testing.T) {
	w := newLoginWorld(t, redisAt(t, redistest.Start(t)), nil)
	w.hears()
	other := w.another()
	other.hears()
	b, untouched := w.browser(), w.browser()
	b.login(page, "alice")
	untouched.login(page, "bob")
	for _, one := range []*browser{b, untouched} {
		wantReply(t, one.at(other).ask("GET", page), decision.None, 0)
	}
	wantReply(t, b.logOut(), decision.OwnEndpoint, 302)
	began := time.Now()
	redistest.Eventually(t, "the other gateway knows", func() bool {
		return b.at(other).ask("GET", page).Reply.Reason == decision.LoginRedirect
	})
	if took := time.Since(began); took > storeTrust/2 {
		t.Errorf("it took %v", took)
	}
	wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
	wantReply(t, untouched.at(other).ask("GET", page), decision.None, 0)
}

// logOut posts what the page's form would; the browser keeps its cookies all the same.
func (b *browser) logOut() *Call {
	b.w.t.Helper()
	var pairs []string
	for n, v := range b.cookies[shopHost] {
		pairs = append(pairs, n+"="+v)
	}
	c := visit(b.w.now(), "POST", must(url.Parse("https://"+shopHost+"/.ambassador/oauth2/logout")), "Content-Type", "application/x-www-form-urlencoded", "Cookie", strings.Join(pairs, "; "))
	c.Body = formBody("realm=web.shop&_xsrf=" + b.cookies[shopHost]["ambassador_xsrf.web.shop"])
	b.w.serve(c)
	return c
}

// A login makes a session of its own, also for who has one: the old id is worth nothing.
func TestSessionRotatesAtLogin(t *testing.T) {
	w := newLoginWorld(t, redisAt(t, redistest.Start(t)), nil)
	b := w.browser()
	b.login(page, "alice")
	old := maps.Clone(b.cookies[shopHost])
	rules := w.world.FilterPolicies[0].Rules
	more := rules[0]
	more.Path, more.Filters = "/admin", []config.FilterUse{{Name: "web", Namespace: "shop", Arguments: &config.Arguments{Scope: []string{"admin"}}}}
	w.world.FilterPolicies[0].Rules = append([]config.FilterRule{more}, rules...)
	w.build()
	wantReply(t, b.login("https://shop.example.com/admin", "alice"), decision.None, 0)
	if b.cookies[shopHost][shopSession] == old[shopSession] {
		t.Error("the session's id is the old one")
	}
	wantReply(t, (&browser{w, map[string]map[string]string{shopHost: old}}).ask("GET", page), decision.LoginRedirect, 302)
	wantReply(t, b.ask("GET", page), decision.None, 0)
	if all := w.kept(); len(all) != 1 {
		t.Errorf("the Redis keeps %d sessions of one person", len(all))
	}
}

// Without the Redis nobody knows who has logged in, so nobody gets on; with it again
// everybody does, and nobody logs in anew.
func TestStoreDown(t *testing.T) {
	for _, r := range []struct {
		name      string
		fail, end syscall.Signal
	}{
		{"stopped", syscall.SIGSTOP, syscall.SIGCONT},
		{"gone", syscall.SIGKILL, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			server := redistest.Start(t)
			w := newLoginWorld(t, redisAt(t, server), nil)
			log := &logLines{}
			w.deps.Log = slog.New(slog.NewJSONHandler(log, nil))
			w.build()
			in, late := w.browser(), w.browser()
			in.login(page, "alice")
			callback := w.atProvider(location(late.ask("GET", page)), "bob")
			w.forward(storeTrust) // in.login's last answer was remembered
			server.Signal(r.fail)
			for range 2 {
				c := in.ask("GET", page)
				wantReply(t, c, decision.SessionStoreDown, 503)
				if strings.Contains(string(c.Reply.Body), "127.0.0.1") {
					t.Errorf("the client reads %s", c.Reply.Body)
				}
			}
			wantReply(t, late.ask("GET", callback), decision.SessionStoreDown, 503)
			wantReply(t, in.logOut(), decision.SessionStoreDown, 503)
			wantReply(t, w.browser().ask("GET", page), decision.LoginRedirect, 302)
			forged := w.browser()
			forged.cookies[shopHost] = maps.Clone(in.cookies[shopHost])
			forged.cookies[shopHost][shopSession] = strings.Repeat("0", 64) // nobody is asked about what was not given out
			wantReply(t, forged.ask("GET", page), decision.LoginRedirect, 302)
			if n := strings.Count(log.String(), "does not answer: nobody"); n != 1 {
				t.Errorf("said %d times that the store does not answer:\n%s", n, log)
			}
			if r.end == 0 {
				return // what it had is lost
			}
			server.Signal(r.end)
			wantReply(t, in.ask("GET", page), decision.None, 0)
			if !strings.Contains(log.String(), "answers again") {
				t.Errorf("nobody said that the store is back:\n%s", log)
			}
		})
	}
}

// logLines is a log.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A lock is its holder's, until it lapses or is given back; nobody else gives it back.
func TestRedisSessions(t *testing.T) {
	server := redistest.Start(t)
	s := NewRedisSessions(redisAt(t, server))
	ctx := context.Background()
	is := func(what string, got, want bool, err error) {
		t.Helper()
		if got != want || err != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	for i, step := range []struct {
		holder string
		unlock bool
		want   bool
	}{{"a", false, true}, {"b", false, false}, {"b", true, false}, {"b", false, false}, {"a", true, false}, {"b", false, true}} {
		if step.unlock {
			if err := s.Unlock(ctx, "k", step.holder); err != nil {
				t.Error(err)
			}
			continue
		}
		got, err := s.Lock(ctx, "k", step.holder, time.Minute)
		is("step "+string(rune('0'+i)), got, step.want, err)
	}
	found, err := s.Replace(ctx, "x", []byte("v"), time.Minute)
	is("replace what is not there", found, false, err)
	if err := s.Add(ctx, "x", []byte("v"), time.Minute); err != nil {
		t.Error(err)
	}
	found, err = s.Replace(ctx, "x", []byte("w"), time.Hour)
	is("replace what is there", found, true, err)
	value, left, err := s.Get(ctx, "x")
	is("get", string(value) == "w" && left > 59*time.Minute && left <= time.Hour, true, err)
	if err := s.Remove(ctx, "x"); err != nil {
		t.Error(err)
	}
	value, _, err = s.Get(ctx, "x")
	is("get what was removed", value == nil, true, err)
	for key := range strings.FieldsSeq(strings.Trim(server.Do(t, "KEYS", "*"), "[]")) {
		if !strings.HasPrefix(key, "legate.") {
			t.Errorf("the key %s may be somebody else's", key)
		}
	}
}

// Keys change without anybody logging in anew: a new one goes before the old, which goes
// when the sessions that it sealed have lapsed.
func TestSessionKeysRotate(t *testing.T) {
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), func(f *config.OAuth2Filter, _ *config.Arguments) {
				f.Secret, f.SecretRef = "", config.SecretName{Name: "web", Namespace: "shop"}
			}, withSecret("web", map[string]string{"oauth2-client-secret": "short", sessionKeys: one}))
			old := w.browser()
			old.login(page, "alice")
			keys := func(lines string) {
				w.world.Secrets[0].Data[sessionKeys] = []byte(lines)
				w.deps.Cache = NewCache(0) // nobody remembers who was in
				w.build()
			}
			keys(two + "\n" + one + "\n")
			wantReply(t, old.ask("GET", page), decision.None, 0)
			fresh := w.browser()
			fresh.login(page, "bob")
			keys(two)
			wantReply(t, fresh.ask("GET", page), decision.None, 0)
			wantReply(t, old.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
}
