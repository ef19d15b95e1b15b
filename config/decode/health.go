package decode

import (
	"math"
	"time"

	"legate/config"
)

// What a health check does where nothing else is said.
const (
	checkTimeout   = 3 * time.Second
	checkInterval  = 5 * time.Second
	checkHealthy   = 1
	checkUnhealthy = 2
)

// healthChecks reads a list of health checks. An entry that makes no sense is left out
// alone.
func (f *fields) healthChecks(name string) []config.HealthCheck {
	e := f.value(name)
	if e == nil {
		return nil
	}
	var checks []config.HealthCheck
	soft := f.soft
	f.soft = true
	for _, entry := range f.objects(name) {
		if c := entry.healthCheck(); c != nil {
			checks = append(checks, *c)
		}
	}
	f.soft = soft
	return checks
}

// healthCheck reads one entry, nil if it makes no sense.
func (f *fields) healthCheck() *config.HealthCheck {
	before := len(f.o.Problems)
	c := &config.HealthCheck{
		Timeout: checkTimeout, Interval: checkInterval, HealthyThreshold: checkHealthy, UnhealthyThreshold: checkUnhealthy,
	}
	for name, to := range map[string]*time.Duration{"timeout": &c.Timeout, "interval": &c.Interval} {
		if d := f.duration(name); d != nil {
			*to = max(*d, time.Millisecond)
		}
	}
	for name, to := range map[string]*int{"healthy_threshold": &c.HealthyThreshold, "unhealthy_threshold": &c.UnhealthyThreshold} {
		if n := f.number(name, 1, math.MaxInt32); n != nil {
			*to = *n
		}
	}
	how := f.object("health_check")
	if how == nil {
		if f.value("health_check") == nil {
			f.missing("health_check")
		}
		return nil
	}
	c.HTTP, c.GRPC = how.httpCheck(), how.grpcCheck()
	if (c.HTTP == nil) == (c.GRPC == nil) && len(f.o.Problems) == before {
		f.complain(f.find("health_check"), "needs either http or grpc")
	}
	if len(f.o.Problems) > before {
		return nil
	}
	how.finish(nil)
	f.finish(nil)
	return c
}

func (f *fields) httpCheck() *config.HTTPCheck {
	h := f.object("http")
	if h == nil {
		return nil
	}
	c := &config.HTTPCheck{
		Path: h.required("path"), Hostname: h.text("hostname"), Add: h.headerAdds("add_request_headers"), Remove: h.list("remove_request_headers"),
	}
	if c.Path != "" && c.Path[0] != '/' {
		h.wrong(h.find("path"), `a path that begins with "/"`)
	}
	for _, r := range h.objects("expected_statuses") {
		lo, hi := r.number("min", 100, 599), r.number("max", 100, 599)
		switch {
		case !r.has("min"):
			r.missing("min")
		case !r.has("max"):
			r.missing("max")
		case lo != nil && hi != nil:
			c.Expected = append(c.Expected, config.StatusRange{Min: *lo, Max: *hi})
		}
		r.finish(nil)
	}
	if c.Expected == nil {
		c.Expected = []config.StatusRange{{Min: 200, Max: 200}}
	}
	h.finish(nil)
	return c
}

func (f *fields) grpcCheck() *config.GRPCCheck {
	g := f.object("grpc")
	if g == nil {
		return nil
	}
	c := &config.GRPCCheck{Service: g.required("upstream_name"), Authority: g.text("authority")}
	g.finish(nil)
	return c
}
