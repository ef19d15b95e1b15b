package wire

import "syscall"

// Ask sends p and waits, holding no buffer, for the first bytes of what is said to it;
// they are in a buffer of pool's, the caller's if n > 0. Whatever waits to be read
// before p is sent cannot be an answer to it: then Ask fails with EBADMSG, or with
// io.EOF at the connection's end, and sends nothing. Nobody else may be writing.
//
// On a socket the wait is prepared before p is sent, so that one look at the socket
// serves as the check before and no read is tried in vain after. Budget: 0 allocs.
func (c *Conn) Ask(p []byte, pool *Pool) (b []byte, n int, err error) {
	if c.raw == nil {
		if _, err := c.Write(p); err != nil {
			return nil, 0, err
		}
		return c.ReadFirst(pool)
	}
	c.reader.ask = p
	b, n, err = c.ReadFirst(pool)
	c.reader.ask, c.reader.rest = nil, nil
	return b, n, err
}

// tryAsk looks, sends and has its caller wait.
func (c *Conn) tryAsk(fd uintptr) bool {
	s := &c.reader
	p := s.ask
	s.ask, s.n, s.errno = nil, 0, 0
	switch n, errno := readOnce(fd, c.early[:]); {
	case n > 0 && errno == 0:
		s.errno = syscall.EBADMSG
		return true
	case errno != syscall.EAGAIN:
		s.errno = errno
		return true
	}
	n, errno := writeOnce(fd, p, nil, 0)
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		n, errno = 0, 0
	}
	if errno != 0 {
		s.errno = errno
		return true
	}
	c.out.Add(int64(n))
	if n < len(p) {
		s.rest = p[n:]
		return true
	}
	return false
}

// sendRest sends what Ask could not, and reads on.
func (c *Conn) sendRest() error {
	rest := c.reader.rest
	c.reader.rest = nil
	if _, err := c.Write(rest); err != nil {
		return err
	}
	return c.raw.Read(c.reader.try)
}
