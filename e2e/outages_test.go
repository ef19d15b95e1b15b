package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fault is a way in which an issuer fails.
type fault struct {
	name string
	say  http.HandlerFunc
	want verdict // of a token while nothing is known
}

// faults are all ways; those that stall end with over.
func faults(over <-chan struct{}) []fault {
	unavailable, unknown := verdict{"authn", "key_set_unavailable", 500}, verdict{"authn", "token_invalid", 401}
	stall := func(r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
	body := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, text)
		}
	}
	return []fault{
		{"stalls", func(_ http.ResponseWriter, r *http.Request) { stall(r) }, unavailable},
		{"stalls within its answer", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, `{"keys":[`)
			_ = http.NewResponseController(w).Flush()
			stall(r)
		}, unavailable},
		{"goes in the middle", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprint(w, `{"keys":[`)
		}, unavailable},
		{"resets", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, unavailable},
		{"is ill", body(503, `{"keys":[]}`), unavailable},
		{"has none", body(404, "no such page"), unavailable},
		{"says a page", body(200, "<!DOCTYPE html><title>Sign in</title>"), unavailable},
		{"says nothing", body(200, ""), unavailable},
		{"says noise", body(200, "\x00\xff\x16\x03\x01"), unavailable},
		{"says something else", body(200, `{"error":"x"}`), unavailable},
		{"says too much", body(200, `{"keys":[],"x":"`+strings.Repeat("x", 2<<20)+`"}`), unavailable},
		{"sends round in circles", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) }, unavailable},
		{"sends to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, unavailable},
		{"has lost its keys", body(200, `{"keys":[]}`), unknown},
		{"has keys of others", body(200, `{"keys":[{"kty":"EC","crv":"P-256","kid":"other","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`), unknown},
	}
}

// An issuer that fails in every way is waited for no longer than it may be. Who is known
// by keys that are known goes on, all others are refused for their reason, and nobody
// learns more; once it is well, they pass without anybody doing anything.
func TestIssuerOutages(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	i, all := newIssuer(t), faults(over)
	var ill, well atomic.Bool // those that were known before, those that never were
	i.url = "http://" + serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		kind, _ := fmt.Sscanf(r.URL.Path, "/never-%d", &n)
		if kind == 1 && !well.Load() || kind == 0 && ill.Load() {
			if kind == 0 {
				_, _ = fmt.Sscanf(r.URL.Path, "/known-%d", &n)
			}
			all[n].say(w, r)
			return
		}
		i.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(over) })
	manifests, rules := everyone+mapping("all", "/", echo(t, "up")), ""
	for n := range all {
		for _, kind := range []string{"known", "never"} {
			name := fmt.Sprintf("%s-%d", kind, n)
			manifests += manifest("Filter", name, fmt.Sprintf("{JWT: {jwksURI: %q}}", i.url+"/"+name))
			rules += fmt.Sprintf("{path: /%s/*, filters: [{name: %s}]}, ", name, name)
		}
	}
	g := start(t, setup{manifests: manifests + manifest("FilterPolicy", "all", "{rules: ["+rules+"]}"), args: []string{"--pprof"}})
	send := func(path, token string) answer {
		return g.send(t, request{target: path, header: []string{"Authorization: Bearer " + token}})
	}
	for n := range all {
		if v := g.verdict(t, send(fmt.Sprintf("/known-%d/", n), i.token(t, nil))); v != served {
			t.Fatalf("while all is well: %v", v)
		}
	}
	ill.Store(true)
	stranger := newIssuer(t)
	stranger.rotate(t, "unknown")
	t.Run("down", func(t *testing.T) {
		for n, f := range all {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				known, never := fmt.Sprintf("/known-%d/", n), fmt.Sprintf("/never-%d/", n)
				begun := time.Now()
				a := send(never, i.token(t, nil))
				if v := g.verdict(t, a); v != f.want {
					t.Errorf("with keys that were never known: %v, want %v", v, f.want)
				}
				if want := fmt.Sprintf("{\n\t\"message\": \"the keys to verify tokens with cannot be had\",\n\t\"request_id\": %q,\n\t\"status_code\": 500\n}", a.id); a.StatusCode == 500 && string(a.body) != want {
					t.Errorf("the client reads %s", a.body)
				}
				if v := g.verdict(t, send(known, i.token(t, map[string]any{"jti": "new"}))); v != served {
					t.Errorf("with a key that is known: %v", v)
				}
				if v := g.verdict(t, send(known, stranger.token(t, nil))); v != (verdict{"authn", "token_invalid", 401}) {
					t.Errorf("with one that is not: %v", v)
				}
				if took := time.Since(begun); took > patience(10*time.Second) {
					t.Errorf("took %v", took)
				}
			})
		}
	})
	ill.Store(false)
	well.Store(true)
	for n, f := range all {
		eventually(t, patience(30*time.Second), "who comes after an issuer that "+f.name+" passes", func() bool {
			return send(fmt.Sprintf("/never-%d/", n), i.token(t, nil)).StatusCode == 200 && send(fmt.Sprintf("/known-%d/", n), i.token(t, nil)).StatusCode == 200
		})
	}
	i.rotate(t, "k2")
	fresh := i.token(t, nil)
	eventually(t, patience(30*time.Second), "a key that is new is known", func() bool { return send("/known-0/", fresh).StatusCode == 200 })
	g.noSecrets(t, strings.Split(fresh, ".")[2], "passwd", "Sign in")
}

// Issuers whose certificate nobody vouches for, and such as are gone, are found out by
// the documents that name their keys too.
func TestIssuersThatCannotBeReached(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	secure := serveTLS(t, "other.test", i)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, gone.Close())
	named := func(answer string) string {
		return "http://" + serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, answer) }))
	}
	unavailable := verdict{"authn", "key_set_unavailable", 500}
	for _, row := range []struct{ name, uri, issuer string }{
		{"nobody listens", "http://" + gone.Addr().String() + "/keys", ""},
		{"nobody is called so", "http://no-such-issuer.invalid/keys", ""},
		{"a certificate of nobody's", "https://" + secure + "/keys", ""},
		{"cleartext where TLS is meant", "https://" + strings.TrimPrefix(i.url, "http://") + "/keys", ""},
		{"TLS where cleartext is meant", "http://" + secure + "/keys", ""},
		{"a document of another issuer", "", named(`{"issuer":"https://evil.example.com","jwks_uri":"` + i.url + `/keys"}`)},
		{"a document that names no keys", "", named(`{"issuer":"x"}`)},
		{"a document that is a page", "", named("<html>")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			manifests := everyone + mapping("all", "/", echo(t, "up")) + manifest("FilterPolicy", "all", "{rules: [{filters: [{name: f}]}]}")
			claims := map[string]any{}
			if row.issuer == "" {
				manifests += manifest("Filter", "f", fmt.Sprintf("{JWT: {jwksURI: %q}}", row.uri))
			} else {
				manifests += manifest("Filter", "f", fmt.Sprintf("{Mint: {credentials: {issuers: [{issuer: %q, audience: my-client}]}}}", row.issuer))
				claims["iss"] = row.issuer
			}
			g := start(t, setup{manifests: manifests})
			for range 2 {
				a := g.send(t, request{target: "/x", header: []string{"Authorization: Bearer " + i.token(t, claims)}})
				if v := g.verdict(t, a); v != unavailable || strings.Contains(string(a.body), "127.0.0.1") {
					t.Errorf("got %v %s", v, a.body)
				}
			}
		})
	}
}
