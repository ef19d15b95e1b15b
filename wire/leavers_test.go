package wire

import (
	"io"
	"net"
	"testing"
	"time"
)

// loopback returns both ends of a connection.
func loopback(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return server.(*net.TCPConn), client.(*net.TCPConn)
}

// Whoever is told goodbye hears it, and the end, before the descriptor has gone.
func TestCloseLater(t *testing.T) {
	near, far := loopback(t)
	c := NewConn(near)
	c.CloseLater()
	if _, err := io.WriteString(c, "goodbye"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(far); err != nil || string(b) != "goodbye" {
		t.Errorf("heard %q, %v", b, err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a closed connection was read from")
	}
	if _, err := io.WriteString(c, "more"); err == nil {
		t.Error("a closed connection was written to")
	}
	if err := c.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// A connection that cannot be ended gives its descriptor back at once.
func TestCloseLaterAfterReset(t *testing.T) {
	near, far := loopback(t)
	c := NewConn(near)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the reset was not seen")
	}
	c.CloseLater()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := near.SetDeadline(time.Time{}); err == nil {
		t.Error("it has its descriptor yet")
	}
}

// A leaver is a connection that tells when it is closed.
type leaver struct {
	net.Conn
	gone chan struct{}
}

func (l leaver) Close() error {
	close(l.gone)
	return nil
}

// As many as may be leave at once, and others after a while.
func TestLeaving(t *testing.T) {
	var l leaving
	all := make([]leaver, leaveTogether)
	for i := range all {
		all[i] = leaver{gone: make(chan struct{})}
		l.add(all[i])
	}
	for i := range all {
		select {
		case <-all[i].gone:
		default:
			t.Fatalf("connection %d has not left with the others", i)
		}
	}
	one := leaver{gone: make(chan struct{})}
	l.add(one)
	select {
	case <-one.gone:
	case <-time.After(20 * time.Second):
		t.Error("a connection alone has not left")
	}
}
