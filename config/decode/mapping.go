package decode

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// skipEmptyHost is how a v3alpha1 Mapping without host is stored as v2, where no
// host would mean every host.
const skipEmptyHost = "_skip_mapping_with_empty_host_"

// milliseconds is the largest time a field may ask for, 24 days.
const milliseconds = math.MaxInt32

func decodeMapping(o *object, spec *fields) any {
	m := &config.Mapping{
		Prefix:               spec.required("prefix"),
		PrefixExact:          spec.isSet("prefix_exact"),
		PrefixRegex:          spec.isSet("prefix_regex"),
		Method:               spec.text("method"),
		MethodRegex:          spec.isSet("method_regex"),
		RegexHeaders:         spec.pairs("regex_headers"),
		RegexQueryParameters: spec.pairs("regex_query_parameters"),
		CaseSensitive:        spec.flag("case_sensitive"),
		BypassAuth:           spec.flag("bypass_auth"),
		StatsName:            cmp.Or(spec.text("stats_name"), spec.text("v3StatsName")),
	}
	if n := spec.number("precedence", math.MinInt32, math.MaxInt32); n != nil {
		m.Precedence = *n
	}
	m.AuthContextExtensions = spec.texts("auth_context_extensions")
	m.Headers = spec.conditions("headers", &m.RegexHeaders)
	m.QueryParameters = spec.conditions("query_parameters", &m.RegexQueryParameters)
	mappingHost(o, spec, m)
	mappingUpstream(spec, m)
	mappingChanges(spec, m)
	mappingRedirect(spec, m)
	mappingLocks(o, spec, m)
	m.LimitLabels = append(spec.labelGroups(), spec.oldRateLimits()...)
	if m.Shadow = spec.isSet("shadow"); m.Shadow && m.HostRedirect {
		m.HostRedirect = false
		o.report(spec.at("host_redirect"), "host_redirect", "shadow is set too, and counts", config.FieldIgnored)
	}
	if m.Prefix != "" && !m.PrefixRegex && m.Prefix[0] != '/' {
		spec.wrong(spec.find("prefix"), `a path that begins with "/"`)
	}
	if e := spec.value("outlier_detection"); e != nil {
		spec.o.report(e.key, e.name, "is not supported, by Ambassador neither", config.ObjectDropped)
	}
	spec.finish(mappingUnserved)
	m.Meta = o.Meta
	return m
}

// mappingHost reads which hosts m is for. In v1 and v2, host is a glob and its
// absence means every host; in v3alpha1, hostname is the glob, host is a literal,
// and the absence of both means no host at all.
func mappingHost(o *object, spec *fields, m *config.Mapping) {
	host, regex := spec.text("host"), spec.isSet("host_regex")
	m.Hostname = spec.text("hostname")
	switch {
	case m.Hostname != "":
		if host != "" {
			o.report(spec.at("host"), "host", "hostname is given too, and counts", config.FieldIgnored)
		}
	case host == skipEmptyHost:
	case regex:
		m.Host, m.HostRegex = host, host != ""
		if host == "" && o.old {
			m.Hostname = "*"
		}
	case o.old:
		m.Hostname = cmp.Or(host, "*")
	case strings.Contains(host, "*"):
		spec.wrong(spec.find("host"), `a literal name (hostname takes a "*")`)
	default:
		m.Host = host
	}
}

func mappingUpstream(spec *fields, m *config.Mapping) {
	m.Service = spec.required("service")
	m.Resolver = spec.text("resolver")
	m.ClusterTag = spec.text("cluster_tag")
	m.LoadBalancer = spec.loadBalancer()
	m.Keepalive = spec.keepalive()
	m.CircuitBreakers, m.Priority, m.Retry = spec.circuitBreakers(), spec.priority(), spec.retryPolicy()
	m.FailureBreaker = spec.failureBreaker()
	m.DNSType = mappingDNSType(spec)
	if m.HealthChecks = spec.healthChecks("health_checks"); m.HealthChecks == nil {
		m.HealthChecks = spec.healthChecks("v3health_checks")
	}
	m.AddLinkerdHeaders = spec.flag("add_linkerd_headers")
	m.Weight = spec.number("weight", 0, math.MaxInt32)
	m.EnableIPv4, m.EnableIPv6 = spec.flag("enable_ipv4"), spec.flag("enable_ipv6")
	m.RespectDNSTTL = spec.isSet("respect_dns_ttl")
	m.GRPC = spec.isSet("grpc")
	m.TimeoutMS = spec.number("timeout_ms", 0, milliseconds)
	m.IdleTimeoutMS = spec.number("idle_timeout_ms", 0, milliseconds)
	m.ConnectTimeoutMS = spec.positive("connect_timeout_ms")
	m.ClusterIdleTimeoutMS = spec.positive("cluster_idle_timeout_ms")
	m.ClusterMaxConnectionLifetimeMS = spec.positive("cluster_max_connection_lifetime_ms")
	m.TLS, m.OriginateTLS = spec.originateTLS()
}

// mappingDNSType reads how a name's addresses are used. As in Ambassador anything
// unknown is strict DNS.
func mappingDNSType(spec *fields) config.DNSType {
	switch text := spec.text("dns_type"); strings.ToLower(text) {
	case "", "strict_dns":
	case "logical_dns":
		return config.LogicalDNS
	default:
		spec.o.report(spec.at("dns_type"), "dns_type", "must be strict_dns or logical_dns, got "+strconv.Quote(text), config.FieldIgnored).Instead = "strict_dns is used"
	}
	return config.StrictDNS
}

// positive returns a time in milliseconds; 0 stands for the default, as if missing.
func (f *fields) positive(name string) *int {
	n := f.number(name, 0, milliseconds)
	if n != nil && *n == 0 {
		return nil
	}
	return n
}

func mappingChanges(spec *fields, m *config.Mapping) {
	m.Rewrite = spec.textPtr("rewrite")
	m.RegexRewrite = spec.regexSub("regex_rewrite")
	m.HostRewrite = spec.text("host_rewrite")
	m.AutoHostRewrite = spec.isSet("auto_host_rewrite")
	m.Request = spec.headerWishes("request")
	m.Response = spec.headerWishes("response")
	m.CORS = spec.cors()
	m.ErrorResponseOverrides = spec.errorOverrides()
	m.BypassErrorResponseOverrides = spec.flag("bypass_error_response_overrides")
	m.AllowUpgrade = spec.upgrades()
}

// upgrades returns the protocols that requests may ask to switch to, nil if nothing is
// said of them. Ambassador takes use_websocket for true whatever it says; false is
// taken at its word here.
func (f *fields) upgrades() []string {
	names := f.list("allow_upgrade")
	allowed := names[:0]
	for _, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case !isProtocol(name):
			f.o.report(f.at("allow_upgrade"), "allow_upgrade", fmt.Sprintf("%q is no name of a protocol", name), config.FieldIgnored)
		case name == "h2c":
			f.o.report(f.at("allow_upgrade"), "allow_upgrade", "h2c is not switched to by an upgrade", config.Notice).Instead = "offers of it are passed over"
		default:
			allowed = append(allowed, name)
		}
	}
	if f.isSet("use_websocket") && !slices.Contains(allowed, "websocket") {
		allowed = append(allowed, "websocket")
	}
	return allowed
}

// isProtocol reports whether name is one of RFC 9110 §7.8: a token, or two with a slash
// between them.
func isProtocol(name string) bool {
	product, version, versioned := strings.Cut(name, "/")
	return isToken(product) && (!versioned || isToken(version))
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

func mappingRedirect(spec *fields, m *config.Mapping) {
	m.HostRedirect = spec.isSet("host_redirect")
	m.PathRedirect = spec.text("path_redirect")
	m.PrefixRedirect = spec.text("prefix_redirect")
	m.RegexRedirect = spec.regexSub("regex_redirect")
	n := spec.number("redirect_response_code", 0, math.MaxInt32)
	switch {
	case n == nil:
	case slices.Contains([]int{301, 302, 303, 307, 308}, *n):
		m.RedirectResponseCode = *n
	default:
		spec.wrong(spec.find("redirect_response_code"), "one of 301, 302, 303, 307, 308")
	}
}

// mappingLocks reads what protects m itself. A misspelt lock is one that its author
// believes in, so it closes the route just as well.
func mappingLocks(o *object, spec *fields, m *config.Mapping) {
	if e := spec.value("jwt"); e != nil {
		m.JWT, m.JWTBroken = spec.tokenRequirement(e)
	}
	for i := range spec.written {
		if e := &spec.written[i]; !e.used && spec.find("jwt") == nil && closest(e.name, []string{"jwt"}) != "" {
			e.used = true
			m.JWTBroken = true
			o.lock(e, `there is no such field, did you mean "jwt"?`)
		}
	}
}

// lock reports a field that protects its own object's route. The object stays.
func (o *object) lock(e *entry, msg string) {
	o.report(e.key, e.name, msg, config.RouteClosed).Instead = "the route answers 503"
}

// pairs returns an object of texts, sorted by name, nil if missing.
func (f *fields) pairs(name string) []config.NameValue {
	var pairs []config.NameValue
	for n, v := range f.texts(name) {
		pairs = append(pairs, config.NameValue{Name: n, Value: v})
	}
	sortPairs(pairs)
	return pairs
}

func sortPairs(pairs []config.NameValue) {
	slices.SortFunc(pairs, func(a, b config.NameValue) int { return cmp.Compare(a.Name, b.Name) })
}

// conditions returns an object whose values are texts, or true for "is there": that
// is a regular expression in v3alpha1, and so it goes to the others in regex.
func (f *fields) conditions(name string, regex *[]config.NameValue) []config.NameValue {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	var pairs []config.NameValue
	for i := range sub.written {
		e := &sub.written[i]
		if e.value.Kind == yaml.ScalarNode && e.value.Tag == "!!bool" {
			if present, _ := f.o.boolean(e.value); present {
				*regex = append(*regex, config.NameValue{Name: e.name, Value: ".*"})
			}
		} else if s, ok := sub.scalar(e); ok {
			pairs = append(pairs, config.NameValue{Name: e.name, Value: s})
		}
	}
	sortPairs(pairs)
	sortPairs(*regex)
	return pairs
}

// regexSub returns a pattern and what replaces it, nil if missing.
func (f *fields) regexSub(name string) *config.RegexSub {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	r := &config.RegexSub{Pattern: sub.text("pattern"), Substitution: sub.text("substitution")}
	if r.Pattern == "" {
		sub.missing("pattern")
	}
	sub.finish(nil)
	return r
}
