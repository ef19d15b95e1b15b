package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a connection over loopback, where what one end has
// written is at the other when its write returns.
func pair(t testing.TB) (ours *Conn, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = NewConn(nc), other.(*net.TCPConn)
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return ours, theirs
}

// answer reads n bytes and says text.
func answer(nc net.Conn, n int, text string) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, n)
		_, _ = io.ReadFull(nc, b)
		_, _ = io.WriteString(nc, text)
		got <- b
	}()
	return got
}

func TestAsk(t *testing.T) {
	c, peer := pair(t)
	for _, question := range [][]byte{
		[]byte("how much?"),
		bytes.Repeat([]byte("more than a socket takes at once "), 1<<18),
		[]byte("and now?"),
	} {
		got := answer(peer, len(question), "42")
		b, n, err := c.Ask(question, Small)
		if err != nil || string(b[:n]) != "42" {
			t.Fatalf("got %q, %v", b[:n], err)
		}
		Small.Put(b)
		if !bytes.Equal(<-got, question) {
			t.Error("the question did not arrive as it was")
		}
	}
}

func TestAskFails(t *testing.T) {
	for _, row := range []struct {
		name  string
		peer  func(*net.TCPConn)
		by    time.Duration
		want  error
		quiet bool // nothing may have been sent
	}{
		{"something came unasked", func(nc *net.TCPConn) { _, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n") }, 0, syscall.EBADMSG, true},
		{"the end was there before", func(nc *net.TCPConn) { _ = nc.CloseWrite() }, 0, io.EOF, true},
		{"a reset was there before", func(nc *net.TCPConn) { _ = nc.SetLinger(0); _ = nc.Close() }, 0, syscall.ECONNRESET, true},
		{"the end instead of an answer", func(nc *net.TCPConn) {
			go func() {
				_, _ = nc.Read(make([]byte, 10))
				_ = nc.CloseWrite()
			}()
		}, 0, io.EOF, false},
		{"no answer in time", func(*net.TCPConn) {}, 30 * time.Millisecond, os.ErrDeadlineExceeded, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, peer := pair(t)
			row.peer(peer)
			now := time.Now()
			by := time.Time{}
			if row.by > 0 {
				by = now.Add(row.by)
			}
			c.ReadBy(by, now)
			b, n, err := c.Ask([]byte("how much?"), Small)
			if b != nil || n != 0 || !errors.Is(err, row.want) {
				t.Errorf("got %q %d %v, want %v", b, n, err, row.want)
			}
			if sent := c.BytesWritten(); (sent == 0) != row.quiet {
				t.Errorf("%d bytes were sent", sent)
			}
		})
	}
}

func TestAllocsAsk(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	c, peer := pair(t)
	go func() {
		b := make([]byte, 16)
		for {
			if _, err := peer.Read(b); err != nil {
				return
			}
			_, _ = peer.Write(b[:1])
		}
	}()
	question := []byte("how much?")
	if n := testing.AllocsPerRun(200, func() {
		b, _, err := c.Ask(question, Small)
		if err != nil {
			t.Fatal(err)
		}
		Small.Put(b)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
