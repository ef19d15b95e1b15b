package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/sys/unix"
)

// echo starts a service that answers with what it saw, and returns its address.
func echo(t testing.TB, name string) string {
	t.Helper()
	return serve(t, echoHandler(name))
}

func echoHandler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, "the body is not whole", http.StatusBadRequest)
			return
		}
		s := seen{Service: name, Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Body: n, Trailer: r.Trailer}
		if r.TLS != nil {
			s.TLS, s.SNI = true, r.TLS.ServerName
		}
		w.Header().Set(echoField, name)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // who left needs no echo
	})
}

// serve starts an HTTP service and returns its address.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveTLS is serve over TLS with a certificate for name.
func serveTLS(t testing.TB, name string, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{authority.issue(t, name).pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// raw starts a service that treats each connection as handle says.
func raw(t testing.TB, handle func(c *service)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(&service{Conn: c, r: bufio.NewReader(c)})
			}()
		}
	}()
	return ln.Addr().String()
}

// A service is the other end of a connection that the gateway made.
type service struct {
	net.Conn
	r *bufio.Reader
}

// request reads one request with its body; nil at the connection's end.
func (s *service) request() *http.Request {
	r, err := http.ReadRequest(s.r)
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil
	}
	return r
}

func (s *service) say(text string) { _, _ = io.WriteString(s, text) } // the gateway may be gone

// reset ends the connection with a reset.
func (s *service) reset() {
	if tcp, ok := s.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	s.Close()
}

// finish ends our direction and waits until the gateway's kernel knows.
func (s *service) finish() {
	tcp, ok := s.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	const finWait1 = 4 // TCP_FIN_WAIT1 of linux/tcp_states.h: the end is not acknowledged yet
	for state := uint8(finWait1); state == finWait1 && err == nil; tick() {
		err = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				state = info.State
			} else {
				state = 0
			}
		})
	}
}

// says starts a service that answers every request with text, then ends the connection.
func says(t testing.TB, text string) string {
	t.Helper()
	return raw(t, func(s *service) {
		if s.request() != nil {
			s.say(text)
		}
	})
}
