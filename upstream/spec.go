package upstream

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"legate/config"
)

// Defaults of a Mapping's cluster fields.
const (
	defaultConnectTimeout = 3 * time.Second
	defaultIdleTimeout    = time.Hour
)

// A Family says which addresses of a name are used.
type Family uint8

// The families. PreferIPv6 uses IPv4 only where a name has no IPv6 address.
const (
	IPv4 Family = iota
	IPv6
	PreferIPv6
)

// A Source says where an upstream's endpoints come from.
type Source uint8

// The sources.
const (
	FromDNS       Source = iota // one name, and the cluster's own balancing behind it
	FromEndpoints               // what Kubernetes lists for a Service
	FromConsul                  // the healthy instances that Consul lists for a service
)

// A Spec is everything that makes two pools different. Mappings with equal Specs
// share an Upstream, and an Upstream lives as long as configurations have its Spec.
type Spec struct {
	Host string // lower case, qualified; "" where the service cannot be understood
	Port uint16
	TLS  Origination // zero for cleartext

	HTTP2 bool // over TLS by ALPN, in the clear by prior knowledge

	Source  Source
	Consul  Consul               // where to ask; only FromConsul
	Balance config.BalancePolicy // how endpoints share requests

	Raw      bool                   // connections are given away as they are: it is a TCPMapping's
	Priority config.Priority        // whose pool it is
	Breakers config.CircuitBreakers // what the service is asked to bear

	Checks Checks // of health

	ConnectTimeout time.Duration // TCP and TLS together
	IdleTimeout    time.Duration
	MaxLifetime    time.Duration    // 0 for no limit
	Keepalive      config.Keepalive // of TCP
	Family         Family
	RespectTTL     bool
	DNSType        config.DNSType

	Tag   string // cluster_tag
	Label string // stats_name, or the service as Envoy's metrics spell it
}

// Name returns the value of the label envoy_cluster_name.
func (s *Spec) Name() string { return s.Label }

// Cluster returns what tells s's service from others in the eyes of who sizes its
// circuit_breakers: pools that differ only in times and the like share their limits, and a
// certificate that is renewed changes none.
func (s Spec) Cluster() Spec {
	return Spec{Host: s.Host, Port: s.Port, TLS: s.TLS.settings(), Source: s.Source, Consul: s.Consul, Balance: s.Balance,
		Raw: s.Raw, Priority: s.Priority, Breakers: s.Breakers, Tag: s.Tag}
}

// Service returns what tells s's service from others in the eyes of who judges how it is:
// pools that are bounded in different ways are as well as one another.
func (s Spec) Service() Spec {
	c := s.Cluster()
	c.Priority, c.Breakers, c.Label = 0, config.CircuitBreakers{}, s.Label
	return c
}

// kin is what Specs have in common of which one is the other with renewed certificates. ok is
// false where nothing is renewed: what no TLSContext names stays as it is.
func (s Spec) kin() (_ Spec, ok bool) {
	s.TLS = s.TLS.settings()
	return s, s.TLS.Context != ""
}

// Named reports whether the endpoints are known by a name of DNS.
func (s *Spec) Named() bool {
	_, err := netip.ParseAddr(s.Host)
	return s.Source == FromDNS && s.Host != "" && err != nil
}

// Address returns "host:port", for people.
func (s *Spec) Address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// Specs reads the Specs of one World's Mappings. It is for one goroutine.
type Specs struct {
	world       *config.World
	module      config.Module
	opts        Options
	originators map[string]originator // by TLSContext name; parsing keys is slow
	resolvers   map[string]*config.Resolver
}

// NewSpecs prepares for the Mappings of w. mod may be nil.
func NewSpecs(mod *config.Module, w *config.World, opts Options) *Specs {
	s := &Specs{world: w, opts: opts, originators: map[string]originator{}, resolvers: resolvers(w)}
	if mod != nil {
		s.module = *mod
	}
	return s
}

// SpecOf returns m's Spec and what is wrong with m's cluster fields. A Problem with
// effect ObjectDropped means that m must not serve. Who asks for many Mappings of
// one World uses Specs.
func SpecOf(m *config.Mapping, mod *config.Module, w *config.World, opts Options) (Spec, []config.Problem) {
	return NewSpecs(mod, w, opts).Of(m)
}

// Of returns m's Spec and what is wrong with m's cluster fields, as SpecOf does.
func (s *Specs) Of(m *config.Mapping) (Spec, []config.Problem) {
	r := specReader{Specs: s, mapping: m, refused: "its requests are answered 503 no_endpoints"}
	return r.read(), r.problems
}

// A specReader reads one Mapping.
type specReader struct {
	*Specs
	mapping  *config.Mapping
	refused  string // what happens where nothing can be sent
	field    string // that names the service; "" for "service"
	strict   bool   // a TLSContext that is not there is not done without
	own      bool   // names without a dot are those of the gateway's own namespace
	problems []config.Problem
}

// serviceProblem is something wrong with the field that names the service.
func (r *specReader) serviceProblem(msg string, effect config.Effect) config.Problem {
	return r.mapping.Problem(cmp.Or(r.field, "service"), msg, effect)
}

func (r *specReader) read() Spec {
	m := r.mapping
	spec := Spec{
		ConnectTimeout: cmp.Or(r.millis("connect_timeout_ms", m.ConnectTimeoutMS), defaultConnectTimeout),
		IdleTimeout: cmp.Or(r.millis("cluster_idle_timeout_ms", m.ClusterIdleTimeoutMS),
			millis(r.module.ClusterIdleTimeoutMS), defaultIdleTimeout),
		MaxLifetime: cmp.Or(r.millis("cluster_max_connection_lifetime_ms", m.ClusterMaxConnectionLifetimeMS),
			millis(r.module.ClusterMaxConnectionLifetimeMS)),
		Family: family(cmp.Or(m.EnableIPv4, r.module.EnableIPv4), cmp.Or(m.EnableIPv6, r.module.EnableIPv6)),
		// Envoy re-resolves every five seconds unless told to keep to the TTL.
		RespectTTL: m.RespectDNSTTL,
		DNSType:    m.DNSType,
		Tag:        m.ClusterTag,
		Label:      cmp.Or(m.StatsName, r.module.Defaults.StatsName),
	}
	spec.Breakers = config.CircuitBreakers{Default: config.DefaultLimits, High: config.DefaultLimits}
	if b := cmp.Or(m.CircuitBreakers, r.module.CircuitBreakers); b != nil {
		spec.Breakers = *b
	}
	if keep := cmp.Or(m.Keepalive, r.module.Keepalive); keep != nil {
		spec.Keepalive = *keep
	}
	svc, wrong, err := parseService(m.Service)
	for _, msg := range wrong {
		r.problem(r.serviceProblem(msg, config.FieldIgnored), "the rest of the service is used")
	}
	if err != nil {
		r.problem(r.serviceProblem(err.Error(), config.RouteClosed), r.refused)
		spec.Label = cmp.Or(spec.Label, "invalid")
		return spec
	}
	r.source(&spec, &svc)
	r.balance(&spec)
	if spec.Source != FromDNS {
		spec.Checks = newChecks(m.HealthChecks)
	} else if len(m.HealthChecks) > 0 {
		r.problem(m.Problem("health_checks", "need a KubernetesEndpointResolver or a ConsulResolver", config.FieldIgnored), "endpoints are not checked")
	}
	if !qualified(svc.host) && spec.Source != FromConsul && !r.ownNamespace() {
		svc.host += "." + m.Namespace
	}
	spec.Host = svc.host
	spec.Label = cmp.Or(spec.Label, svc.label())
	var closed bool
	if spec.TLS, closed = r.origination(svc.scheme); closed {
		spec.Host = ""
	}
	if spec.HTTP2 = m.GRPC; spec.HTTP2 && spec.TLS.On {
		spec.TLS.ALPN = protocolsH2(spec.TLS.ALPN)
	}
	spec.Port = cmp.Or(svc.port, defaultPort(spec.TLS.On))
	return spec
}

func defaultPort(tls bool) uint16 {
	if tls {
		return 443
	}
	return 80
}

// ownNamespace reports whether names without a dot are those of the gateway's own
// namespace, which the search path finds.
func (r *specReader) ownNamespace() bool {
	return r.own || r.mapping.Namespace == "" || r.mapping.Namespace == r.opts.namespace() || r.module.UseOwnNamespaceForServices
}

// origination settles whether TLS is spoken and with which settings. closed means
// that what the author asked for cannot be kept, so nothing may be sent.
func (r *specReader) origination(scheme string) (o Origination, closed bool) {
	m := r.mapping
	o.On = scheme == "https" || m.OriginateTLS
	if m.TLS == "" {
		return o, false
	}
	ctx, problems, found := r.originator(m.TLS)
	if !found && r.strict {
		r.problem(m.Problem("tls", fmt.Sprintf("TLSContext %q is not defined", m.TLS), config.RouteClosed), r.refused)
		return o, true
	}
	if !found {
		r.problem(m.Problem("tls", fmt.Sprintf("TLSContext %q is not defined", m.TLS), config.FieldIgnored),
			"TLS is used only if the service begins with https://")
		return o, false
	}
	r.problems = append(r.problems, problems...)
	if scheme == "http" {
		r.problem(r.serviceProblem(fmt.Sprintf("the service begins with http:// but tls names TLSContext %q", m.TLS), config.Notice), "TLS is used")
	}
	if ctx.broken != "" {
		r.problem(m.Problem("tls", ctx.broken, config.RouteClosed), r.refused)
	}
	return ctx.Origination, ctx.broken != ""
}

// originator returns the TLSContext called name, ready for use. Its own problems
// come only the first time: they are the context's, not those of each Mapping.
func (r *specReader) originator(name string) (o originator, problems []config.Problem, found bool) {
	if o, ok := r.originators[name]; ok {
		return o, nil, true
	}
	ctx := findContext(r.world, name)
	if ctx == nil {
		return originator{}, nil, false
	}
	o, problems = newOriginator(ctx, r.world, &r.opts)
	r.originators[name] = o
	return o, problems, true
}

// findContext returns the TLSContext called name. Names are global: the first in
// order owns the bare name, the others are "name.namespace".
func findContext(w *config.World, name string) *config.TLSContext {
	if i := slices.IndexFunc(w.TLSContexts, func(c config.TLSContext) bool { return c.Name == name }); i >= 0 {
		return &w.TLSContexts[i]
	}
	if i := slices.IndexFunc(w.TLSContexts, func(c config.TLSContext) bool { return c.FullName() == name }); i >= 0 {
		return &w.TLSContexts[i]
	}
	return nil
}

func (r *specReader) problem(p config.Problem, instead string) {
	p.Instead = instead
	r.problems = append(r.problems, p)
}

// millis reads one of the Mapping's times. 0 counts as not said, as in Ambassador.
func (r *specReader) millis(field string, ms *int) time.Duration {
	if ms != nil && *ms < 0 {
		r.problem(r.mapping.Problem(field, fmt.Sprintf("must not be negative, got %d", *ms), config.FieldIgnored), "the default is used")
	}
	return millis(ms)
}

func millis(ms *int) time.Duration {
	if ms == nil || *ms < 0 {
		return 0
	}
	const year = 365 * 24 * time.Hour // longer is for ever, and more would overflow
	return time.Duration(min(int64(*ms), int64(year/time.Millisecond))) * time.Millisecond
}

// family is Ambassador's rule: IPv4 unless said otherwise, and also if both are off.
func family(v4, v6 *bool) Family {
	on4, on6 := v4 == nil || *v4, v6 != nil && *v6
	switch {
	case on4 && on6:
		return PreferIPv6
	case on6:
		return IPv6
	}
	return IPv4
}

// trimmedList splits a comma-separated field.
func trimmedList(fields []string) []string {
	var list []string
	for _, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}
