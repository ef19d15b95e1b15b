package gateway

import (
	"errors"
	"io"
	"time"

	"legate/wire"
)

// startPump lets a goroutine of its own carry the request's body, so that an answer
// that comes early is not kept waiting.
func (x *Exchange) startPump() {
	x.pumping = true
	x.pumpErr = nil
	x.carried.Store(false)
	x.pumpDone.Add(1)
	go x.pumpFunc()
}

// pump carries the body with one bounded buffer: it reads no more than the upstream
// takes. What went wrong is in pumpErr once pumpDone is.
func (x *Exchange) pump() {
	defer x.pumpDone.Done()
	defer func() {
		if cause := recover(); cause != nil {
			x.pumpErr = x.gateway.defect(cause)
			x.link.Abort()
		}
	}()
	x.pumpErr = x.copyRequest()
	if x.pumpErr == nil {
		x.carried.Store(true)
		x.complete(x.gateway.clock())
		x.link.Wake() // the deadline is known now
		return
	}
	if _, client := x.pumpErr.(*clientError); client { //nolint:errorlint // made here, never wrapped
		x.link.Abort() // half a request is worth no answer
	}
}

// defective reports whether the carrier, which has come to rest, met a defect of ours.
func (x *Exchange) defective() bool {
	_, ok := x.pumpErr.(*defectError) //nolint:errorlint // made here, never wrapped
	return ok
}

func (x *Exchange) copyRequest() error {
	if x.savedWhole { // another try
		x.ending.Store(true)
		if _, err := x.link.WriteBody(x.saved); err != nil {
			return err
		}
		return x.link.EndRequest(x.stream.Trailer())
	}
	saves := x.saves()
	keeps := saves || x.mirrors && x.Req.Length <= x.Snap.edge.bufferLimit
	if x.body != nil {
		if keeps && !x.bodyWhole {
			x.save(x.body[:x.bodyBytes])
		}
		x.ending.Store(x.bodyWhole)
		if _, err := x.link.WriteBody(x.body[:x.bodyBytes]); err != nil {
			return err
		}
		if x.bodyWhole {
			return x.link.EndRequest(x.stream.Trailer())
		}
	}
	b := wire.Large.Get()
	defer wire.Large.Put(b)
	var broken error // of the connection, while what is left of the body is kept for another
	for {
		n, err := x.stream.ReadBody(b)
		if errors.Is(err, io.EOF) || x.stream.BytesIn() == x.Req.Length {
			x.ending.Store(true)
		}
		if n > 0 {
			x.moved.Store(int64(x.gateway.clock().Sub(x.Now)))
			if keeps {
				x.save(b[:n])
			}
			if broken == nil {
				_, broken = x.link.WriteBody(b[:n])
			}
			if broken != nil && (!saves || x.savedTooMuch || x.Req.Length == wire.LengthUnknown) {
				return broken
			}
		}
		if errors.Is(err, io.EOF) {
			x.savedWhole = keeps && !x.savedTooMuch
			if broken != nil {
				x.complete(x.gateway.clock())
				return broken
			}
			return x.link.EndRequest(x.stream.Trailer())
		}
		if errors.Is(err, wire.ErrStopped) {
			return err // it was we who stopped; the client has done nothing
		}
		if err != nil {
			return &clientError{err}
		}
		if broken == nil && !x.stream.Ready() {
			broken = x.link.Flush()
		}
	}
}

// stopPump ends the carrying, if it goes on, and waits for its end.
func (x *Exchange) stopPump() {
	if !x.pumping {
		return
	}
	if x.finished.Load() == 0 {
		x.stream.StopReading()
	}
	if !x.carried.Load() && x.link != nil {
		x.link.Abort()
	}
	x.pumpDone.Wait()
	x.pumping = false
}

// maxEnding is how long the last bytes of a request may take once its answer is whole.
const maxEnding = time.Second

// waitPump gives a request whose last bytes are on their way the time to be complete,
// so that both connections can be kept: an upstream may have answered the end of a
// request before we know that it was sent.
func (x *Exchange) waitPump() {
	if !x.pumping || !x.ending.Load() {
		return
	}
	if !x.carried.Load() {
		patience := time.AfterFunc(maxEnding, x.link.Abort)
		defer func() {
			if !patience.Stop() {
				x.link.Abort() // now rather than when somebody else has the connection
			}
		}()
	}
	x.pumpDone.Wait()
	x.pumping = false
}
