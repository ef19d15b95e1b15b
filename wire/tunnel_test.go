package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A party is a client or an endpoint as the tests play it.
type party interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(t time.Time) error
}

// secured returns both ends of a connection with TLS on it, and the socket under the
// part that is played.
func secured(t testing.TB) (ours *Conn, session *tls.Conn, theirs *tls.Conn, socket *net.TCPConn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ours, socket = pair(t)
	session = tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	theirs = tls.Client(socket, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- session.Handshake() }()
	if err := errors.Join(theirs.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	return ours, session, theirs, socket
}

// A stage is a tunnel that runs, with both parts to be played.
type stage struct {
	*Tunnel
	client, endpoint       party
	clientTCP, endpointTCP *net.TCPConn
	near, far              *Conn
	over                   chan error
}

// dig starts a tunnel, with TLS on the sides that say so.
func dig(t *testing.T, nearTLS, farTLS bool, idle time.Duration, ahead string) *stage {
	t.Helper()
	s := &stage{over: make(chan error, 1)}
	side := func(secure bool, ahead []byte) (Duplex, *Conn, party, *net.TCPConn) {
		if !secure {
			ours, theirs := pair(t)
			return NewEnd(ours, nil, ahead), ours, theirs, theirs
		}
		ours, session, theirs, socket := secured(t)
		return NewEnd(ours, session, ahead), ours, theirs, socket
	}
	s.Tunnel = &Tunnel{Idle: idle, Now: time.Now}
	s.Near, s.near, s.client, s.clientTCP = side(nearTLS, []byte(ahead))
	s.Far, s.far, s.endpoint, s.endpointTCP = side(farTLS, nil)
	go func() { s.over <- s.Run() }()
	return s
}

// ended waits for the tunnel's end.
func (s *stage) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.over:
		_, _ = s.near.Close(), s.far.Close()
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the tunnel goes on")
		return nil
	}
}

func say(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, p party, want string) {
	t.Helper()
	b := make([]byte, len(want))
	_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(p, b); err != nil || string(b) != want {
		t.Fatalf("got %q, %v; want %q", b, err, want)
	}
}

func hearEnd(t *testing.T, p party) {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := p.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %d bytes, %v; want the end", n, err)
	}
}

// pairings are those of cleartext and TLS.
var pairings = []struct {
	name      string
	near, far bool
}{
	{"clear to clear", false, false},
	{"TLS to clear", true, false},
	{"clear to TLS", false, true},
	{"TLS to TLS", true, true},
}

func TestTunnelCarriesBothWaysAndEachEnd(t *testing.T) {
	for _, k := range pairings {
		t.Run(k.name, func(t *testing.T) {
			t.Run("client ends first", func(t *testing.T) {
				s := dig(t, k.near, k.far, time.Minute, "ahead and ")
				say(t, s.client, "more")
				hear(t, s.endpoint, "ahead and more")
				say(t, s.endpoint, "first")
				hear(t, s.client, "first")
				_ = s.client.CloseWrite()
				hearEnd(t, s.endpoint)
				say(t, s.endpoint, ", after the client's end")
				hear(t, s.client, ", after the client's end")
				_ = s.endpoint.CloseWrite()
				hearEnd(t, s.client)
				if err := s.ended(t); err != nil || s.Up() != 14 || s.Down() != 29 {
					t.Errorf("got %v, %d up, %d down", err, s.Up(), s.Down())
				}
			})
			t.Run("endpoint ends first", func(t *testing.T) {
				s := dig(t, k.near, k.far, 0, "")
				say(t, s.endpoint, "220 ready")
				hear(t, s.client, "220 ready")
				_ = s.endpoint.CloseWrite()
				hearEnd(t, s.client)
				say(t, s.client, "after the endpoint's end")
				hear(t, s.endpoint, "after the endpoint's end")
				_ = s.client.CloseWrite()
				hearEnd(t, s.endpoint)
				if err := s.ended(t); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Much in both directions at once, in pieces of all sizes, with readers that lag.
func TestTunnelCarriesMuch(t *testing.T) {
	for _, k := range pairings {
		t.Run(k.name, func(t *testing.T) {
			s := dig(t, k.near, k.far, time.Minute, "")
			up, down := make([]byte, 6<<20), make([]byte, 4<<20)
			_, _ = rand.Read(up)
			_, _ = rand.Read(down)
			send := func(p party, b []byte) {
				for piece := 1; len(b) > 0; piece = piece*3%200_003 + 1 {
					n, err := p.Write(b[:min(piece, len(b))])
					if err != nil {
						t.Error(err)
						break
					}
					b = b[n:]
				}
				_ = p.CloseWrite()
			}
			go send(s.client, up)
			go send(s.endpoint, down)
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(s.endpoint)
				got <- b
			}()
			if b, err := io.ReadAll(s.client); err != nil || !bytes.Equal(b, down) {
				t.Errorf("client: got %d bytes, %v", len(b), err)
			}
			if b := <-got; !bytes.Equal(b, up) {
				t.Errorf("endpoint: got %d bytes", len(b))
			}
			if err := s.ended(t); err != nil || s.Up() != int64(len(up)) || s.Down() != int64(len(down)) {
				t.Errorf("got %v, %d up, %d down", err, s.Up(), s.Down())
			}
		})
	}
}

func TestTunnelEndsWhenItHasRested(t *testing.T) {
	for _, k := range pairings {
		t.Run(k.name, func(t *testing.T) {
			const idle = 400 * time.Millisecond
			s := dig(t, k.near, k.far, idle, "")
			begun := time.Now()
			for range 12 { // one direction rests throughout, the tunnel does not
				say(t, s.client, "still here")
				hear(t, s.endpoint, "still here")
				_ = s.endpoint.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if n, err := s.endpoint.Read(make([]byte, 1)); n != 0 || errors.Is(err, io.EOF) {
					t.Fatalf("ended after %v", time.Since(begun))
				}
				if k.far {
					break // a TLS session does not survive a deadline
				}
			}
			err := s.ended(t)
			var broke *TunnelError
			if !errors.As(err, &broke) || !broke.Rested {
				t.Errorf("got %v, want a rest", err)
			}
			if took := time.Since(begun); took < idle {
				t.Errorf("rested for %v only", took)
			}
		})
	}
}

// A client that sends but takes nothing does not hold a tunnel for ever.
func TestTunnelEndsWhenNothingIsTaken(t *testing.T) {
	s := dig(t, false, false, 100*time.Millisecond, "")
	go func() { _, _ = s.endpoint.Write(make([]byte, 64<<20)) }()
	var broke *TunnelError
	if err := s.ended(t); !errors.As(err, &broke) || !broke.Rested {
		t.Errorf("got %v, want a rest", err)
	}
}

func TestTunnelCarriesResets(t *testing.T) {
	for _, k := range pairings {
		t.Run(k.name, func(t *testing.T) {
			for _, side := range []Side{Near, Far} {
				t.Run(side.String(), func(t *testing.T) {
					s := dig(t, k.near, k.far, time.Minute, "")
					broken, other := s.clientTCP, s.endpoint
					talks := s.client
					if side == Far {
						broken, other, talks = s.endpointTCP, s.client, s.endpoint
					}
					say(t, talks, "half a")
					hear(t, other, "half a")
					_ = broken.SetLinger(0)
					_ = broken.Close()
					_ = other.SetReadDeadline(time.Now().Add(10 * time.Second))
					if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("the other side saw %v, want a reset", err)
					}
					var broke *TunnelError
					if err := s.ended(t); !errors.As(err, &broke) || broke.Rested || broke.Side != side || !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("got %v", err)
					}
					if text := broke.Error(); !strings.Contains(text, side.String()) {
						t.Errorf("got %q", text)
					}
				})
			}
		})
	}
}

// A reset reaches a side that waits to write, too.
func TestTunnelBreaksWhoWaitsToWrite(t *testing.T) {
	s := dig(t, false, false, 0, "")
	go func() { _, _ = s.client.Write(make([]byte, 64<<20)) }() // the endpoint takes none of it
	hear(t, s.endpoint, string(make([]byte, 1<<10)))
	_ = s.endpointTCP.SetLinger(0)
	_ = s.endpointTCP.Close()
	var broke *TunnelError
	if err := s.ended(t); !errors.As(err, &broke) || broke.Side != Far {
		t.Errorf("got %v", err)
	}
}

// A TLS client that closes without close_notify has ended its direction.
func TestTunnelTakesAnUnannouncedEndOfTLS(t *testing.T) {
	s := dig(t, true, false, 0, "")
	say(t, s.client, "QUIT")
	hear(t, s.endpoint, "QUIT")
	_ = s.clientTCP.CloseWrite()
	hearEnd(t, s.endpoint)
	_ = s.endpoint.Close()
	if err := s.ended(t); err != nil {
		t.Error(err)
	}
}

// A tunnel that is stopped ends in order for both sides.
func TestTunnelStops(t *testing.T) {
	for _, k := range pairings {
		t.Run(k.name, func(t *testing.T) {
			s := dig(t, k.near, k.far, 0, "")
			say(t, s.client, "up")
			hear(t, s.endpoint, "up")
			say(t, s.endpoint, "down")
			hear(t, s.client, "down")
			s.Stop()
			hearEnd(t, s.client)
			hearEnd(t, s.endpoint)
			var broke *TunnelError
			if err := s.ended(t); !errors.As(err, &broke) || !broke.Stopped || broke.Rested {
				t.Errorf("got %v, want that it was stopped", err)
			}
		})
	}
}

// One that waits for somebody who takes nothing is broken when it has waited enough.
func TestTunnelStopsThoughNothingIsTaken(t *testing.T) {
	s := dig(t, false, false, 0, "")
	go func() { _, _ = s.client.Write(make([]byte, 64<<20)) }()
	hear(t, s.endpoint, string(make([]byte, 1<<10)))
	s.Stop()
	var broke *TunnelError
	if err := s.ended(t); !errors.As(err, &broke) || !broke.Stopped {
		t.Errorf("got %v, want that it was stopped", err)
	}
}

// Much that goes between two sockets moves within the kernel; no pipe is held by a
// tunnel that rests, and none is left with bytes in it.
func TestTunnelMovesWithinTheKernel(t *testing.T) {
	near, client := pair(t)
	far, endpoint := pair(t)
	go func() { _, _ = client.Write(make([]byte, 1<<20)) }()
	for got := 0; got < 1<<20; {
		n, ok, readErr, writeErr := NewEnd(near, nil, nil).move(NewEnd(far, nil, nil))
		if !ok {
			t.Skip("this kernel does not move bytes between sockets")
		}
		if readErr != nil || writeErr != nil {
			t.Fatal(readErr, writeErr)
		}
		if near.reader.pipe != nil || far.writer.pipe != nil {
			t.Fatal("a pipe is still held")
		}
		m, err := io.ReadFull(endpoint, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		got += m
	}
	_ = client.CloseWrite()
	if n, ok, err, _ := NewEnd(near, nil, nil).move(NewEnd(far, nil, nil)); n != 0 || !ok || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %d, %v, %v", n, ok, err)
	}
}

func TestAllocsMove(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	near, client := pair(t)
	far, endpoint := pair(t)
	b := make([]byte, 32<<10)
	if n := testing.AllocsPerRun(200, func() {
		_, _ = client.Write(b)
		for left := len(b); left > 0; {
			n, _, readErr, writeErr := near.move(far)
			if readErr != nil || writeErr != nil {
				t.Fatal(readErr, writeErr)
			}
			left -= n
		}
		_, _ = io.ReadFull(endpoint, b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
