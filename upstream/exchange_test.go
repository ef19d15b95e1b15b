package upstream

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"legate/decision"
	"legate/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A plainServer answers every request on loopback with "ok", over TLS if it has a
// configuration, until it is told to hang up after an answer.
type plainServer struct {
	addr   string
	hangUp chan chan struct{}
}

func startPlainServer(t testing.TB, conf *tls.Config) *plainServer {
	t.Helper()
	s := &plainServer{hangUp: make(chan chan struct{}, 1)}
	s.addr = serve(t, func(nc net.Conn) {
		if conf != nil {
			nc = tls.Server(nc, conf)
		}
		r := bufio.NewReader(nc)
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		for {
			for n := 0; n != len("\r\n"); { // allocates nothing: the client's allocations are counted
				line, err := r.ReadSlice('\n')
				if n = len(line); err != nil {
					return
				}
			}
			var done chan struct{}
			select {
			case done = <-s.hangUp: // before the answer: after it the next request may be under way
			default:
			}
			_, _ = nc.Write(answer)
			if done != nil {
				nc.Close()
				close(done)
				return
			}
		}
	})
	return s
}

// A caller makes requests of an upstream, with everything it needs made once.
type caller struct {
	up   *Upstream
	req  wire.Head
	resp wire.Head
	body [16]byte
}

func newCaller(t testing.TB, addr string, origin Origination) *caller {
	t.Helper()
	ap := netip.MustParseAddrPort(addr)
	c := &caller{up: New(Spec{Host: ap.Addr().String(), Port: ap.Port(), TLS: origin,
		ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour}, newTestResolver(t, Options{}))}
	c.up.Start()
	t.Cleanup(c.up.Retire)
	c.req.BuildRequest("GET", "example.com", "/")
	return c
}

// call makes one request at now and returns whether its connection was used before.
func (c *caller) call(t testing.TB, now time.Time) (reused bool) {
	t.Helper()
	link, reason, err := c.up.Open(now, Choice{})
	if err != nil || reason != decision.None {
		t.Fatalf("open: %v %v", reason, err)
	}
	defer link.Release()
	by := time.Now().Add(5 * time.Second)
	if err := link.WriteHead(&c.req, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := link.EndRequest(nil); err != nil {
		t.Fatal(err)
	}
	if err := link.ReadHead(&c.resp, by, nil); err != nil {
		t.Fatal(err)
	}
	n, err := link.ReadBody(c.body[:], by, nil)
	for err == nil {
		_, err = link.ReadBody(c.body[n:], by, nil)
	}
	if !errors.Is(err, io.EOF) || string(c.body[:n]) != "ok" || c.resp.Status != 200 {
		t.Fatalf("got %d %q %v", c.resp.Status, c.body[:n], err)
	}
	return link.Reused()
}

func TestExchanges(t *testing.T) {
	ours := newAuthority(t, "ours")
	for _, row := range []struct {
		name   string
		server *tls.Config
		client Origination
	}{
		{"cleartext", nil, Origination{}},
		{"TLS", &tls.Config{Certificates: []tls.Certificate{ours.pair(t, "x", time.Now().Add(time.Hour))}},
			Origination{On: true, CA: string(ours.pem)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := startPlainServer(t, row.server)
			c := newCaller(t, s.addr, row.client)
			if c.call(t, time.Now()) {
				t.Error("the first connection is not new")
			}
			for range 10 {
				if !c.call(t, time.Now()) {
					t.Error("a connection in the pool was not used")
				}
			}
			if !c.call(t, time.Now().Add(time.Minute)) {
				t.Error("a connection that rested a while and is well was not used")
			}
			wantStats(t, c.up, 0, 1)

			done := make(chan struct{})
			s.hangUp <- done
			c.call(t, time.Now())
			<-done
			for pooled := c.up.ends.Load().list[0].idle[0].link; pooled.Alive(); { // until the end has come through loopback
				runtime.Gosched()
			}
			if c.call(t, time.Now().Add(doubtAfter)) {
				t.Error("a connection that its peer had closed was used")
			}
			if s := c.up.Stats(); s.Opened != 2 {
				t.Errorf("got %d connections, want 2", s.Opened)
			}
			c.up.Retire()
			wantStats(t, c.up, 0, 0)
		})
	}
}

func TestAllocsExchange(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	s := startPlainServer(t, nil)
	c := newCaller(t, s.addr, Origination{})
	c.call(t, time.Now()) // connected, and both buffers are there
	if n := testing.AllocsPerRun(100, func() { c.call(t, time.Now()) }); n != 0 {
		t.Errorf("got %v allocations for an exchange, want 0", n)
	}
}

func TestEndpointOfLink(t *testing.T) {
	s := startPlainServer(t, nil)
	c := newCaller(t, s.addr, Origination{})
	l, _, err := c.up.Open(time.Now(), Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Endpoint() != s.addr || !strings.HasPrefix(l.Local().String(), "127.0.0.1:") {
		t.Errorf("got %s from %s, want %s from 127.0.0.1", l.Endpoint(), l.Local(), s.addr)
	}
	l.Abort()
	l.Release()
	wantStats(t, c.up, 0, 0)
}

// BenchmarkAlive is what every use of a pooled connection costs beside the exchange.
func BenchmarkAlive(b *testing.B) {
	s := startPlainServer(b, nil)
	c := newCaller(b, s.addr, Origination{})
	c.call(b, time.Now())
	link := c.up.ends.Load().list[0].take().link
	b.ReportAllocs()
	for b.Loop() {
		if !link.Alive() {
			b.Fatal("the connection is closed")
		}
	}
	_ = link.Close()
}
