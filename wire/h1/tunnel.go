package h1

import (
	"errors"

	"legate/wire"
)

// errNoTunnel says that the link's engine cannot give its bytes away.
var errNoTunnel = errors.New("link cannot carry a tunnel")

// Tunnel answers 101 and carries bytes both ways, those first that came with the
// request, until both sides have ended or the tunnel has rested for the stream's idle
// limit. A *wire.TunnelError says what else ended it.
func (c *conn) Tunnel(h *wire.Head, e *wire.Edits, up wire.Link) error {
	far, ok := up.(wire.Tunneler)
	if !ok {
		return errNoTunnel
	}
	c.closeAfter = true
	head := appendFields(append(c.buffer(), statusLine(101)...), h, e)
	spell(head, e)
	c.out = append(head, '\r', '\n')
	c.headWritten, c.ended = true, true
	if err := c.Flush(); err != nil {
		return err
	}
	putBuffer(c.out)
	c.out = nil
	t := &wire.Tunnel{
		Near: wire.NewEnd(c.raw, c.secure, c.rd.take()), Far: far.Tunnel(),
		Idle: c.idleLimit, Now: c.srv.now,
	}
	c.tunnel.Store(t)
	err := t.Run()
	c.body.total += t.Up()
	c.written += t.Down()
	broke, ok := errors.AsType[*wire.TunnelError](err)
	c.cutShort = ok && (broke.Rested || broke.Stopped)
	return err
}
