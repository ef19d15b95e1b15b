package h1

import (
	"io"
	"net"
	"sync"
	"time"
)

// A pipe is one direction of a connection in memory.
type pipe struct {
	mu     sync.Mutex
	more   sync.Cond
	bytes  []byte
	closed bool
}

func newPipe() *pipe {
	p := new(pipe)
	p.more.L = &p.mu
	return p
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
}

// A memConn is one end of a connection in memory whose directions end apart. It has
// no deadlines: what is tested with it never waits for one. No read returns more
// than step bytes.
type memConn struct {
	in, out *pipe
	step    int
}

// memPair returns both ends; the first reads at most step bytes at a time.
func memPair(step int) (ours, theirs *memConn) {
	a, b := newPipe(), newPipe()
	return &memConn{a, b, step}, &memConn{b, a, 1 << 20}
}

func (c *memConn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(c.in.bytes) == 0 && !c.in.closed {
		c.in.more.Wait()
	}
	if len(c.in.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.in.bytes)
	c.in.bytes = c.in.bytes[:copy(c.in.bytes, c.in.bytes[n:])]
	return n, nil
}

func (c *memConn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return 0, net.ErrClosed
	}
	c.out.bytes = append(c.out.bytes, p...)
	c.out.more.Broadcast()
	return len(p), nil
}

func (c *memConn) CloseWrite() error {
	c.out.close()
	return nil
}

func (c *memConn) Close() error {
	c.out.close()
	c.in.close()
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// A duplex is what both a memConn and a socket are.
type duplex interface {
	net.Conn
	CloseWrite() error
}
