package decode

import (
	"cmp"
	"strings"

	"legate/config"
)

const (
	moduleServer = "server" // what clients of the gateway meet
	moduleClient = "client" // how these clients are verified
)

// serverSecret is the Secret of the Module tls' server that names none.
const serverSecret = "ambassador-certs"

// decodeTLSModule reads the Module "tls": a TLSContext in each field of config, but client,
// which belongs to server. One that is not enabled is as good as not there.
func decodeTLSModule(o *object, spec *fields) any {
	c := spec.object("config")
	if c == nil {
		if spec.value("config") == nil {
			spec.missing("config")
		}
		return nil
	}
	m := &config.TLSModule{Meta: o.Meta}
	server := -1
	for i := range c.written {
		name := c.written[i].name
		if name == moduleClient {
			continue
		}
		t, enabled := c.moduleContext(name)
		if !enabled {
			continue
		}
		if name == moduleServer {
			server = len(m.Contexts)
			t.Hosts = []string{"*"}
			if t.CertChainFile == "" && t.PrivateKeyFile == "" {
				t.Secret = cmp.Or(t.Secret, serverSecret)
			}
		}
		m.Contexts = append(m.Contexts, config.ModuleContext{Name: name, Context: t})
	}
	clients := c.object(moduleClient)
	switch {
	case clients == nil:
	case server >= 0:
		clients.moduleClients(&m.Contexts[server])
	case orTrue(clients.flag("enabled")) && !o.dropped:
		o.report(c.at(moduleClient), c.path+moduleClient, "there is no server whose clients it could verify", config.FieldIgnored)
	}
	c.finish(nil)
	spec.finish(nil)
	m.Meta = o.Meta // with the positions of all fields
	return m
}

// moduleContext reads one context of the Module tls.
func (f *fields) moduleContext(name string) (t config.TLSContext, enabled bool) {
	sub := f.object(name)
	if sub == nil {
		return t, false
	}
	t = config.TLSContext{
		TLSSettings:           *tlsSettings(sub),
		Secret:                sub.text("secret"),
		SecretNamespacing:     sub.flag("secret_namespacing"),
		RedirectCleartextFrom: sub.cleartextFrom(),
	}
	enabled = orTrue(sub.flag("enabled"))
	sub.finish(nil)
	return t, enabled
}

// moduleClients reads how the clients of server are verified. Its secret is what a
// TLSContext calls ca_secret.
func (f *fields) moduleClients(server *config.ModuleContext) {
	enabled := orTrue(f.flag("enabled"))
	secret, file, required := f.text("ca_secret"), f.either("cacert_chain_file"), f.flag("cert_required")
	old := f.text("secret")
	f.finish(moduleClientUnserved)
	if !enabled {
		return
	}
	server.Beside = moduleClient
	if secret == "" && old != "" {
		secret = old
		server.Renamed = map[string]string{"secret": "ca_secret"}
	}
	if secret == "" && file == "" && required == nil && server.Context.CASecret == "" && server.Context.CACertChainFile == "" {
		// To go on would let in everybody, which is not what is wanted of it.
		f.o.report(f.node, strings.TrimSuffix(f.path, "."), "names no ca_secret to verify clients with", config.ObjectDropped)
	}
	if secret != "" || file != "" {
		server.Context.CASecret, server.Context.CACertChainFile = secret, file
	}
	if required != nil {
		server.Context.CertRequired = required
	}
}

func orTrue(b *bool) bool { return b == nil || *b }
