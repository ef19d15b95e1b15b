package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// world is the configuration of generation n. Everything in it says n: the path and a
// header on the way in, a header on the way out; routes come and go, weights change.
func world(n int, up string) string {
	var b strings.Builder
	b.WriteString(everyone)
	// No timeout of ours is to be what a busy machine meets.
	b.WriteString(mapping("main", "/x/", up, "timeout_ms: 25000", fmt.Sprintf("rewrite: /g%d/", n),
		fmt.Sprintf(`add_request_headers: {x-gen: "%d"}`, n), fmt.Sprintf(`add_response_headers: {x-gen: {value: "%d", append: false}}`, n)))
	b.WriteString(mapping("a-canary", "/x/", up, "timeout_ms: 25000", fmt.Sprintf("weight: %d", n%101), fmt.Sprintf("rewrite: /g%d/", n)))
	for i := range n % 7 {
		b.WriteString(mapping(fmt.Sprintf("extra-%d-%d", n, i), fmt.Sprintf("/extra-%d-%d/", n, i), up, fmt.Sprintf("connect_timeout_ms: %d", 1000+n)))
	}
	if n%3 == 0 {
		b.WriteString(module(fmt.Sprintf("server_name: gen-%d", n)))
	}
	return b.String()
}

// consistent reports what of an answer is not of one generation.
func consistent(a answer) error {
	if a.StatusCode != 200 || a.saw == nil {
		return fmt.Errorf("status %d, body %q", a.StatusCode, a.body)
	}
	n := a.Header.Get("X-Gen")
	if got := a.saw.Header.Get("X-Gen"); got != n || !strings.HasPrefix(a.saw.Target, "/g"+n+"/") {
		return fmt.Errorf("the answer is of generation %s, the service saw generation %s and target %s", n, got, a.saw.Target)
	}
	server := "envoy"
	if i, err := strconv.Atoi(n); err != nil || i%3 == 0 {
		server = "gen-" + n
	}
	if got := a.Header.Get("Server"); got != server {
		return fmt.Errorf("the answer is of generation %s, its server of %s", n, got)
	}
	return nil
}

func swaps(t *testing.T) int {
	t.Helper()
	if testing.Short() {
		return 50
	}
	return 500
}

// The configuration changes as fast as changes can be told apart, while connections are
// never without a request: none fails, none is cut, nothing is left behind.
func TestReloadUnderLoad(t *testing.T) {
	up := echo(t, "up")
	tlsPart := authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route)
	manifests := func(n int) string { return world(n, up) + tlsPart }

	// What is compared has no upstream, and so no connection that may rest in a pool.
	g := start(t, setup{args: []string{"--pprof", "--log-level", "warn"}, manifests: everyone + tlsPart})
	before := g.vitals()
	g.replace(manifests(0))

	var stop atomic.Bool
	var asked atomic.Int64
	var clients sync.WaitGroup
	failures := make(chan error, 100)
	load := func(i int, secure bool) {
		c, err := g.dial(t, request{secure: secure})
		if err != nil {
			failures <- err
			return
		}
		defer c.Close()
		for n := 0; !stop.Load(); n++ {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			r := request{target: "/x/" + strconv.Itoa(n)}
			if i%3 == 2 {
				r.method, r.body = "POST", "content"
			}
			a, err := c.exchange(r)
			if err == nil {
				err = consistent(a)
			}
			if err != nil {
				failures <- fmt.Errorf("client %d, request %d: %w", i, n, err)
				return // one connection all the way: a cut one is a failure
			}
			asked.Add(1)
		}
	}
	for i := range 8 {
		clients.Go(func() { load(i, i%4 == 3) })
	}
	begun := time.Now()
	last := swaps(t)
	var each []time.Duration
	for n, generation := 1, g.generation(); n <= last && len(failures) == 0; n++ {
		written := time.Now()
		g.write(manifests(n))
		eventually(t, 20*time.Second, "the next configuration serves", func() bool { return g.generation() > generation || len(failures) > 0 })
		each = append(each, time.Since(written))
		generation = g.generation()
	}
	took := time.Since(begun)
	stop.Store(true)
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if a := g.send(t, request{target: "/x/"}); a.Header.Get("X-Gen") != strconv.Itoa(last) {
		t.Errorf("in the end generation %s serves, want %d", a.Header.Get("X-Gen"), last)
	}
	g.replace(everyone + tlsPart)
	g.settled(before)
	slices.Sort(each)
	t.Logf("%d swaps in %v, from the change to its serving %v (median), %d requests",
		last, took.Round(time.Millisecond), each[len(each)/2].Round(time.Millisecond), asked.Load())
}

// A certificate that is replaced is shown to the next handshake; connections go on.
func TestCertificateRotation(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	one, two := authority.issue(t, "gate.test"), authority.issue(t, "gate.test")
	rest := everyone + tlsHost("gate", "gate.test", "cert", route) + mapping("x", "/x/", up)
	g := start(t, setup{manifests: rest + one.secret("cert")})
	old, err := g.dial(t, request{secure: true})
	must(t, err)
	defer old.Close()
	if got := old.state.PeerCertificates[0].SerialNumber.Int64(); got != one.serial {
		t.Fatalf("the first certificate is %d, want %d", got, one.serial)
	}
	g.replace(rest + two.secret("cert"))
	for range 3 {
		a, err := old.exchange(request{target: "/x/"})
		must(t, err)
		if got := g.verdict(t, a); got != served {
			t.Errorf("the old connection: %v", got)
		}
	}
	c, err := g.dial(t, request{secure: true})
	must(t, err)
	defer c.Close()
	if got := c.state.PeerCertificates[0].SerialNumber.Int64(); got != two.serial {
		t.Errorf("the next handshake shows certificate %d, want %d", got, two.serial)
	}
}

// A request on a Listener that comes and goes is served or finds nobody there. It is
// never told that there is no such Host, and an answer that has begun is whole.
func TestListenerThatFlaps(t *testing.T) {
	t.Parallel()
	rest := everyone + mapping("x", "/x/", echo(t, "up"))
	port := freePorts(t, 1)[0]
	g := start(t, setup{args: []string{"--log-level", "warn"}, manifests: rest + listener("third", "HTTP", port)})
	flapping := *g
	flapping.clear = loopback(port)

	var stop atomic.Bool
	var asked atomic.Int64
	var clients sync.WaitGroup
	failures := make(chan error, 10)
	ask := func() error {
		c, err := flapping.dial(t, request{})
		if err != nil {
			return nil // nobody listens just now
		}
		defer c.Close()
		for !stop.Load() {
			id := newID()
			if _, err := c.Write((&request{target: "/x/"}).render(id)); err != nil {
				return nil
			}
			if _, err := c.r.Peek(1); err != nil {
				return nil // closed while it was idle, before the request could be read
			}
			a, err := c.answer(id, "GET")
			if err != nil || a.StatusCode != 200 {
				return errors.Join(fmt.Errorf("answer %+v", a.Response), err)
			}
			if asked.Add(1); a.Close {
				return nil
			}
		}
		return nil
	}
	for range 2 {
		clients.Go(func() {
			for !stop.Load() {
				if err := ask(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	for range swaps(t) / 25 {
		g.replace(rest)
		g.replace(rest + listener("third", "HTTP", port))
	}
	stop.Store(true)
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked")
	}
}

// A Listener that comes or goes leaves the connections of the others alone, and its
// own to their end.
func TestListenersComeAndGo(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		echoHandler("up").ServeHTTP(w, r)
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "timeout_ms: 30000")})
	port := freePorts(t, 1)[0]
	stays := g.connect(t)
	must(t, second(stays.exchange(request{target: "/x/"})))
	rest := everyone + mapping("x", "/x/", up, "timeout_ms: 30000")
	g.replace(rest + listener("third", "HTTP", port))
	extra := *g
	extra.clear = loopback(port)
	goes := extra.connect(t)
	must(t, second(goes.exchange(request{target: "/x/"})))

	id := newID()
	must(t, second(goes.Write((&request{target: "/x/slow"}).render(id))))
	<-arrived
	g.replace(rest)
	eventually(t, 5*time.Second, "nobody listens there", func() bool {
		c, err := extra.dial(t, request{})
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	a, err := goes.answer(id, "GET")
	must(t, err)
	if got := g.verdict(t, a); got != served || !a.Close {
		t.Errorf("in flight while its Listener went: %v, Connection: close %v", got, a.Close)
	}
	if _, err := stays.exchange(request{target: "/x/"}); err != nil {
		t.Errorf("the other Listener's connection: %v", err)
	}
	g.replace(rest + listener("third", "HTTP", port))
	if a := extra.send(t, request{target: "/x/"}); a.StatusCode != 200 {
		t.Errorf("the port once it is back: %d", a.StatusCode)
	}
}

// A port that somebody has is taken once it is free, by a gateway that serves the rest
// meanwhile; two Listeners for one port are told apart.
func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	ln, err := net.Listen("tcp", loopback(port))
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	rest := everyone + mapping("x", "/x/", echo(t, "up")) + listener("third", "HTTP", port)
	g := start(t, setup{manifests: rest})
	if p := g.problems(); len(p) != 1 || !strings.Contains(p[0].Message, "address already in use") {
		t.Errorf("problems %+v", p)
	}
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("the other Listener: %v", g.verdict(t, a))
	}
	ln.Close()
	eventually(t, 10*time.Second, "the port is had", func() bool { return len(g.problems()) == 0 })
	third := *g
	third.clear = loopback(port)
	if a := third.send(t, request{target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("the port once it is free: %v", g.verdict(t, a))
	}
	g.replace(rest + listener("twin", "HTTPS", port))
	if p := g.problems(); len(p) != 1 || p[0].Name != "twin" || p[0].Message != "another Listener has this port" {
		t.Errorf("two Listeners for a port: %+v", p)
	}
	if a := third.send(t, request{target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("the first of them: %v", g.verdict(t, a))
	}
}
