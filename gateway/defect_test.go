package gateway

import (
	"strings"
	"sync"
	"testing"
	"time"

	"legate/decision"
	"legate/wire"
)

// A trial is a stage made of functions.
type trial struct {
	enter   func(x *Exchange) Verdict
	respond func(x *Exchange)
	finish  func(x *Exchange)
}

func (s trial) Enter(x *Exchange) Verdict {
	if s.enter == nil {
		return Continue
	}
	return s.enter(x)
}

func (s trial) Respond(x *Exchange) {
	if s.respond != nil {
		s.respond(x)
	}
}

func (s trial) Finish(x *Exchange) {
	if s.finish != nil {
		s.finish(x)
	}
}

// insert puts stages before those of every route.
func (g *gate) insert(stages ...trial) {
	g.t.Helper()
	for _, r := range g.snap.Load().routes {
		var ch Chain
		for _, s := range stages {
			ch.add(decision.Authn, s)
		}
		ch.steps, ch.settled = append(ch.steps, r.chain.steps...), r.chain.settled+len(stages)
		r.chain = ch
	}
	g.snap.Store(g.snap.Load()) // for all who look from here on
}

// A defect of one stage ends one request: it is recorded as ours, the stages that were
// entered are ended, and everything else goes on.
func TestDefects(t *testing.T) {
	boom := func(*Exchange) { panic("boom") }
	internal := func(stage string) verdict { return verdict{stage, "internal", 500} }
	for _, row := range []struct {
		name  string
		stage trial
		want  verdict
	}{
		{"entering", trial{enter: func(*Exchange) Verdict { panic("boom") }}, internal("authn")},
		{"responding", trial{respond: boom}, internal("proxy")},
		{"finishing", trial{finish: boom}, verdict{"proxy", "internal", 200}},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", addr))
			var mu sync.Mutex
			entered, ended := 0, 0
			g.insert(trial{
				enter:  func(*Exchange) Verdict { mu.Lock(); defer mu.Unlock(); entered++; return Continue },
				finish: func(*Exchange) { mu.Lock(); defer mu.Unlock(); ended++ },
			}, row.stage)
			for range 3 {
				a, rec := g.get("/x/")
				if rec.verdict != row.want || a.StatusCode != row.want.Status {
					t.Errorf("got %v, answer %d; want %v", rec.verdict, a.StatusCode, row.want)
				}
				if strings.Contains(a.body, "boom") {
					t.Errorf("the client learned of it: %q", a.body)
				}
			}
			if !strings.Contains(g.log.String(), "BUG") || !strings.Contains(g.log.String(), "boom") {
				t.Errorf("log %q", g.log)
			}
			eventually(t, "no request in flight", func() bool { return g.metrics.InFlight.Value() == 0 })
			mu.Lock()
			defer mu.Unlock()
			if entered != 3 || ended != 3 {
				t.Errorf("a stage was entered %d times and ended %d times", entered, ended)
			}
		})
	}
}

// A defect while the answer is under way leaves the client with an answer that does
// not look whole.
func TestDefectWithinAnswer(t *testing.T) {
	addr := service(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
		p.wait()
	})
	var clock struct {
		sync.Mutex
		broken bool
	}
	g := open(t, everyone+mapping("x", "/x/", addr), func(o *Options) {
		o.Clock = func() time.Time {
			clock.Lock()
			defer clock.Unlock()
			if clock.broken {
				clock.broken = false
				panic("boom")
			}
			return time.Now()
		}
	})
	g.insert(trial{respond: func(x *Exchange) { clock.Lock(); clock.broken = true; clock.Unlock() }})
	a, rec := g.get("/x/")
	if rec.verdict != (verdict{"proxy", "internal", 200}) || a.err == nil {
		t.Errorf("got %v; body %q, %v", rec.verdict, a.body, a.err)
	}
}

// brokenBody is a stream whose body meets a defect.
type brokenBody struct{ wire.Stream }

func (brokenBody) ReadBody([]byte) (int, error) { panic("boom") }

// A defect in the goroutine that carries a request's body ends that request, not the
// process.
func TestDefectOfCarrier(t *testing.T) {
	addr := service(t, func(p *peer) { p.wait() })
	g := open(t, everyone+mapping("x", "/x/", addr))
	g.insert(trial{enter: func(x *Exchange) Verdict { x.stream = brokenBody{x.stream}; return Continue }})
	a, rec := g.send("POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	if rec.verdict != (verdict{"proxy", "internal", 500}) || a.StatusCode != 500 || a.body != "" {
		t.Errorf("got %v, %d %q", rec.verdict, a.StatusCode, a.body)
	}
}

// A defect does not hurt the carrier of a body that is under way either: it has come to
// rest before anybody else may use what it used.
func TestDefectBesideCarrier(t *testing.T) {
	begun := make(chan struct{})
	addr := service(t, func(p *peer) {
		_, _ = p.br.ReadString('\n')
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		close(begun)
		p.wait()
	})
	g := open(t, everyone+mapping("x", "/x/", addr))
	g.insert(trial{respond: func(*Exchange) { <-begun; panic("boom") }})
	a, rec := g.send("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf")
	if rec.verdict != (verdict{"proxy", "internal", 500}) || a.StatusCode != 500 || !a.Close {
		t.Errorf("got %v, %d", rec.verdict, a.StatusCode)
	}
}

// What the engine refuses is answered and recorded like any other request, also when
// recording meets a defect.
func TestDefectOfRefusal(t *testing.T) {
	g := open(t, everyone)
	next := *g.snap.Load()
	next.none.metrics = nil
	good := g.snap.Swap(&next)
	c := g.dial()
	c.say("GET / HTTP/1.1\r\n\r\n")
	if a := c.hear("GET"); a.StatusCode != 400 {
		t.Errorf("got %d", a.StatusCode)
	}
	eventually(t, "the defect is logged", func() bool { return strings.Count(g.log.String(), "BUG") == 2 && g.metrics.InFlight.Value() == 0 })
	g.snap.Store(good)
	if a, rec := g.get("/"); a.StatusCode != 404 || rec.Reason != "no_route" {
		t.Errorf("got %v", rec.verdict)
	}
}
