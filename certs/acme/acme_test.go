package acme

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto/x509"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"legate/config"
)

func newClient(t *testing.T, storage certmagic.Storage) *Client {
	t.Helper()
	c := New(Options{Storage: storage, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(c.Close)
	return c
}

// Whoever asks for a challenge gets what the storage has of it, and nobody else anything.
func TestChallengeOfAnotherReplica(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	c := newClient(t, storage)
	c.orders[subject{"https://ca.test/dir", "a.example.com"}] = newOrder(c, subject{"https://ca.test/dir", "a.example.com"}, account{})
	put := func(name, kind string) {
		text, err := json.Marshal(acme.Challenge{Type: kind, Token: "token", KeyAuthorization: "token.thumb", Identifier: acme.Identifier{Type: "dns", Value: name}})
		if err == nil {
			err = storage.Store(t.Context(), "acme/ca.test-dir/challenge_tokens/"+name+".json", text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a.example.com", acme.ChallengeTypeHTTP01)
	put("strange.example.com", acme.ChallengeTypeHTTP01)
	put("tls.example.com", acme.ChallengeTypeTLSALPN01)
	for _, row := range []struct{ host, path, want string }{
		{"a.example.com", "token", "token.thumb"},
		{"A.Example.com:80", "token", "token.thumb"},
		{"strange.example.com", "token", "token.thumb"}, // another replica has read of it first
		{"a.example.com", "other", ""},
		{"a.example.com", "", ""},
		{"a.example.com", strings.Repeat("x", maxToken+1), ""},
		{"tls.example.com", "token", ""},
		{"../../a.example.com", "token", ""},
		{"b.example.com", "token", ""},
	} {
		if got := string(c.HTTP([]byte(row.host), []byte(challengePath+row.path))); got != row.want {
			t.Errorf("%s %s: %q, want %q", row.host, row.path, got, row.want)
		}
	}
	if c.HTTP([]byte("a.example.com"), []byte("/token")) != nil {
		t.Error("another path is answered")
	}
	if got := c.TLS("TLS.example.com"); got == nil || got.NextProtos[0] != "acme-tls/1" || got.Certificates[0].Leaf == nil && len(got.Certificates[0].Certificate) != 1 {
		t.Errorf("TLS-ALPN-01 gets %v", got)
	}
	if c.TLS("a.example.com") != nil || c.TLS("") != nil {
		t.Error("TLS-ALPN-01 gets what is not for it")
	}
}

// Attempts that fail are counted in the storage, whoever makes them, before they are made.
func TestAttempts(t *testing.T) {
	folder := t.TempDir()
	s := subject{"https://ca.test/dir", "a.example.com"}
	one, other := newClient(t, &certmagic.FileStorage{Path: folder}), newClient(t, &certmagic.FileStorage{Path: folder})
	if err := one.attempt(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var wait *waitError
	if err := other.attempt(t.Context(), s); !errors.As(err, &wait) || time.Until(wait.until) > time.Minute {
		t.Fatalf("while one is under way: %v", err)
	}
	one.attemptFailed(t.Context(), s, errors.New("no such name"), false)
	if err := other.attempt(t.Context(), s); !errors.As(err, &wait) || wait.Error() != "no such name" {
		t.Fatalf("after one that failed: %v", err)
	}
	one.attemptFailed(t.Context(), s, errors.New("too many"), true)
	if got := time.Until(other.lastAttempt(t.Context(), s)); got < 59*time.Minute {
		t.Errorf("after too many: tried again in %v", got)
	}
	one.attemptSucceeded(t.Context(), s)
	if err := other.attempt(t.Context(), s); err != nil {
		t.Errorf("after one that succeeded: %v", err)
	}
	// A clock that was far ahead when the last one was made does not hold up the next for long.
	if err := one.storeAttempts(t.Context(), s, attempts{Failures: 1, Next: time.Now().Add(240 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := other.attempt(t.Context(), s); err != nil {
		t.Errorf("after the clock was set back: %v", err)
	}
	if a, b := backoff(0), backoff(100); a != time.Minute || b != 24*time.Hour {
		t.Errorf("waits from %v to %v", a, b)
	}
}

// A storage that cannot be written makes no attempt: what an authority signs would be lost.
func TestAttemptNeedsStorage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, &certmagic.FileStorage{Path: file}) // no folder: nothing can be made in it
	if err := c.attempt(t.Context(), subject{"https://ca.test/dir", "a.example.com"}); err == nil {
		t.Error("an attempt is made")
	}
}

// A window within the life of a certificate is believed, one in the past asks for another
// certificate soon, and any other says nothing.
func TestHints(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := func(n float64) time.Time { return begin.Add(time.Duration(n * float64(24*time.Hour))) }
	for _, c := range []struct {
		name            string
		start, end, now float64
		want            time.Time
	}{
		{"two thirds", 59, 61, 1, day(60)},
		{"revoked", 1, 2, 5, begin.Add(10 * time.Minute)},
		{"all of its life", 0, 90, 1, time.Time{}},
		{"beyond its life", 80, 100, 1, time.Time{}},
		{"before its life", -2, 3, 1, time.Time{}},
	} {
		h := hint{of: &held{leaf: &x509.Certificate{NotBefore: begin, NotAfter: day(90)}}}
		h.choose(day(c.start), day(c.end), day((c.start+c.end)/2), day(c.now))
		if !h.at.Equal(c.want) {
			t.Errorf("%s: renews at %v, want %v", c.name, h.at, c.want)
		}
		if first := h.at; c.name == "two thirds" {
			if h.choose(day(c.start), day(c.end), day(60.5), day(2)); !h.at.Equal(first) {
				t.Errorf("the same window gets another time: %v", h.at)
			}
		}
	}
}

// The account of a Host is what its Secret says; what is wrong with that is told.
func TestAccounts(t *testing.T) {
	key := "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"
	host := &config.Host{Meta: config.Meta{Namespace: "shop"}, ACME: &config.ACME{Email: "a@b.test", Account: config.SecretRef{Name: "account", Namespace: "shop"}}}
	for _, c := range []struct {
		name string
		data map[string]string
		want account
	}{
		{"a key", map[string]string{"user.key": key + "\n"}, account{email: "a@b.test", key: key}},
		{"no key", nil, account{email: "a@b.test"}},
		{"bound", map[string]string{"eab-kid": "k", "eab-hmac-key": "aGVsbG8"}, account{email: "a@b.test", eab: acme.EAB{KeyID: "k", MACKey: "aGVsbG8"}}},
		{"half bound", map[string]string{"eab-kid": "k"}, account{email: "a@b.test", eab: acme.EAB{KeyID: "k"}, fault: "Secret shop/account needs both eab-kid and eab-hmac-key, or neither"}},
		{"no PEM", map[string]string{"user.key": "key"}, account{email: "a@b.test", key: "key", fault: "Secret shop/account: user.key holds no PEM private key"}},
	} {
		s := config.Secret{Meta: config.Meta{Name: "account", Namespace: "shop"}, Data: map[string][]byte{}}
		for k, v := range c.data {
			s.Data[k] = []byte(v)
		}
		if got := accountOf(&config.World{Secrets: []config.Secret{s}}, host); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// storages behave alike.
func checkStorage(t *testing.T, s certmagic.Storage) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Load(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of nothing: %v", err)
	}
	if _, err := s.Stat(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of nothing: %v", err)
	}
	must(s.Delete(ctx, "a/b"))
	for _, key := range []string{"a/b/one", "a/b/two", "a/c", "ab"} {
		must(s.Store(ctx, key, []byte(key+"\x00")))
	}
	got, err := s.Load(ctx, "a/b/one")
	must(err)
	if string(got) != "a/b/one\x00" {
		t.Errorf("loaded %q", got)
	}
	for prefix, want := range map[string]string{"a": "a/b a/c", "a/b": "a/b/one a/b/two"} {
		got, err := s.List(ctx, prefix, false)
		must(err)
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("list of %s: %v, want %s", prefix, got, want)
		}
	}
	for key, want := range map[string]bool{"a": true, "a/b": true, "a/b/one": true, "a/b/o": false, "b": false} {
		if got := s.Exists(ctx, key); got != want {
			t.Errorf("%s exists: %v", key, got)
		}
	}
	info, err := s.Stat(ctx, "a/c")
	must(err)
	if !info.IsTerminal || info.Size != 4 || time.Since(info.Modified) > time.Minute {
		t.Errorf("stat: %+v", info)
	}
	must(s.Delete(ctx, "a/b"))
	if s.Exists(ctx, "a/b/one") || !s.Exists(ctx, "a/c") || !s.Exists(ctx, "ab") {
		t.Error("a folder is not deleted whole, or something else is")
	}
	must(s.Lock(ctx, "job"))
	waits, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := s.Lock(waits, "job"); err == nil {
		t.Error("two have one lock")
	}
	must(s.Unlock(ctx, "job"))
	must(s.Lock(ctx, "job"))
	must(s.Unlock(ctx, "job"))
}

func TestFiles(t *testing.T) { checkStorage(t, NewFiles(t.TempDir())) }
