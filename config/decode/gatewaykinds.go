package decode

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"legate/config"
)

// gatewayGroup is the group in which Ambassador's later kinds are written differently.
const gatewayGroup = "gateway.getambassador.io"

// maxFilterRefs is how many Filters a rule of this group may refer to.
const maxFilterRefs = 5

const noFirewall = "a web application firewall is not part of this gateway"

// gatewayKinds is the table of that group's kinds. They become the same objects.
var gatewayKinds = map[string]kind{
	"Filter":       {decode: decodeGatewayFilter, versions: []string{"v1alpha1"}},
	"FilterPolicy": {decode: decodeGatewayPolicy, versions: []string{"v1alpha1"}, protector: true, bypassable: true},

	"WebApplicationFirewall":       {why: noFirewall, effect: config.ObjectIgnored},
	"WebApplicationFirewallPolicy": {why: noFirewall, effect: config.ObjectIgnored},
}

// gatewayKind returns what becomes of one of the group's kinds, and whether it is served
// in that version.
func gatewayKind(version, name string) (kind, bool) {
	k, ok := gatewayKinds[name]
	if !ok {
		return kind{ambassador: true, why: string(notYet), effect: config.ObjectIgnored}, false
	}
	k.ambassador, k.selected = true, true
	return k, version == "v1alpha1"
}

// gatewayMembers are the parts of a Filter by its type.
var gatewayMembers = []string{"jwt", "oauth2", "apikey", "external", "plugin"}

// decodeGatewayFilter reads a Filter whose type says which of its parts counts.
func decodeGatewayFilter(o *object, spec *fields) any {
	spec.fold = true
	filter := &config.Filter{Meta: o.Meta}
	kind := strings.ToLower(spec.required("type"))
	known := false
	for _, member := range gatewayMembers {
		known = known || member == kind
		f := spec.object(member)
		switch {
		case f != nil && member != kind:
			o.report(spec.at(member), member, "the type is "+kind, config.ObjectDropped)
		case f != nil:
			f.gatewayFilter(member, filter)
		case member == kind:
			spec.missing(member)
		}
	}
	if !known && kind != "" {
		spec.wrong(spec.find("type"), "one of "+strings.Join(gatewayMembers, ", "))
	}
	spec.finishLock(gatewayMembers...)
	filter.Broken = o.brokenFilter()
	filter.Meta = o.Meta // with the positions of its fields
	return filter
}

func (f *fields) gatewayFilter(member string, filter *config.Filter) {
	switch member {
	case "jwt":
		settings := f.object("httpClientSettings")
		filter.JWT = f.jwtFilter()
		if settings != nil {
			filter.JWT.Fetch = settings.fetchPolicy()
			settings.finish(nil)
		}
	case "apikey":
		filter.APIKey = f.apiKey()
	case "external":
		filter.External = f.gatewayExternal()
	case "plugin":
		f.filterKind("Plugin", filter)
	case "oauth2":
		filter.OAuth2 = f.gatewayOAuth2()
	}
}

// gatewayExternal reads the external part of a Filter.
func (f *fields) gatewayExternal() *config.ExternalAuth {
	a := &config.ExternalAuth{
		Service: strings.TrimSpace(f.required("authServiceURL")), GRPC: f.oneOf("protocol", "http", "grpc") == "grpc",
		FailureModeAllow: f.isSet("failureModeAllow"),
	}
	if d := f.duration("timeout"); d != nil && *d > 0 {
		a.Timeout = *d
	}
	if n := f.number("statusOnError", 200, 599); n != nil {
		a.StatusOnError = *n
	}
	if h := f.object("httpSettings"); h != nil {
		a.PathPrefix = h.text("pathPrefix")
		if a.PathPrefix != "" && (a.PathPrefix[0] != '/' || strings.ContainsFunc(a.PathPrefix, notInPath)) {
			h.wrong(h.find("pathPrefix"), "the beginning of a path")
		}
		a.AllowedRequestHeaders = h.names("allowedRequestHeaders")
		a.AllowedResponseHeaders = h.names("allowedAuthorizationHeaders")
		a.AddLinkerdHeaders = h.isSet("addLinkerdHeaders")
		h.finish(nil)
	}
	if g := f.object("grpcSettings"); g != nil {
		g.oneOf("protocolVersion", "v2", "v3") // v3 is spoken, whichever it says
		g.finish(nil)
	}
	for _, name := range []string{"includeBody", "include_body"} {
		if b := f.object(name); b != nil {
			a.IncludeBody = b.gatewayBody()
		}
	}
	if t := f.value("tls"); t != nil {
		a.OriginateTLS = true
		a.CACertificate, a.Certificate = f.tlsConfig(f.o, "tls")
	}
	f.finish(nil)
	return a
}

func (f *fields) gatewayBody() *config.IncludeBody {
	b := &config.IncludeBody{MaxBytes: 4096, AllowPartial: true}
	if n := f.number("maxBytes", 0, 1<<30); n != nil {
		b.MaxBytes = *n
	}
	if p := f.flag("allowPartial"); p != nil {
		b.AllowPartial = *p
	}
	f.finish(nil)
	return b
}

// decodeGatewayPolicy reads a FilterPolicy whose rules refer to Filters.
func decodeGatewayPolicy(o *object, spec *fields) any {
	spec.fold = true
	p := &config.FilterPolicy{}
	if spec.value("rules") == nil {
		spec.missing("rules")
	}
	for _, f := range spec.objects("rules") {
		rule := config.FilterRule{Host: strings.ToLower(cmp.Or(f.text("host"), "*")), Path: cmp.Or(f.text("path"), "*")}
		f.glob("host", rule.Host)
		f.pathGlob(rule.Path)
		if n := f.number("precedence", -1<<31, 1<<31-1); n != nil {
			rule.Precedence = *n
		}
		for _, use := range f.objects("filterRefs") {
			rule.Filters = append(rule.Filters, use.gatewayUse())
		}
		if len(rule.Filters) > maxFilterRefs {
			f.complain(f.find("filterRefs"), fmt.Sprintf("there are %d, and a rule of this version has %d at most", len(rule.Filters), maxFilterRefs))
		}
		if older := f.take("filters"); older != nil {
			f.complain(older, `is called "filterRefs" in this version`)
		}
		f.finishLock("host", "path", "filterRefs")
		p.Rules = append(p.Rules, rule)
	}
	spec.finish(nil)
	p.Meta = o.Meta
	return p
}

func (f *fields) gatewayUse() config.FilterUse {
	u := config.FilterUse{
		Name:           f.required("name"),
		Namespace:      cmp.Or(f.text("namespace"), f.o.Meta.Namespace),
		If:             f.gatewayCondition("ifRequestHeader"),
		ContinueOnDeny: f.oneOf("onDeny", "break", "continue") == "continue",
		BreakOnAllow:   f.oneOf("onAllow", "break", "continue") == "break",
	}
	u.Arguments = &config.Arguments{SameSite: gatewaySameSite}
	if a := f.object("arguments"); a != nil {
		u.Arguments = a.gatewayArguments()
	}
	f.finishLock("ifRequestHeader", "onDeny", "onAllow", "arguments", "namespace")
	return u
}

// gatewaySameSite is what cookies of logins are unless a rule says otherwise.
const gatewaySameSite = "lax"

// gatewayArguments reads what a rule tells a Filter.
func (f *fields) gatewayArguments() *config.Arguments {
	a := &config.Arguments{}
	f.jwtArguments(a)
	if i := f.object("insteadOfRedirect"); i != nil {
		a.Instead = &config.InsteadOfRedirect{If: i.gatewayCondition("ifRequestHeader")}
		for _, name := range []string{"httpStatusCode", "statusCode"} {
			if n := i.number(name, 400, 599); n != nil {
				a.Instead.Status = *n
			}
		}
		i.finishLock("ifRequestHeader", "httpStatusCode", "statusCode")
	}
	if a.SameSite = cmp.Or(f.oneOf("sameSite", "lax", "strict", "none", "default"), gatewaySameSite); a.SameSite == "default" {
		a.SameSite = ""
	}
	f.finishLock("scope", "scopes", "propagateToken", "insteadOfRedirect", "sameSite")
	return a
}

// gatewayCondition reads a test of one header whose type says what its value is.
func (f *fields) gatewayCondition(name string) *config.HeaderCondition {
	c := f.object(name)
	if c == nil {
		return nil
	}
	h := &config.HeaderCondition{Name: strings.ToLower(c.required("name")), Negate: c.isSet("negate")}
	value := c.textPtr("value")
	switch c.oneOf("type", "Exact", "RegularExpression") {
	case "RegularExpression":
		if value == nil {
			c.missing("value")
			break
		}
		h.Regex = *value
		if _, err := regexp.Compile(h.Regex); err != nil {
			c.wrong(c.find("value"), "a regular expression")
		}
	default:
		h.Value = value
	}
	c.finishLock("name", "value", "type", "negate")
	return h
}
