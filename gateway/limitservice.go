package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"legate/authn"
	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/telemetry"
	"legate/wire"
)

// A rateLimitService is a RateLimitService that is asked about all requests with labels of
// its domain.
type rateLimitService struct {
	*limiter.Service
	by      string
	address string
	deny    bool // requests do not pass where it cannot be asked
	metrics *telemetry.LimitMetrics
	outage  *outage
}

// An outage tells operators once that something cannot be asked, and once that it can be
// again.
type outage struct{ lasts atomic.Bool }

func (o *outage) begin(log *slog.Logger, by string, err error) {
	if !o.lasts.Load() && !o.lasts.Swap(true) {
		log.Warn("rate limits cannot be asked for", "by", by, "error", err)
	}
}

func (o *outage) end(log *slog.Logger, by string) {
	if o.lasts.Load() && o.lasts.Swap(false) {
		log.Info("rate limits can be asked for again", "by", by)
	}
}

// rateLimitService makes the RateLimitService ready that is asked, if there is one.
func (c *compiler) rateLimitService(old *Snapshot) {
	s := c.asked
	if s == nil {
		return
	}
	spec, problems := c.reader.OfRateLimitService(s)
	c.problems = append(c.problems, problems...)
	ref := s.Ref()
	ready := &rateLimitService{
		by: ref.String(), address: spec.Address(), deny: s.FailureModeDeny, outage: &outage{},
		Service: limiter.NewService(c.asker(spec), spec.Address(), c.next.limits.table.Domain, s.Timeout),
	}
	ready.metrics = c.g.metrics.Limit(ready.by)
	if was := old.limits.service; was != nil && was.by == ready.by {
		ready.outage = was.outage
	}
	c.next.limits.service = ready
}

// A limitService is the stage that asks a RateLimitService whether a request is one too
// many. As the stages before it asks the request's snapshot for whom: a route may be
// carried over to the next.
type limitService struct{ descriptors []limiter.Descriptor }

// Enter asks, unless the request has no labels that are whole.
func (l *limitService) Enter(x *Exchange) Verdict {
	if x.Dry {
		return Continue
	}
	s := x.Snap.limits.service
	answer, err := s.Ask(&x.judged, l.descriptors, x, x.tickFunc)
	switch {
	case err != nil:
		return s.failed(x, err)
	case answer == nil:
		return Continue
	}
	s.outage.end(x.gateway.log, s.by)
	x.limitAnswer = answer
	x.keepLimitMetadata(answer.Metadata)
	if answer.Over {
		s.metrics.Limited.Add()
		return s.refuse(x, answer)
	}
	s.metrics.Allowed.Add()
	for _, line := range answer.ToUp {
		x.ToUp.AddLine(line)
	}
	return Continue
}

// failed decides about a request that nobody could be asked about.
func (s *rateLimitService) failed(x *Exchange, err error) Verdict {
	if wire.OutcomeOf(err) == wire.GivenUp {
		return x.stop(decision.Limit, x.gone(), s.by, err)
	}
	s.outage.begin(x.gateway.log, s.by, err)
	x.gateway.metrics.LimitStoreFailed()
	if s.deny {
		return x.stop(decision.Limit, decision.LimitStoreDown, s.by, err)
	}
	x.Decision.Steps[decision.Limit] = decision.LimitStoreDown
	return Continue
}

// refuse makes what the service says the client's answer.
func (s *rateLimitService) refuse(x *Exchange, answer *limiter.Answer) Verdict {
	x.ToClient.SetName(nameRateLimited, valueTrue)
	x.reply = localReply{status: 429, ready: true, exhausted: x.Snap.limits.exhausted, body: string(answer.Body), contentType: answer.ContentType}
	if x.reply.body != "" && x.reply.contentType == nil {
		x.reply.contentType = textPlain
	}
	x.auditLimit(s.by, false)
	return x.stop(decision.Limit, decision.OverLimit, s.by, nil)
}

// Respond tells the client what the service has for it, whoever answers.
func (l *limitService) Respond(x *Exchange) {
	if x.limitAnswer == nil {
		return
	}
	for _, line := range x.limitAnswer.ToClient {
		x.ToClient.AddLine(line)
	}
}

// explain tells what would be asked.
func (l *limitService) explain(x *Exchange) []string {
	s := x.Snap.limits.service
	var notes []string
	for i := range l.descriptors {
		d := &l.descriptors[i]
		if said, whole := d.Tell(x); whole {
			notes = append(notes, "descriptor: "+said)
		} else {
			notes = append(notes, "labels: "+d.String()+": the request does not have all of them")
		}
	}
	if !slices.ContainsFunc(notes, func(n string) bool { return n[0] == 'd' }) {
		return append(notes, s.by+" would not be asked")
	}
	notes = append(notes, fmt.Sprintf("%s would be asked at %s about the domain %s", s.by, s.address, x.Snap.limits.table.Domain))
	if s.deny {
		return append(notes, "if it cannot be, the answer is 500")
	}
	return append(notes, "if it cannot be, the request passes")
}

// limitNamespace is the name under which Envoy keeps what limits say for the log.
const limitNamespace = "envoy.filters.http.ratelimit"

// keepLimitMetadata keeps what a service says for the access log.
func (x *Exchange) keepLimitMetadata(said map[string]any) {
	if said == nil {
		return
	}
	if x.metadata == nil {
		x.metadata = authn.Metadata{}
	}
	x.metadata[limitNamespace] = said
}

// limitMetadata is what a limit that the request is over says, under Edge Stack's names.
func (x *Exchange) limitMetadata() (map[string]any, bool) {
	i := x.judged.Worst()
	if i < 0 {
		return nil, false
	}
	action := "Enforce"
	if x.judged.Limits[i].LogOnly {
		action = "LogOnly"
	}
	return map[string]any{
		"aes.ratelimit.name": x.judged.Limits[i].Name, "aes.ratelimit.action": action,
		"aes.ratelimit.retry_after": x.judged.Takes[i].RetrySeconds(),
	}, true
}

// auditLimit tells who listens that a request is one too many. It is let pass all the same
// by a limit that only logs.
func (x *Exchange) auditLimit(by string, passes bool) {
	if x.gateway.opts.Audit == nil || x.Dry {
		return
	}
	e := decision.Event{
		Kind: decision.RateLimited, Allowed: passes, Reason: decision.OverLimit, Time: x.Now, Duration: x.gateway.clock().Sub(x.Now), By: by,
		RequestID: string(x.requestID), Client: x.Client, Host: string(x.Req.Host()), Path: string(x.Req.Path()),
	}
	if !passes {
		e.Status = 429
	}
	if id := x.call.Identity; id != nil {
		e.Subject, e.Issuer = id.Subject, id.Issuer
	}
	x.gateway.opts.Audit(&e)
}

// chosenRateLimitService returns the RateLimitService that counts, nil for none: the first
// of those that there are. none is reported where more than one are no one.
func (c *compiler) chosenRateLimitService() (first *config.RateLimitService, none bool) {
	all := c.world.RateLimitServices
	if len(all) == 0 {
		return nil, false
	}
	first = &all[0]
	none = c.g.opts.Limits.OneService && len(all) > 1
	for i := range all[1:] {
		p := all[i+1].Problem("", fmt.Sprintf("only one RateLimitService can be asked, and %s comes first", first.Ref()), config.ObjectIgnored)
		if p.Instead = "it is ignored"; none {
			p.Instead = "nobody is asked, and nothing is limited"
		}
		c.problems = append(c.problems, p)
	}
	return first, none
}

// uncounted notes that RateLimits count nothing where somebody else is asked.
func (c *compiler) uncounted() {
	for i := range c.world.RateLimits {
		p := c.world.RateLimits[i].Problem("", fmt.Sprintf("%s is asked about requests instead", c.asked.Ref()), config.ObjectIgnored)
		p.Instead = "its limits count nothing"
		c.problems = append(c.problems, p)
	}
}
