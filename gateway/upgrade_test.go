package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"legate/routes"
	"legate/wire"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// Which upgrades are offered to the upstream, which are refused, which are passed over.
func TestUpgrades(t *testing.T) {
	refused := verdict{"proxy", "upgrade_refused", 403}
	for _, row := range []struct {
		name    string
		fields  []string
		asks    string // the request's Upgrade
		want    verdict
		offered string
	}{
		{"nothing is allowed", nil, "websocket", refused, ""},
		{"another is allowed", []string{"allow_upgrade: [spdy/3.1]"}, "websocket", refused, ""},
		{"use_websocket: false", []string{"use_websocket: false"}, "websocket", refused, ""},
		{"use_websocket: true", []string{"use_websocket: true"}, "websocket", served, "websocket"},
		{"use_websocket: false beside allow_upgrade", []string{"use_websocket: false", "allow_upgrade: [websocket]"}, "websocket", served, "websocket"},
		{"allowed", []string{"allow_upgrade: [websocket]"}, "websocket", served, "websocket"},
		{"in any case", []string{"allow_upgrade: [WebSocket]"}, "wEBsocket", served, "wEBsocket"},
		{"of several", []string{"allow_upgrade: [spdy/3.1, websocket]"}, "SPDY/3.1", served, "SPDY/3.1"},
		{"its version counts", []string{"allow_upgrade: [spdy/3.1]"}, "spdy/3", refused, ""},
		{"those that are allowed", []string{"allow_upgrade: [b, c]"}, "a, b , c", served, "b, c"},
		{"none of those", []string{"allow_upgrade: [d]"}, "a, b, c", refused, ""},
		{"an empty list", []string{"allow_upgrade: []"}, "websocket", refused, ""},
		{"h2c", nil, "h2c", served, ""},
		{"h2c where something is allowed", []string{"allow_upgrade: [websocket]"}, "h2c", served, ""},
		{"h2c before another", []string{"allow_upgrade: [websocket]"}, "h2c, websocket", served, "websocket"},
		{"h2c before one that is not allowed", nil, "h2c, websocket", refused, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, seen := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", addr, row.fields...))
			a, rec := g.get("/x/", "Connection: upgrade", "Upgrade: "+row.asks)
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.Close {
				t.Fatalf("got %v, answer %d, close %v", rec.verdict, a.StatusCode, a.Close)
			}
			if row.want != served {
				if a.body != "" {
					t.Errorf("body %q", a.body)
				}
				return
			}
			r := <-seen
			if got := strings.Join(r.Header["Upgrade"], "|"); got != row.offered {
				t.Errorf("offered %q, want %q", got, row.offered)
			}
			if got := r.Header.Get("Connection"); (got == "upgrade") != (row.offered != "") {
				t.Errorf("Connection: %q", got)
			}
		})
	}
}

// An upgrade from HTTP/1.0 does not exist (RFC 9110 §7.8).
func TestUpgradeOfOldVersion(t *testing.T) {
	addr, seen := seeing(t, plainOK)
	g := open(t, everyone+module("enable_http10: true")+mapping("x", "/x/", addr, "allow_upgrade: [websocket]"))
	_, rec := g.send("GET /x/ HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	if r := <-seen; rec.verdict != served || r.Header.Get("Upgrade") != "" {
		t.Errorf("got %v, offered %q", rec.verdict, r.Header.Get("Upgrade"))
	}
}

// Of a group, the last member that says what is allowed says it for all.
func TestUpgradesOfGroups(t *testing.T) {
	addr, _ := seeing(t, plainOK)
	for _, row := range []struct {
		first, second []string
		want          int
	}{
		{[]string{"allow_upgrade: [websocket]"}, []string{"weight: 0"}, 200},
		{nil, []string{"weight: 0", "allow_upgrade: [websocket]"}, 200},
		{[]string{"allow_upgrade: [websocket]"}, []string{"weight: 0", "allow_upgrade: []"}, 403},
		{[]string{"allow_upgrade: []"}, []string{"weight: 0", "use_websocket: true"}, 200},
		{[]string{"allow_upgrade: [websocket]"}, []string{"weight: 0", "use_websocket: false"}, 200},
	} {
		g := open(t, everyone+mapping("a", "/x/", addr, row.first...)+mapping("b", "/x/", addr, row.second...))
		if a, _ := g.get("/x/", "Connection: upgrade", "Upgrade: websocket"); a.StatusCode != row.want {
			t.Errorf("%s, then %s: got %d, want %d", row.first, row.second, a.StatusCode, row.want)
		}
	}
}

// What the upstream answers to the offer, and what the client gets.
func TestUpgradeAnswers(t *testing.T) {
	bad := verdict{"proxy", "upstream_bad_answer", 502}
	for _, row := range []struct {
		name, reply string
		want        verdict
		body        string
	}{
		{"200", plainOK, served, "ok"},
		{"400 with a body", "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad", verdict{"proxy", "", 400}, "bad"},
		{"426", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", verdict{"proxy", "", 426}, ""},
		{"101 without a protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", bad, connectError + "protocol error"},
		{"101 to another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tls/1.0\r\n\r\n", bad, connectError + "protocol error"},
		{"101 to two protocols, one not offered", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket, x\r\n\r\n", bad, connectError + "protocol error"},
		{"closed", "", verdict{"proxy", "upstream_reset_before_head", 503}, connectError + "connection termination"},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := service(t, func(p *peer) { p.request(); p.say(row.reply) })
			g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]"))
			a, rec := g.get("/x/", "Connection: upgrade", "Upgrade: websocket")
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.body != row.body {
				t.Errorf("got %v, answer %d %q", rec.verdict, a.StatusCode, a.body)
			}
		})
	}
}

// A switch that may not be is no answer: the try after it has its own time, and counts.
func TestUpgradeAnswerTriedAgain(t *testing.T) {
	up, _ := failing(t, strings.Replace(switching, "websocket", "tls/1.0", 1), "silence")
	g := open(t, everyone+mapping("x", "/x/", up, "allow_upgrade: [websocket]", "timeout_ms: 2000", "stats_name: x", "retry_policy: {retry_on: 5xx, per_try_timeout: 50ms}"))
	_, r := g.get("/x/", "Connection: upgrade", "Upgrade: websocket")
	if (r.verdict != verdict{"proxy", "upstream_try_timeout", 504}) || r.Retries != 1 || r.Waited != 0 {
		t.Errorf("got %+v after %d retries, an answer after %v ms", r.verdict, r.Retries, r.Waited)
	}
}

// switched asks for an upgrade over a connection of its own, saying early with it, and
// reads the head that switches.
func (g *gate) switched(early string) *client {
	g.t.Helper()
	c := g.dial()
	c.say(request("GET", "/x/", "", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k") + early)
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
		g.t.Fatalf("got %d, %v", resp.StatusCode, resp.Header)
	}
	return c
}

// number returns the sum of a metric's series.
func (g *gate) number(name string) (sum float64) {
	g.t.Helper()
	if f := g.scrape()[name]; f != nil {
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// read reads exactly as much as want and compares.
func (c *client) read(want string) {
	c.t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c.br, b); err != nil || string(b) != want {
		c.t.Fatalf("got %q, %v; want %q", b, err, want)
	}
}

// ends expects the connection's orderly end.
func (c *client) ends() {
	c.t.Helper()
	if b, err := io.ReadAll(c.br); err != nil || len(b) > 0 {
		c.t.Fatalf("got %q, %v; want the end", b, err)
	}
}

// An upgraded connection carries whatever its sides say, those bytes too that come
// with the heads, until each has ended. Then there is one record.
func TestTunnel(t *testing.T) {
	addr := service(t, func(p *peer) {
		if r, err := http.ReadRequest(p.br); err != nil || r.Header.Get("Sec-WebSocket-Key") != "k" {
			return
		}
		p.say(switching + "early ")
		_, _ = io.Copy(p, p.br) // until the client's end
		p.say(" late")
	})
	g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]", "timeout_ms: 300"))
	c := g.switched("hello")
	c.read("early hello")
	if active, total := g.number("legate_upgrades_active"), g.number("legate_upgrades_total"); active != 1 || total != 1 {
		t.Errorf("%v upgraded connections are open of %v, want 1 of 1", active, total)
	}
	<-time.After(400 * time.Millisecond) // longer than timeout_ms, which is for answers
	c.say("again")
	c.read("again")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.read(" late")
	c.ends()
	rec := g.next()
	if rec.verdict != (verdict{"proxy", "", 101}) || rec.BytesIn != 10 || rec.BytesOut != 21 || rec.Took < 400 || rec.Endpoint != addr {
		t.Errorf("got %+v", rec)
	}
	if active, total := g.number("legate_upgrades_active"), g.number("legate_upgrades_total"); active != 0 || total != 1 {
		t.Errorf("%v upgraded connections are open of %v, want 0 of 1", active, total)
	}
}

// The upstream may end its direction first.
func TestTunnelHalfClosedByUpstream(t *testing.T) {
	heard := make(chan string, 1)
	addr := service(t, func(p *peer) {
		p.request()
		p.say(switching + "bye")
		_ = p.CloseWrite()
		b, _ := io.ReadAll(p.br)
		heard <- string(b)
	})
	g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]"))
	c := g.switched("")
	c.read("bye")
	c.ends()
	c.say("still here")
	c.Close()
	if got := <-heard; got != "still here" {
		t.Errorf("the upstream heard %q", got)
	}
	if rec := g.next(); rec.verdict != (verdict{"proxy", "", 101}) {
		t.Errorf("got %v", rec.verdict)
	}
}

// How a tunnel ends when it does not end well.
func TestTunnelsThatBreak(t *testing.T) {
	for _, row := range []struct {
		name   string
		handle func(p *peer)
		client func(c *client)
		fields []string
		reason string
		flag   string
	}{
		{"nothing moves", (*peer).wait, (*client).ends, []string{"idle_timeout_ms: 100"}, "tunnel_idle", "SI"},
		{"the upstream resets", (*peer).reset, (*client).cut, nil, "upstream_reset_after_head", "UC"},
		{"the client resets", (*peer).wait, (*client).reset, nil, "client_gone", "DC"},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := service(t, func(p *peer) { p.request(); p.say(switching); row.handle(p) })
			g := open(t, everyone+mapping("x", "/x/", addr, append(row.fields, "allow_upgrade: [websocket]")...))
			row.client(g.switched(""))
			if rec := g.next(); rec.verdict != (verdict{"proxy", row.reason, 101}) || flagOf(t, rec.Reason) != row.flag {
				t.Errorf("got %v", rec.verdict)
			}
		})
	}
}

// cut expects that the connection breaks.
func (c *client) cut() {
	c.t.Helper()
	if b, err := io.ReadAll(c.br); err == nil {
		c.t.Errorf("got %q and an orderly end, want a broken connection", b)
	}
}

// reset breaks the connection.
func (c *client) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Bytes in either direction keep both alive.
func TestTunnelIsNotIdle(t *testing.T) {
	const beats, apart = 10, 60 * time.Millisecond
	addr := service(t, func(p *peer) {
		p.request()
		p.say(switching)
		for range beats {
			<-time.After(apart)
			p.say(".")
		}
		p.wait()
	})
	g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]", "idle_timeout_ms: 300"))
	c := g.switched("")
	c.read(strings.Repeat(".", beats))
	c.ends()
	if rec := g.next(); rec.verdict != (verdict{"proxy", "tunnel_idle", 101}) || rec.BytesOut != beats {
		t.Errorf("got %+v", rec)
	}
}

// idle_timeout_ms: 0 is for ever, at least for as long as this test looks.
func TestTunnelWithoutIdleLimit(t *testing.T) {
	addr := service(t, func(p *peer) { p.request(); p.say(switching); p.wait() })
	g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]", "idle_timeout_ms: 0"))
	c := g.switched("")
	if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.br.ReadByte(); err == nil || err == io.EOF {
		t.Errorf("the tunnel ended: %v", err)
	}
	c.Close()
	g.next()
}

// A request's body belongs to the request: what is switched to begins behind it.
func TestUpgradeWithBody(t *testing.T) {
	heard := make(chan string, 1)
	addr := service(t, func(p *peer) {
		_, body := p.request()
		p.say(switching)
		b, _ := io.ReadAll(p.br)
		heard <- body + "|" + string(b)
	})
	g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]"))
	for _, row := range []struct{ framing, body string }{
		{"Content-Length: 4", "body"},
		{"Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"},
	} {
		c := g.dial()
		c.say(request("POST", "/x/", "", "Connection: upgrade", "Upgrade: websocket", row.framing))
		c.say(row.body + "tunnel")
		if _, err := http.ReadResponse(c.br, nil); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := <-heard; got != "body|tunnel" {
			t.Errorf("%s: the upstream heard %q", row.framing, got)
		}
		if rec := g.next(); rec.Status != 101 || rec.BytesIn != 10 {
			t.Errorf("%s: got %+v", row.framing, rec)
		}
	}
}

// The example of RFC 6455 §1.3.
func TestAcceptForKey(t *testing.T) {
	if got := acceptFor([]byte("dGhlIHNhbXBsZSBub25jZQ==")); string(got[:]) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %s", got)
	}
}

// A memoryStream is a request of HTTP/2 without an engine; Tunnel notes what it is given.
type memoryStream struct {
	wire.Stream
	peer    wire.Peer
	status  int
	head    bytes.Buffer // the answer's fields
	body    bytes.Buffer
	tunnels int
}

func (s *memoryStream) Peer() *wire.Peer                { return &s.peer }
func (s *memoryStream) Start() time.Time                { return time.Now() }
func (s *memoryStream) SetIdle(time.Duration)           {}
func (s *memoryStream) Gone() bool                      { return false }
func (s *memoryStream) Ready() bool                     { return true }
func (s *memoryStream) Trailer() *wire.Head             { return nil }
func (s *memoryStream) CloseAfter()                     {}
func (s *memoryStream) Flush() error                    { return nil }
func (s *memoryStream) End(*wire.Head) error            { return nil }
func (s *memoryStream) Abort()                          {}
func (s *memoryStream) BytesIn() int64                  { return 0 }
func (s *memoryStream) BytesOut() int64                 { return int64(s.body.Len()) }
func (s *memoryStream) WriteBody(p []byte) (int, error) { return s.body.Write(p) }

func (s *memoryStream) WriteHead(status int, h *wire.Head, e *wire.Edits, _ int64) error {
	s.status = status
	if h != nil {
		s.head.Write(h.AppendLines(nil, wire.HopByHop, e))
	}
	for i := range e.Adds() {
		a := &e.Adds()[i]
		fmt.Fprintf(&s.head, "%s: %s\r\n", a.FieldName(), a.Value)
	}
	return nil
}

func (s *memoryStream) Tunnel(h *wire.Head, e *wire.Edits, _ wire.Link) error {
	s.tunnels++
	if e.Upgrade != nil {
		return fmt.Errorf("Upgrade: %s to a client of HTTP/2", e.Upgrade)
	}
	return s.WriteHead(200, h, e, 0)
}

// A client of HTTP/2 sends no key and wants none back: both are the edge's business.
// Nor may it take for a tunnel what is none.
func TestExtendedConnect(t *testing.T) {
	for _, row := range []struct {
		name   string
		accept func(key string) string
		reply  string // "" switches
		want   verdict
		tunnel bool
	}{
		{"the right key", func(k string) string { b := acceptFor([]byte(k)); return string(b[:]) }, "", verdict{"proxy", "", 200}, true},
		{"a wrong key", func(k string) string { return "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, "", verdict{"proxy", "upstream_bad_answer", 502}, false},
		{"no key", nil, "", verdict{"proxy", "upstream_bad_answer", 502}, false},
		{"200", nil, plainOK, verdict{"proxy", "upstream_bad_answer", 502}, false},
		{"404", nil, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", verdict{"proxy", "", 404}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			saw := make(chan *http.Request, 1)
			addr := service(t, func(p *peer) {
				r, _ := p.request()
				if r == nil {
					close(saw)
					return
				}
				saw <- r
				reply := row.reply
				if reply == "" {
					reply = strings.TrimSuffix(switching, "\r\n")
					if row.accept != nil {
						reply += "Sec-WebSocket-Accept: " + row.accept(r.Header.Get("Sec-WebSocket-Key")) + "\r\n"
					}
					reply += "\r\n"
				}
				p.say(reply)
			})
			g := open(t, everyone+mapping("x", "/x/", addr, "allow_upgrade: [websocket]", "method: GET"))
			var s memoryStream
			var h wire.Head
			h.BuildRequest("GET", "example.com", "/x/", "upgrade", "websocket", "sec-websocket-version", "13", "origin", "https://example.com")
			h.Major, h.Minor, h.UpgradeTo = 2, 0, true
			g.Serve(&s, &h)
			if rec := g.next(); rec.verdict != row.want || s.status != row.want.Status || (s.tunnels == 1) != row.tunnel {
				t.Errorf("got %v, answer %d, %d tunnels", rec.verdict, s.status, s.tunnels)
			}
			r := <-saw
			if r.Method != "GET" || r.Header.Get("Connection") != "upgrade" || r.Header.Get("Upgrade") != "websocket" ||
				len(r.Header.Get("Sec-WebSocket-Key")) != 24 || r.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("the upstream saw %v %v", r.Method, r.Header)
			}
			if strings.Contains(s.head.String(), "sec-websocket-accept") {
				t.Errorf("the client got %s", s.head.String())
			}
		})
	}
}

// Noting what is offered makes nothing.
func TestAllocsOffer(t *testing.T) {
	var h wire.Head
	h.BuildRequest("GET", "a", "/", "connection", "upgrade", "upgrade", "h2c, websocket")
	h.UpgradeTo = true
	x := &Exchange{Req: &h, arena: make([]byte, 0, 1024)}
	p := &proxy{route: &Route{Route: &routes.Route{Upgrades: []string{"websocket"}}}}
	if n := testing.AllocsPerRun(100, func() { x.arena = x.arena[:0]; p.upgrade(x) }); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
