package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"legate/wire"
	"legate/wire/rpc"
)

// askable is the upstream of a server on loopback.
func askable(t testing.TB, addr string, change func(*Spec)) *Upstream {
	t.Helper()
	ap := netip.MustParseAddrPort(addr)
	spec := Spec{Host: ap.Addr().String(), Port: ap.Port(), ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour}
	if change != nil {
		change(&spec)
	}
	u := New(spec, newTestResolver(t, Options{}))
	u.Start()
	t.Cleanup(u.Retire)
	return u
}

func question(u *Upstream, q *wire.Question, method, path, body string) error {
	q.Begin([]byte(method), []byte("shop.example"))
	q.Target([]byte("/auth"), []byte(path), []byte("x=1"), true)
	q.Add([]byte("x-who"), []byte("alice"))
	q.Body, q.Limit, q.Most = []byte(body), 5*time.Second, 64<<10
	return u.Ask(q)
}

// answering serves one raw answer to every request.
func answering(t *testing.T, answer string) string {
	t.Helper()
	return serve(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(nc, answer)
			if !strings.Contains(answer, "ontent-") && !strings.Contains(answer, "chunked") {
				nc.Close()
				return
			}
		}
	})
}

func TestAskReadsTheWholeAnswer(t *testing.T) {
	long := strings.Repeat("x", 30<<10)
	for _, row := range []struct {
		name, answer string
		status       int
		content      string
		err          string // part of; "" for none
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", ""},
		{"no content", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", 401, "", ""},
		{"a long one", fmt.Sprintf("HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 403, long, ""},
		{"chunks", "HTTP/1.1 302 Go\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 302, "abcde", ""},
		{"up to the end", "HTTP/1.1 200 OK\r\n\r\nuntil it closes", 200, "until it closes", ""},
		{"after interim ones", "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", ""},
		{"longer than may be", "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", 0, "", "longer than may be"},
		{"chunks without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("y", 0x400)+"\r\n", 70), 0, "", "longer than may be"},
		{"garbage", "content-free nonsense\r\n\r\n", 0, "", "status line"},
		{"a switch of protocols", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-x: 1\r\n\r\n", 0, "", "unasked"},
		{"half an answer", "HTTP/1.1 200 OK\r\nX: content-less half", 0, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := answering(t, row.answer)
			if row.name == "half an answer" {
				addr = serve(t, func(nc net.Conn) {
					_, _ = http.ReadRequest(bufio.NewReader(nc))
					_, _ = io.WriteString(nc, row.answer)
					nc.Close()
				})
				row.err = "EOF"
			}
			u := askable(t, addr, nil)
			var q wire.Question
			for range 2 { // the second over whatever the first left behind
				err := question(u, &q, "GET", "/x", "")
				switch {
				case row.err == "" && err != nil, row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
					t.Fatalf("got error %v, want %q", err, row.err)
				case err == nil && (q.Answer.Status != row.status || string(q.Content) != row.content):
					t.Fatalf("got %d %.40q, want %d %.40q", q.Answer.Status, q.Content, row.status, row.content)
				}
				q.Release()
			}
			if live := u.Stats().Active; live != 0 {
				t.Errorf("%d connections are still in use", live)
			}
		})
	}
}

func TestAskSaysWhatItWasTold(t *testing.T) {
	seen := make(chan string, 1)
	addr := serve(t, func(nc net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		seen <- fmt.Sprintf("%s %s %s %s %d %s", req.Method, req.RequestURI, req.Host, req.Header.Get("X-Who"), req.ContentLength, body)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	var q wire.Question
	if err := question(askable(t, addr, nil), &q, "PATCH", "/orders", "half a body"); err != nil {
		t.Fatal(err)
	}
	q.Release()
	if got, want := <-seen, "PATCH /auth/orders?x=1 shop.example alice 11 half a body"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAskTakesAnotherConnectionWhereOneIsStale(t *testing.T) {
	s := startPlainServer(t, nil)
	u := askable(t, s.addr, nil)
	var q wire.Question
	for i := range 5 {
		done := make(chan struct{})
		s.hangUp <- done
		if err := question(u, &q, "POST", "/", ""); err != nil {
			t.Fatalf("question %d: %v", i, err)
		}
		q.Release()
		<-done
	}
	if got := u.Stats().Opened; got != 5 {
		t.Errorf("opened %d connections, want 5", got)
	}
}

func TestAskGivesUp(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	silent := serve(t, func(net.Conn) { <-over })
	refusing := serve(t, func(net.Conn) {})
	for _, row := range []struct {
		name, addr, body string
		tick             wire.Tick
		want             error
	}{
		{"a service that says nothing", silent, "", nil, os.ErrDeadlineExceeded},
		{"a service that reads nothing", silent, strings.Repeat("z", 32<<20), nil, os.ErrDeadlineExceeded},
		{"a client that goes", silent, "", func(time.Time) (time.Time, bool) { return time.Time{}, false }, wire.ErrAbandoned},
		{"a service that hangs up", refusing, "", nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := askable(t, row.addr, nil)
			var q wire.Question
			q.Begin([]byte("GET"), []byte("x"))
			q.Target(nil, []byte("/"), nil, false)
			q.Body, q.Limit, q.Most, q.Tick = []byte(row.body), 300*time.Millisecond, 1<<10, row.tick
			if row.tick != nil {
				q.Limit = 10 * time.Second
			}
			start := time.Now()
			err := u.Ask(&q)
			q.Release()
			if err == nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			for u.Stats().Active != 0 { // whoever cut it off may not have counted yet
				if time.Since(start) > 5*time.Second {
					t.Fatalf("connections are still in use: %+v", u.Stats())
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// The limit is for everything: what it took to connect is not had once more for a body that
// nobody reads.
func TestAskSendsLongBodiesWithinTheLimit(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	ap := netip.MustParseAddrPort(serve(t, func(net.Conn) { <-over }))
	u := New(Spec{Host: ap.Addr().String(), Port: ap.Port(), ConnectTimeout: time.Minute}, newTestResolver(t, Options{}))
	const limit = 20 * time.Second
	var slow atomic.Bool
	u.now = func() time.Time {
		if slow.CompareAndSwap(true, false) { // when it began, long before it had a connection
			return time.Now().Add(300*time.Millisecond - limit)
		}
		return time.Now()
	}
	u.Start()
	t.Cleanup(u.Retire)
	var q wire.Question
	q.Begin([]byte("POST"), []byte("x"))
	q.Target(nil, []byte("/"), nil, false)
	q.Body, q.Limit, q.Most = []byte(strings.Repeat("z", 32<<20)), limit, 1<<10
	slow.Store(true)
	start := time.Now()
	if err := u.Ask(&q); wire.OutcomeOf(err) != wire.Timeout || slow.Load() {
		t.Errorf("got %v, want that it took too long", err)
	}
	q.Release()
	if took := time.Since(start); took > limit/2 {
		t.Errorf("took %v", took)
	}
}

func TestFailuresAtTheLimitAreOfTheLimit(t *testing.T) {
	u := askable(t, "127.0.0.1:1", nil)
	past, later := u.now().Add(-time.Millisecond), u.now().Add(time.Hour)
	for _, row := range []struct {
		err  error
		by   time.Time
		want wire.Outcome
	}{
		{wire.ErrRemoteReset, past, wire.Timeout},
		{io.ErrUnexpectedEOF, past, wire.Timeout},
		{wire.ErrRemoteReset, later, wire.RemoteReset},
		{io.ErrUnexpectedEOF, later, wire.Reset},
		{wire.ErrAbandoned, past, wire.GivenUp},
		{wire.ErrRefused, past, wire.Refused},
	} {
		got := u.late(row.err, row.by)
		if outcome := wire.OutcomeOf(got); outcome != row.want || !errors.Is(got, row.err) {
			t.Errorf("%v, over %v: got %v, outcome %d, want %d", row.err, row.by == past, got, outcome, row.want)
		}
	}
}

// A doctor answers health checks of gRPC by the name of the service.
type doctor struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (doctor) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	switch r.Service {
	case "unknown":
		return nil, status.Error(codes.NotFound, "nobody of that name")
	case "slow":
		<-ctx.Done()
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func TestCallOverHTTP2(t *testing.T) {
	ours := newAuthority(t, "ours")
	pair := ours.pair(t, "x", time.Now().Add(time.Hour))
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			var opts []grpc.ServerOption
			if secure {
				opts = append(opts, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}})))
			}
			srv := grpc.NewServer(opts...)
			grpc_health_v1.RegisterHealthServer(srv, doctor{})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = srv.Serve(ln) }()
			t.Cleanup(srv.Stop)
			u := askable(t, ln.Addr().String(), func(s *Spec) {
				s.HTTP2 = true
				if secure {
					s.TLS = Origination{On: true, CA: string(ours.pem), ALPN: protocolH2}
				}
			})
			for _, row := range []struct{ service, want string }{
				{"", "SERVING"},
				{"unknown", `gRPC status 5: "nobody of that name"`},
				{"", "SERVING"},
				{"slow", "deadline"},
			} {
				if got := check(u, row.service); !strings.Contains(got, row.want) {
					t.Errorf("service %q: got %s, want %s", row.service, got, row.want)
				}
			}
		})
	}
}

// check asks a doctor and returns what was said, or why not.
func check(to wire.Asker, service string) string {
	var q wire.Question
	q.Most = 1 << 10
	b := rpc.Begin(&q, []byte("doctor"), "/grpc.health.v1.Health/Check", time.Second, nil)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return err.Error()
	}
	answer, err := rpc.Call(to, &q, b)
	defer q.Release()
	if err != nil {
		if wire.OutcomeOf(err) == wire.Timeout {
			return "deadline"
		}
		return err.Error()
	}
	var r grpc_health_v1.HealthCheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return err.Error()
	}
	return r.Status.String()
}

func TestCallDistrustsWhatIsNotGRPC(t *testing.T) {
	for _, row := range []struct{ name, fields, body, trailer, want string }{
		{"a page", "content-type: text/html\r\n", "<html>", "", "content type"},
		{"no status", "content-type: application/grpc\r\n", "\x00\x00\x00\x00\x00", "", "without a gRPC status"},
		{"a status in words", "content-type: application/grpc\r\n", "", "grpc-status: fine\r\n", "without a gRPC status"},
		{"half a frame", "content-type: application/grpc\r\n", "\x00\x00", "grpc-status: 0\r\n", "not one message"},
		{"a length that lies", "content-type: application/grpc\r\n", "\x00\x00\x00\x00\x09x", "grpc-status: 0\r\n", "not one message"},
		{"compressed", "content-type: application/grpc+proto\r\n", "\x01\x00\x00\x00\x00", "grpc-status: 0\r\n", "compressed"},
		{"an empty message", "content-type: application/grpc\r\n", "\x00\x00\x00\x00\x00", "grpc-status: 0\r\n", "UNKNOWN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			answer := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + row.fields + "\r\n"
			if row.body != "" {
				answer += fmt.Sprintf("%x\r\n%s\r\n", len(row.body), row.body)
			}
			u := askable(t, answering(t, answer+"0\r\n"+row.trailer+"\r\n"), nil)
			if got := check(u, ""); !strings.Contains(got, row.want) {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestAllocsAsk(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	u := askable(t, startPlainServer(t, nil).addr, nil)
	var q wire.Question
	method, host, path, query := []byte("GET"), []byte("x"), []byte("/"), []byte("a=b")
	one := func() {
		q.Begin(method, host)
		q.Target(nil, path, query, true)
		q.Add(host, path)
		q.Limit, q.Most = 5*time.Second, 1<<10
		if err := u.Ask(&q); err != nil {
			t.Fatal(err)
		}
		q.Release()
	}
	one()
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("got %v allocations for a question, want 0", n)
	}
}
