package decode

import (
	"cmp"
	"math"
	"strings"
	"time"

	"legate/config"
)

// rateLimitTimeout is how long the service is waited for where nothing else is said.
const rateLimitTimeout = 20 * time.Millisecond

// decodeRateLimitService reads a RateLimitService. Where it speaks no protocol that is
// spoken here, nothing is limited, as in Ambassador.
func decodeRateLimitService(o *object, spec *fields) any {
	s := &config.RateLimitService{
		Service:         strings.TrimSpace(spec.text("service")),
		Domain:          spec.text("domain"),
		Timeout:         rateLimitTimeout,
		FailureModeDeny: spec.isSet("failure_mode_deny"),
		StatsName:       cmp.Or(spec.text("stats_name"), spec.text("v3StatsName")),
	}
	s.BuiltIn = isBuiltIn(s.Service)
	if n := spec.number("timeout_ms", 0, math.MaxInt32); n != nil && *n > 0 {
		s.Timeout = time.Duration(*n) * time.Millisecond
	}
	s.TLSContext, s.OriginateTLS = spec.originateTLS()
	if explicit := spec.object("v2ExplicitTLS"); explicit != nil {
		s.TLSContext = cmp.Or(s.TLSContext, explicit.text("tls"))
		s.OriginateTLS = s.OriginateTLS || explicit.text("serviceScheme") == "https://"
		explicit.finish(nil)
	}
	for _, name := range []string{"grpc", "v3GRPC"} {
		if grpc := spec.object(name); grpc != nil {
			exhausted, limited := grpc.isSet("use_resource_exhausted_code"), grpc.isSet("rate_limited_as_resource_exhausted")
			s.ResourceExhausted = exhausted || limited
			grpc.finish(nil)
		}
	}
	s.Broken = spec.unlimited(s)
	spec.finish(nil)
	s.Meta = o.Meta
	return s
}

// unlimited returns why nobody can be asked, "" for nothing.
func (f *fields) unlimited(s *config.RateLimitService) string {
	var field, msg string
	switch version := f.text("protocol_version"); {
	case s.Service == "":
		field, msg = "service", "is required"
	case version != "v3" && !s.BuiltIn:
		field, msg = "protocol_version", `must be "v3": no other version is spoken any more`
	default:
		return ""
	}
	f.o.report(f.at(field), f.path+field, msg, config.FieldIgnored).Instead = "nobody is asked, and nothing is limited"
	return field + " " + msg
}
