package e2e

import (
	"crypto/tls"
	"strings"
	"testing"
)

// The Module tls serves as the TLSContexts that it stands for: a Host's, with the clients
// verified, and a Mapping's.
func TestModuleTLS(t *testing.T) {
	t.Parallel()
	cert, client := authority.issue(t, "gate.test"), authority.issue(t, "client.test")
	ca := certificate{cert: authority.pem()}.secret("clients")
	secured := serveTLS(t, "service.test", echoHandler("secured"))
	module := "---\napiVersion: getambassador.io/v1\nkind: Module\nmetadata: {name: tls}\nspec:\n  config:\n" +
		"    server: {secret: cert, alpn_protocols: http/1.1}\n" +
		"    client: {secret: clients, cert_required: true}\n" +
		"    towards: {enabled: true, sni: service.test}\n"
	rest := cert.secret("cert") + ca + tlsHost("gate", "gate.test", "cert", "tlsContext: {name: server}") +
		mapping("x", "/x/", secured, "tls: towards")
	g := start(t, setup{manifests: rest + module})
	if a, err := g.visit(t, "gate.test", func(*tls.Config) {}); err == nil {
		t.Errorf("a client without a certificate: %v", g.verdict(t, a.answer))
	}
	v, err := g.visit(t, "gate.test", func(c *tls.Config) {
		c.Certificates = []tls.Certificate{client.pair}
		c.NextProtos = []string{"h2", "http/1.1"}
	})
	must(t, err)
	if got := g.verdict(t, v.answer); got != served || v.state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("a client with a certificate: %v by %q", got, v.state.NegotiatedProtocol)
	}
	if !v.saw.TLS || v.saw.SNI != "service.test" {
		t.Errorf("towards the service: TLS %v for %q", v.saw.TLS, v.saw.SNI)
	}
	if p := g.problems(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
	// A Module that is broken later keeps verifying as it did.
	g.replace(rest + strings.Replace(module, "secret: clients, cert_required: true", "secrets: clients", 1))
	if a, err := g.visit(t, "gate.test", func(*tls.Config) {}); err == nil {
		t.Errorf("a client without a certificate, of a Module that is broken now: %v", g.verdict(t, a.answer))
	}
	v, err = g.visit(t, "gate.test", func(c *tls.Config) { c.Certificates = []tls.Certificate{client.pair} })
	must(t, err)
	if got := g.verdict(t, v.answer); got != served {
		t.Errorf("a client with a certificate, of a Module that is broken now: %v", got)
	}
	// A Module that cannot be understood when it is read first opens nothing.
	broken := start(t, setup{manifests: cert.secret("cert") + ca +
		"---\napiVersion: getambassador.io/v1\nkind: Module\nmetadata: {name: tls}\nspec: {config: {server: {secret: cert}, client: {ca_secert: clients}}}\n" +
		tlsHost("gate", "gate.test", "cert", "tlsContext: {name: server}", route) + mapping("x", "/x/", secured)})
	if a, err := broken.visit(t, "gate.test", func(*tls.Config) {}); err == nil {
		t.Errorf("a misspelt client: %v", broken.verdict(t, a.answer))
	}
}
