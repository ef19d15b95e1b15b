package decode

import (
	"cmp"
	"strings"

	"legate/config"
)

func decodeHost(o *object, spec *fields) any {
	h := &config.Host{Hostname: cmp.Or(spec.text("hostname"), "*")}
	old := spec.selector("selector") // always read, as both may be there
	h.Selector = spec.selector("mappingSelector")
	if h.Selector == nil {
		h.Selector = old
	}
	h.HasSelector = h.Selector != nil
	if f := spec.object("tlsSecret"); f != nil {
		h.TLSSecret = config.SecretRef{Name: f.text("name"), Namespace: f.text("namespace")}
		f.finish(nil)
	}
	if f := spec.object("tlsContext"); f != nil {
		h.TLSContext = f.text("name")
		f.finish(nil)
	}
	if f := spec.object("tls"); f != nil {
		h.TLS = tlsSettings(f)
		f.cleartextFrom()
		f.finish(nil)
	}
	if h.TLS != nil && h.TLSContext != "" {
		o.report(spec.at("tls"), "tls", "cannot be given together with tlsContext", config.ObjectDropped)
	}
	h.Insecure = requestPolicy(spec)
	acmeProvider(o, spec)
	spec.finish(hostUnserved)
	h.Meta = o.Meta
	return h
}

// selector returns a selector's matchLabels: nil if there is no selector, empty if
// it selects everything.
func (f *fields) selector(name string) map[string]string {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	labels := sub.texts("matchLabels")
	if labels == nil {
		labels = map[string]string{}
	}
	sub.finish(selectorUnserved)
	return labels
}

func requestPolicy(spec *fields) config.InsecureAction {
	policy := spec.object("requestPolicy")
	if policy == nil {
		return config.InsecureRedirect
	}
	defer policy.finish(nil)
	insecure := policy.object("insecure")
	if insecure == nil {
		return config.InsecureRedirect
	}
	defer insecure.finish(insecureUnserved)
	switch insecure.oneOf("action", "Redirect", "Route", "Reject") {
	case "Route":
		return config.InsecureRoute
	case "Reject":
		return config.InsecureReject
	}
	return config.InsecureRedirect
}

// acmeProvider reports certificates that are to be ordered. Most Hosts only say
// that none are.
func acmeProvider(o *object, spec *fields) {
	acme := spec.object("acmeProvider")
	if acme == nil {
		return
	}
	if authority := acme.text("authority"); !strings.EqualFold(authority, "none") {
		o.report(spec.at("acmeProvider"), "acmeProvider", string(notYet), config.FieldIgnored)
	}
	acme.finish(acmeUnserved)
}
