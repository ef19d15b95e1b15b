package gateway

import (
	"errors"
	"io"

	"legate/decision"
)

// A buffer is the stage that receives a request whole before anything is done about it.
type buffer struct {
	max int
	by  string
}

// buffer returns nil where the Module does not ask for it.
func (c *compiler) buffer() Stage {
	m := c.defaults()
	if m.BufferMaxRequestBytes == nil {
		return nil
	}
	ref := m.Ref()
	return &buffer{max: *m.BufferMaxRequestBytes, by: ref.String()}
}

var errBodyTooLarge = errors.New("the request's body is larger than what may be held back")

// Enter reads the body. It keeps as much as has come, not as much as is announced.
// Budget: 0 allocs for bodies up to 64 KiB.
func (b *buffer) Enter(x *Exchange) Verdict {
	if x.Req.NoBody {
		return Continue
	}
	x.stream.SetIdle(x.Route.idle)
	if err := x.receive(int64(b.max)); err != nil {
		return x.stop(decision.Accept, x.bodyFailure(err), b.by, err)
	}
	return Continue
}

// receive reads the body whole, unless that was done before, and keeps it. More than
// limit bytes are errBodyTooLarge, what else is wrong is a *clientError.
// Budget: 0 allocs for bodies up to 64 KiB.
func (x *Exchange) receive(limit int64) error {
	switch {
	case x.buffered && int64(x.bodyBytes) > limit, !x.buffered && x.Req.Length > limit:
		return errBodyTooLarge
	case x.buffered:
		return nil
	}
	x.body, x.bodyBytes = bodyPool(x.Req.Length).Get(), 0
	for {
		n, err := x.stream.ReadBody(x.body[x.bodyBytes:])
		x.bodyBytes += n
		switch {
		case int64(x.bodyBytes) > limit:
			return errBodyTooLarge
		case errors.Is(err, io.EOF):
			x.bodyWhole, x.buffered = true, true
			return nil
		case err != nil:
			return &clientError{err}
		}
		if x.bodyBytes == len(x.body) {
			x.growBody()
		}
	}
}

// bodyFailure says why a body was not received whole.
func (x *Exchange) bodyFailure(err error) decision.Reason {
	if client, ok := errors.AsType[*clientError](err); ok {
		return x.clientReason(client.err)
	}
	return decision.BodyTooLarge
}

// growBody makes room for more of the body.
func (x *Exchange) growBody() {
	larger := make([]byte, 2*len(x.body))
	copy(larger, x.body[:x.bodyBytes])
	bodyPool(int64(len(x.body))).Put(x.body)
	x.body = larger
}
