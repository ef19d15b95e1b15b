package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The WebSocket rows: clients that send a short message and wait for its echo, and
// the upstream's side of it. Only what they need of RFC 6455: text of up to 125
// bytes in one frame.

const (
	talkTarget = "talk"
	wsKey      = "dGhlIHNhbXBsZSBub25jZQ=="
	wsText     = 0x81 // a final frame of text
	wsMasked   = 0x80
	wsLength   = 64 // of every message
)

// wsAccept proves that a key was read (RFC 6455, section 4.2.2).
func wsAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// talk agrees to a WebSocket and echoes its messages until the other side ends. head
// is the request.
func (s *upstreamConn) talk(head []byte) error {
	_, rest, ok := bytes.Cut(bytes.ToLower(head), []byte("\r\nsec-websocket-key:"))
	if !ok {
		return errors.New("no WebSocket is asked for")
	}
	key, _, _ := bytes.Cut(head[len(head)-len(rest):], []byte("\r\n"))
	_, err := fmt.Fprintf(s.c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		wsAccept(string(bytes.TrimSpace(key))))
	if err != nil {
		return err
	}
	br := bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(s.buf[s.r:s.w])), s.c))
	for {
		if err := s.echoMessage(br); err != nil {
			return err
		}
	}
}

// echoMessage takes one masked frame and sends it back without the mask.
func (s *upstreamConn) echoMessage(br *bufio.Reader) error {
	const head = 2 + 4 // and the mask
	h, err := br.Peek(head)
	if err != nil {
		return err
	}
	length := int(h[1] &^ wsMasked)
	if h[1]&wsMasked == 0 || length > 125 {
		return errors.New("not a short, masked frame")
	}
	frame, err := br.Peek(head + length)
	if err != nil {
		return err
	}
	s.out = append(s.out[:0], frame[0], byte(length))
	for i, b := range frame[head:] {
		s.out = append(s.out, b^frame[2+i&3])
	}
	if _, err := br.Discard(head + length); err != nil {
		return err
	}
	_, err = s.c.Write(s.out)
	return err
}

// talkMain keeps WebSockets for a while, each with one message under way at a time.
func talkMain(args []string) error {
	fs := flag.NewFlagSet("talk", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	secure := fs.Bool("tls", false, "over TLS")
	n := fs.Int("connections", 64, "connections")
	duration := fs.Duration("duration", time.Second, "how long")
	_ = fs.Parse(args)
	var conf *tls.Config
	if *secure {
		conf = tlsConfig(nil)
	}
	talkers := make([]*client, *n)
	err := inParallel(*n, func(i int) (err error) {
		talkers[i], err = dialTalker(*addr, conf, *target)
		return err
	})
	if err != nil {
		return err
	}
	var messages atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, *n)
	start := time.Now()
	for _, c := range talkers {
		wg.Go(func() {
			defer c.Close()
			var err error
			for err == nil && time.Since(start) < *duration {
				err = c.converse()
				messages.Add(1)
			}
			errs <- err
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(moved{Units: float64(messages.Load()), Seconds: elapsed.Seconds()})
}

// dialTalker connects and upgrades to a WebSocket.
func dialTalker(addr string, conf *tls.Config, target string) (*client, error) {
	c, err := dialClient(addr, conf, maskedMessage())
	if err != nil {
		return nil, err
	}
	if err := c.upgrade(target); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) upgrade(target string) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		target, wsKey)
	if err != nil {
		return err
	}
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read answer: %w", noEOF(err))
		}
		head.WriteString(line)
	}
	if got := head.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, wsAccept(wsKey)) {
		return fmt.Errorf("answer %q", got)
	}
	return nil
}

var wsBody = bytes.Repeat([]byte("w"), wsLength)

// maskedMessage is a message as a client has to send it.
func maskedMessage() []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := append([]byte{wsText, wsMasked | wsLength}, mask[:]...)
	for i, x := range wsBody {
		b = append(b, x^mask[i&3])
	}
	return b
}

// converse sends a message and waits for its echo.
func (c *client) converse() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	const whole = 2 + wsLength
	b, err := c.br.Peek(whole)
	if err != nil {
		return fmt.Errorf("read echo: %w", noEOF(err))
	}
	if b[0] != wsText || b[1] != wsLength || !bytes.Equal(b[2:], wsBody) {
		return fmt.Errorf("echo %q", b)
	}
	_, err = c.br.Discard(whole)
	return err
}
