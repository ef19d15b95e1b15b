package gateway

import (
	"strings"
	"testing"

	"legate/config"
)

// An authority is answered before anything else has a say, and nobody else is.
func TestChallengesComeFirst(t *testing.T) {
	up, _ := seeing(t, plainOK)
	answered := verdict{"accept", "acme_challenge", 200}
	for _, c := range []struct {
		name, manifests, host, path string
		want                        verdict
	}{
		{"a Mapping for it", everyone + mapping("acme", "/.well-known/acme-challenge/", up), "a.test", "/.well-known/acme-challenge/mine", answered},
		{"a Host that redirects", strings.Replace(everyone, "Route", "Redirect", 1) + mapping("all", "/", up), "a.test", "/.well-known/acme-challenge/mine", answered},
		{"addresses that nobody may come from", everyone + mapping("all", "/", up) + module("ip_deny:", "- remote: 0.0.0.0/0"), "a.test", "/.well-known/acme-challenge/mine", answered},
		{"a Host that waits for its certificate", ordering, "new.example.com", "/.well-known/acme-challenge/mine", answered},
		{"a token of somebody else's", everyone + mapping("acme", "/.well-known/acme-challenge/", up), "a.test", "/.well-known/acme-challenge/other", served},
		{"a name of somebody else's", everyone + mapping("acme", "/.well-known/acme-challenge/", up), "b.test", "/.well-known/acme-challenge/mine", served},
		{"another path", everyone + mapping("all", "/", up), "a.test", "/.well-known/acme", served},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := open(t, c.manifests, func(o *Options) {
				o.ChallengeHTTP = func(host, path []byte) []byte {
					if name := string(host); (name == "a.test" || name == "new.example.com") && strings.HasSuffix(string(path), "/mine") {
						return []byte("mine.thumbprint")
					}
					return nil
				}
			})
			a, rec := g.send("GET " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")
			if rec.verdict != c.want || a.StatusCode != c.want.Status || c.want == answered && a.body != "mine.thumbprint" {
				t.Errorf("got %v, status %d, %q; want %v", rec.verdict, a.StatusCode, a.body, c.want)
			}
		})
	}
}

// ordering is a Host whose certificate is ordered.
const ordering = `
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: new}
spec: {hostname: new.example.com, acmeProvider: {email: ops@example.com}}
`

// A Listener is bound although all its Hosts wait for certificates: the authority asks there.
func TestListenersOfHostsThatWait(t *testing.T) {
	w := read(ordering)
	for _, dropped := range []bool{true, false} {
		c := &compiler{world: &config.World{Hosts: w.Hosts}, next: &Snapshot{wish: w}, closed: dropped}
		if dropped {
			c.world.Hosts = nil
		}
		if !c.attached(&w.Listeners[0]) {
			t.Errorf("dropped %v: the Listener is disabled", dropped)
		}
	}
}
