package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A client connection of the bench's own: what h2load cannot do (hold
// connections idle, resume sessions, keep an even pace) is done over it.
type client struct {
	net.Conn
	br      *bufio.Reader
	request []byte
}

// dialClient connects to addr; conf is nil for cleartext.
func dialClient(addr string, conf *tls.Config, request []byte) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		t := tls.Client(c, conf)
		if err := t.Handshake(); err != nil {
			c.Close()
			return nil, fmt.Errorf("handshake with %s: %w", addr, err)
		}
		c = t
	}
	return &client{Conn: c, br: bufio.NewReaderSize(c, 1<<10), request: request}, nil
}

// tlsConfig is the same for every contestant: TLS 1.3, X25519 and whatever
// cipher the server likes. The peers' OpenSSL has no post-quantum exchange, so
// offering it would charge Go's stack alone for it.
func tlsConfig(cache tls.ClientSessionCache) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, ServerName: "bench.test", MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{"http/1.1"}, ClientSessionCache: cache,
	}
}

func getRequest(target, connection string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: %s\r\n\r\n", target, connection)
}

// exchange sends the request and reads the whole answer, which must be a 200
// with a Content-Length.
func (c *client) exchange() error {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	length, err := c.readHead()
	if err != nil {
		return err
	}
	_, err = c.br.Discard(length)
	return err
}

func (c *client) readHead() (length int, err error) {
	length = -1
	for first := true; ; first = false {
		b, err := c.br.ReadSlice('\n')
		switch {
		case err != nil:
			return 0, fmt.Errorf("read answer: %w", noEOF(err))
		case first && !strings.HasPrefix(string(b), "HTTP/1.1 200"):
			return 0, fmt.Errorf("answer %q", b)
		case len(b) <= 2 && length < 0:
			return 0, fmt.Errorf("answer has no Content-Length")
		case len(b) <= 2:
			return length, nil
		case hasName(b, "content-length:"):
			if _, err := fmt.Sscan(string(b[len("content-length:"):]), &length); err != nil {
				return 0, fmt.Errorf("answer field %q", b)
			}
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
