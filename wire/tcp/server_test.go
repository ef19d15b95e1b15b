package tcp

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"legate/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends of a connection over loopback, the first as an engine has it.
func pair(t *testing.T) (*wire.Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	theirs, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return wire.NewConn(ours), theirs.(*net.TCPConn)
}

// An outcome is what came of a tunnel.
type outcome struct {
	up, down int64
	err      error
}

// A carrier carries every connection to far, once it is let go.
type carrier struct {
	far     *wire.Conn
	arrived chan *Conn
	goOn    chan struct{}
	done    chan outcome
}

func newCarrier(far *wire.Conn) *carrier {
	return &carrier{far: far, arrived: make(chan *Conn, 1), goOn: make(chan struct{}), done: make(chan outcome, 1)}
}

func (c *carrier) Carry(conn *Conn) {
	c.arrived <- conn
	<-c.goOn
	end := wire.NewEnd(c.far, nil, nil)
	up, down, err := conn.Tunnel(end, time.Minute)
	_ = end.CloseWrite()
	end.Close()
	c.done <- outcome{up, down, err}
}

// serve starts a server with one connection to a carrier.
func serve(t *testing.T) (s *Server, c *carrier, client, endpoint *net.TCPConn, ended chan struct{}) {
	t.Helper()
	near, client := pair(t)
	far, endpoint := pair(t)
	c = newCarrier(far)
	s = NewServer(c, time.Now)
	ended = make(chan struct{})
	s.Start(near, nil, wire.Peer{Listener: 7}, func() { close(ended) })
	if p := (<-c.arrived).Peer(); p.Listener != 7 || p.TLS != nil {
		t.Errorf("got peer %+v", p)
	}
	return s, c, client, endpoint, ended
}

func TestServerCarriesToTheEnd(t *testing.T) {
	s, c, client, endpoint, ended := serve(t)
	close(c.goOn)
	_, _ = io.WriteString(client, "hello")
	_ = client.CloseWrite()
	if b, err := io.ReadAll(endpoint); string(b) != "hello" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.WriteString(endpoint, "bye")
	_ = endpoint.CloseWrite()
	if b, err := io.ReadAll(client); string(b) != "bye" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	if o := <-c.done; o != (outcome{5, 3, nil}) {
		t.Errorf("got %+v", o)
	}
	<-ended
	s.Wait()
}

// Abort ends a tunnel in order on both sides, and one that begins afterwards at once.
func TestServerAborts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first bool // the tunnel is there before
	}{{"a tunnel", true}, {"a connection without one", false}} {
		t.Run(tc.name, func(t *testing.T) {
			s, c, client, endpoint, ended := serve(t)
			if tc.first {
				close(c.goOn)
				_, _ = io.WriteString(client, "x")
				_, _ = io.ReadFull(endpoint, make([]byte, 1))
			}
			s.Abort()
			if !tc.first {
				close(c.goOn)
			}
			for _, side := range []*net.TCPConn{client, endpoint} {
				if b, err := io.ReadAll(side); len(b) != 0 || err != nil {
					t.Errorf("got %q, %v; want the end", b, err)
				}
				_ = side.CloseWrite()
			}
			var broke *wire.TunnelError
			if o := <-c.done; !errors.As(o.err, &broke) || !broke.Stopped {
				t.Errorf("got %+v", o)
			}
			<-ended
			s.Wait()
		})
	}
}
