package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What a pouring client says first: who pours.
const (
	pourDown = 'd'
	pourUp   = 'u'
)

// spout is how much is written or read at a time.
const spout = 256 << 10

// servePours pours bytes, or takes them, on each connection to l until it is closed.
func servePours(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			first := make([]byte, 1)
			if _, err := io.ReadFull(c, first); err != nil {
				return
			}
			if first[0] == pourDown {
				for b, err := make([]byte, spout), error(nil); err == nil; {
					_, err = c.Write(b)
				}
				return
			}
			_, _ = io.CopyBuffer(onlyWriter{io.Discard}, c, make([]byte, spout))
		}()
	}
}

// onlyWriter hides ReadFrom, with which a buffer would not be used.
type onlyWriter struct{ io.Writer }

// pourMain moves bytes over a few connections for a while, one way, and prints how
// many arrived.
func pourMain(args []string) error {
	fs := flag.NewFlagSet("pour", flag.ExitOnError)
	addr := fs.String("addr", "", "address")
	up := fs.Bool("up", false, "towards the upstream")
	n := fs.Int("connections", 8, "connections")
	duration := fs.Duration("duration", time.Second, "how long")
	_ = fs.Parse(args)
	way := pourOneDown
	if *up {
		way = pourOneUp
	}
	var total atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, *n)
	start := time.Now()
	for range *n {
		wg.Go(func() {
			moved, err := pourOne(*addr, start.Add(*duration), way)
			total.Add(moved)
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
	return json.NewEncoder(os.Stdout).Encode(moved{Units: float64(total.Load()) / (1 << 20), Seconds: elapsed.Seconds()})
}

func pourOne(addr string, end time.Time, way func(c *net.TCPConn) (int64, error)) (int64, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(end); err != nil {
		return 0, err
	}
	moved, err := way(c.(*net.TCPConn))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // the end we wanted
	}
	if err == nil && moved == 0 {
		err = errors.New("nothing arrived")
	}
	return moved, err
}

func pourOneDown(c *net.TCPConn) (int64, error) {
	if _, err := c.Write([]byte{pourDown}); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{c}, make([]byte, spout))
	if err == nil {
		err = io.ErrUnexpectedEOF // the upstream pours for ever
	}
	return n, err
}

// onlyReader hides WriteTo, with which a buffer would not be used.
type onlyReader struct{ io.Reader }

// pourOneUp ends its direction and waits for the other's end, so that all it counts
// has arrived.
func pourOneUp(c *net.TCPConn) (n int64, err error) {
	b := make([]byte, spout)
	b[0] = pourUp
	for err == nil {
		var k int
		k, err = c.Write(b)
		n += int64(k)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	if err := errors.Join(c.SetDeadline(time.Now().Add(10*time.Second)), c.CloseWrite()); err != nil {
		return n, err
	}
	if _, err := c.Read(b); !errors.Is(err, io.EOF) {
		return n, errors.Join(errors.New("the other end does not end"), err)
	}
	return n, nil
}
