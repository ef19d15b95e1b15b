package gateway

import (
	"strings"
	"testing"
)

// Who is let in, by where a request comes from and by whom it says it is forwarded for.
func TestAccess(t *testing.T) {
	denied := verdict{"accept", "address_denied", 403}
	const kat = `ip_allow: [{peer: 127.0.0.2}, {remote: 99.99.0.0/16}]`
	for _, row := range []struct {
		name, module, client string
		want                 verdict
	}{
		{"allowed by the client's network", kat, "99.99.0.1", served},
		{"another network", kat, "99.98.0.1", denied},
		{"nobody in particular", kat, "", denied},
		{"allowed by the other end of the socket", `ip_allow: [{peer: 127.0.0.0/8}]`, "99.98.0.1", served},
		{"the client is not the peer", `ip_allow: [{peer: 99.98.0.1}]`, "99.98.0.1", denied},
		{"denied by the client's address", `ip_deny: [{remote: 99.98.0.1}]`, "99.98.0.1", denied},
		{"a neighbour is not", `ip_deny: [{remote: 99.98.0.1}]`, "99.98.0.2", served},
		{"denied by the other end of the socket", `ip_deny: [{peer: 127.0.0.1}]`, "99.98.0.2", denied},
		{"a network with bits of a host", `ip_deny: [{remote: 99.98.0.1/16}]`, "99.98.7.7", denied},
		{"IPv6", `ip_allow: [{remote: "2001:db8::/32"}]`, "2001:db8::7", served},
		{"an address written as the other family's", `ip_deny: [{remote: 99.98.0.1}]`, "::ffff:99.98.0.1", denied},
		{"both lists", "ip_allow: [{remote: 99.0.0.0/8}]; ip_deny: [{remote: 99.98.0.1}]", "99.98.0.1", denied},
		{"what cannot be understood is skipped", `ip_allow: [{peer: nobody}, {remote: 1.2.3.4, peer: 1.2.3.4}, {remote: 99.98.0.1}]`, "99.98.0.1", served},
		{"a list without entries is none", `ip_allow: []`, "99.98.0.1", served},
		{"a list that cannot be understood closes all", `ip_deny: [{peer: nobody}]`, "99.98.0.1", verdict{"authn", "policy_invalid", 503}},
		{"so does what is no list", `ip_allow: 10.0.0.0/8`, "99.98.0.1", verdict{"authn", "policy_invalid", 503}},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			w := read(everyone + module(strings.Split(row.module, "; ")...) + mapping("x", "/x/", up, `cors: {origins: ["*"]}`))
			w.Listeners[0].L7Depth = 1
			g := newGate(t)
			g.Apply(t.Context(), w)
			header := []string{"Origin: o"}
			if row.client != "" {
				header = append(header, "X-Forwarded-For: "+row.client)
			}
			a, rec := g.get("/x/", header...)
			if rec.verdict != row.want {
				t.Errorf("got %v, want %v", rec.verdict, row.want)
			}
			if row.want == denied && (a.body != "RBAC: access denied" || corsFields(a.Header) != "" || !strings.HasPrefix(rec.By, "Module ")) {
				t.Errorf("got %q, %q, by %s", a.body, corsFields(a.Header), rec.By)
			}
		})
	}
}

// The lists stand before everything that is answered: health checks, redirects, what is
// not found.
func TestAccessComesFirst(t *testing.T) {
	denied := verdict{"accept", "address_denied", 403}
	const nobody = `ip_allow: [{remote: 192.0.2.1}]`
	secure := strings.Replace(everyone, "Route", "Redirect", 1)
	for name, row := range map[string]struct{ host, path string }{
		"health checks": {everyone, alivePath}, "redirects to https": {secure, "/x/"}, "no route": {everyone, "/none"}, "redirects": {everyone, "/y/"},
	} {
		g := open(t, row.host+module(nobody)+mapping("x", "/x/", "127.0.0.1:1")+mapping("y", "/y/", "other.example", "host_redirect: true"))
		if _, rec := g.get(row.path); rec.verdict != denied {
			t.Errorf("%s: got %v", name, rec.verdict)
		}
	}
}
