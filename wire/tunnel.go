package wire

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// A Duplex is a byte stream whose directions end apart: one side of a Tunnel. One
// goroutine may read while another writes; StopReading and Abort may be called by
// anyone.
type Duplex interface {
	// ReadFirst waits, holding no buffer, and reads what comes into one of pool's, which
	// is the caller's if n > 0. io.EOF is an orderly end.
	ReadFirst(pool *Pool) (b []byte, n int, err error)

	// ReadBy sets when a ReadFirst that has nothing to return gives up with
	// os.ErrDeadlineExceeded; a zero by means never.
	ReadBy(by, now time.Time)

	// Write writes all of p.
	Write(p []byte) (int, error)

	// WriteIdle sets how long a Write may rest without a byte being taken before it gives
	// up with os.ErrDeadlineExceeded; 0 is for ever.
	WriteIdle(d time.Duration)

	// CloseWrite ends the direction that Write writes to.
	CloseWrite() error

	// StopReading makes a ReadFirst, now or later, return an error.
	StopReading()

	// Abort breaks both directions, so that whoever waits returns and the other side can
	// tell it from an orderly end.
	Abort()
}

// A Side is a side of a Tunnel.
type Side uint8

// The sides.
const (
	Near Side = iota // the client
	Far              // the endpoint
)

// String names the side.
func (s Side) String() string {
	if s == Near {
		return "client"
	}
	return "endpoint"
}

// A TunnelError says why a tunnel ended before both of its directions had.
type TunnelError struct {
	Side    Side // whose connection broke
	Rested  bool // nothing broke: nothing moved for too long
	Stopped bool // nothing broke: Stop was called
	Err     error
}

// Error names the side and the cause.
func (e *TunnelError) Error() string {
	switch {
	case e.Stopped:
		return "tunnel was stopped"
	case e.Rested:
		return "tunnel rested for too long"
	}
	return "tunnel broke at the " + e.Side.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *TunnelError) Unwrap() error { return e.Err }

// A Tunnel carries bytes both ways between a client and an endpoint. An end that one
// side says is told to the other, and the other direction goes on; what breaks one
// side breaks the other. A tunnel that rests holds no buffer.
type Tunnel struct {
	Near, Far Duplex
	Idle      time.Duration // how long it may rest, both directions together; 0 is for ever
	Now       func() time.Time

	up, down atomic.Int64
	begin    time.Time
	last     atomic.Int64 // when a byte last moved, in nanoseconds since begin
	failed   atomic.Pointer[TunnelError]
	patience atomic.Pointer[time.Timer] // of Stop
}

// Up returns how many bytes have gone from the client to the endpoint so far.
func (t *Tunnel) Up() int64 { return t.up.Load() }

// Down returns how many bytes have gone from the endpoint to the client so far.
func (t *Tunnel) Down() int64 { return t.down.Load() }

// Run carries until both directions have ended, something breaks, or nothing has
// moved for the idle time (twice that, if one side does not take what is sent to it).
// Unless something broke, both sides have been told the end. They are the caller's to
// close. The error is nil or a *TunnelError.
func (t *Tunnel) Run() error {
	t.begin = t.Now()
	t.Near.WriteIdle(t.Idle)
	t.Far.WriteIdle(t.Idle)
	done := make(chan struct{})
	go t.carryUp(done)
	t.carry(t.Far, t.Near, &t.down, Far)
	<-done
	err := t.failed.Load()
	if err == nil {
		return nil
	}
	if timer := t.patience.Load(); timer != nil {
		timer.Stop()
	}
	if err.orderly() {
		_ = t.Near.CloseWrite() // who is gone by now needs no end
		_ = t.Far.CloseWrite()
	}
	return err
}

// stopTime is how long a tunnel that is stopped may take to write what it has read.
const stopTime = time.Second

// Stop ends the tunnel in order: what was read is written, if that does not take longer
// than a moment, and then both sides are told the end. Anyone may call it.
func (t *Tunnel) Stop() {
	t.patience.Store(time.AfterFunc(stopTime, t.breakOff))
	t.fail(Near, ErrStopped)
}

func (t *Tunnel) breakOff() {
	t.Near.Abort()
	t.Far.Abort()
}

func (t *Tunnel) carryUp(done chan<- struct{}) {
	defer close(done)
	t.carry(t.Near, t.Far, &t.up, Near)
}

// carry moves one direction's bytes until their source ends. from is the side of src.
func (t *Tunnel) carry(src, dst Duplex, moved *atomic.Int64, from Side) {
	much := false
	for {
		src.ReadBy(t.deadline(), t.Now())
		n, readErr, writeErr := transfer(src, dst, much)
		switch {
		case writeErr != nil:
			t.fail(1-from, writeErr)
			return
		case n > 0:
			much = n >= muchAtOnce
			moved.Add(int64(n))
			t.last.Store(int64(t.Now().Sub(t.begin)))
		case errors.Is(readErr, io.EOF):
			_ = dst.CloseWrite() // if it is gone, the other direction sees how
			return
		case errors.Is(readErr, os.ErrDeadlineExceeded) && t.Now().Before(t.deadline()): // only this direction rests
		default:
			t.fail(from, readErr)
			return
		}
	}
}

// muchAtOnce is from how many bytes on at a time moving them is cheaper than copying.
const muchAtOnce = 16 << 10

// transfer waits for bytes and brings those that have come to dst: copying them, or
// within the kernel where much is coming and it can.
func transfer(src, dst Duplex, much bool) (n int, readErr, writeErr error) {
	if e := endOf(src); much && e != nil {
		if n, ok, readErr, writeErr := e.move(dst); ok {
			return n, readErr, writeErr
		}
	}
	b, n, readErr := src.ReadFirst(Large)
	if n > 0 {
		_, writeErr = dst.Write(b[:n])
		Large.Put(b)
	}
	return n, readErr, writeErr
}

// deadline returns until when the tunnel may rest, as things are; zero for ever.
func (t *Tunnel) deadline() time.Time {
	if t.Idle <= 0 {
		return time.Time{}
	}
	return t.begin.Add(time.Duration(t.last.Load()) + t.Idle)
}

// fail notes what ended the tunnel, if nothing did before, and has the other direction
// end too.
func (t *Tunnel) fail(side Side, err error) {
	e := &TunnelError{Side: side, Rested: errors.Is(err, os.ErrDeadlineExceeded), Stopped: errors.Is(err, ErrStopped), Err: err}
	if !t.failed.CompareAndSwap(nil, e) {
		return
	}
	if e.orderly() {
		t.Near.StopReading()
		t.Far.StopReading()
		return
	}
	t.breakOff()
}

// orderly reports whether nothing broke.
func (e *TunnelError) orderly() bool { return e.Rested || e.Stopped }
