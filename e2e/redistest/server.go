// Package redistest runs real Redis servers for tests: single ones, Sentinels and clusters,
// on free ports of this machine and for as long as the test.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a server may take for what it has to do once.
const patience = 20 * time.Second

// A Server is one redis-server, or one redis-sentinel.
type Server struct {
	Addr string // 127.0.0.1 and its port

	program string
	tls     bool
	args    []string
	dir     string
	client  *redis.Client

	mu  sync.Mutex
	cmd *exec.Cmd
	out *bytes.Buffer
}

// Start starts a server that keeps nothing on disk, with more arguments of redis-server's.
// It answers when Start returns.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, &Server{program: "redis-server", args: slices.Concat(volatile, args)})
}

// StartTLS is Start for a server that speaks TLS only, with the certificate and the key of
// files.
func StartTLS(t testing.TB, cert, key string) *Server {
	t.Helper()
	args := []string{"--port", "0", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no"}
	return start(t, &Server{program: "redis-server", tls: true, args: slices.Concat(volatile, args)})
}

// volatile are the arguments of a server that keeps nothing on disk.
var volatile = []string{"--save", "", "--appendonly", "no"}

func start(t testing.TB, s *Server) *Server {
	t.Helper()
	s.dir = t.TempDir()
	t.Cleanup(func() {
		s.Kill()
		if s.client != nil {
			_ = s.client.Close()
		}
	})
	for range 5 { // somebody else may have taken the port meanwhile
		s.Addr = freeAddr(t)
		if s.run(t) {
			s.client = redis.NewClient(s.options())
			return s
		}
	}
	t.Fatalf("%s does not start:\n%s", s.program, s.out)
	return nil
}

// outside returns the path of a program. Where a person has not got it, the test is skipped
// by its name; where every change is judged, it fails.
func outside(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: apt-get install redis-server redis-sentinel redis-tools", name)
		}
		t.Skipf("%s is missing: apt-get install redis-server redis-sentinel redis-tools", name)
	}
	return path
}

func freeAddr(t testing.TB) string {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().(*net.TCPAddr) //nolint:forcetypeassert // because TCP was asked for
		_ = ln.Close()
		if addr.Port < 55000 { // a cluster's own port is 10000 above
			return addr.String()
		}
	}
}

// run starts the process and waits until it answers, or returns false where it ended.
func (s *Server) run(t testing.TB) bool {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.Addr)
	listen := "--port"
	if s.tls {
		listen = "--tls-port"
	}
	args := append([]string{"--bind", "127.0.0.1", listen, port, "--dir", s.dir}, s.args...)
	if s.program == "redis-sentinel" {
		args = append([]string{s.config(t)}, args...)
	}
	cmd := exec.Command(outside(t, s.program), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd, s.out = cmd, out
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	for began := time.Now(); time.Since(began) < patience; {
		select {
		case <-ended:
			return false
		case <-time.After(10 * time.Millisecond):
		}
		if s.answers() {
			return true
		}
	}
	t.Fatalf("%s does not answer:\n%s", s.program, out)
	return false
}

// answers reports whether the server says anything at all, also that it wants a password.
func (s *Server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if s.tls {
		return true
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	var answer [1]byte
	n, _ := conn.Read(answer[:])
	return n == 1
}

func (s *Server) options() *redis.Options {
	return &redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true}
}

// Do sends a command and returns its answer; an error ends the test.
func (s *Server) Do(t testing.TB, args ...any) string {
	t.Helper()
	answer, err := s.Ask(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// Ask sends a command and returns its answer.
func (s *Server) Ask(args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := s.client.Do(ctx, args...).Result()
	return fmt.Sprint(answer), err
}

// Signal sends a signal: SIGSTOP pauses the server, and SIGCONT has it go on.
func (s *Server) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Signal(sig) // it may have ended
}

// Kill ends the server at once. What it has is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd := s.cmd
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
	}
	for began := time.Now(); s.answers() && time.Since(began) < patience; { // others may not find it any more
	}
}

// Restart starts the server again, at the same address, once it was killed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		if s.run(t) {
			return
		}
	}
	t.Fatalf("%s does not start again:\n%s", s.program, s.out)
}

// Eventually asks until the answer is as wanted.
func Eventually(t testing.TB, about string, wanted func() bool) {
	t.Helper()
	for began := time.Now(); !wanted(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("%s: not within %v", about, patience)
		}
	}
}
