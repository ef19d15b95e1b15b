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

var errBodyTooLarge = errors.New("the request's body is larger than buffer.max_request_bytes")

// Enter reads the body. It keeps as much as has come, not as much as is announced.
// Budget: 0 allocs for bodies up to 64 KiB.
func (b *buffer) Enter(x *Exchange) Verdict {
	if x.Req.NoBody {
		return Continue
	}
	if x.Req.Length > int64(b.max) {
		return x.stop(decision.Accept, decision.BodyTooLarge, b.by, errBodyTooLarge)
	}
	x.stream.SetIdle(x.Route.idle)
	x.body, x.bodyBytes = bodyPool(x.Req.Length).Get(), 0
	for {
		n, err := x.stream.ReadBody(x.body[x.bodyBytes:])
		x.bodyBytes += n
		switch {
		case x.bodyBytes > b.max:
			return x.stop(decision.Accept, decision.BodyTooLarge, b.by, errBodyTooLarge)
		case errors.Is(err, io.EOF):
			x.bodyWhole, x.buffered = true, true
			return Continue
		case err != nil:
			return x.stop(decision.Accept, x.clientReason(err), b.by, &clientError{err})
		}
		if x.bodyBytes == len(x.body) {
			x.growBody()
		}
	}
}

// growBody makes room for more of the body.
func (x *Exchange) growBody() {
	larger := make([]byte, 2*len(x.body))
	copy(larger, x.body[:x.bodyBytes])
	bodyPool(int64(len(x.body))).Put(x.body)
	x.body = larger
}
