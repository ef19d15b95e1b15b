package gateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"legate/decision"
	"legate/routes"
	"legate/telemetry"
	"legate/upstream"
	"legate/wire"
)

// A shadow is the stage that lets a second service see copies of a route's requests.
// Nobody waits for a copy, and nobody hears its answer.
type shadow struct {
	upstream *upstream.Upstream
	metrics  *telemetry.UpstreamMetrics
	percent  uint32
	timeout  time.Duration

	sent, failed, dropped *telemetry.Counter
}

const (
	// maxShadows is how many copies may be on their way at once; more are not made.
	maxShadows = 128
	// maxShadowTime is how long a copy may take where the route sets no limit.
	maxShadowTime = 30 * time.Second
	// maxShadowAnswer is how much of an answer is read to keep its connection.
	maxShadowAnswer = 256 << 10
)

// shadows are the copies of all routes that are on their way.
type shadows struct {
	slots   chan struct{}
	running sync.WaitGroup
}

// wait waits for copies that are on their way, or for the end of ctx.
func (s *shadows) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// shadow returns nil for a route whose group has no shadow. The shadow's connections are
// its own, so that a slow one takes none from anybody.
func (c *compiler) shadow(r *Route) Stage {
	rt := r.Shadow
	if rt == nil || r.Kind != routes.Forward {
		return nil
	}
	spec := c.specOf(rt.Mapping)
	spec.Tag += "\x00shadow"
	up := c.use(r, spec).upstream
	s := &shadow{upstream: up, metrics: c.g.metrics.Upstream(up.Name()), percent: 100, timeout: r.timeout}
	if w := rt.Mapping.Weight; w != nil {
		s.percent = uint32(*w) //nolint:gosec // 0 to 100, as routes has seen
	}
	if s.timeout == 0 || s.timeout > maxShadowTime {
		s.timeout = maxShadowTime
	}
	s.sent, s.failed, s.dropped = c.g.metrics.Shadowed(rt.Name, "sent"), c.g.metrics.Shadowed(rt.Name, "failed"), c.g.metrics.Shadowed(rt.Name, "dropped")
	return s
}

// Enter decides whether the request is copied, so that its body is kept.
// Budget: 0 allocs.
func (s *shadow) Enter(x *Exchange) Verdict {
	x.mirrors = !x.Dry && !x.Req.UpgradeTo && (s.percent >= 100 || rand.Uint32N(100) < s.percent) //nolint:gosec // because a share of traffic is no secret
	return Continue
}

// Respond sends the copy if the request is whole by now.
func (s *shadow) Respond(x *Exchange) {
	if x.mirrors && (x.Req.NoBody || x.finished.Load() > 0) {
		s.copy(x)
	}
}

// Finish sends the copy of a request that was not whole before.
func (s *shadow) Finish(x *Exchange) {
	if x.mirrors {
		s.copy(x)
	}
	x.mirrors, x.mirrored = false, false
}

// copy sends what the service was sent, unless too much is on its way already or the
// body was too long to be kept.
func (s *shadow) copy(x *Exchange) {
	if x.mirrored {
		return
	}
	x.mirrored = true
	body, ok := x.keptBody()
	if !ok {
		s.dropped.Add()
		return
	}
	g := x.gateway
	select {
	case g.shadows.slots <- struct{}{}:
	default:
		s.dropped.Add()
		return
	}
	c := newMirrored(x, body)
	g.shadows.running.Go(func() {
		defer func() { <-g.shadows.slots }()
		defer func() {
			if cause := recover(); cause != nil {
				_ = g.defect(cause)
			}
		}()
		if err := s.send(g, c); err != nil {
			s.failed.Add()
		} else {
			s.sent.Add()
		}
	})
}

// keptBody returns the request's body if all of it was kept.
func (x *Exchange) keptBody() ([]byte, bool) {
	switch {
	case x.Req.NoBody:
		return nil, true
	case x.bodyWhole:
		return x.body[:x.bodyBytes], int64(x.bodyBytes) <= x.Snap.edge.bufferLimit
	case x.finished.Load() > 0 && x.savedWhole:
		return x.saved, true
	}
	return nil, false
}

// A mirrored is a copy of a request that outlives it.
type mirrored struct {
	head  wire.Head
	edits wire.Edits
	body  []byte
}

// perConnection are the fields that a copy has anew.
const perConnection = wire.HopByHop | 1<<wire.FieldHost | 1<<wire.FieldExpect

// newMirrored copies a request as the service got it, but for the authority, which tells
// that it is a shadow.
func newMirrored(x *Exchange, body []byte) *mirrored {
	c := &mirrored{body: append([]byte(nil), body...)}
	var fields []string
	for i := range x.Req.Len() {
		id, name, value := x.Req.Line(i)
		if id != wire.FieldOther && perConnection.Has(id) || x.ToUp.Drops(id, name) {
			continue
		}
		fields = append(fields, string(name), string(value))
	}
	for _, a := range x.ToUp.Adds() {
		switch {
		case a.ID == wire.FieldTE:
			c.edits.Set(wire.FieldTE, valueTrailers)
		case a.ID == wire.FieldOther || !perConnection.Has(a.ID):
			fields = append(fields, a.FieldName(), string(a.Value))
		}
	}
	path := x.Req.Path()
	query, hasQuery := x.Req.Query()
	if x.ToUp.Path != nil {
		path = x.ToUp.Path
		if x.ToUp.HasQuery {
			query, hasQuery = x.ToUp.Query, x.ToUp.Query != nil
		}
	}
	target := string(path)
	if hasQuery {
		target += "?" + string(query)
	}
	host := x.Req.Host()
	if x.ToUp.Host != nil {
		host = x.ToUp.Host
	}
	c.head.BuildRequest(string(x.Req.MethodName()), shadowHost(string(host)), target, fields...)
	c.head.NoBody, c.head.Length = x.Req.NoBody, int64(len(body))
	return c
}

// shadowHost is the authority by which a service knows a copy, the port at its end.
func shadowHost(host string) string {
	for i := len(host) - 1; i >= 0; i-- {
		switch {
		case host[i] == ':':
			return host[:i] + "-shadow" + host[i:]
		case host[i] < '0' || host[i] > '9':
			return host + "-shadow"
		}
	}
	return host + "-shadow"
}

// send carries a copy to the shadow and forgets the answer.
func (s *shadow) send(g *Gateway, c *mirrored) error {
	start := g.clock()
	by := start.Add(s.timeout)
	link, reason, err := s.upstream.Open(start, upstream.Choice{By: by})
	if reason != decision.None {
		s.metrics.Failed(reason, false)
		return err
	}
	limit := time.AfterFunc(s.timeout, link.Abort)
	status, err := c.carry(link, by)
	if status > 0 {
		s.metrics.Observe(status, g.clock().Sub(start), false)
	} else {
		s.metrics.Failed(decision.UpstreamResetBeforeHead, false)
	}
	if !limit.Stop() || err != nil {
		link.Abort()
	}
	link.Release()
	return err
}

// carry is one exchange; status is 0 where there is no answer.
func (c *mirrored) carry(link wire.Link, by time.Time) (status int, err error) {
	if err := link.WriteHead(&c.head, &c.edits, int64(len(c.body))); err != nil {
		return 0, err //nolint:wrapcheck // because it is only counted
	}
	if len(c.body) > 0 {
		if _, err := link.WriteBody(c.body); err != nil {
			return 0, err //nolint:wrapcheck // because it is only counted
		}
	}
	if err := link.EndRequest(nil); err != nil {
		return 0, err //nolint:wrapcheck // because it is only counted
	}
	var resp wire.Head
	for resp.Status < 200 {
		if err := link.ReadHead(&resp, by, nil); err != nil {
			return 0, err //nolint:wrapcheck // because it is only counted
		}
	}
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	for n := 0; !resp.NoBody && !link.Done(); {
		m, err := link.ReadBody(b, by, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if n += m; err != nil || n > maxShadowAnswer {
			link.Abort() // the service has had its request, and that was all
			break
		}
	}
	return resp.Status, nil
}
