package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// A balancer stands in for a Network Load Balancer with IP targets: it sends the client's
// address ahead by PROXY version 2, asks the admin port of each target whether it is
// ready, gives new connections to those that are, and leaves connections that there are to
// their two ends.
type balancer struct {
	addr    string
	mu      sync.Mutex
	targets []*target
	next    int
	lost    atomic.Int64 // connections that no target took
	stop    chan struct{}
	done    sync.WaitGroup
}

// A target is one gateway, as the balancer sees it.
type target struct {
	addr, admin string
	healthy     bool
	streak      int // answers in a row that say the other thing
}

// The balancer's health checks: this often, and so many in a row change its mind.
const checkEvery, checksToChange = 100 * time.Millisecond, 2

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b := &balancer{addr: ln.Addr().String(), stop: make(chan struct{})}
	b.done.Go(func() { b.accept(ln) })
	b.done.Go(b.check)
	t.Cleanup(func() {
		close(b.stop)
		ln.Close()
		b.done.Wait()
	})
	return b
}

// register adds a target and waits until it is given connections.
func (b *balancer) register(t *testing.T, r *member) *target {
	t.Helper()
	at := &target{addr: r.secure, admin: r.admin}
	b.mu.Lock()
	b.targets = append(b.targets, at)
	b.mu.Unlock()
	eventually(t, 10*time.Second, "the balancer holds the gateway for healthy", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return at.healthy
	})
	return at
}

// deregister forgets a target, for new connections.
func (b *balancer) deregister(at *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets = slices.DeleteFunc(b.targets, func(o *target) bool { return o == at })
}

func (b *balancer) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b.done.Go(func() { b.carry(c.(*net.TCPConn)) })
	}
}

// carry leads a connection to the next healthy target and copies both ways; an end on one
// side becomes the end on the other.
func (b *balancer) carry(c *net.TCPConn) {
	defer c.Close()
	up, err := net.DialTimeout("tcp", b.choose(), 5*time.Second)
	if err != nil {
		b.lost.Add(1)
		return
	}
	defer up.Close()
	if _, err := up.Write(introduction(c.RemoteAddr(), c.LocalAddr())); err != nil {
		b.lost.Add(1)
		return
	}
	var both sync.WaitGroup
	pipe := func(to, from *net.TCPConn) {
		_, _ = io.Copy(to, from) // whichever side breaks, the other is told
		_ = to.CloseWrite()
	}
	both.Go(func() { pipe(up.(*net.TCPConn), c) })
	both.Go(func() { pipe(c, up.(*net.TCPConn)) })
	both.Wait()
}

// choose returns the next healthy target's address, "" if there is none.
func (b *balancer) choose() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.targets {
		b.next++
		if at := b.targets[b.next%len(b.targets)]; at.healthy {
			return at.addr
		}
	}
	return ""
}

// introduction is a PROXY header of version 2 for a TCP connection over IPv4.
func introduction(from, to net.Addr) []byte {
	src, dst := from.(*net.TCPAddr), to.(*net.TCPAddr)
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), src.IP.To4()...)
	h = append(h, dst.IP.To4()...)
	return append(h, byte(src.Port>>8), byte(src.Port), byte(dst.Port>>8), byte(dst.Port))
}

// check asks every target, all the time.
func (b *balancer) check() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
		}
		b.mu.Lock()
		targets := slices.Clone(b.targets)
		b.mu.Unlock()
		for _, at := range targets {
			resp, err := operators.Get("http://" + at.admin + "/ambassador/v0/check_ready")
			if err == nil {
				resp.Body.Close()
			}
			b.heard(at, err == nil && resp.StatusCode == 200)
		}
	}
}

// heard changes the mind about a target once enough answers in a row say so.
func (b *balancer) heard(at *target, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ready == at.healthy {
		at.streak = 0
		return
	}
	if at.streak++; at.streak >= checksToChange {
		at.healthy, at.streak = ready, 0
	}
}

// A member is a gateway behind the balancer.
type member struct {
	*gateway
	secure string
	at     *target
}

// join starts a gateway that drains as k8s/ has it, with shorter times, and puts it behind
// the balancer.
func (b *balancer) join(t *testing.T, manifests string) *member {
	t.Helper()
	port := freePorts(t, 1)[0]
	g := start(t, setup{bare: true, args: []string{"--log-level", "warn", "--drain-delay", "1s", "--drain-timeout", "60s"},
		manifests: manifests + stacked("https", port, "PROXY, TLS, HTTP, TCP")})
	r := &member{gateway: g, secure: loopback(port)}
	r.at = b.register(t, r)
	return r
}

// leave ends a gateway as Kubernetes does: it is told to end at the moment in which the
// balancer is told that it goes, and the balancer hears of it late.
func (b *balancer) leave(t *testing.T, r *member) {
	t.Helper()
	r.signal(syscall.SIGTERM)
	late := time.AfterFunc(500*time.Millisecond, func() { b.deregister(r.at) })
	defer late.Stop()
	if status := r.exit(t); status != 0 {
		t.Errorf("a gateway that left ended with status %d", status)
	}
}

// Every gateway of three is replaced while clients of all kinds ask without a pause: not one
// request fails, and no connection finds nobody.
func TestRollingRestartBehindBalancer(t *testing.T) {
	t.Parallel()
	_, callee := serveGRPC(t)
	chat := serve(t, chatServers["coder"])
	manifests := authority.issue(t, defaultHost).secret("cert") + tlsHost("gate", defaultHost, "cert", route) +
		mapping("x", "/x/", echo(t, "up"), "timeout_ms: 25000") +
		mapping("chat", "/chat/", chat, "allow_upgrade: [websocket]", "timeout_ms: 25000") +
		grpcMapping("rpc", grpcPrefix, callee, "timeout_ms: 25000")
	b := newBalancer(t)
	var members []*member
	for range 3 {
		members = append(members, b.join(t, manifests))
	}

	load := &everybody{addr: b.addr, failures: make(chan error, 100)}
	load.begin(t)
	for _, old := range members {
		asked := load.asked()
		b.join(t, manifests)
		b.leave(t, old)
		load.goesOn(t, asked)
	}
	load.end(t)
	if n := b.lost.Load(); n > 0 {
		t.Errorf("%d connections found no gateway", n)
	}
	t.Logf("asked: %v", load.asked())
}

// Everybody are clients of all kinds that ask without a pause until they are told to end.
type everybody struct {
	addr     string
	failures chan error
	stop     atomic.Bool
	done     sync.WaitGroup
	kinds    []*kind
}

// A kind is clients of one protocol.
type kind struct {
	name  string
	count atomic.Int64
}

func (e *everybody) begin(t *testing.T) {
	t.Helper()
	h2 := &http.Client{Transport: &http.Transport{TLSClientConfig: h2TLS(), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	t.Cleanup(h2.CloseIdleConnections)
	conn, err := grpc.NewClient("passthrough:///"+e.addr, grpc.WithTransportCredentials(credentials.NewTLS(h2TLS())))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	rpc := testpb.NewTestServiceClient(conn)
	e.run("h1", 4, e.askH1)
	e.run("h2", 4, func() error { return e.askH2(h2) })
	e.run("grpc", 2, func() error { return call(rpc) })
	e.run("grpc stream", 2, func() error { return converse(rpc) })
	e.run("websocket", 2, e.talk)
}

// run has n clients do a thing again and again.
func (e *everybody) run(name string, n int, do func() error) {
	k := &kind{name: name}
	e.kinds = append(e.kinds, k)
	for range n {
		e.done.Go(func() {
			for !e.stop.Load() {
				if err := do(); err != nil {
					e.failures <- fmt.Errorf("%s: %w", name, err)
					return
				}
				k.count.Add(1)
			}
		})
	}
}

func (e *everybody) asked() map[string]int64 {
	counts := map[string]int64{}
	for _, k := range e.kinds {
		counts[k.name] = k.count.Load()
	}
	return counts
}

// goesOn waits until every kind has asked more than before.
func (e *everybody) goesOn(t *testing.T, before map[string]int64) {
	t.Helper()
	eventually(t, patience(20*time.Second), "every kind of client has gone on", func() bool {
		for _, k := range e.kinds {
			if k.count.Load() <= before[k.name] && len(e.failures) == 0 {
				return false
			}
		}
		return true
	})
}

func (e *everybody) end(t *testing.T) {
	t.Helper()
	e.stop.Store(true)
	e.done.Wait()
	close(e.failures)
	for err := range e.failures {
		t.Error(err)
	}
}

// askH1 asks on one connection until it is told that it ends, or has asked enough.
func (e *everybody) askH1() error {
	c, err := dialTLS(e.addr, defaultHost)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := 0; n < 500 && !e.stop.Load(); n++ {
		a, err := c.exchange(request{target: "/x/" + strconv.Itoa(n)})
		if err != nil || a.StatusCode != 200 {
			return fmt.Errorf("request %d of a connection: %v, %w", n, a.Response, err)
		}
		if a.Close {
			return nil
		}
	}
	return nil
}

func (e *everybody) askH2(c *http.Client) error {
	r, err := http.NewRequest(http.MethodGet, "https://"+e.addr+"/x/", nil)
	if err != nil {
		return err
	}
	r.Host = defaultHost
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		return fmt.Errorf("%s %d: %w", resp.Proto, resp.StatusCode, err)
	}
	return nil
}

// h2TLS is what clients of HTTP/2 trust.
func h2TLS() *tls.Config {
	return &tls.Config{RootCAs: authority.pool, ServerName: defaultHost}
}

func call(c testpb.TestServiceClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 100, Payload: bytesOf(100)})
	return err
}

// converse says twenty things in one stream and hears each again.
func converse(c testpb.TestServiceClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range 20 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: bytesOf(100)}); err != nil {
			_, err = stream.Recv()
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // so that a conversation outlasts what happens around it
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream ends with %w", err)
	}
	return nil
}

// talk says fifty things over a WebSocket and hears each again.
func (e *everybody) talk() error {
	c, _, err := chatClients["coder"]("wss://" + e.addr + "/chat/")
	if err != nil {
		return err
	}
	defer c.drop()
	for range 50 {
		if err := c.send(false, []byte("hello")); err != nil {
			return err
		}
		if _, message, err := c.receive(); err != nil || string(message) != "hello" {
			return fmt.Errorf("heard %q, %w", message, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return c.end()
}
