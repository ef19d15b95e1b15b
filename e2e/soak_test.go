package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// soakTime is how long the gateway soaks: as LEGATE_SOAK says, two minutes in CI, and
// otherwise as long as it takes to see that the test works.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("LEGATE_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		must(t, err)
		return d
	}
	if os.Getenv("CI") == "true" {
		return 2 * time.Minute
	}
	return 10 * time.Second
}

// A soak is traffic of all kinds, and how often each came to what.
type soak struct {
	t    *testing.T
	g    *gateway
	ill  *patient
	stop chan struct{}
	done sync.WaitGroup

	total, broken atomic.Int64 // requests to services that are well; those that failed
	faults        atomic.Int64 // requests to the one that is not
}

// every has f do its work again and again, n at a time.
func (s *soak) every(n int, f func() error) {
	for range n {
		s.done.Go(func() {
			for {
				select {
				case <-s.stop:
					return
				case <-time.After(3 * time.Millisecond):
				}
				s.total.Add(1)
				if err := f(); err != nil && s.broken.Add(1) < 10 {
					s.t.Errorf("a request to a service that is well: %v", err)
				}
			}
		})
	}
}

// browse asks by what proto says, with a body every other time.
func (s *soak) browse(client *http.Client, url, proto string) func() error {
	body := bytes.Repeat([]byte("x"), 20_000)
	var n atomic.Int64
	return func() error {
		method, text := http.MethodGet, io.Reader(nil)
		if n.Add(1)%2 == 0 {
			method, text = http.MethodPost, bytes.NewReader(body)
		}
		req, err := http.NewRequest(method, url, text)
		if err != nil {
			return err
		}
		req.Host = defaultHost
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != 200 || resp.Proto != proto {
			return fmt.Errorf("%s %s: %s by %s", method, url, resp.Status, resp.Proto)
		}
		return nil
	}
}

// call calls a service of gRPC, by one message or by a stream of them.
func (s *soak) call(c testpb.TestServiceClient) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 5000, Payload: bytesOf(100)}); err != nil {
			return err
		}
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: bytesOf(1000)}); err != nil {
				return err
			}
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != io.EOF { //nolint:errorlint // because gRPC promises that very value
			return fmt.Errorf("stream ended with %w", err)
		}
		return nil
	}
}

// chats opens a WebSocket, says something, and closes it.
func (s *soak) chats() error {
	c, _, err := chatClients["coder"]("ws://" + s.g.clear + "/x/")
	if err != nil {
		return err
	}
	defer c.drop()
	for range 3 {
		if err := c.send(true, bytes.Repeat([]byte("m"), 3000)); err != nil {
			return err
		}
		if _, got, err := c.receive(); err != nil || len(got) != 3000 {
			return fmt.Errorf("%d bytes came back: %w", len(got), err)
		}
	}
	return nil
}

// hurt has the one service fall ill in one way after the other, and asks it all the while.
func (s *soak) hurt() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: 30 * time.Second}
	for range 3 {
		s.done.Go(func() {
			for {
				select {
				case <-s.stop:
					client.CloseIdleConnections()
					return
				case <-time.After(5 * time.Millisecond):
				}
				s.faults.Add(1)
				if resp, err := client.Get("http://" + s.g.clear + "/ill/"); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body) // it may break off
					_ = resp.Body.Close()
				}
			}
		})
	}
	s.done.Go(func() {
		for i := 0; ; i++ {
			s.ill.illness.Store(&illnesses[i%len(illnesses)])
			if !s.rest(700 * time.Millisecond) {
				return
			}
			s.ill.illness.Store(nil)
			if !s.rest(500 * time.Millisecond) {
				return
			}
		}
	})
}

// rest waits, and reports whether there is more to come.
func (s *soak) rest(d time.Duration) bool {
	select {
	case <-s.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// A vital is how the process stands at one moment.
type vital struct {
	at         time.Duration
	rss        int64
	goroutines int
	files      int
	generation uint64
}

func (s *soak) vital(begun time.Time) vital {
	v := s.g.vitals()
	return vital{time.Since(begun), s.g.memory("VmRSS"), v.goroutines, v.files, s.g.generation()}
}

// Traffic of every kind goes on for long, while the configuration changes and one service
// fails in every way. Nothing grows, no request to a service that is well fails, and every
// 5xx says why there is none.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := soakTime(t)
	s := &soak{t: t, ill: newPatient(t, "ill"), stop: make(chan struct{})}
	_, callee := serveGRPC(t)
	well := serve(t, http.HandlerFunc(mirror))
	manifests := chatWorld(t, serve(t, chatServers["coder"]), "timeout_ms: 30000") +
		mapping("well", "/well/", well, "timeout_ms: 30000", "failure_breaker: {}", "labels: {ambassador: [{g: [soak]}]}") +
		grpcMapping("calls", grpcPrefix, callee, "timeout_ms: 30000", "failure_breaker: {}") +
		mapping("ill", "/ill/", s.ill.addr, "timeout_ms: 150", "retry_policy: {retry_on: 5xx, num_retries: 2}", "failure_breaker: {consecutive_failures: 5, open_for: 100ms}")
	s.g = start(t, setup{plain: true, manifests: manifests, args: []string{"--pprof", "--max-requests", "500"}})

	h2 := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: authority.pool, ServerName: defaultHost}}}
	s.every(3, s.browse(browser(t), "http://"+s.g.clear+"/well/", "HTTP/1.1"))
	s.every(3, s.browse(h2, "https://"+s.g.secure+"/well/", "HTTP/2.0"))
	s.every(2, s.call(s.g.callGRPC(t, false)))
	s.every(2, s.chats)
	s.hurt()

	begun := time.Now()
	var looks []vital
	for i := 1; time.Since(begun) < lasts; i++ {
		s.g.replace(manifests + strings.Repeat(mapping("more", fmt.Sprintf("/more-%d/", i), well), i%2))
		time.Sleep(max(200*time.Millisecond, lasts/200))
		looks = append(looks, s.vital(begun))
	}
	close(s.stop)
	s.done.Wait()
	h2.CloseIdleConnections()
	s.judge(looks)
}

// judge looks for what grew, and for failures that nobody explains.
func (s *soak) judge(looks []vital) {
	t := s.t
	for i, v := range looks {
		if i%max(len(looks)/20, 1) == 0 || i == len(looks)-1 {
			t.Logf("%6.1fs  generation %4d  RSS %5.1f MiB  %4d goroutines  %4d files", v.at.Seconds(), v.generation, float64(v.rss)/(1<<20), v.goroutines, v.files)
		}
	}
	byReason, unexplained := map[string]int{}, 0
	s.g.log.mu.Lock()
	for i := range s.g.log.records {
		r := &s.g.log.records[i]
		if r.Status < 500 {
			continue
		}
		byReason[r.Reason]++
		if r.Reason == "" && !strings.HasPrefix(r.Path, "/ill/") { // a 500 of the service's own needs no reason of ours
			unexplained++
		}
	}
	s.g.log.mu.Unlock()
	t.Logf("%d requests to services that are well, %d of them failed; %d to the one that is not; 5xx by reason: %v", s.total.Load(), s.broken.Load(), s.faults.Load(), byReason)
	if unexplained > 0 {
		t.Errorf("%d answers of 5xx do not say why", unexplained)
	}
	if byReason["breaker_open"] == 0 {
		t.Error("the breaker never opened: nothing was tried")
	}
	first, last := third(looks, 1), third(looks, 2)
	if grown := last.goroutines - first.goroutines; grown > 40 {
		t.Errorf("goroutines grew by %d", grown)
	}
	if grown := last.files - first.files; grown > 40 {
		t.Errorf("open files grew by %d", grown)
	}
	if last.rss > first.rss+first.rss/10+4<<20 { // without the race detector, whose own memory grows with every request
		t.Errorf("RSS grew from %d to %d MiB", first.rss>>20, last.rss>>20)
	}
}

// third returns the least of each number among the looks of a third, 0 to 2: peaks come
// and go, and what leaks raises the floor.
func third(looks []vital, n int) vital {
	list := looks[len(looks)*n/3 : len(looks)*(n+1)/3]
	least := list[0]
	for _, v := range list {
		least.rss, least.goroutines, least.files = min(least.rss, v.rss), min(least.goroutines, v.goroutines), min(least.files, v.files)
	}
	return least
}
