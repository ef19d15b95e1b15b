package e2e

import (
	"net"
	"strings"
	"testing"
)

// One address that sends made-up tokens without end has no more of them looked at, and its
// neighbours notice nothing: neither those who come from elsewhere nor those behind the same
// address whose tokens are known.
func TestTokenFlood(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	g := start(t, setup{manifests: guarded(t, i), args: []string{"--token-failures", "1"}})
	ask := func(token, address string) verdict {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		conn, err := d.Dial("tcp", g.clear)
		must(t, err)
		c := newClient(conn)
		defer c.Close()
		size := g.log.size()
		a, err := c.exchange(request{target: "/api/x", header: []string{"Authorization: Bearer " + token}})
		must(t, err)
		a.from = size
		v := g.verdict(t, a)
		if v.Status == 429 && a.Header.Get("Retry-After") == "" {
			t.Error("a refusal does not say when to come again")
		}
		return v
	}
	known, other := i.token(t, map[string]any{"sub": "alice"}), i.token(t, map[string]any{"sub": "bob"})
	made := known[:strings.LastIndexByte(known, '.')+1] + b64(make([]byte, 64))
	const here, there = "127.0.0.1", "127.0.0.2"
	flooded, invalid := verdict{"authn", "token_flood", 429}, verdict{"authn", "token_invalid", 401}
	if got := ask(known, here); got != served {
		t.Fatalf("the first token: got %v", got)
	}
	got := invalid
	for n := 0; got == invalid && n < 1000; n++ {
		got = ask(made, here)
	}
	if got != flooded {
		t.Fatalf("the flood: got %v, want %v", got, flooded)
	}
	for _, row := range []struct {
		what, token, from string
		want              verdict
	}{
		{"a known token from there", known, here, served},
		{"a new one from elsewhere", other, there, served},
		{"a made-up one from elsewhere", made, there, invalid},
		{"that new one from there, as it is known now", other, here, served},
	} {
		if got := ask(row.token, row.from); got != row.want {
			t.Errorf("%s: got %v, want %v", row.what, got, row.want)
		}
	}
}
