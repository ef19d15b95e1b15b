package gateway

import (
	"errors"
	"io"
	"time"

	"legate/decision"
	"legate/upstream"
	"legate/wire"
)

// A proxy is the stage that asks a route's upstream. What follows its Enter is the
// answer's way back: see answer.go.
type proxy struct{ route *Route }

// Enter sends the request and waits for the answer's head. Budget: 0 allocs.
func (p *proxy) Enter(x *Exchange) Verdict {
	r := p.route
	if x.Req.UpgradeTo && p.upgrade(x) == Stop {
		return Stop
	}
	x.upstream = r.upstream
	x.stream.SetIdle(r.idle)
	if r.affinity != nil { // before the Mapping's own edits, as Envoy has it
		x.choice.Hash = r.affinity.hash(x)
	}
	p.edit(x)
	if x.Dry {
		return Continue
	}
	if x.Req.NoBody {
		x.complete(x.Now)
	}
	for stale := 0; ; {
		next, verdict := p.try(x, stale)
		switch next {
		case final:
			x.tried()
			return verdict
		case replay:
			stale++
		case tryAgain:
			stale = 0
		}
		x.retries++
	}
}

// A following is what comes after a try.
type following uint8

const (
	final    following = iota
	replay             // the same once more: nobody has acted on the request
	tryAgain           // because the retry_policy says so
)

// edit writes down what changes on the way to the upstream: the Mapping's own wishes,
// and then path and authority, which they still see as they came.
func (p *proxy) edit(x *Exchange) {
	r := p.route
	if r.timeoutMS != nil && !x.Snap.edge.suppressEnvoy {
		x.ToUp.Add(wire.FieldXEnvoyExpectedRqTimeoutMs, r.timeoutMS)
	}
	if x.Req.Has(wire.FieldTE) && takesTrailers(x.Req) {
		x.ToUp.Set(wire.FieldTE, valueTrailers)
	}
	x.apply(&r.Request, &x.ToUp)
	if r.linkerd != nil {
		x.ToUp.AddName(nameLinkerd, r.linkerd)
	}
	x.tellTrace()
	if r.hostRewrite != nil {
		x.ToUp.Host = r.hostRewrite
	}
	start := len(x.arena)
	out, rewritten := r.RewritePath(append(x.arena, '/'), x.Req.Path())
	if !rewritten {
		return
	}
	x.arena = out
	if len(out) > start+1 && out[start+1] == '/' {
		start++ // it begins as a path must; one that does not is made to
	}
	x.ToUp.Path = out[start:len(out):len(out)]
	if !x.Snap.edge.suppressEnvoy {
		x.ToUp.Set(wire.FieldXEnvoyOriginalPath, x.pathAndQuery())
	}
}

// nameLinkerd is the field by which a Linkerd proxy learns which service is meant.
var nameLinkerd = []byte("l5d-dst-override")

var valueTrailers = []byte("trailers")

// takesTrailers reports whether the client wants trailers: of TE, which speaks of one
// connection only, that is all that travels on.
func takesTrailers(req *wire.Head) bool {
	for n := 0; ; n++ {
		list, ok := req.Nth(wire.FieldTE, n)
		if !ok {
			return false
		}
		for len(list) > 0 {
			var token []byte
			if token, list = wire.NextToken(list); wire.EqualFold(token, valueTrailers) {
				return true
			}
		}
	}
}

// pathAndQuery returns the path that was matched, with the query.
func (x *Exchange) pathAndQuery() []byte { return x.withQuery(x.Req.Path()) }

// withQuery returns a path with the query of the request.
func (x *Exchange) withQuery(path []byte) []byte {
	start := len(x.arena)
	x.arena = append(x.arena, path...)
	if q, ok := x.Req.Query(); ok {
		x.arena = append(append(x.arena, '?'), q...)
	}
	return x.arena[start:len(x.arena):len(x.arena)]
}

// try carries the request over one connection. stale counts the tries before this one
// whose connection turned out to be closed before a byte of the request was seen.
func (p *proxy) try(x *Exchange, stale int) (following, Verdict) {
	x.sent = time.Time{}
	link, reason, err := p.open(x, stale)
	if err != nil {
		if at, ok := errors.AsType[*upstream.EndpointError](err); ok {
			x.endpoint = at.Endpoint
		}
		switch {
		case reason == decision.DialTimeout && x.timeoutPassed():
			reason = decision.UpstreamTimeout
		case reason == decision.ClientGone:
			reason = x.gone()
		}
		return p.failed(x, reason, err)
	}
	x.link = link
	x.endpoint = link.Endpoint()
	if err = x.send(); err == nil {
		err = x.awaitHead()
	}
	if err == nil && x.ToUp.Upgrade != nil {
		err = x.judgeUpgrade()
	}
	if err == nil {
		return p.answered(x)
	}
	again := stale < maxTries && link.Untouched() && x.replayable()
	reused := link.Reused()
	if r := p.route.retry; r != nil && r.wantsReason(x.upstreamReason(err)) {
		x.saveRest() // before the carrier is told to stop
	}
	reason, err = x.failure(err)
	x.dropLink()
	if again && (reused && reason == decision.UpstreamResetBeforeHead || reason == decision.UpstreamRefusedStream) {
		return replay, Continue
	}
	return p.failed(x, reason, err)
}

// answered decides about an answer whose head is there.
func (p *proxy) answered(x *Exchange) (following, Verdict) {
	r := p.route.retry
	if r == nil || !r.wantsStatus(x) {
		return final, Continue
	}
	x.tried()
	if x.tries >= r.times {
		if r.times == 0 { // there is a policy for the time of the only try
			return final, Continue
		}
		x.Decision.Steps[decision.Proxy] = decision.RetriesExhausted
		return final, Continue
	}
	if x.timeoutPassed() || !r.admit(x) {
		return final, Continue
	}
	x.discard()
	return p.again(x)
}

// failed decides about a request without an answer, whose connection is gone.
func (p *proxy) failed(x *Exchange, reason decision.Reason, err error) (following, Verdict) {
	r := p.route.retry
	x.tried()
	x.headAfter = 0 // of a switch that may not be
	p.route.upstreamMetrics.Failed(reason, false)
	if r == nil || !r.wantsReason(reason) || x.timeoutPassed() || !r.admit(x) {
		return final, x.stop(decision.Proxy, reason, p.route.By, err)
	}
	return p.again(x)
}

// again prepares another try, at another endpoint if there is one.
func (p *proxy) again(x *Exchange) (following, Verdict) {
	x.choice.Avoid = x.endpoint
	if p.pause(x) == Stop {
		return final, Stop
	}
	return tryAgain, Continue
}

const (
	// maxPooledTries is how many stale connections are tried before a fresh one.
	maxPooledTries = 2
	// maxTries is how often a request is sent again that was not acted on.
	maxTries = 3
)

func (p *proxy) open(x *Exchange, stale int) (wire.Link, decision.Reason, error) {
	if done := x.finished.Load(); done > 0 && p.route.timeout > 0 {
		x.choice.By = x.Now.Add(time.Duration(done) + p.route.timeout)
	}
	if stale < maxPooledTries {
		return p.route.upstream.Open(x.Now, x.choice)
	}
	return p.route.upstream.Fresh(x.Now, x.choice)
}

// send writes the head and a body that is at hand; a longer body is carried by a
// goroutine of its own while the answer is awaited.
func (x *Exchange) send() error {
	if err := x.link.WriteHead(x.Req, &x.ToUp, x.requestLength()); err != nil {
		return err
	}
	short := x.Req.NoBody
	if !short {
		if err := x.keepShort(); err != nil {
			return err
		}
		short = x.bodyWhole && x.link.Takes(x.bodyBytes)
	}
	if !short {
		// The head goes first, while what fails can still be tried again: the upstream
		// may have something to say to it.
		if err := x.link.Flush(); err != nil {
			return err
		}
		if x.finished.Load() > 0 { // another try: its time does not count from the end of the first
			x.sent = x.gateway.clock()
		}
		x.startPump()
		return nil
	}
	if x.body != nil {
		if _, err := x.link.WriteBody(x.body[:x.bodyBytes]); err != nil {
			return err
		}
	}
	if err := x.link.EndRequest(x.stream.Trailer()); err != nil {
		return err
	}
	x.sent = x.gateway.clock()
	x.complete(x.sent)
	return nil
}

// complete notes that the request has been received whole: from then on the Mapping's
// timeout counts, however often it is sent.
func (x *Exchange) complete(now time.Time) {
	if x.finished.CompareAndSwap(0, int64(max(now.Sub(x.Now), 1))) {
		x.tellWhole()
	}
}

// requestLength is the length of the body that the upstream gets.
func (x *Exchange) requestLength() int64 {
	if x.buffered && x.stream.Trailer() == nil {
		return int64(x.bodyBytes)
	}
	if x.web != nil && x.web.asked == webText {
		return wire.LengthUnknown // text is longer than what it stands for
	}
	return x.Req.Length
}

// keepShort reads a body that is at hand and keeps it, for a second try too. One of
// unknown length may turn out to be too long to be kept whole.
func (x *Exchange) keepShort() error {
	if x.body != nil || x.savedWhole || !x.stream.Ready() || x.Req.Length > int64(wire.Large.Size()) {
		return nil
	}
	x.body = bodyPool(x.Req.Length).Get()
	for x.bodyBytes = 0; x.bodyBytes < len(x.body); {
		n, err := x.stream.ReadBody(x.body[x.bodyBytes:])
		x.bodyBytes += n
		if errors.Is(err, io.EOF) || int64(x.bodyBytes) == x.Req.Length {
			x.bodyWhole = true
			return nil
		}
		if err != nil {
			return &clientError{err}
		}
	}
	return nil
}

func bodyPool(length int64) *wire.Pool {
	switch {
	case length >= 0 && length <= int64(wire.Small.Size()):
		return wire.Small
	case length >= 0 && length <= int64(wire.Medium.Size()):
		return wire.Medium
	}
	return wire.Large
}

// replayable reports whether the whole request can be sent again.
func (x *Exchange) replayable() bool {
	return x.Req.NoBody || x.bodyWhole || x.savedSoFar() || !x.pumping && x.stream.BytesIn() == 0
}

// awaitHead reads the answer's head, passing interim answers on.
func (x *Exchange) awaitHead() error {
	for {
		err := x.link.ReadHead(&x.Resp, x.deadline(x.sentAt()), x.tickFunc)
		if err != nil {
			return err
		}
		if x.Resp.Status >= 200 || x.Resp.Status == 101 {
			sent := x.sent
			if sent.IsZero() {
				sent = x.sentAt() // first: a carrier may be about to note a later time
			}
			x.headAfter = max(x.gateway.clock().Sub(sent), 1)
			return nil
		}
		if err := x.passInterim(); err != nil {
			return &clientError{err}
		}
	}
}

// passInterim forwards a 1xx answer (RFC 9110 §15.2) to clients that know them.
func (x *Exchange) passInterim() error {
	if x.Req.Major == 1 && x.Req.Minor == 0 {
		return nil
	}
	if err := x.stream.WriteHead(x.Resp.Status, &x.Resp, &x.Snap.edge.interim, 0); err != nil {
		return err
	}
	return x.stream.Flush()
}

// sentAt is when the upstream could begin to work: when the request was complete,
// or when it was accepted if it still is not.
func (x *Exchange) sentAt() time.Time {
	if d := x.finished.Load(); d > 0 {
		return x.Now.Add(time.Duration(d))
	}
	return x.Now
}

// deadline is until when the answer may be waited for: the Mapping's timeout counts
// from the end of the request, the idle timeout from the last byte that moved.
func (x *Exchange) deadline(now time.Time) time.Time {
	var by time.Time
	if idle := x.Route.idle; idle > 0 {
		by = now.Add(idle)
		if moved := x.moved.Load(); moved > 0 && x.pumping {
			by = x.Now.Add(time.Duration(moved) + idle)
		}
	}
	if done := x.finished.Load(); done > 0 && x.Route.timeout > 0 {
		if end := x.Now.Add(time.Duration(done) + x.Route.timeout); by.IsZero() || end.Before(by) {
			by = end
		}
	}
	if end := x.tryEnd(); !end.IsZero() && (by.IsZero() || end.Before(by)) {
		by = end
	}
	return by
}

// tryEnd is when this try has taken too long for an answer's head; zero for never.
func (x *Exchange) tryEnd() time.Time {
	r, done := x.Route.retry, x.finished.Load()
	if r == nil || r.perTry == 0 || done == 0 || x.headAfter > 0 {
		return time.Time{}
	}
	if !x.sent.IsZero() {
		return x.sent.Add(r.perTry)
	}
	return x.Now.Add(time.Duration(done) + r.perTry)
}

// tick is asked while the answer is awaited: whether the client is still there, and
// until when to wait now.
func (x *Exchange) tick(by time.Time) (time.Time, bool) {
	if !x.pumping {
		return by, !x.stream.Gone()
	}
	done := time.Duration(x.finished.Load())
	if done > 0 || x.moved.Load() > 0 {
		by = x.deadline(x.Now)
	}
	// Until the request is complete the goroutine that reads the client notices its
	// going. Then it is for us to look, but not in the moment of completion: a client
	// that has said all may close its direction.
	return by, done == 0 || x.gateway.clock().Sub(x.Now)-done < goneAfter || !x.stream.Gone()
}

// goneAfter is how long after its request a client that closes its direction still
// counts as one that waits; shorter than a tick, so that the next one looks.
const goneAfter = 500 * time.Millisecond

// clientError marks an error as the client's side's.
type clientError struct{ err error }

func (e *clientError) Error() string { return "client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// clientFault returns the client's part in an exchange that ended with err, nil for
// none: that of err, or of the carrier of the request body, which must have come to rest.
func (x *Exchange) clientFault(err error) *clientError {
	var client *clientError
	if errors.As(err, &client) || errors.As(x.pumpErr, &client) {
		return client
	}
	return nil
}

// failure says why there is no answer, once the carrier of the request body has
// come to rest.
func (x *Exchange) failure(err error) (decision.Reason, error) {
	timedOut := wire.OutcomeOf(err) == wire.Timeout
	complete := x.finished.Load() > 0
	x.stopPump()
	if x.defective() {
		return decision.Internal, x.pumpErr
	}
	if client := x.clientFault(err); client != nil {
		return x.clientReason(client.err), client.err
	}
	if timedOut && !x.timeoutPassed() {
		if end := x.tryEnd(); !end.IsZero() && !x.gateway.clock().Before(end) {
			return decision.UpstreamTryTimeout, err
		}
		if complete {
			return decision.UpstreamIdle, err
		}
		return decision.StreamIdle, err
	}
	return x.upstreamReason(err), err
}

// timeoutPassed reports whether the Mapping's timeout has.
func (x *Exchange) timeoutPassed() bool {
	done := x.finished.Load()
	return done > 0 && x.Route.timeout > 0 && time.Duration(done)+x.Route.timeout <= x.gateway.clock().Sub(x.Now)
}

func (x *Exchange) clientReason(err error) decision.Reason {
	if perr, ok := errors.AsType[*wire.ProtocolError](err); ok {
		return refusals[perr.Kind]
	}
	if wire.OutcomeOf(err) == wire.Timeout {
		return decision.StreamIdle
	}
	return x.gone()
}

func (x *Exchange) upstreamReason(err error) decision.Reason {
	switch wire.OutcomeOf(err) {
	case wire.Timeout:
		return decision.UpstreamTimeout
	case wire.Mangled:
		return decision.UpstreamBadAnswer
	case wire.TooLarge:
		return decision.UpstreamHeaderTooLarge
	case wire.GivenUp:
		return x.gone()
	case wire.Refused:
		return decision.UpstreamRefusedStream
	case wire.RemoteReset:
		return decision.UpstreamRemoteReset
	case wire.Reset:
		if wire.CertificateRefused(err) {
			return decision.TLSFailed
		}
	}
	return decision.UpstreamResetBeforeHead
}

// dropLink breaks the connection: what came over it cannot be trusted any more.
func (x *Exchange) dropLink() {
	x.keepEarly()
	x.link.Abort()
	x.link.Release()
	x.link = nil
}
