package gateway

import (
	"strconv"
	"time"

	"legate/decision"
	"legate/format"
	"legate/limiter"
	"legate/telemetry"
	"legate/wire"
)

// LimitOptions are how rate limits count.
type LimitOptions struct {
	Store      limiter.Store // nil for one of this process
	Near       float64       // from which part of a limit on a request counts as near it; 0 for the default
	ExactDepth bool          // they match only descriptors of their own length
	Cluster    string        // the name by which they know the gateway: source_cluster
	OneService bool          // where there are several RateLimitServices, nobody is asked
}

// A limit is the stage that counts requests in the rate limits that their labels lead to,
// and refuses those that are too many.
type limit struct {
	rules    limiter.Rules
	metrics  []*telemetry.LimitMetrics // by the limits' Index
	by       string
	deny     bool          // requests do not pass where the store cannot be asked
	patience time.Duration // that requests have with the store; 0 for the store's default
	injects  bool          // some limit has headers for requests or answers
}

// limit returns nil for a route whose requests carry no labels that count.
func (c *compiler) limit(r *Route) Stage {
	descriptors := c.descriptors(r)
	switch {
	case len(descriptors) == 0:
		return nil
	case c.asked != nil:
		return &limitService{descriptors}
	}
	l := &limit{rules: limiter.Rules{Table: c.next.limits.table}, metrics: c.next.limits.metrics, by: r.By, deny: c.next.limits.deny, patience: c.next.limits.patience}
	for _, d := range descriptors {
		if l.rules.Table.Matches(&d, c.reached) {
			l.rules.Descriptors = append(l.rules.Descriptors, d)
		} else if r.Limits != nil {
			c.unlimited(r, &d)
		}
	}
	if len(l.rules.Descriptors) == 0 {
		return nil
	}
	r.limit = l
	for _, each := range l.rules.Table.Limits {
		l.injects = l.injects || each.InjectRequest != nil || each.InjectResponse != nil
	}
	return l
}

// carryLimit notes the limits that l reaches, as limit has for a route that is new.
func (c *compiler) carryLimit(l *limit) {
	for i := range l.rules.Descriptors {
		l.rules.Table.Matches(&l.rules.Descriptors[i], c.reached)
	}
}

// Enter counts the request. Budget: 0 allocs, but for templates.
func (l *limit) Enter(x *Exchange) Verdict {
	j := &x.judged
	l.rules.Find(j, x)
	if len(j.Takes) == 0 {
		return Continue
	}
	if err := j.Take(x.gateway.opts.Limits.Store, l.patience, x.Now, x.Dry); err != nil {
		if l.unknown(x, err) == Stop {
			return Stop
		}
	}
	if !x.Dry {
		l.tally(j, x.gateway.opts.Limits.Near)
		x.auditLimits()
	}
	if i := j.Refused(); i >= 0 {
		x.Decision.RetryAfter = j.Takes[i].RetryAfter
		x.refuseLimited(i)
		return x.stop(decision.Limit, decision.OverLimit, j.Limits[i].By, nil)
	}
	if l.injects {
		x.injectLimits()
	}
	return Continue
}

// unknown is what becomes of a request some of whose limits cannot be asked for: it does not
// pass, or what the others say counts.
func (l *limit) unknown(x *Exchange, err error) Verdict {
	if !x.Dry {
		x.gateway.metrics.LimitStoreFailed()
	}
	if l.deny {
		x.judged.Reset()
		return x.stop(decision.Limit, decision.LimitStoreDown, l.by, err)
	}
	x.Decision.Steps[decision.Limit] = decision.LimitStoreDown
	return Continue
}

// DefaultNear is from which part of a limit on a request counts as near it.
const DefaultNear = 0.8

// tally counts what the limits said.
func (l *limit) tally(j *limiter.Judgement, near float64) {
	for i := range j.Takes {
		t, m := &j.Takes[i], l.metrics[j.Limits[i].Index]
		switch {
		case t.Unknown:
		case !t.Over:
			m.Allowed.Add()
			if most := t.Window.Rate * max(t.Window.Burst, 1); float64(most-t.Remaining) >= near*float64(most) {
				m.Near.Add()
			}
		case j.Limits[i].LogOnly:
			m.Logged.Add()
		default:
			m.Limited.Add()
		}
		if t.Local {
			m.Cached.Add()
		}
	}
}

// auditLimits tells who listens of limits that the request is over. A request is refused
// once, by whichever limit; those that only log are told of one by one.
func (x *Exchange) auditLimits() {
	j := &x.judged
	refused := j.Refused()
	for i := range j.Takes {
		if j.Takes[i].Over && (i == refused || j.Limits[i].LogOnly) {
			x.auditLimit(j.Limits[i].By, i != refused)
		}
	}
}

// Respond tells the client what limits with injectResponseHeaders say, whoever answers.
func (l *limit) Respond(x *Exchange) {
	if !l.injects {
		return
	}
	for _, each := range x.judged.Limits {
		if each.InjectResponse != nil {
			x.setTemplated(&x.ToClient, each.InjectResponse.Each, each)
		}
	}
}

// injectLimits tells the upstream what limits with injectRequestHeaders say.
func (x *Exchange) injectLimits() {
	for _, each := range x.judged.Limits {
		if each.InjectRequest != nil {
			x.setTemplated(&x.ToUp, each.InjectRequest.Each, each)
		}
	}
}

// setTemplated sets the headers that render makes of what limits say. One whose template
// fails is left out.
func (x *Exchange) setTemplated(e *wire.Edits, render func(map[string]any) ([]wire.Add, error), of *limiter.Limit) {
	lines, err := render(x.judged.Data())
	if err != nil {
		x.gateway.log.Warn("header of a rate limit left out", "limit", of.Name, "by", of.By, "error", err)
	}
	for _, line := range lines {
		e.Remove(line.ID, line.Name)
		e.AddLine(line)
	}
}

var nameRateLimited = []byte("x-envoy-ratelimited")

var nameRetryAfter = []byte("retry-after")

// refuseLimited makes the answer to a request that the limit at i refuses.
func (x *Exchange) refuseLimited(i int) {
	refused := x.judged.Limits[i]
	x.tellRetryAfter(x.judged.Takes[i].RetrySeconds())
	x.ToClient.SetName(nameRateLimited, valueTrue)
	x.reply = localReply{status: 429, ready: true, exhausted: x.Snap.limits.exhausted}
	if refused.RefusalHeaders == nil && refused.RefusalBody == nil {
		return
	}
	answer, err := refused.Refusal(x.judged.Data(), string(x.requestID))
	if err != nil {
		x.gateway.log.Warn("answer of a rate limit left out in part", "limit", refused.Name, "by", refused.By, "error", err)
	}
	for i := range answer.Headers { // the author's words take the place of ours
		x.ToClient.Remove(answer.Headers[i].ID, answer.Headers[i].Name)
	}
	x.reply = localReply{status: answer.Status, ready: true, exhausted: x.Snap.limits.exhausted, contentType: answer.ContentType, headers: answer.Headers, body: string(answer.Body)}
}

// tellRetryAfter tells the client after how many seconds to try again (RFC 9110 §10.2.3).
// Budget: 0 allocs.
func (x *Exchange) tellRetryAfter(seconds int64) {
	start := len(x.arena)
	x.arena = strconv.AppendInt(x.arena, seconds, 10)
	x.ToClient.SetName(nameRetryAfter, x.arena[start:len(x.arena):len(x.arena)])
}

// Label returns the value of a label: it makes an Exchange a limiter.Source. Headers are
// those that the service would get by now. Budget: 0 allocs.
func (x *Exchange) Label(e *limiter.Entry) ([]byte, bool) {
	if e.Header == "" {
		if !x.Client.IsValid() {
			return nil, false
		}
		start := len(x.arena)
		x.arena = x.Client.AppendTo(x.arena)
		return x.arena[start:len(x.arena):len(x.arena)], true
	}
	return x.requestField(&format.Field{ID: e.Field, Name: e.Header})
}

// explain tells which limits the labels lead to, and what is left of them.
func (l *limit) explain(x *Exchange) []string {
	notes := make([]string, 0, len(l.rules.Descriptors)+len(x.judged.Takes))
	for i := range l.rules.Descriptors {
		notes = append(notes, "labels: "+l.rules.Descriptors[i].String())
	}
	if len(x.judged.Takes) == 0 {
		return append(notes, "no limit counts this request")
	}
	for i := range x.judged.Takes {
		notes = append(notes, x.judged.Limits[i].Tell(&x.judged.Takes[i]))
	}
	return notes
}

// rateLimits are what is the same for those of all routes.
type rateLimits struct {
	table     *limiter.Table
	metrics   []*telemetry.LimitMetrics
	deny      bool
	patience  time.Duration
	exhausted bool              // clients of gRPC are told so, and not that nobody is there
	revived   bool              // requests without labels carry that of the limit which waits for it
	service   *rateLimitService // that is asked instead of all of this; nil for none
}

func (l *rateLimits) names() []string {
	if l.table == nil {
		return nil
	}
	names := make([]string, 0, len(l.table.Limits)+1)
	for _, each := range l.table.Limits {
		names = append(names, each.Name)
	}
	if l.service != nil {
		names = append(names, l.service.by)
	}
	return names
}
