package decode

import (
	"cmp"
	"math"
	"strings"
	"time"

	"legate/config"
)

// loadBalancer reads a load_balancer, nil if it is missing or makes no sense. Only a
// policy that hashes says what, and it must.
func (f *fields) loadBalancer() *config.LoadBalancer {
	lb := f.object("load_balancer")
	if lb == nil {
		return nil
	}
	b := &config.LoadBalancer{Header: lb.text("header"), SourceIP: lb.isSet("source_ip")}
	b.Cookie = lb.hashCookie()
	affinities := 0
	for _, given := range []bool{b.Cookie != nil, b.Header != "", b.SourceIP} {
		if given {
			affinities++
		}
	}
	policy := lb.oneOf("policy", "round_robin", "least_request", "ring_hash", "maglev")
	lb.finish(nil)
	e := f.find("load_balancer")
	switch policy {
	case "": // said already, or
		if lb.value("policy") == nil {
			lb.missing("policy")
		}
		return nil
	case "round_robin", "least_request":
		if affinities > 0 {
			f.complain(e, "takes no cookie, header or source_ip with the policy "+policy)
			return nil
		}
	default:
		if b.Cookie != nil && b.Cookie.Name == "" {
			return nil // said already
		}
		if affinities != 1 {
			f.complain(e, "needs exactly one of cookie, header and source_ip with the policy "+policy)
			return nil
		}
	}
	b.Policy = balancePolicies[policy]
	return b
}

var balancePolicies = map[string]config.BalancePolicy{
	"round_robin": config.RoundRobin, "least_request": config.LeastRequest, "ring_hash": config.RingHash, "maglev": config.Maglev,
}

func (f *fields) hashCookie() *config.HashCookie {
	c := f.object("cookie")
	if c == nil {
		return nil
	}
	cookie := &config.HashCookie{Name: c.required("name"), Path: c.text("path"), TTL: c.duration("ttl")}
	if strings.ContainsFunc(cookie.Name, notInCookieName) {
		c.wrong(c.find("name"), "the name of a cookie")
	}
	if strings.ContainsFunc(cookie.Path, notInCookiePath) {
		c.wrong(c.find("path"), "the path of a cookie")
	}
	c.finish(nil)
	return cookie
}

// notInCookieName reports whether r cannot be part of a token (RFC 9110 §5.6.2).
func notInCookieName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

// notInCookiePath reports whether r cannot be part of a cookie's path (RFC 6265 §4.1.1).
func notInCookiePath(r rune) bool { return r < ' ' || r >= 0x7f || r == ';' }

// complain reports a field whose parts do not go together, with the effect of one
// that cannot be understood.
func (f *fields) complain(e *entry, msg string) {
	effect := config.ObjectDropped
	if f.soft {
		effect = config.FieldIgnored
	}
	f.o.report(e.key, f.path+e.name, msg, effect)
}

// duration returns a time written like "1.5s" or "250ms", nil if it is missing.
func (f *fields) duration(name string) *time.Duration {
	f.ask(name, shape{form: aSpan})
	e := f.value(name)
	if e == nil {
		return nil
	}
	s, ok := f.scalar(e)
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d < 0 || d > milliseconds*time.Millisecond {
		f.wrong(e, `a time like "1.5s" or "250ms"`)
		return nil
	}
	return &d
}

// circuitBreakers reads the limits for both priorities, nil if nothing is said. Of
// several entries for one priority the first counts.
func (f *fields) circuitBreakers() *config.CircuitBreakers {
	return f.circuitBreakersAs("circuit_breakers")
}

// circuitBreakersAs reads them from the named field.
func (f *fields) circuitBreakersAs(name string) *config.CircuitBreakers {
	if f.value(name) == nil {
		return nil
	}
	c := &config.CircuitBreakers{Default: config.DefaultLimits, High: config.DefaultLimits}
	seen := map[string]bool{}
	for _, b := range f.objects(name) {
		l := config.DefaultLimits
		for name, to := range map[string]*int64{
			"max_connections": &l.Connections, "max_pending_requests": &l.Pending, "max_requests": &l.Requests, "max_retries": &l.Retries,
		} {
			if n := b.number(name, 0, math.MaxUint32); n != nil {
				*to = int64(*n)
			}
		}
		priority := cmp.Or(b.oneOf("priority", "default", "high"), "default")
		b.finish(nil)
		switch {
		case seen[priority]:
		case priority == "high":
			c.High = l
		default:
			c.Default = l
		}
		seen[priority] = true
	}
	return c
}

// priority reads which limits count, nil if nothing is said.
func (f *fields) priority() *config.Priority {
	p := config.DefaultPriority
	switch f.oneOf("priority", "default", "high") {
	case "":
		return nil
	case "high":
		p = config.HighPriority
	}
	return &p
}

var retryOn = map[string]config.RetryOn{
	"5xx": config.RetryServerErrors, "gateway-error": config.RetryGatewayErrors, "connect-failure": config.RetryConnectFailure,
	"retriable-4xx": config.RetryConflict, "refused-stream": config.RetryRefusedStream, "retriable-status-codes": config.RetryStatusCodes,
}

// retryPolicy reads a retry_policy, nil if it is missing or makes no sense.
func (f *fields) retryPolicy() *config.RetryPolicy {
	r := f.object("retry_policy")
	if r == nil {
		return nil
	}
	p := &config.RetryPolicy{Times: 1}
	on := r.oneOf("retry_on", "5xx", "gateway-error", "connect-failure", "retriable-4xx", "refused-stream", "retriable-status-codes")
	if r.value("retry_on") == nil {
		r.missing("retry_on")
	}
	if n := r.number("num_retries", 0, math.MaxInt32); n != nil {
		p.Times = *n
	}
	if d := r.duration("per_try_timeout"); d != nil {
		p.PerTryTimeout = *d
	}
	r.finish(nil)
	if on == "" {
		return nil
	}
	p.On = retryOn[on]
	return p
}

// keepalive reads a keepalive, nil if it is missing. The reference reads its time from
// a field of another name than it documents; either is taken.
func (f *fields) keepalive() *config.Keepalive {
	k := f.object("keepalive")
	if k == nil {
		return nil
	}
	seconds := func(name string) time.Duration {
		if n := k.number(name, 0, math.MaxInt16); n != nil {
			return time.Duration(*n) * time.Second
		}
		return 0
	}
	keep := &config.Keepalive{Idle: seconds("idle_time"), Interval: seconds("interval")}
	if t := seconds("time"); keep.Idle == 0 {
		keep.Idle = t
	}
	if n := k.number("probes", 0, math.MaxInt8); n != nil { // TCP_KEEPCNT takes no more
		keep.Probes = *n
	}
	k.finish(nil)
	return keep
}
