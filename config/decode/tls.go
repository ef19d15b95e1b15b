package decode

import (
	"cmp"
	"strings"

	"legate/config"
)

func decodeTLSContext(o *object, spec *fields) any {
	t := &config.TLSContext{
		TLSSettings:       *tlsSettings(spec),
		Hosts:             spec.list("hosts"),
		Secret:            spec.text("secret"),
		SecretNamespacing: spec.flag("secret_namespacing"),
	}
	t.RedirectCleartextFrom = spec.cleartextFrom()
	spec.finish(nil)
	t.Meta = o.Meta
	return t
}

// tlsSettings reads what a TLSContext and a Host's tls have in common, in both of
// the spellings that a Host takes.
func tlsSettings(f *fields) *config.TLSSettings {
	return &config.TLSSettings{
		CertChainFile:   f.either("cert_chain_file"),
		PrivateKeyFile:  f.either("private_key_file"),
		CASecret:        f.either("ca_secret"),
		CACertChainFile: f.either("cacert_chain_file"),
		CRLSecret:       cmp.Or(f.either("crl_secret"), f.text("v3CRLSecret")),
		CRLFile:         f.either("crl_file"),
		ALPNProtocols:   f.commaList(f.spelling("alpn_protocols")),
		CertRequired:    f.flag(f.spelling("cert_required")),
		MinTLSVersion:   f.oneOf(f.spelling("min_tls_version"), "v1.0", "v1.1", "v1.2", "v1.3"),
		MaxTLSVersion:   f.oneOf(f.spelling("max_tls_version"), "v1.0", "v1.1", "v1.2", "v1.3"),
		CipherSuites:    f.list(f.spelling("cipher_suites")),
		ECDHCurves:      f.list(f.spelling("ecdh_curves")),
		SNI:             f.text("sni"),
		SPIFFEIDs:       f.spiffeIDs(),
	}
}

// spiffeIDs reads spiffe_ids: nil if it is missing, never if it is there.
func (f *fields) spiffeIDs() []string {
	name := f.spelling("spiffe_ids")
	if !f.has(name) {
		return nil
	}
	if list := f.list(name); list != nil {
		return list
	}
	return []string{}
}

// cleartextFrom reads redirect_cleartext_from, 0 if missing.
func (f *fields) cleartextFrom() int {
	if n := f.number(f.spelling("redirect_cleartext_from"), 0, 65535); n != nil {
		return *n
	}
	return 0
}

// either returns a text written as name, or as name in camel case.
func (f *fields) either(name string) string { return f.text(f.spelling(name)) }

// spelling returns how f writes name: as it is, or in camel case.
func (f *fields) spelling(name string) string {
	camel := camelCase(name)
	if !f.has(name) && f.has(camel) {
		return camel
	}
	return name
}

// camelCase makes certChainFile of cert_chain_file.
func camelCase(name string) string {
	parts := strings.Split(name, "_")
	for i, p := range parts {
		if i > 0 {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
