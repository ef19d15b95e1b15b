package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/wire"
	"legate/wire/h1"
	"legate/wire/h2"
)

// Checks are the active health checks of an upstream, as text: equal ones are equal
// values. "" is none.
type Checks string

// newChecks renders checks.
func newChecks(list []config.HealthCheck) Checks {
	if len(list) == 0 {
		return ""
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic("BUG: a health check cannot be written down: " + err.Error())
	}
	return Checks(text)
}

// list reads what newChecks wrote.
func (c Checks) list() []config.HealthCheck {
	if c == "" {
		return nil
	}
	var list []config.HealthCheck
	if err := json.Unmarshal([]byte(c), &list); err != nil {
		panic("BUG: a health check cannot be read back: " + err.Error())
	}
	return list
}

// A checker asks one endpoint, by one check, how it is. An endpoint that is new gets no
// request until it has passed once.
type checker struct {
	*config.HealthCheck
	end     *endpoint
	ask     func(by time.Time) error // probe, but in tests
	healthy bool
	passed  bool // once
	streak  int  // results in a row that speak against healthy
}

// errStatus says that an endpoint answers, and that it is not well: there is no need to
// ask twice.
var errStatus = errors.New("unexpected status")

// run asks again and again until ctx is done, and tells of every change.
func (c *checker) run(ctx context.Context, changed func(c *checker, err error)) {
	for {
		err := c.ask(c.end.up.now().Add(c.Timeout))
		if ctx.Err() != nil {
			return
		}
		c.end.up.stats.checks.count(err)
		if c.take(err) {
			changed(c, err)
		}
		timer := time.NewTimer(jitter(c.Interval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// count counts a check by its result.
func (c *checkCounters) count(err error) {
	switch {
	case err == nil:
		c.passed.Add(1)
	case errors.Is(err, errStatus):
		c.failed.Add(1)
	default:
		c.unreachable.Add(1)
	}
}

// take adopts a result, and reports whether the endpoint's health has changed by it.
func (c *checker) take(err error) bool {
	if (err == nil) == c.healthy {
		c.streak = 0
		return false
	}
	c.streak++
	enough := c.HealthyThreshold
	switch {
	case c.healthy && errors.Is(err, errStatus):
		enough = 1
	case c.healthy:
		enough = c.UnhealthyThreshold
	case !c.passed:
		enough = 1
	}
	if c.streak < enough {
		return false
	}
	c.healthy, c.streak = err == nil, 0
	c.passed = c.passed || c.healthy
	return true
}

// watchHealth begins to ask e how it is. u.mu is held.
func (u *Upstream) watchHealth(e *endpoint) {
	if len(u.checks) == 0 {
		return
	}
	e.failing.Store(int32(len(u.checks))) //nolint:gosec // a list is far shorter
	ctx, stop := context.WithCancel(u.resolver.ctx)
	e.unwatch = stop
	for i := range u.checks {
		c := &checker{HealthCheck: &u.checks[i], end: e}
		c.ask = func(by time.Time) error { return u.probe(ctx, c, by) }
		u.resolver.wg.Go(func() {
			if i > 0 { // not every check at once
				sleepFor(ctx, time.Duration(rand.Int64N(int64(c.Interval/10)+1))) //nolint:gosec // because it is no secret when an endpoint is asked
			}
			c.run(ctx, u.healthChanged)
		})
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// healthChanged lets an endpoint in or out of those that serve, and then says so.
func (u *Upstream) healthChanged(c *checker, err error) {
	e := c.end
	var left int32
	if c.healthy {
		left = e.failing.Add(-1)
	} else {
		left = e.failing.Add(1)
	}
	switch {
	case c.healthy && left == 0:
		u.rebalance()
		u.resolver.log.Info("upstream endpoint healthy", "upstream", u.Name(), "endpoint", e.text)
	case !c.healthy && left == 1:
		u.rebalance()
		u.resolver.log.Warn("upstream endpoint unhealthy", "upstream", u.Name(), "endpoint", e.text, "error", err)
	}
}

// rebalance chooses anew among the endpoints that serve.
func (u *Upstream) rebalance() {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.ends.Load()
	if u.retired || len(old.list) == 0 {
		return
	}
	next := *old
	next.balance = u.balancer(next.list)
	u.ends.Store(&next)
}

// balancer builds the one over those endpoints of list that serve.
func (u *Upstream) balancer(list []*endpoint) balancer {
	serving, panics := u.serving(list)
	b := newBalancer(u.spec.Balance, serving, &u.turn)
	if panics {
		return panicking{b, &u.stats.panics}
	}
	return b
}

// panicking counts the requests for which an endpoint is taken whose checks fail.
type panicking struct {
	balancer
	count *atomic.Uint64
}

// pick returns what the balancer does. Budget: 0 allocs.
func (p panicking) pick(c Choice) *endpoint {
	p.count.Add(1)
	return p.balancer.pick(c)
}

// serving returns the endpoints of list that are healthy; all of them if those are
// fewer than half, which it reports: they could not bear it, and the checks may be what
// is wrong.
func (u *Upstream) serving(list []*endpoint) (serve []*endpoint, panics bool) {
	if len(u.checks) == 0 {
		return list, false
	}
	healthy := make([]*endpoint, 0, len(list))
	for _, e := range list {
		if e.failing.Load() == 0 {
			healthy = append(healthy, e)
		}
	}
	if 2*len(healthy) < len(list) {
		return list, true
	}
	return healthy, false
}

// probe makes one check over a connection of its own, which counts for no limit.
func (u *Upstream) probe(ctx context.Context, c *checker, by time.Time) error {
	raw, secure, _, err := u.socket(c.end, by)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // whoever waits on it returns
	defer stop()
	link, end, err := u.probeLink(raw, secure, c, by)
	if err != nil {
		return err
	}
	defer end()
	if c.GRPC != nil {
		return askGRPC(link, u.spec.Host, c.GRPC, by)
	}
	return askHTTP(link, u.spec.Host, c.HTTP, by)
}

// probeLink returns a link on a connection, and what ends both.
func (u *Upstream) probeLink(raw *wire.Conn, secure *tls.Conn, c *checker, by time.Time) (wire.Link, func(), error) {
	if !u.spec.HTTP2 && c.GRPC == nil {
		link := h1.NewLink(raw, secure, c.end.text, nobody1{})
		return link, func() { link.Abort(); link.Release() }, nil
	}
	client, err := h2.NewClient(raw, secure, c.end.text, nobody2{}, by, h2.ClientOptions{PingAfter: pingAfter, Now: u.now})
	if err != nil {
		return nil, nil, err
	}
	link := client.Open()
	if link == nil {
		client.Retire()
		return nil, nil, errLeft
	}
	return link, func() { link.Release(); client.Retire() }, nil
}

// nobody1 and nobody2 own connections that are not kept.
type (
	nobody1 struct{}
	nobody2 struct{}
)

func (nobody1) Idle(*h1.Link) bool { return false }
func (nobody1) Closed(*h1.Link)    {}
func (nobody2) Rested()            {}
func (nobody2) Closed()            {}

// askHTTP makes a check by HTTP: the status says how the endpoint is.
func askHTTP(link wire.Link, host string, c *config.HTTPCheck, by time.Time) error {
	if c.Hostname != "" {
		host = c.Hostname
	}
	fields := []string{"user-agent", "legate-health-check"}
	for _, h := range c.Add {
		fields = append(fields, h.Name, h.Value)
	}
	var req, resp wire.Head
	var edits wire.Edits
	req.BuildRequest("GET", host, c.Path, fields...)
	for _, name := range c.Remove {
		edits.DropName([]byte(strings.ToLower(name)))
	}
	if err := link.WriteHead(&req, &edits, 0); err != nil {
		return err
	}
	if err := link.EndRequest(nil); err != nil {
		return err
	}
	for {
		if err := link.ReadHead(&resp, by, nil); err != nil {
			return err
		}
		if resp.Status >= 200 {
			break
		}
	}
	for _, r := range c.Expected {
		if resp.Status >= r.Min && resp.Status <= r.Max {
			return nil
		}
	}
	return fmt.Errorf("%w %d", errStatus, resp.Status)
}

// askGRPC makes a check by gRPC's own health protocol, whose two messages are small
// enough to be written and read here.
func askGRPC(link wire.Link, host string, c *config.GRPCCheck, by time.Time) error {
	if c.Authority != "" {
		host = c.Authority
	}
	var req, resp wire.Head
	var edits wire.Edits
	req.BuildRequest("POST", host, "/grpc.health.v1.Health/Check", "content-type", "application/grpc", "te", "trailers")
	req.NoBody, req.Length = false, wire.LengthUnknown
	edits.Set(wire.FieldTE, []byte("trailers"))
	if err := link.WriteHead(&req, &edits, wire.LengthUnknown); err != nil {
		return err
	}
	if _, err := link.WriteBody(healthRequest(c.Service)); err != nil {
		return err
	}
	if err := link.EndRequest(nil); err != nil {
		return err
	}
	if err := link.ReadHead(&resp, by, nil); err != nil {
		return err
	}
	body := make([]byte, 0, 64)
	for buf := make([]byte, 64); !resp.NoBody && len(body) < 1024; {
		n, err := link.ReadBody(buf, by, nil)
		body = append(body, buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return healthVerdict(&resp, link.Trailer(), body)
}

// healthRequest is a grpc.health.v1.HealthCheckRequest as a message on the wire: field
// 1 is the service's name.
func healthRequest(service string) []byte {
	service = service[:min(len(service), 127)]                                  // longer names need longer lengths
	msg := []byte{0, 0, 0, 0, byte(len(service) + 2), 0x0a, byte(len(service))} //nolint:gosec // because it is at most 129
	return append(msg, service...)
}

// healthVerdict reads a grpc.health.v1.HealthCheckResponse: field 1 is 1 for SERVING.
func healthVerdict(resp, trailer *wire.Head, body []byte) error {
	status, ok := resp.Find("grpc-status")
	if !ok && trailer != nil {
		status, ok = trailer.Find("grpc-status")
	}
	switch {
	case resp.Status != 200:
		return fmt.Errorf("%w %d", errStatus, resp.Status)
	case !ok:
		return errors.New("no grpc-status")
	case string(status) != "0":
		return fmt.Errorf("%w: grpc-status %q", errStatus, status)
	case len(body) == 7 && string(body[:7]) == "\x00\x00\x00\x00\x02\x08\x01":
		return nil
	}
	return fmt.Errorf("%w: not serving", errStatus)
}
