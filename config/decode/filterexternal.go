package decode

import (
	"cmp"

	"legate/config"
)

// external reads the External part of a Filter.
func (f *fields) external(o *object) *config.ExternalAuth {
	a := f.externalAuth(o)
	if a.Service == "" {
		f.missing("auth_service")
	}
	a.OriginateTLS = f.isSet("tls")
	a.AddLinkerdHeaders = f.isSet("add_linkerd_headers")
	a.CACertificate, a.Certificate = f.tlsConfig(o, "tlsConfig")
	if ca, cert := f.tlsConfig(o, "v3TLSConfig"); a.CACertificate.Name == "" && a.Certificate.Name == "" {
		a.CACertificate, a.Certificate = ca, cert
	}
	version := cmp.Or(f.text("protocol_version"), f.text("v3ProtocolVersion"))
	if a.GRPC && version != "v3" {
		o.report(f.at("protocol_version"), f.path+"protocol_version", "only v3 is spoken", config.Notice).Instead = "v3 is used"
	}
	f.finish(nil)
	return &a
}

// tlsConfig reads which Secrets a service is verified by and shown.
func (f *fields) tlsConfig(o *object, name string) (ca, cert config.SecretName) {
	sub := f.object(name)
	if sub == nil {
		return ca, cert
	}
	ca, cert = sub.fromSecret(o, "caCertificate"), sub.fromSecret(o, "certificate")
	sub.finish(nil)
	return ca, cert
}

// fromSecret reads {fromSecret: {name, namespace}}; the namespace is the object's own
// where none is given.
func (f *fields) fromSecret(o *object, name string) (s config.SecretName) {
	sub := f.object(name)
	if sub == nil {
		return s
	}
	if from := sub.object("fromSecret"); from != nil {
		s = config.SecretName{Name: from.required("name"), Namespace: cmp.Or(from.text("namespace"), o.Meta.Namespace)}
		from.finish(nil)
	} else {
		sub.missing("fromSecret")
	}
	sub.finish(nil)
	return s
}
