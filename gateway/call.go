package gateway

import (
	"cmp"
	"errors"
	"io"

	"legate/authn"
	"legate/decision"
)

// fillCall shows the request to those who decide about it. Budget: 0 allocs.
func (x *Exchange) fillCall() *authn.Call {
	x.call = authn.Call{
		Head:      x.Req,
		Edits:     &x.ToUp,
		Peer:      x.peer,
		Client:    x.Client,
		Secure:    x.match.Secure,
		Path:      x.Req.Path(),
		RawPath:   x.path,
		RequestID: x.requestID,
		Now:       x.Now,
		Dry:       x.Dry,
		ToClient:  &x.ToClient,
		Memory:    &x.arena,
		Tick:      x.tickFunc,
		Metadata:  &x.metadata,
		Service:   x.Route.service,
	}
	if !x.Req.NoBody && !x.Dry {
		x.call.Body = x
	}
	return &x.call
}

// take makes the answer of who decided about x.call the client's.
func (x *Exchange) take(s decision.Stage) Verdict {
	r := &x.call.Reply
	if client, ok := errors.AsType[*clientError](r.Err); ok {
		return x.stop(s, x.clientReason(client.err), r.By, client.err)
	}
	if r.Status == 0 { // the reason's own answer
		return x.stop(s, r.Reason, r.By, r.Err)
	}
	x.reply = localReply{status: r.Status, contentType: r.ContentType, headers: r.Headers, body: string(r.Body), ready: true}
	return x.stop(s, r.Reason, r.By, r.Err)
}

// Peek returns the beginning of the request's body, as authn.BodyReader says. What was
// read is sent to the upstream all the same.
func (x *Exchange) Peek(limit int) (body []byte, whole bool, err error) {
	if x.body == nil {
		x.stream.SetIdle(cmp.Or(x.Route.idle, endpointIdle))
		x.body, x.bodyBytes = bodyPool(x.Req.Length).Get(), 0
	}
	for !x.bodyWhole && x.bodyBytes <= limit { // one more byte tells that there is more
		if x.bodyBytes == len(x.body) {
			x.growBody()
		}
		n, err := x.stream.ReadBody(x.body[x.bodyBytes:])
		x.bodyBytes += n
		switch {
		case errors.Is(err, io.EOF):
			x.bodyWhole, x.buffered = true, true
		case err != nil:
			return nil, false, &clientError{err}
		}
	}
	return x.body[:min(x.bodyBytes, limit)], x.bodyWhole && x.bodyBytes <= limit, nil
}
