package gateway

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

const connectError = "upstream connect error or disconnect/reset before headers. reset reason: "

// refusing is an address on which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// What the upstream does, and what becomes of the request.
func TestOutcomes(t *testing.T) {
	answers := func(text string) func(*peer) {
		return func(p *peer) {
			if r, _ := p.request(); r != nil {
				p.say(text)
			}
		}
	}
	stays := func(text string) func(*peer) { // one that closed might close just as the next request is sent
		return func(p *peer) {
			for r, _ := p.request(); r != nil; r, _ = p.request() {
				p.say(text)
			}
		}
	}
	silent := func(p *peer) { p.request(); p.wait() }
	for _, row := range []struct {
		name   string
		handle func(*peer) // nil for nobody
		fields []string
		want   verdict
		flag   string
		body   string
	}{
		{"refused", nil, nil, verdict{"proxy", "dial_refused", 503}, "UF", connectError + "connection failure"},
		{"closed before the head", func(p *peer) { p.request() }, nil, verdict{"proxy", "upstream_reset_before_head", 503}, "UC", connectError + "connection termination"},
		{"reset before the head", func(p *peer) { p.request(); p.reset() }, nil, verdict{"proxy", "upstream_reset_before_head", 503}, "UC", connectError + "connection termination"},
		{"closed within the head", answers("HTTP/1.1 200 OK\r\nContent-"), nil, verdict{"proxy", "upstream_reset_before_head", 503}, "UC", connectError + "connection termination"},
		{"timeout", silent, []string{"timeout_ms: 50"}, verdict{"proxy", "upstream_timeout", 504}, "UT", "upstream request timeout"},
		{"idle", silent, []string{"timeout_ms: 0", "idle_timeout_ms: 50"}, verdict{"proxy", "upstream_idle", 504}, "SI", "stream timeout"},
		{"timeout before idle", silent, []string{"timeout_ms: 50", "idle_timeout_ms: 5000"}, verdict{"proxy", "upstream_timeout", 504}, "UT", "upstream request timeout"},
		{"idle before timeout", silent, []string{"timeout_ms: 5000", "idle_timeout_ms: 50"}, verdict{"proxy", "upstream_idle", 504}, "SI", "stream timeout"},
		{"no HTTP", answers("hello\r\n\r\n"), nil, verdict{"proxy", "upstream_bad_answer", 502}, "UPE", connectError + "protocol error"},
		{"101 unasked", answers("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), nil, verdict{"proxy", "upstream_bad_answer", 502}, "UPE", connectError + "protocol error"},
		{"interim without end", answers(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20)), nil, verdict{"proxy", "upstream_bad_answer", 502}, "UPE", connectError + "protocol error"},
		{"large head", answers("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"), nil, verdict{"proxy", "upstream_header_too_large", 502}, "UPE", connectError + "protocol error"},
		{"whole", stays(plainOK), nil, served, "-", "ok"},
		{"interim", stays("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + plainOK), nil, served, "-", "ok"},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := refusing(t)
			if row.handle != nil {
				addr = service(t, row.handle)
			}
			g := open(t, everyone+mapping("x", "/x/", addr, row.fields...))
			for _, text := range []string{
				request("GET", "/x/", ""),
				request("POST", "/x/", "short"),
				request("POST", "/x/", strings.Repeat("long", 50_000)),
				"POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			} {
				c := g.dial()
				c.say(text)
				for range strings.Count(row.name, "interim") - strings.Count(row.name, "without end") {
					if a := c.hear("GET"); a.StatusCode != 103 || a.Header.Get("Link") != "</x>" {
						t.Errorf("got %d %v, want the interim answer", a.StatusCode, a.Header)
					}
				}
				for range strings.Count(row.name, "without end") * 16 {
					c.hear("GET")
				}
				a, rec := c.hear("POST"), g.next()
				if rec.verdict != row.want || a.StatusCode != row.want.Status || a.body != row.body {
					t.Errorf("%.20q: record %v, answer %d %q; want %v %q", text, rec.verdict, a.StatusCode, a.body, row.want, row.body)
				}
				if row.want.Reason != "" && flagOf(t, rec.Reason) != row.flag {
					t.Errorf("flag %s, want %s", flagOf(t, rec.Reason), row.flag)
				}
				if row.want != served && rec.By != "Mapping default/x" {
					t.Errorf("decided by %q", rec.By)
				}
			}
			eventually(t, "nothing is in flight", func() bool { return g.metrics.InFlight.Value() == 0 })
		})
	}
}

// A dial that nobody answers ends with the connect timeout, and a service without an
// address at once.
func TestDialOutcomes(t *testing.T) {
	mute := service(t, func(p *peer) { p.wait() })
	garbled := service(t, func(p *peer) { p.say("no TLS\r\n\r\n"); p.wait() })
	g := open(t, everyone+mapping("mute", "/mute/", "https://"+mute, "connect_timeout_ms: 50")+
		mapping("garbled", "/garbled/", "https://"+garbled)+
		mapping("nowhere", "/nowhere/", "nowhere.invalid", "connect_timeout_ms: 50"),
		func(o *Options) { o.Upstream.DNS = refusing(t) })
	for _, row := range []struct {
		target string
		want   verdict
		flag   string
	}{
		{"/mute/", verdict{"proxy", "dial_timeout", 503}, "UF"},
		{"/garbled/", verdict{"proxy", "tls_failed", 503}, "UF"},
		{"/nowhere/", verdict{"proxy", "no_endpoints", 503}, "UH"},
	} {
		a, rec := g.get(row.target)
		if rec.verdict != row.want || a.StatusCode != 503 || flagOf(t, rec.Reason) != row.flag {
			t.Errorf("%s: got %v %q", row.target, rec.verdict, a.body)
		}
	}
}

// An answer that breaks off is recorded, and does not look whole to the client.
func TestBrokenAnswers(t *testing.T) {
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
	for _, row := range []struct {
		name   string
		handle func(*peer)
		fields []string
		reason string
		flag   string
	}{
		{"closed", func(p *peer) { p.request(); p.say(begun) }, nil, "upstream_reset_after_head", "UC"},
		{"timeout", func(p *peer) { p.request(); p.say(begun); p.wait() }, []string{"timeout_ms: 100"}, "upstream_timeout", "UT"},
		{"idle", func(p *peer) { p.request(); p.say(begun); p.wait() }, []string{"timeout_ms: 0", "idle_timeout_ms: 100"}, "upstream_idle", "SI"},
		{"mangled", func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n")
		}, nil, "upstream_bad_answer", "UPE"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+mapping("x", "/x/", service(t, row.handle), row.fields...))
			a, rec := g.get("/x/")
			if want := (verdict{"proxy", row.reason, 200}); rec.verdict != want || flagOf(t, rec.Reason) != row.flag {
				t.Errorf("record %v, want %v", rec.verdict, want)
			}
			if a.err == nil || a.body != "only this" {
				t.Errorf("the client got %q, %v; want what came, and an error", a.body, a.err)
			}
		})
	}
}

// A request whose pooled connection was closed at rest is sent once more exactly when
// that is safe: nobody has seen a byte of it.
func TestStaleConnections(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for _, row := range []struct {
		name    string
		request string
		leave   func(p *peer) // how the service leaves the first connection after its answer
		status  int
		retries int
	}{
		{"GET, closed", request("GET", "/x/", ""), func(p *peer) { p.Close() }, 200, 1},
		{"GET, reset", request("GET", "/x/", ""), (*peer).reset, 200, 1},
		{"POST at hand, closed", request("POST", "/x/", "content"), func(p *peer) { p.Close() }, 200, 1},
		{"long POST, closed", request("POST", "/x/", long), func(p *peer) { p.Close() }, 200, 1},
		{"GET, spoken on", request("GET", "/x/", ""), func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong") }, 200, -1},
		{"GET, seen and closed", request("GET", "/x/", ""), func(p *peer) { p.request() }, 503, 0},
		{"POST at hand, seen and closed", request("POST", "/x/", "content"), func(p *peer) { p.request() }, 503, 0},
		{"POST at hand, seen and reset", request("POST", "/x/", "content"), func(p *peer) { p.request(); p.reset() }, 503, 0},
		{"long POST, head seen and closed", request("POST", "/x/", long), func(p *peer) { _, _ = p.br.ReadString('\n'); p.reset() }, 503, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			left := make(chan struct{})
			addr := service(t, func(p *peer) {
				if r, _ := p.request(); r == nil {
					return
				}
				p.say(plainOK)
				if p.n == 0 {
					if row.status == 200 { // what is done is done at rest
						row.leave(p)
						close(left)
						p.wait()
						return
					}
					close(left)
					row.leave(p)
					return
				}
			})
			g := open(t, everyone+mapping("x", "/x/", addr))
			c := g.dial()
			c.say(request("GET", "/x/", ""))
			if a, rec := c.hear("GET"), g.next(); a.StatusCode != 200 || rec.verdict != served {
				t.Fatalf("the first request: %v", rec.verdict)
			}
			if row.status == 200 {
				<-left
			}
			c.say(row.request)
			a, rec := c.hear("GET"), g.next()
			if a.StatusCode != row.status || row.retries >= 0 && rec.Retries != row.retries || row.status == 200 && a.body != "ok" {
				t.Errorf("got %d after %d retries (%v), want %d after %d", a.StatusCode, rec.Retries, rec.verdict, row.status, row.retries)
			}
			if row.status != 200 && rec.Reason != "upstream_reset_before_head" {
				t.Errorf("got %v", rec.verdict)
			}
		})
	}
}

// A client that leaves is noticed while its answer is awaited, whether its request had
// a body or not, and the upstream is let go.
func TestClientsThatLeave(t *testing.T) {
	for _, row := range []struct {
		name, request string
	}{
		{"GET", request("GET", "/x/", "")},
		{"POST at hand", request("POST", "/x/", "content")},
		{"chunked, whole", "POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"chunked, half", "POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			arrived, let := make(chan struct{}), make(chan struct{})
			addr := service(t, func(p *peer) {
				_, _ = p.br.Peek(1)
				close(arrived)
				p.wait()
				close(let)
			})
			g := open(t, everyone+mapping("x", "/x/", addr, "timeout_ms: 0", "idle_timeout_ms: 0"))
			c := g.dial()
			c.say(row.request)
			<-arrived
			c.Close()
			if rec := g.next(); rec.verdict != (verdict{"proxy", "client_gone", 0}) || flagOf(t, rec.Reason) != "DC" {
				t.Errorf("got %v", rec.verdict)
			}
			<-let
		})
	}
}

// A client that leaves in the middle of its request while the answer is under way is
// the one who left.
func TestClientLeavesDuringEarlyAnswer(t *testing.T) {
	addr := service(t, func(p *peer) {
		_, _ = p.br.ReadString('\n')
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
		p.wait()
	})
	g := open(t, everyone+mapping("x", "/x/", addr))
	c := g.dial()
	c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf")
	if _, err := c.br.ReadString('n'); err != nil {
		t.Fatal(err)
	}
	eventuallyRead(t, c, "begun")
	c.Close()
	if rec := g.next(); rec.verdict != (verdict{"proxy", "client_gone", 200}) {
		t.Errorf("got %v", rec.verdict)
	}
}

func eventuallyRead(t *testing.T, c *client, text string) {
	t.Helper()
	var got strings.Builder
	for !strings.HasSuffix(got.String(), text) {
		b, err := c.br.ReadByte()
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		got.WriteByte(b)
	}
}

// An answer that comes while the request is still being sent reaches the client, and
// nobody waits for the rest.
func TestEarlyAnswer(t *testing.T) {
	addr := service(t, func(p *peer) {
		_, _ = p.br.ReadString('\n')
		p.say("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
	})
	g := open(t, everyone+mapping("x", "/x/", addr))
	c := g.dial()
	c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf")
	a, rec := c.hear("POST"), g.next()
	if a.StatusCode != 413 || a.body != "no!" || rec.verdict != (verdict{"proxy", "", 413}) {
		t.Errorf("got %d %q, %v", a.StatusCode, a.body, rec.verdict)
	}
}

// Both directions go at once.
func TestBothWaysAtOnce(t *testing.T) {
	addr := service(t, func(p *peer) {
		for {
			line, err := p.br.ReadString('\n')
			if err != nil || line == "\r\n" {
				break
			}
		}
		p.say("HTTP/1.1 200 OK\r\n\r\n")
		for {
			line, err := p.br.ReadString('\n')
			if err != nil {
				return
			}
			p.say(line)
			if line == "0\r\n" {
				return
			}
		}
	})
	g := open(t, everyone+mapping("x", "/x/", addr))
	c := g.dial()
	c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	eventuallyRead(t, c, "\r\n\r\n")
	for i := range 100 {
		part := fmt.Sprintf("part %02d\n", i)
		c.say(fmt.Sprintf("%x\r\n%s\r\n", len(part), part))
		eventuallyRead(t, c, part)
	}
	c.say("0\r\n\r\n")
	eventuallyRead(t, c, "0\r\n\r\n")
	if rec := g.next(); rec.verdict != served || rec.BytesIn != 800 {
		t.Errorf("got %v, %d bytes", rec.verdict, rec.BytesIn)
	}
}

// A client that stops sending is told so when the idle time is over, and one whose
// body is garbled at once.
func TestBodiesThatStop(t *testing.T) {
	addr := service(t, func(p *peer) { p.wait() })
	g := open(t, everyone+mapping("x", "/x/", addr, "idle_timeout_ms: 100"))
	for _, row := range []struct {
		name, body string
		want       verdict
		flag       string
	}{
		{"stops", "3\r\nabc\r\n", verdict{"proxy", "stream_idle", 408}, "SI"},
		{"garbled", "3\r\nabc\r\nzz\r\n", verdict{"proxy", "bad_framing", 400}, "DPE"},
	} {
		c := g.dial()
		c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + row.body)
		a, rec := c.hear("POST"), g.next()
		if rec.verdict != row.want || a.StatusCode != row.want.Status || !a.Close || flagOf(t, rec.Reason) != row.flag {
			t.Errorf("%s: got %v, answer %d, close %v", row.name, rec.verdict, a.StatusCode, a.Close)
		}
	}
}

// What an upstream takes to answer is measured from the end of the request.
func TestUpstreamTime(t *testing.T) {
	addr, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", addr))
	for range 50 {
		c := g.dial()
		c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("x", 70000))
		a, rec := c.hear("POST"), g.next()
		if rec.verdict != served || rec.Waited <= 0 {
			t.Fatalf("got %v after %v ms", rec.verdict, rec.Waited)
		}
		if ms := a.Header.Get("X-Envoy-Upstream-Service-Time"); ms == "" || strings.HasPrefix(ms, "-") {
			t.Fatalf("x-envoy-upstream-service-time %q", ms)
		}
		c.Close()
	}
}
