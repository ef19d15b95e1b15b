package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// accepted returns a connection that came over network and what the client has of it.
func accepted(t *testing.T, network, addr string) (acceptor, *socket, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	q, err := newQueue(ln.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	_, port, err := net.SplitHostPort(q.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	host := "127.0.0.1"
	if network == "tcp6" {
		host = "::1"
	}
	client, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	server, err := q.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return q, server.(*socket), client.(*net.TCPConn)
}

// Both sides of a connection agree about where it leads, whatever was bound.
func TestAcceptTellsAddresses(t *testing.T) {
	for _, row := range []struct{ network, addr string }{
		{"tcp4", "127.0.0.1:0"},
		{"tcp4", "0.0.0.0:0"},
		{"tcp6", "[::1]:0"},
		{"tcp6", "[::]:0"},
		{"tcp", "[::]:0"}, // an IPv4 client of it
	} {
		t.Run(row.network+" "+row.addr, func(t *testing.T) {
			_, server, client := accepted(t, row.network, row.addr)
			if got, want := addrPort(server.RemoteAddr()), addrPort(client.LocalAddr()); got != want || !got.IsValid() {
				t.Errorf("the client is %v, want %v", got, want)
			}
			if got, want := addrPort(server.LocalAddr()), addrPort(client.RemoteAddr()); got != want || !got.IsValid() {
				t.Errorf("it came to %v, want %v", got, want)
			}
		})
	}
}

// A connection ends in the ways in which those of package net do.
func TestAcceptedEnds(t *testing.T) {
	_, server, client := accepted(t, "tcp4", "127.0.0.1:0")
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(client); err != nil || len(b) > 0 {
		t.Fatalf("heard %q, %v, want the end", b, err)
	}
	if _, err := io.WriteString(client, "still here"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := server.Read(b); err != nil || string(b[:n]) != "still here" {
		t.Fatalf("got %q, %v", b[:n], err)
	}

	_, server, client = accepted(t, "tcp4", "127.0.0.1:0")
	if err := server.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(b); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// Waiting for a connection ends with the deadline, and with the queue.
func TestAcceptEnds(t *testing.T) {
	q, _, _ := accepted(t, "tcp4", "127.0.0.1:0")
	if err := q.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if c, err := q.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, %v, want the deadline", c, err)
	}
	if err := q.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := q.Accept()
		ended <- err
	}()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a connection came from a closed queue")
	}
}
