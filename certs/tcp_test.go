package certs

import (
	"slices"
	"strings"
	"testing"

	"legate/config"
)

// Which certificate a TCPMapping's host is served with.
func TestTCPMappings(t *testing.T) {
	a := newAuthority(t, "ca")
	yes := true
	for _, tc := range []struct {
		name, host string
		make       func(w *world)
		want       string   // name in the certificate; "" where the TCPMapping is dropped
		alpn       []string // that is agreed on
		problem    string   // part of one; "" where there is none
	}{
		{"a Host of that name", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one")
			w.host("one", "a.example", "one")
		}, "one", nil, "TLS connections for a.example on port 8443 are TCPMapping shop/m's"},
		{"in any case", "A.Example", func(w *world) {
			w.tlsSecret(t, a, "one", "a.example")
			w.host("one", "*.example", "one")
		}, "a.example", nil, ""},
		{"the first by hostname", "a.example", func(w *world) {
			w.tlsSecret(t, a, "two", "two")
			w.tlsSecret(t, a, "one", "one")
			w.host("two", "a.example", "two")
			w.host("one", "*.example", "one")
		}, "one", nil, "TLS connections for a.example"},
		{"a Host without TLS is passed over", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one.example")
			w.host("clear", "*", "")
			w.host("one", "*.example", "one")
		}, "one.example", nil, ""},
		{"a Host without its certificate is passed over", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one.example")
			w.host("gone", "*", "gone")
			w.host("one", "*.example", "one")
		}, "one.example", nil, "there is no Secret shop/gone"},
		{"a Host that cannot tell its clients is not passed over", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one.example")
			w.host("closed", "*", "one").TLS = &config.TLSSettings{CASecret: "gone", CertRequired: &yes}
			w.host("open", "*.example", "one")
		}, "", nil, "No matching TLSContext found, disabling!"},
		{"nor is a TLSContext", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one.example")
			for name, ca := range map[string]string{"a": "gone", "b": ""} {
				c := w.context(name, config.TLSSettings{CASecret: ca})
				c.Hosts, c.Secret = []string{"a.example"}, "one"
			}
			slices.SortFunc(w.TLSContexts, func(a, b config.TLSContext) int { return strings.Compare(a.Name, b.Name) })
			w.host("clear", "b.example", "")
		}, "", nil, "No matching TLSContext found, disabling!"},
		{"any Host for any name", "*", func(w *world) {
			w.tlsSecret(t, a, "one", "b.example")
			w.host("one", "b.example", "one")
		}, "b.example", nil, ""},
		{"a TLSContext that lists it", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one")
			c := w.context("ctx", config.TLSSettings{ALPNProtocols: []string{"mqtt"}})
			c.Hosts, c.Secret = []string{"a.example"}, "one"
			w.host("clear", "b.example", "")
		}, "one", []string{"mqtt"}, ""},
		{"a Host before a TLSContext", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one.example")
			w.tlsSecret(t, a, "two", "two")
			c := w.context("ctx", config.TLSSettings{})
			c.Hosts, c.Secret = []string{"a.example"}, "two"
			w.host("one", "*.example", "one")
		}, "one.example", nil, ""},
		{"a TLSContext without certificate", "a.example", func(w *world) {
			w.context("ctx", config.TLSSettings{}).Hosts = []string{"a.example"}
			w.host("clear", "b.example", "")
		}, "", nil, "No matching TLSContext found, disabling!"},
		{"a TLSContext whose Secret is missing", "a.example", func(w *world) {
			c := w.context("ctx", config.TLSSettings{})
			c.Hosts, c.Secret = []string{"a.example"}, "gone"
			w.host("clear", "b.example", "")
		}, "", nil, "there is no Secret shop/gone; the TCPMappings that use it are not served at all"},
		{"a Host of another name", "a.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one")
			w.host("one", "b.example", "one")
		}, "", nil, "No matching TLSContext found, disabling!"},
		{"a name that nobody can ask for", "a.*.example", func(w *world) {
			w.tlsSecret(t, a, "one", "one")
			w.host("one", "*", "one")
		}, "", nil, "No matching TLSContext found, disabling!"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var w world
			w.listener(8443)
			tc.make(&w)
			w.TCPMappings = []config.TCPMapping{{Meta: config.Meta{Kind: "TCPMapping", Name: "m", Namespace: "shop"}, Port: 8443, Host: tc.host}}
			b := w.build(nil)
			if got := slices.Contains(dropped(b), "m"); got != (tc.want == "") {
				t.Fatalf("dropped: %v; problems %q", got, texts(b.Problems))
			}
			if all := strings.Join(texts(b.Problems), "\n"); !strings.Contains(all, tc.problem) || tc.problem == "" && all != "" {
				t.Errorf("got problems %q, want %q", all, tc.problem)
			}
			if tc.want == "" {
				return
			}
			c := b.Table.Listeners[0].Added(strings.ToLower(tc.host))
			if c == nil || c.Certificates[0].Leaf.DNSNames[0] != tc.want || !slices.Equal(c.NextProtos, tc.alpn) {
				t.Errorf("got %+v, want the certificate of %s and %v", c, tc.want, tc.alpn)
			}
		})
	}
}

// A TCPMapping on another port takes nothing from a Host, and Hosts have nothing of a
// port that carries TCPMappings only.
func TestTCPMappingsKeepToTheirPort(t *testing.T) {
	a := newAuthority(t, "ca")
	var w world
	w.listener(8443)
	own := w.listener(5432)
	own.Stack = []config.Protocol{config.ProtoTLS, config.ProtoTCP}
	w.tlsSecret(t, a, "one", "a.example", "b.example")
	w.host("one", "a.example", "one")
	w.host("two", "b.example", "one")
	w.TCPMappings = []config.TCPMapping{{Meta: config.Meta{Kind: "TCPMapping", Name: "m", Namespace: "shop"}, Port: 5432, Host: "a.example"}}
	b := w.build(nil)
	expect(t, b, nil)
	for name, want := range map[string][2]string{"a.example": {"a.example", "a.example"}, "b.example": {"b.example", ""}, "": {"", ""}} {
		if got := [2]string{b.Table.Name(0, name), b.Table.Name(1, name)}; got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
