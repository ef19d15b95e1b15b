package decode

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"legate/config"
)

// authClosed is what happens where it cannot be told how a service is to be asked.
const authClosed = "every route without bypass_auth answers 500"

// decodeAuthService reads an AuthService, or the Module that was one before there were
// any. One that cannot be understood answers instead of being asked.
func decodeAuthService(o *object, spec *fields) any {
	f := spec
	if o.Meta.Kind == "Module" {
		if f = spec.object("config"); f == nil {
			spec.missing("config")
			return &config.AuthService{Meta: o.Meta, Broken: "config is missing"}
		}
		spec.finish(nil)
	}
	a := &config.AuthService{Meta: o.Meta, ExternalAuth: f.externalAuth(o)}
	if a.Service == "" {
		o.report(f.at("auth_service"), f.path+"auth_service", "names no service", config.Notice).Instead = "another one's service is asked; without any every route without bypass_auth answers 500"
	}
	a.BuiltIn = isBuiltIn(a.Service)
	f.authService(o, a)
	version := f.text("protocol_version")
	f.finish(nil)
	switch {
	case a.BuiltIn:
		o.report(f.at("auth_service"), f.path+"auth_service", "stands for the gateway's own filters", config.Notice).Instead = "nothing is called"
	case a.GRPC && version != "v3":
		o.report(f.at("protocol_version"), f.path+"protocol_version", fmt.Sprintf(`must be "v3" where proto is grpc, got %q`, version), config.ObjectDropped)
	}
	a.Broken = o.closing(authClosed)
	return a
}

// closing turns what keeps o from serving into what closes what it protects, and returns
// the first of it, "" for nothing.
func (o *object) closing(instead string) (first string) {
	for i := range o.Problems {
		p := &o.Problems[i]
		if p.Effect != config.ObjectDropped {
			continue
		}
		p.Effect, p.Instead = config.RouteClosed, instead
		if first == "" {
			first = strings.TrimPrefix(p.Field+": "+p.Msg, ": ")
		}
	}
	o.dropped = false
	return first
}

// isBuiltIn reports whether service is where Edge Stack's own filters listened, in
// the pod itself.
func isBuiltIn(service string) bool {
	if _, rest, ok := strings.Cut(service, "://"); ok {
		service = rest
	}
	service, _, _ = strings.Cut(service, "/") // a path means nothing
	host, port, err := net.SplitHostPort(service)
	if err != nil || port != "8500" {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// authService reads what an External filter does not have.
func (f *fields) authService(o *object, a *config.AuthService) {
	a.TLSContext, a.OriginateTLS = f.originateTLS()
	f.explicitTLS(a)
	a.AddHeaders = f.addedHeaders("add_auth_headers")
	a.AddLinkerd = f.flag("add_linkerd_headers")
	a.StatsName = cmp.Or(f.text("stats_name"), f.text("v3StatsName"))
	a.CircuitBreakers = cmp.Or(f.circuitBreakersAs("circuit_breakers"), f.circuitBreakersAs("v3CircuitBreakers"))
	a.ConnectTimeout = f.millis("connect_timeout_ms")
	a.IdleTimeout = f.millis("cluster_idle_timeout_ms")
	a.MaxLifetime = f.millis("cluster_max_connection_lifetime_ms")
	both := f.names("allowed_headers")
	a.AllowedRequestHeaders = union(a.AllowedRequestHeaders, both)
	a.AllowedResponseHeaders = union(a.AllowedResponseHeaders, both)
	if !f.isSet("allow_request_body") {
		return
	}
	if a.IncludeBody != nil {
		o.report(f.at("allow_request_body"), f.path+"allow_request_body", "include_body is given too", config.ObjectDropped)
		return
	}
	a.IncludeBody = &config.IncludeBody{MaxBytes: 4096, AllowPartial: true}
}

// explicitTLS reads what a conversion from v2 wrote down.
func (f *fields) explicitTLS(a *config.AuthService) {
	was := f.object("v2ExplicitTLS")
	if was == nil {
		return
	}
	switch tls := was.text("tls"); tls {
	case "true", "bool:true":
		a.OriginateTLS = true
	}
	if scheme := was.text("serviceScheme"); scheme != "" && a.Service != "" && !strings.Contains(a.Service, "://") {
		a.Service = scheme + a.Service
	}
	was.finish(nil)
}

// externalAuth reads what an AuthService and an External filter have in common.
func (f *fields) externalAuth(o *object) config.ExternalAuth {
	a := config.ExternalAuth{
		Service:                strings.TrimSpace(f.text("auth_service")),
		GRPC:                   f.oneOf("proto", "http", "grpc") == "grpc",
		PathPrefix:             f.text("path_prefix"),
		Timeout:                f.millis("timeout_ms"),
		AllowedRequestHeaders:  f.names("allowed_request_headers"),
		AllowedResponseHeaders: f.names("allowed_authorization_headers"),
		IncludeBody:            f.includeBody(),
		FailureModeAllow:       f.isSet("failure_mode_allow"),
	}
	if a.PathPrefix != "" && a.PathPrefix[0] != '/' {
		o.report(f.at("path_prefix"), f.path+"path_prefix", `does not begin with "/"`, config.Notice).Instead = "a slash is put before it"
		a.PathPrefix = "/" + a.PathPrefix
	}
	if strings.ContainsFunc(a.PathPrefix, notInPath) {
		f.wrong(f.find("path_prefix"), "the beginning of a path")
	}
	if status := f.object("status_on_error"); status != nil {
		if code := status.number("code", 200, 599); code != nil {
			a.StatusOnError = *code
		}
		status.finish(nil)
	}
	return a
}

// notInPath reports whether r cannot be in a request's target.
func notInPath(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' || r == '?' }

// includeBody reads how much of a body is shown, nil for nothing of it.
func (f *fields) includeBody() *config.IncludeBody {
	sub := f.object("include_body")
	if sub == nil {
		return nil
	}
	n, partial := sub.number("max_bytes", 0, math.MaxInt32), sub.flag("allow_partial")
	if !sub.has("max_bytes") {
		sub.missing("max_bytes")
	}
	if !sub.has("allow_partial") {
		sub.missing("allow_partial")
	}
	sub.finish(nil)
	if n == nil || partial == nil {
		return nil
	}
	return &config.IncludeBody{MaxBytes: *n, AllowPartial: *partial}
}

// millis returns a time in milliseconds; 0 stands for the default, as if missing.
func (f *fields) millis(name string) time.Duration {
	if n := f.positive(name); n != nil {
		return time.Duration(*n) * time.Millisecond
	}
	return 0
}

// names returns a list of names of headers, in lower case. What is none is left out.
func (f *fields) names(name string) []string {
	var names []string
	for _, n := range f.list(name) {
		lower := strings.ToLower(strings.TrimSpace(n))
		switch {
		case !isToken(lower):
			f.o.report(f.at(name), f.path+name, fmt.Sprintf("%q is no name of a header", n), config.FieldIgnored).Instead = "it is left out"
		case perConnection[lower]:
			f.o.report(f.at(name), f.path+name, fmt.Sprintf("%q belongs to a single connection", n), config.FieldIgnored).Instead = "it is left out"
		default:
			names = append(names, lower)
		}
	}
	return names
}

// perConnection are the headers that travel no further than one connection, or frame the
// message.
var perConnection = map[string]bool{
	"connection": true, "content-length": true, "host": true, "keep-alive": true, "proxy-connection": true, "te": true,
	"trailer": true, "transfer-encoding": true, "upgrade": true,
}

// addedHeaders returns an object of headers with their values, sorted by name.
func (f *fields) addedHeaders(name string) []config.NameValue {
	var kept []config.NameValue
	for _, h := range f.pairs(name) {
		h.Name = strings.ToLower(h.Name)
		switch {
		case !isToken(h.Name), perConnection[h.Name]:
			f.o.report(f.at(name), f.path+name, fmt.Sprintf("%q is no name of a header that can be added", h.Name), config.FieldIgnored).Instead = "it is left out"
		case strings.ContainsFunc(h.Value, notInValue):
			f.o.report(f.at(name), f.path+name, fmt.Sprintf("the value of %q holds what no header can", h.Name), config.FieldIgnored).Instead = "it is left out"
		default:
			h.Value = strings.TrimSpace(h.Value)
			kept = append(kept, h)
		}
	}
	return kept
}

// notInValue reports whether r cannot be in a header's value (RFC 9110 §5.5).
func notInValue(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// union returns a with what of b is not in it.
func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
