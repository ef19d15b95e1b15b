package h1

import (
	"io"
	"testing"
	"time"

	"legate/wire"
)

// A switcher is a handler that asks every request's endpoint for the upgrade.
type switcher struct {
	relay
	in, out chan int64
	result  chan error
}

func (sw *switcher) Serve(s wire.Stream, req *wire.Head) {
	l := sw.open()
	defer l.Release()
	edits := wire.Edits{Upgrade: []byte("echo")}
	var resp wire.Head
	err := l.WriteHead(req, &edits, 0)
	if err == nil {
		err = l.EndRequest(nil)
	}
	if err == nil {
		err = l.ReadHead(&resp, time.Time{}, nil)
	}
	if err == nil {
		err = s.Tunnel(&resp, &edits, l)
	}
	sw.in <- s.BytesIn()
	sw.out <- s.BytesOut()
	sw.result <- err
}

// What came with either head goes first, both ways, and an end goes on its own.
func TestTunnelBeginsWithWhatIsBuffered(t *testing.T) {
	ours, client := loopback(t)
	sw := &switcher{in: make(chan int64, 1), out: make(chan int64, 1), result: make(chan error, 1)}
	sw.relay = relay{t: t, net: loopback, serve: func(nc duplex) {
		_, _ = io.ReadAtLeast(nc, make([]byte, 4096), len("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"))
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		_, _ = io.Copy(nc, nc.(io.Reader))
		_, _ = io.WriteString(nc, ", bye")
	}}
	srv := NewServer(sw, DefaultLimits(), time.Now)
	done := make(chan struct{})
	srv.Start(wire.NewConn(ours), nil, wire.Peer{}, func() { close(done) })
	defer client.Close()
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\none")
	_, _ = io.WriteString(client, "two")
	_ = client.CloseWrite()
	got, err := io.ReadAll(client)
	want := "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello onetwo, bye"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	<-done
	sw.end()
	if in, out, err := <-sw.in, <-sw.out, <-sw.result; in != 6 || out != 17 || err != nil {
		t.Errorf("got %d in, %d out, %v", in, out, err)
	}
}
