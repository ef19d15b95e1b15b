package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"legate/certs"
)

// An echoService answers every request with what it received, in the clear or over
// TLS on one port, so that it can stand in for any upstream.
type echoService struct {
	ln     net.Listener
	server *http.Server
}

// An echoAnswer is what the service saw of a request.
type echoAnswer struct {
	Upstream string      `json:"upstream"`
	Method   string      `json:"method"`
	Path     string      `json:"path"`
	Host     string      `json:"host"`
	Headers  http.Header `json:"headers"`
	Body     int64       `json:"body_bytes"`
}

func startEcho(ca *certs.CA) (*echoService, error) {
	certPEM, keyPEM, err := ca.Issue("localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("echo service: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "echo"
	}
	e := &echoService{
		ln:     &sniffing{ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}},
		server: &http.Server{Handler: echoHandler(name), ReadHeaderTimeout: 10 * time.Second},
	}
	go e.serve()
	return e, nil
}

func (e *echoService) serve() {
	if err := e.server.Serve(e.ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "legate dev: echo service:", err)
	}
}

func (e *echoService) address() string { return e.ln.Addr().String() }

func (e *echoService) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.server.Shutdown(ctx) // nobody waits for an echo
}

func echoHandler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, "body did not arrive whole", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(echoAnswer{name, r.Method, r.URL.RequestURI(), r.Host, r.Header, n}) // a client that left needs no echo
	})
}

// sniffing is a listener whose connections speak TLS if they begin like it.
type sniffing struct {
	net.Listener
	config *tls.Config
}

// Accept returns a connection that decides at its first read.
func (s *sniffing) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: c, raw: bufio.NewReader(c), config: s.config}, nil
}

type sniffed struct {
	net.Conn
	raw    *bufio.Reader
	config *tls.Config
	tls    *tls.Conn
	begun  bool
}

// buffered is the connection with the bytes that were looked at.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (s *sniffed) Read(p []byte) (int, error) {
	if !s.begun {
		first, err := s.raw.Peek(1)
		if err != nil {
			return 0, err
		}
		s.begun = true
		if first[0] == 22 { // a TLS handshake record, RFC 8446 §5.1
			s.tls = tls.Server(buffered{s.Conn, s.raw}, s.config)
		}
	}
	if s.tls != nil {
		return s.tls.Read(p)
	}
	return s.raw.Read(p)
}

func (s *sniffed) Write(p []byte) (int, error) {
	if s.tls != nil {
		return s.tls.Write(p)
	}
	return s.Conn.Write(p)
}
