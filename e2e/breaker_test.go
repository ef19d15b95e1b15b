package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A patient is a service that can fall ill in several ways, and says who it is as long as
// it is well.
type patient struct {
	addr    string
	illness atomic.Pointer[string] // nil: it is well
	asked   atomic.Int64
}

// illnesses are what can be wrong with an endpoint.
var illnesses = []string{"returns 500s", "hangs", "resets", "accepts and never answers", "trickles"}

func newPatient(t testing.TB, name string) *patient {
	t.Helper()
	p := &patient{}
	well := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-From: %s\r\nContent-Length: 2\r\n\r\nok", name)
	p.addr = raw(t, func(s *service) {
		if p.has("accepts and never answers") {
			_, _ = io.Copy(io.Discard, s.Conn)
			return
		}
		for r := s.request(); r != nil; r = s.request() {
			p.asked.Add(1)
			switch ill := p.illness.Load(); {
			case ill == nil:
				s.say(well)
			case !p.ail(*ill, s):
				return
			}
		}
	})
	return p
}

func (p *patient) has(illness string) bool {
	ill := p.illness.Load()
	return ill != nil && *ill == illness
}

// ail treats a request as an ill service does, and reports whether another may follow.
func (p *patient) ail(illness string, s *service) bool {
	switch illness {
	case "returns 500s":
		s.say("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
		return true
	case "resets":
		s.reset()
	case "trickles":
		s.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		for range 1000 {
			if _, err := io.WriteString(s, "."); err != nil {
				break
			}
			tick()
		}
	default:
		_, _ = io.Copy(io.Discard, s.Conn)
	}
	return false
}

// An asking is what came of one request.
type asking struct {
	from   string // who answered it; "" for nobody who is well
	status int
	took   time.Duration
}

// askers ask for targets, each again and again, until they are told to stop.
type askers struct {
	mu   sync.Mutex
	all  map[string][]asking // by target
	stop chan struct{}
	done sync.WaitGroup
}

func ask(g *gateway, each int, targets ...string) *askers {
	a := &askers{all: map[string][]asking{}, stop: make(chan struct{})}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: each * len(targets)}, Timeout: 30 * time.Second}
	for _, target := range targets {
		for range each {
			a.done.Go(func() {
				for {
					select {
					case <-a.stop:
						client.CloseIdleConnections()
						return
					case <-time.After(5 * time.Millisecond):
						a.once(client, "http://"+g.clear, target)
					}
				}
			})
		}
	}
	return a
}

func (a *askers) once(client *http.Client, at, target string) {
	begun := time.Now()
	one := asking{}
	if resp, err := client.Get(at + target); err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // all of it was read, or it is broken
		if one.status = resp.StatusCode; err == nil {
			one.from = resp.Header.Get("X-From")
		}
	}
	one.took = time.Since(begun)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[target] = append(a.all[target], one)
}

// count returns how many requests for target have ended since the last take.
func (a *askers) count(target string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all[target])
}

// take returns what came of requests for target since the last time.
func (a *askers) take(target string) []asking {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.all[target]
	a.all[target] = nil
	return list
}

// slowest returns how long the slowest but one of a hundred took, of those that fit.
func slowest(list []asking, fits func(asking) bool) (p99 time.Duration, n int) {
	var took []time.Duration
	for _, one := range list {
		if fits(one) {
			took = append(took, one.took)
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)*99/100], len(took)
}

// timeline is what the gateway told of a breaker, with when since begun.
func timeline(g *gateway, upstream string, begun time.Time) (steps []string, text string) {
	var b strings.Builder
	for _, line := range g.errors.all() {
		var e struct {
			Time                           time.Time
			Msg, Upstream, From, To, Cause string
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == "breaker changed" && e.Upstream == upstream && e.Time.After(begun) {
			steps = append(steps, e.To)
			fmt.Fprintf(&b, "  %6.3fs  %s to %s: %s\n", e.Time.Sub(begun).Seconds(), e.From, e.To, e.Cause)
		}
	}
	return steps, b.String()
}

// One of three endpoints falls ill, in every way. The breaker of the service that is only
// that endpoint opens, probes, and closes when it is well again; the other services, and
// the other endpoints of the service that has all three, answer as they did. It measures, so
// nothing else runs beside it.
func TestBreakerTimeline(t *testing.T) {
	const limit = 400 * time.Millisecond
	times := "timeout_ms: 400"
	for _, illness := range illnesses {
		t.Run(illness, func(t *testing.T) {
			ill, a, b := newPatient(t, "ill"), newPatient(t, "a"), newPatient(t, "b")
			breaker := "failure_breaker: {consecutive_failures: 5, open_for: 300ms}"
			g := start(t, setup{plain: true, manifests: everyone + cluster("web", ill.addr, a.addr, b.addr) +
				mapping("ill", "/ill/", ill.addr, times, breaker, "stats_name: ill") + mapping("a", "/a/", a.addr, times, breaker) + mapping("b", "/b/", b.addr, times, breaker) +
				mapping("web", "/web/", "web", times, "resolver: endpoint", "failure_breaker: {failure_ratio: 0.9}", "stats_name: web")})
			load := ask(g, 3, "/ill/", "/a/", "/b/", "/web/")
			enough := func() bool { return load.count("/a/") >= 200 && load.count("/b/") >= 200 }
			eventually(t, 30*time.Second, "there is something to compare with", enough)
			others := func() (worst time.Duration, text string) {
				for _, target := range []string{"/a/", "/b/", "/web/"} {
					list := load.take(target)
					p99, n := slowest(list, func(one asking) bool { return one.status == 200 && one.from != "" && one.from != "ill" })
					if n == 0 {
						t.Errorf("%s: nobody who is well answered any of %d requests", target, len(list))
					}
					worst = max(worst, p99)
					text += fmt.Sprintf(" %s %v (of %d)", target, p99.Round(10*time.Microsecond), n)
				}
				return worst, text
			}
			usual, before := others()
			load.take("/ill/")
			begun := time.Now()
			ill.illness.Store(&illness)
			eventually(t, 15*time.Second, "the breaker opens, and opens again after a probe", func() bool {
				steps, _ := timeline(g, "ill", begun)
				return len(steps) >= 3
			})
			eventually(t, 30*time.Second, "there is something to compare", enough)
			worst, during := others()
			refused, n := slowest(load.take("/ill/"), func(one asking) bool { return one.status == 503 && one.from == "" })
			recovered := time.Now()
			ill.illness.Store(nil)
			eventually(t, 15*time.Second, "the breaker closes", func() bool {
				steps, _ := timeline(g, "ill", begun)
				return steps[len(steps)-1] == "closed"
			})
			close(load.stop)
			load.done.Wait()
			steps, text := timeline(g, "ill", begun)
			t.Logf("the endpoint %s from 0s to %.3fs\n%s  p99 of others before:%s\n  p99 of others during:%s\n  %d requests were refused, p99 %v; it was asked %d times",
				illness, recovered.Sub(begun).Seconds(), text, before, during, n, refused.Round(10*time.Microsecond), ill.asked.Load())
			if steps[0] != "open" || steps[1] != "half-open" || steps[2] != "open" {
				t.Errorf("the breaker went %v", steps)
			}
			if worst > usual+limit/2 {
				t.Errorf("requests to the others took %v, %v before, where one that is ill takes %v", worst, usual, limit)
			}
			if more, _ := timeline(g, "web", begun); len(more) > 0 {
				t.Errorf("the breaker of the service with two endpoints that are well went %v", more)
			}
		})
	}
}
