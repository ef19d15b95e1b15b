package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A gated is a service whose answers to /down wait, in their middle, for the test.
type gated struct {
	addr    string
	arrived chan string // the targets of requests, as they come
	release chan struct{}
}

func newGated(t testing.TB) *gated {
	t.Helper()
	s := &gated{arrived: make(chan string, 100), release: make(chan struct{})}
	s.addr = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.arrived <- r.URL.Path
		switch r.URL.Path {
		case "/down":
			_, _ = io.WriteString(w, "one,")
			_ = http.NewResponseController(w).Flush() // who left needs no answer
			s.wait(r)
			_, _ = io.WriteString(w, "two")
		case "/head":
			s.wait(r)
			_, _ = io.WriteString(w, "one,two")
		default:
			echoHandler("gated").ServeHTTP(w, r)
		}
	}))
	return s
}

func (s *gated) wait(r *http.Request) {
	select {
	case <-s.release:
	case <-r.Context().Done():
	}
}

// ask sends a request and waits until the service has it.
func (s *gated) ask(t testing.TB, c *client, r request) (id string) {
	t.Helper()
	id = newID()
	must(t, second(c.Write(r.render(id))))
	<-s.arrived
	return id
}

// ends waits for a connection's orderly end.
func (c *client) ends(t testing.TB, what string) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(patience(5*time.Second))))
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("%s: %q, %v; want its end", what, b, err)
	}
}

// silent opens a connection to the Listener of protocol HTTPS and says first.
func (g *gateway) silent(t testing.TB, first string) *client {
	t.Helper()
	c, err := net.Dial("tcp", g.secure)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, second(io.WriteString(c, first)))
	return newClient(c)
}

func (g *gateway) connectTLS(t testing.TB) *client {
	t.Helper()
	c, err := g.dial(t, request{secure: true})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func (s *gated) start(t testing.TB, args ...string) *gateway {
	t.Helper()
	return start(t, setup{args: args, manifests: everyone + authority.issue(t, "gate.test").secret("cert") +
		tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", s.addr, "timeout_ms: 0")})
}

// What was begun before SIGTERM is served to its end, and nobody else is kept.
func TestDrain(t *testing.T) {
	t.Parallel()
	up := newGated(t)
	g := up.start(t, "--drain-timeout", "60s")

	type inFlight struct {
		what string
		*client
		id string
	}
	var answers []inFlight
	for _, c := range []inFlight{{what: "long answer", client: g.connect(t)}, {what: "long answer over TLS", client: g.connectTLS(t)}} {
		c.id = up.ask(t, c.client, request{target: "/x/down"})
		answers = append(answers, c)
	}
	late := inFlight{what: "answer not begun", client: g.connectTLS(t)}
	late.id = up.ask(t, late.client, request{target: "/x/head"})
	upload := inFlight{what: "upload", client: g.connect(t)}
	upload.id = up.ask(t, upload.client, request{method: "POST", target: "/x/", header: []string{"Content-Length: 8"}, body: "half"})
	var idle []inFlight
	for _, c := range []inFlight{{what: "idle", client: g.connect(t)}, {what: "idle over TLS", client: g.connectTLS(t)}} {
		must(t, second(c.exchange(request{target: "/x/"})))
		idle = append(idle, c)
	}
	idle = append(idle, inFlight{what: "never used", client: g.connect(t)},
		inFlight{what: "never used, TLS", client: g.connectTLS(t)}, inFlight{what: "silent", client: g.silent(t, "")})

	g.signal(syscall.SIGTERM)
	g.errors.await(t, `"msg":"draining"`)
	for _, c := range idle {
		c.ends(t, c.what)
	}
	if status, _ := g.operator("/ambassador/v0/check_ready"); status != 503 {
		t.Errorf("check_ready while draining: %d", status)
	}
	if status, _ := g.operator("/ambassador/v0/check_alive"); status != 200 {
		t.Errorf("check_alive while draining: %d", status)
	}
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, "legate_draining 1\n") {
		t.Error("legate_draining is not 1")
	}
	if c, err := net.Dial("tcp", g.clear); err == nil {
		c.Close()
		t.Error("the port still accepts")
	}

	close(up.release)
	for _, c := range append(answers, late) {
		a, err := c.answer(c.id, "GET")
		if err != nil || string(a.body) != "one,two" {
			t.Errorf("%s: %q, %v", c.what, a.body, err)
			continue
		}
		if a.Close != (c == late) { // it can only be said in a head
			t.Errorf("%s: Connection: close is %v", c.what, a.Close)
		}
		if got := g.verdict(t, a); got != served {
			t.Errorf("%s: %v", c.what, got)
		}
		c.ends(t, c.what)
	}
	must(t, second(io.WriteString(upload, "half")))
	a, err := upload.answer(upload.id, "POST")
	must(t, err)
	if got := g.verdict(t, a); got != served || a.saw.Body != 8 || !a.Close {
		t.Errorf("upload: %v, %d bytes, Connection: close is %v", got, a.saw.Body, a.Close)
	}
	if status := g.exit(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	g.errors.await(t, `"msg":"stopped"`)
}

// Under full load, too, every request that was sent is answered, and every connection
// is told beforehand that it will end.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
		mapping("x", "/x/", echo(t, "up"))})
	warm := make(chan struct{}, 100)
	keep := func(c *client) error {
		for n := 0; ; n++ {
			a, err := c.exchange(request{target: "/x/"})
			if err != nil || a.StatusCode != 200 {
				return fmt.Errorf("request %d: %v, %w", n, a.Response, err)
			}
			if n == 50 {
				warm <- struct{}{}
			}
			if a.Close {
				return nil
			}
		}
	}
	var clients sync.WaitGroup
	for i := range 8 {
		c, err := g.dial(t, request{secure: i%2 == 0})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		clients.Go(func() {
			if err := keep(c); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	for range 8 {
		<-warm
	}
	g.signal(syscall.SIGTERM)
	if status := g.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	clients.Wait()
}

// For the time of the delay everything is served, but no longer announced.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	const delay = 1500 * time.Millisecond
	g := start(t, setup{args: []string{"--drain-delay", delay.String()}, manifests: everyone + mapping("x", "/x/", echo(t, "up"))})
	kept := g.connect(t)
	must(t, second(kept.exchange(request{target: "/x/"})))
	begun := time.Now()
	g.signal(syscall.SIGTERM)
	g.errors.await(t, `"msg":"draining"`)
	if status, _ := g.operator("/ambassador/v0/check_ready"); status != 503 {
		t.Errorf("check_ready on the admin port: %d", status)
	}
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, `legate_phase{phase="leaving"} 1`) || !strings.Contains(metrics, `legate_phase{phase="serving"} 0`) {
		t.Error("legate_phase does not say leaving")
	}
	a := g.send(t, request{target: "/ambassador/v0/check_ready"})
	if got, want := g.verdict(t, a), (verdict{"match", "health_check", 503}); got != want {
		t.Errorf("check_ready on a Listener: %v, want %v", got, want)
	}
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served || a.Close {
		t.Errorf("a new connection within the delay: %v, Connection: close is %v", g.verdict(t, a), a.Close)
	}
	if a, err := kept.exchange(request{target: "/x/"}); err != nil || a.StatusCode != 200 {
		t.Errorf("an old connection within the delay: %v", err)
	}
	if status := g.exit(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	if took := time.Since(begun); took < delay {
		t.Errorf("it ended after %v", took)
	}
	g.wentThrough(t, "serving leaving draining")
}

// wentThrough expects the phases of a gateway's life to have been these.
func (g *gateway) wentThrough(t testing.TB, want string) {
	t.Helper()
	var phases []string
	for _, line := range g.errors.all() {
		var l struct{ Msg, Is string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "phase" {
			phases = append(phases, l.Is)
		}
	}
	if got := strings.Join(phases, " "); got != want {
		t.Errorf("the phases were %s, want %s", got, want)
	}
}

// When time is up, or a second signal comes, what is left is cut and said to be.
func TestDrainCutShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, timeout string
		again         bool
		cause         string
	}{
		{"deadline", "400ms", false, "context deadline exceeded"},
		{"second signal", "60s", true, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up := newGated(t)
			g := up.start(t, "--drain-timeout", c.timeout)
			down, head := g.connect(t), g.connectTLS(t)
			downID, headID := up.ask(t, down, request{target: "/x/down"}), up.ask(t, head, request{target: "/x/head"})
			resp, err := down.head("GET")
			must(t, err)
			g.silent(t, "\x16\x03\x01") // a handshake that goes no further

			g.signal(syscall.SIGTERM)
			g.errors.await(t, `"msg":"draining"`)
			begun := time.Now()
			if c.again {
				g.signal(syscall.SIGTERM)
			}
			if status := g.exit(t); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			if took := time.Since(begun); took > patience(3*time.Second) {
				t.Errorf("the end took %v", took)
			}
			g.errors.await(t, `"msg":"drain was cut short","error":"drain: `+c.cause)
			g.wentThrough(t, "serving leaving draining cut")
			if b, err := io.ReadAll(resp.Body); string(b) != "one," || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the long answer: %q, %v; it must not look whole", b, err)
			}
			if _, err := head.head("GET"); err == nil {
				t.Error("the other answer came")
			}
			if got, want := g.verdict(t, answer{id: downID}), (verdict{"proxy", "draining", 200}); got != want {
				t.Errorf("within the answer: %v, want %v", got, want)
			}
			if got, want := g.verdict(t, answer{id: headID}), (verdict{"proxy", "draining", 0}); got != want {
				t.Errorf("before the answer: %v, want %v", got, want)
			}
		})
	}
}
