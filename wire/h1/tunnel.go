package h1

import (
	"errors"
	"io"
	"time"

	"legate/wire"
)

// errNoTunnel says that the link's engine cannot give its bytes away.
var errNoTunnel = errors.New("link cannot carry a tunnel")

// Tunnel answers 101 and copies both ways until one side ends; then what is still
// on its way to the other is delivered, bounded by the stream's idle limit.
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
	done := make(chan error, 1)
	go func() { done <- c.copyUp(far) }()
	err := c.copyDown(far)
	if upErr := <-done; err == nil {
		err = upErr
	}
	return err
}

// copyUp carries the client's bytes to the endpoint.
func (c *conn) copyUp(far wire.Duplex) error {
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	for {
		n, err := c.readTunnel(b)
		if n > 0 {
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
		_ = far.Close() // wakes the other direction
		return err
	}
}

// readTunnel reads the bytes that came with the request first.
func (c *conn) readTunnel(b []byte) (int, error) {
	if n := c.rd.buffered(); n > 0 {
		n = copy(b, c.rd.buf[c.rd.r:c.rd.w])
		c.rd.r += n
		return n, nil
	}
	now := c.srv.now()
	c.raw.ReadBy(tunnelDeadline(now, c.idleLimit), now)
	return c.rd.src.Read(b)
}

func tunnelDeadline(now time.Time, idle time.Duration) time.Time {
	if idle <= 0 {
		return time.Time{}
	}
	return now.Add(idle)
}

// copyDown carries the endpoint's bytes to the client.
func (c *conn) copyDown(far wire.Duplex) error {
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	for {
		n, err := far.Read(b)
		if n > 0 {
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
