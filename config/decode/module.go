package decode

import (
	"fmt"
	"math"

	"legate/config"
)

// decodeModule reads the Modules "ambassador" and "tls". The settings of the first are
// untyped in Ambassador's schema: one that cannot be understood is left at its default,
// and does not take the others with it.
func decodeModule(o *object, spec *fields) any {
	switch o.Meta.Name {
	case "ambassador":
	case "tls":
		return decodeTLSModule(o, spec)
	default:
		o.report(o.root, "", fmt.Sprintf("no Module named %q has a meaning", o.Meta.Name), config.ObjectIgnored)
		return nil
	}
	c := spec.object("config")
	if c == nil {
		if spec.value("config") == nil {
			spec.missing("config")
		}
		return nil
	}
	c.soft = true
	m := moduleSettings(c)
	for _, name := range []string{"ip_allow", "ip_deny"} {
		rules, unusable := c.ipRules(name)
		if unusable {
			o.extra = append(o.extra, o.guardBeside(c.at(name), c.path+name, "names no address that can be understood"))
		}
		if name == "ip_allow" {
			m.IPAllow = rules
		} else {
			m.IPDeny = rules
		}
	}
	if len(m.IPAllow) > 0 && len(m.IPDeny) > 0 {
		o.report(c.at("ip_deny"), c.path+"ip_deny", "Ambassador takes no ip_deny beside ip_allow", config.Notice).Instead = "whom ip_allow lets in ip_deny can still keep out"
	}
	c.finish(moduleUnserved)
	spec.finish(nil)
	m.Meta = o.Meta
	return m
}

func moduleSettings(c *fields) *config.Module {
	m := &config.Module{
		MaxRequestHeadersKB:            c.number("max_request_headers_kb", 1, 8192),
		EnableHTTP10:                   c.isSet("enable_http10"),
		ServerName:                     c.text("server_name"),
		UseRemoteAddress:               c.flag("use_remote_address"),
		PreserveExternalRequestID:      c.isSet("preserve_external_request_id"),
		SuppressEnvoyHeaders:           c.loose("suppress_envoy_headers"),
		StripMatchingHostPort:          c.loose("strip_matching_host_port"),
		MergeSlashes:                   c.loose("merge_slashes"),
		RejectEscapedSlashes:           c.loose("reject_requests_with_escaped_slashes"),
		AllowChunkedLength:             c.isSet("allow_chunked_length"),
		ClusterRequestTimeoutMS:        c.number("cluster_request_timeout_ms", 0, milliseconds),
		ClusterIdleTimeoutMS:           c.positive("cluster_idle_timeout_ms"),
		ClusterMaxConnectionLifetimeMS: c.positive("cluster_max_connection_lifetime_ms"),
		ListenerIdleTimeoutMS:          c.number("listener_idle_timeout_ms", 0, math.MaxInt32),
		GRPCWeb:                        c.isSet("enable_grpc_web"),
		GRPCBridge:                     c.isSet("enable_grpc_http11_bridge"),
		GRPCStats:                      c.grpcStats("grpc_stats"),
		EnableIPv4:                     c.flag("enable_ipv4"),
		EnableIPv6:                     c.flag("enable_ipv6"),
		Resolver:                       c.text("resolver"),
		LoadBalancer:                   c.loadBalancer(),
		BufferMaxRequestBytes:          c.buffer(),
		ErrorResponseOverrides:         c.errorOverrides(),
		Gzip:                           c.gzip(),
		CORS:                           c.cors(),
		Keepalive:                      c.keepalive(),
		CircuitBreakers:                c.circuitBreakers(),
		FailureBreaker:                 c.failureBreaker(),
		Retry:                          c.retryPolicy(),
		BufferLimitBytes:               c.number("buffer_limit_bytes", 0, math.MaxInt32),
		AddLinkerdHeaders:              c.isSet("add_linkerd_headers"),
		UseOwnNamespaceForServices:     c.isSet("use_ambassador_namespace_for_service_resolution"),
		LogPath:                        c.text("envoy_log_path"),
		LuaScripts:                     c.text("lua_scripts"),
		Liveness:                       c.probe("liveness_probe"),
		Readiness:                      c.probe("readiness_probe"),
	}
	m.LogType = c.oneOf("envoy_log_type", "text", "json", "typed_json")
	c.headerSettings(m)
	m.LogFormat = c.logFormat(m.LogType)
	c.diagnostics(m)
	m.DefaultLabelDomain, m.DefaultLabels = c.text("default_label_domain"), c.defaultLabels()
	m.UseProxyProto = c.isSet("use_proxy_proto")
	if n := c.number("xff_num_trusted_hops", 0, math.MaxInt32); n != nil {
		m.XFFNumTrustedHops = *n
	}
	c.once("use_proxy_proto", "PROXY in a Listener's stack")
	c.once("xff_num_trusted_hops", "Listener.l7Depth")
	return m
}

// once reports a setting of Ambassador 1 that counts only for the Listeners that are
// assumed where there are none.
func (f *fields) once(name, now string) {
	if e := f.value(name); e != nil {
		f.o.report(e.key, f.path+name, "has had no effect since Ambassador 2: "+now+" took its place", config.Notice).Instead =
			"it counts only as long as there is no Listener"
	}
}

// probe returns what is said of one of the gateway's own paths.
func (f *fields) probe(name string) (p config.Probe) {
	if sub := f.object(name); sub != nil {
		p = sub.internalRoute()
		sub.finish(probeUnserved)
	}
	return p
}

// internalRoute reads what Ambassador's internal routes have in common.
func (f *fields) internalRoute() config.Probe {
	p := config.Probe{Enabled: f.flag("enabled"), Prefix: f.text("prefix"), Rewrite: f.textPtr("rewrite"), Service: f.text("service")}
	if p.Prefix != "" && p.Prefix[0] != '/' {
		f.wrong(f.find("prefix"), "a path that begins with /")
		p.Prefix = ""
	}
	p.Routed = p.Prefix != "" || p.Rewrite != nil || p.Service != ""
	return p
}

// buffer returns the most that a request may hold which is received whole, nil if
// nothing was said.
func (f *fields) buffer() *int {
	sub := f.object("buffer")
	if sub == nil {
		return nil
	}
	n := sub.number("max_request_bytes", 1, math.MaxInt32)
	if !sub.has("max_request_bytes") {
		sub.missing("max_request_bytes")
	}
	sub.finish(nil)
	return n
}

// diagnostics reads who may see the dashboard. It tells more than the public should know:
// it is a route only where somebody says that it is to be one.
func (f *fields) diagnostics(m *config.Module) {
	sub := f.object("diagnostics")
	if sub == nil {
		return
	}
	m.Diagnostics, m.DiagnosticsNonLocal = sub.internalRoute(), sub.isSet("allow_non_local")
	m.Diagnostics.Routed = m.Diagnostics.Routed || m.Diagnostics.Enabled != nil
	sub.finish(nil)
}

// grpcStats returns what is counted of gRPC, nil if nothing was said.
func (f *fields) grpcStats(name string) *config.GRPCStats {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	s := &config.GRPCStats{AllMethods: sub.isSet("all_methods"), UpstreamStats: sub.isSet("upstream_stats")}
	for _, each := range sub.objects("services") {
		service := config.GRPCService{Name: each.text("name"), Methods: each.list("method_names")}
		each.finish(nil)
		if service.Name == "" {
			f.o.report(each.at("name"), each.path+"name", "is required", config.FieldIgnored)
			continue
		}
		s.Services = append(s.Services, service)
	}
	if s.AllMethods && len(s.Services) > 0 {
		f.o.report(sub.at("services"), sub.path+"services", "all_methods is set too, and counts", config.FieldIgnored)
	}
	sub.finish(nil)
	return s
}
