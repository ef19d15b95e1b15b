package h1

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"legate/wire"
)

// errNoTunnel says that the link's engine cannot give its bytes away.
var errNoTunnel = errors.New("link cannot carry a tunnel")

// A pulse tells when a byte last moved through a tunnel, whichever way.
type pulse struct {
	now   func() time.Time
	idle  time.Duration // how long the tunnel may rest; 0 is for ever
	begin time.Time
	last  atomic.Int64 // nanoseconds since begin
}

func (p *pulse) beat() { p.last.Store(int64(p.now().Sub(p.begin))) }

// deadline returns until when the tunnel may rest, as things are; zero for ever.
func (p *pulse) deadline() time.Time {
	if p.idle <= 0 {
		return time.Time{}
	}
	return p.begin.Add(time.Duration(p.last.Load()) + p.idle)
}

// goesOn reports whether a read has failed only because its own direction rests.
func (p *pulse) goesOn(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && p.now().Before(p.deadline())
}

// Tunnel answers 101 and copies both ways until one side ends; then what is still on
// its way to the other is delivered. It ends too when it has rested, in both directions
// together, for the stream's idle limit; for up to twice that when the client sends no
// more.
func (c *conn) Tunnel(h *wire.Head, e *wire.Edits, up wire.Link) error {
	t, ok := up.(wire.Tunneler)
	if !ok {
		return errNoTunnel
	}
	c.closeAfter = true
	c.out = append(appendFields(append(c.buffer(), statusLine(101)...), h, e), '\r', '\n')
	c.headWritten, c.ended = true, true
	if err := c.Flush(); err != nil {
		return err
	}
	far := t.Tunnel(c.idleLimit)
	moved := &pulse{now: c.srv.now, idle: c.idleLimit, begin: c.srv.now()}
	done := make(chan error, 1)
	go func() { done <- c.copyUp(far, moved) }()
	err := c.copyDown(far, moved)
	if upErr := <-done; err == nil {
		err = upErr
	}
	return err
}

// copyUp carries the client's bytes to the endpoint.
func (c *conn) copyUp(far wire.Duplex, moved *pulse) error {
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	for {
		n, err := c.readTunnel(b, moved)
		if n > 0 {
			moved.beat()
			c.body.total += int64(n)
			if _, werr := far.Write(b[:n]); werr != nil {
				c.raw.StopReading()
				return werr
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			return far.CloseWrite()
		}
		if moved.goesOn(err) {
			continue
		}
		_ = far.Close() // wakes the other direction
		return err
	}
}

// readTunnel reads the bytes that came with the request first.
func (c *conn) readTunnel(b []byte, moved *pulse) (int, error) {
	if n := c.rd.buffered(); n > 0 {
		n = copy(b, c.rd.buf[c.rd.r:c.rd.w])
		c.rd.r += n
		return n, nil
	}
	c.raw.ReadBy(moved.deadline(), c.srv.now())
	return c.rd.src.Read(b)
}

func tunnelDeadline(now time.Time, idle time.Duration) time.Time {
	if idle <= 0 {
		return time.Time{}
	}
	return now.Add(idle)
}

// copyDown carries the endpoint's bytes to the client.
func (c *conn) copyDown(far wire.Duplex, moved *pulse) error {
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	for {
		n, err := far.Read(b)
		if n > 0 {
			moved.beat()
			c.written += int64(n)
			if _, werr := c.writer().Write(b[:n]); werr != nil {
				_ = far.Close()     // wakes the other direction
				c.raw.StopReading() // in case it waits for the client
				return werr
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			return c.closeWrite()
		}
		if moved.goesOn(err) {
			continue
		}
		c.raw.StopReading()
		return err
	}
}

func (c *conn) closeWrite() error {
	if c.secure != nil {
		if err := c.secure.CloseWrite(); err != nil {
			return err
		}
	}
	return c.raw.CloseWrite()
}
