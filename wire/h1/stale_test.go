package h1

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"legate/wire"
)

// keeper keeps every link.
type keeper struct{}

func (keeper) Idle(*Link) bool { return true }
func (keeper) Closed(*Link)    {}

// A connection on which something was said unasked carries no further request, and the
// request is known to be untouched, whichever way it would have gone out.
func TestUnaskedIsNoAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for _, row := range []struct {
		name string
		peer func(*net.TCPConn)
		send func(l *Link, req *wire.Head) error
	}{
		{"short request", func(nc *net.TCPConn) { _, _ = io.WriteString(nc, ok) }, func(l *Link, req *wire.Head) error {
			_ = l.WriteHead(req, nil, 0)
			if err := l.EndRequest(nil); err != nil {
				return err
			}
			return l.ReadHead(new(wire.Head), time.Time{}, nil)
		}},
		{"head first", func(nc *net.TCPConn) { _, _ = io.WriteString(nc, ok) }, func(l *Link, req *wire.Head) error {
			_ = l.WriteHead(req, nil, 100)
			return l.Flush()
		}},
		{"long body", func(nc *net.TCPConn) { _, _ = io.WriteString(nc, "x") }, func(l *Link, req *wire.Head) error {
			_ = l.WriteHead(req, nil, 1<<20)
			_, err := l.WriteBody(make([]byte, 1<<20))
			return err
		}},
		{"closed", func(nc *net.TCPConn) { _ = nc.Close() }, func(l *Link, req *wire.Head) error {
			_ = l.WriteHead(req, nil, 100)
			return l.Flush()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
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
			defer other.Close()
			l := NewLink(wire.NewConn(nc), nil, "x", keeper{})
			defer l.Close()
			var req, resp wire.Head
			req.BuildRequest("GET", "example.com", "/")
			_ = l.WriteHead(&req, nil, 0)
			go func() {
				_, _ = other.Read(make([]byte, 1000))
				_, _ = io.WriteString(other, ok)
			}()
			if err := errors.Join(l.EndRequest(nil), l.ReadHead(&resp, time.Time{}, nil)); err != nil {
				t.Fatal(err)
			}
			l.Release()
			row.peer(other.(*net.TCPConn))
			err = row.send(l, &req)
			if err == nil || wire.OutcomeOf(err) != wire.Reset || !l.Untouched() || !l.Reused() {
				t.Errorf("got %v, untouched %v, reused %v; want an untouched request on a used connection", err, l.Untouched(), l.Reused())
			}
		})
	}
}

// Whether a request was touched is for the kernel to prove: an end that acknowledged
// nothing does, a reset does not.
func TestResetProvesNothing(t *testing.T) {
	for _, row := range []struct {
		name, method string
		end          func(*net.TCPConn)
		want         bool
	}{
		{"closed before", "POST", func(nc *net.TCPConn) { _ = nc.Close() }, true},
		{"read, then reset", "POST", func(nc *net.TCPConn) {
			_, _ = nc.Read(make([]byte, 1000))
			_ = nc.SetLinger(0)
			_ = nc.Close()
		}, false},
		{"read, then closed", "GET", func(nc *net.TCPConn) {
			_, _ = nc.Read(make([]byte, 1000))
			_ = nc.Close()
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range 50 { // acknowledgements are delayed now and then
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
				l := NewLink(wire.NewConn(nc), nil, "x", keeper{})
				defer l.Close()
				exchange := func(method string) error {
					var req, resp wire.Head
					req.BuildRequest(method, "example.com", "/")
					_ = l.WriteHead(&req, nil, 0)
					return errors.Join(l.EndRequest(nil), l.ReadHead(&resp, time.Time{}, nil))
				}
				answered, ended := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = other.Read(make([]byte, 1000))
					_, _ = io.WriteString(other, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					<-answered
					row.end(other.(*net.TCPConn))
				}()
				if err := exchange("GET"); err != nil { // who has answered acknowledges later than others
					t.Fatal(err)
				}
				l.Release()
				close(answered)
				if row.want {
					<-ended
				}
				if err := exchange(row.method); err == nil {
					t.Fatal("there is an answer")
				}
				if got := l.Untouched(); got != row.want {
					t.Fatalf("untouched is %v, want %v", got, row.want)
				}
				<-ended
			}
		})
	}
}
