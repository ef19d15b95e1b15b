package decode

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
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
	h.ACME = acmeProvider(o, spec, h)
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

// acmeProvider reads who h's certificate is ordered from. Most Hosts only say that none is.
func acmeProvider(o *object, spec *fields, h *config.Host) *config.ACME {
	f := spec.object("acmeProvider")
	if f == nil {
		return nil
	}
	defer f.finish(acmeUnserved)
	a := &config.ACME{Authority: cmp.Or(f.text("authority"), config.LetsEncrypt), Email: strings.ToLower(f.text("email"))}
	if key := f.object("privateKeySecret"); key != nil {
		a.Account = config.SecretRef{Name: key.text("name"), Namespace: o.Meta.Namespace}
		key.finish(nil)
	}
	if strings.EqualFold(a.Authority, "none") {
		return nil
	}
	if u, err := url.Parse(a.Authority); err != nil || u.Scheme != "https" || u.Host == "" {
		o.report(f.at("authority"), "acmeProvider.authority", fmt.Sprintf("must be the https URL of an ACME directory, or none, got %q", a.Authority), config.FieldIgnored)
		return nil
	}
	name, _, _ := strings.Cut(strings.ToLower(h.Hostname), ":")
	if !orderable(name) {
		o.report(f.at("authority"), "acmeProvider", fmt.Sprintf("no certificate can be ordered for %q: only for exact names, as HTTP-01 and TLS-ALPN-01 prove no others", h.Hostname), config.FieldIgnored)
		return nil
	}
	if h.TLSSecret.Name == "" {
		h.TLSSecret.Name = orderedSecret(name, a.Email)
	}
	return a
}

// orderable reports whether an authority could be asked for a certificate for name, which
// is in lower case: a name in DNS, with a dot in it, as others are nobody's in public.
func orderable(name string) bool {
	if net.ParseIP(name) != nil || !strings.Contains(name, ".") || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// orderedSecret names the Secret of what is ordered where tlsSecret does not: Hosts of one
// name and owner share it.
func orderedSecret(name, email string) string {
	if email == "" {
		return name + "--acme"
	}
	owner := strings.Map(func(r rune) rune {
		switch {
		case r == '@':
			return '-'
		case strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r):
			return r
		}
		return -1
	}, email)
	return strings.TrimRight((name + "--" + owner)[:min(len(name+"--"+owner), 253)], ".-")
}
