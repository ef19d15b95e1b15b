package gateway

import "legate/wire"

// saves reports whether what is carried of the request's body is also kept, as it may
// be sent again.
func (x *Exchange) saves() bool {
	return x.Route.retry != nil && x.Route.retry.times > x.tries && x.Req.Length <= x.Snap.edge.bufferLimit
}

// save adds to what is kept of the body, or forgets it all where that is too much.
func (x *Exchange) save(p []byte) {
	switch {
	case x.savedTooMuch:
	case int64(len(x.saved)+len(p)) > x.Snap.edge.bufferLimit:
		x.saved, x.savedTooMuch = nil, true
	default:
		if x.saved == nil && x.Req.Length > 0 {
			x.saved = make([]byte, 0, x.Req.Length)
		}
		x.saved = append(x.saved, p...)
	}
}

// saveRest sees to it that the request can be sent again, and reports whether it can.
// While a body of known length is still on its way to a connection that is of no use
// any more, the rest of it is waited for: it will be needed.
func (x *Exchange) saveRest() bool {
	x.waitPump() // the last of it may have been answered before we know that it was sent
	if x.pumping && x.finished.Load() == 0 && x.saves() && x.Req.Length != wire.LengthUnknown {
		x.link.Abort()
		x.pumpDone.Wait()
	}
	return x.Req.NoBody || x.keptWithin() || x.savedSoFar() || !x.pumping && x.stream.BytesIn() == 0
}

// keptWithin reports whether a short body is kept that is not too long to be sent again, or
// that was held back whole as its author asked for.
func (x *Exchange) keptWithin() bool {
	return x.bodyWhole && (x.buffered || int64(x.bodyBytes) <= x.Snap.edge.bufferLimit)
}

// savedSoFar reports whether all of the body is kept. The carrier tells when it is
// complete.
func (x *Exchange) savedSoFar() bool { return x.finished.Load() > 0 && x.savedWhole }
