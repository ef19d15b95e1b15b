package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// dribble writes text a byte at a time until it is done or the other side has had
// enough, and then returns how long that took.
func dribble(c io.Writer, text string, every time.Duration) time.Duration {
	begun := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			break
		}
		<-ticker.C
	}
	return time.Since(begun)
}

// ended waits for a connection's end, orderly or not, and returns what came before.
func (c *client) ended(t testing.TB) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	b, err := io.ReadAll(c.r)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // ReadAll does not wrap
		t.Error("the connection goes on")
	}
	return string(b)
}

// The time of a head counts from its first byte, however busy its sender looks; a
// handshake has as much, and silence before it too.
func TestSlowHeads(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
		mapping("x", "/x/", echo(t, "up"))})
	const limit = 10 * time.Second
	head := "GET /x/ HTTP/1.1\r\nHost: gate.test\r\nX-Slow: " + strings.Repeat("x", 1000)
	var all sync.WaitGroup
	for _, c := range []struct {
		what, says string
		open       func() *client
		answered   bool
	}{
		{"head", head, func() *client { return g.connect(t) }, true},
		{"head over TLS", head, func() *client { return g.connectTLS(t) }, true},
		{"handshake", "\x16\x03\x01\x02\x00" + strings.Repeat("\x01", 500), func() *client { return g.silent(t, "") }, false},
		{"nothing", "", func() *client { return g.silent(t, "") }, false},
	} {
		client := c.open()
		all.Go(func() {
			begun := time.Now()
			go dribble(client, c.says, 200*time.Millisecond)
			said := client.ended(t)
			if took := time.Since(begun); took < limit-time.Second || took > limit+patience(3*time.Second) {
				t.Errorf("%s: ended after %v, want %v", c.what, took, limit)
			}
			if strings.HasPrefix(said, "HTTP/1.1 408 Request Timeout\r\n") != c.answered {
				t.Errorf("%s: answer %q", c.what, said)
			}
		})
	}
	// Nobody else waits meanwhile.
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("beside slow clients: %v", g.verdict(t, a))
	}
	all.Wait()
	eventually(t, 5*time.Second, "both slow heads are on record", func() bool {
		return g.log.count(verdict{"accept", "head_timeout", 408}) == 2
	})
}

// A body must keep up a rate on average; one that does may take as long as it needs.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up"), "timeout_ms: 0")})
	var all sync.WaitGroup
	for _, c := range []struct {
		what  string
		piece int // every 200 ms
		want  verdict
	}{
		{"24 bytes a second of at least 240", 5, verdict{"proxy", "body_too_slow", 408}},
		{"500 bytes a second", 100, served},
	} {
		client := g.connect(t)
		all.Go(func() {
			const pieces = 65 // thirteen seconds, the grace being ten
			id := newID()
			size := pieces * c.piece
			if c.want != served {
				size *= 10
			}
			_, err := client.Write((&request{method: "POST", target: "/x/", header: []string{fmt.Sprint("Content-Length: ", size)}}).render(id))
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				ticker := time.NewTicker(200 * time.Millisecond)
				defer ticker.Stop()
				for range size / c.piece {
					<-ticker.C
					if _, err := io.WriteString(client, strings.Repeat("x", c.piece)); err != nil {
						return
					}
				}
			}()
			a, err := client.answer(id, "POST")
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				return
			}
			rec := g.log.next(t, 0, func(r *record) bool { return r.RequestID == id })
			if rec.verdict != c.want || a.StatusCode != c.want.Status {
				t.Errorf("%s: record %v, answer %d, want %v", c.what, rec.verdict, a.StatusCode, c.want)
			}
		})
	}
	all.Wait()
}

// A service that takes the connection and not the request costs no more than its time.
func TestServiceThatDoesNotRead(t *testing.T) {
	t.Parallel()
	up := raw(t, func(s *service) {
		_ = s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10) // as small as may be
		if _, err := http.ReadRequest(s.r); err == nil {
			<-t.Context().Done()
		}
	})
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "timeout_ms: 0", "idle_timeout_ms: 500")})
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.clear+"/x/", &zeros{64 << 20})
	must(t, err)
	id := newID()
	req.Header.Set("X-Request-Id", id)
	req.ContentLength = 64 << 20
	begun := time.Now()
	resp, err := browser(t).Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != 408 {
			t.Errorf("answer %d, want 408", resp.StatusCode)
		}
	}
	if got, want := g.verdict(t, answer{id: id}), (verdict{"proxy", "stream_idle", 408}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if took := time.Since(begun); took > patience(5*time.Second) {
		t.Errorf("it took %v", took)
	}
}

// Two thousand connections rest. They cost little, all of them work, and what they
// cost is given back.
func TestIdleConnections(t *testing.T) {
	const count, each = 2000, 20 << 10
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	manifests := everyone + authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route)
	g := start(t, setup{plain: true, args: []string{"--pprof"}, manifests: manifests})
	before := g.vitals()
	g.replace(manifests + mapping("x", "/x/", up))
	ask := func(c *client) {
		t.Helper()
		if a, err := c.exchange(request{target: "/x/"}); err != nil || a.StatusCode != 200 {
			t.Fatalf("answer %v, %v", a.Response, err)
		}
	}
	for range 50 { // what it needs for any connection at all
		c, err := g.dial(t, request{secure: true})
		must(t, err)
		ask(c)
		c.Close()
	}
	empty := g.memory("VmRSS")
	clients := make([]*client, count)
	for i := range clients {
		c, err := g.dial(t, request{secure: i%2 == 0})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		ask(c)
		clients[i] = c
	}
	if now := g.vitals(); now.files-before.files < count {
		t.Errorf("%d files are open, want those of %d connections", now.files, count)
	}
	cost := (g.memory("VmRSS") - empty) / count
	t.Logf("%d idle connections, half over TLS: %d bytes each", count, cost)
	if cost > each {
		t.Errorf("an idle connection costs %d bytes, want at most %d", cost, each)
	}
	for _, c := range clients {
		ask(c)
	}
	for _, c := range clients {
		c.Close()
	}
	g.replace(manifests)
	g.settled(before)
}
