package upstream

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"legate/decision"
)

// A script answers look-ups one after the other, the last one for ever.
type script struct {
	answers []answer
	calls   atomic.Int32
	delay   time.Duration
}

func (s *script) find(ctx context.Context, _ string, _ Family) answer {
	n := int(s.calls.Add(1)) - 1
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	}
	return s.answers[min(n, len(s.answers)-1)]
}

func found(addrs ...string) answer {
	return answer{addrs: ips(addrs...), ttl: time.Minute, from: "foo."}
}

var (
	gone   = answer{err: errGone, gone: true}
	failed = answer{err: errServer}
)

func scripted(t *testing.T, s *script, host string) (*Resolver, *Upstream) {
	t.Helper()
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.find = s.find
	u := New(Spec{Host: host, Port: 80, ConnectTimeout: defaultConnectTimeout, IdleTimeout: time.Hour}, r)
	u.connect = func(c *conn, _ time.Time) (decision.Reason, error) {
		c.link = &fakeLink{c: c}
		return decision.None, nil
	}
	return r, u
}

// known renders u's endpoints: addresses, then "!" if something is wrong with them.
func known(u *Upstream) string {
	list, err := u.Endpoints()
	var b strings.Builder
	for _, e := range list {
		b.WriteString(strings.TrimSuffix(e.Address, ":80") + " ")
	}
	if err != nil {
		b.WriteString("!")
	}
	return strings.TrimSpace(b.String())
}

func TestRefresh(t *testing.T) {
	for _, row := range []struct {
		name    string
		answers []answer
		want    []string // after each answer
	}{
		{"changes are seen", []answer{found("10.0.0.1"), found("10.0.0.1", "10.0.0.2"), found("10.0.0.2")},
			[]string{"10.0.0.1", "10.0.0.1 10.0.0.2", "10.0.0.2"}},
		{"failures keep the last", []answer{found("10.0.0.1"), failed, failed, failed, failed, failed, found("10.0.0.2")},
			[]string{"10.0.0.1", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.2"}},
		{"gone three times is gone", []answer{found("10.0.0.1"), gone, gone, gone, found("10.0.0.2")},
			[]string{"10.0.0.1", "10.0.0.1 !", "10.0.0.1 !", "!", "10.0.0.2"}},
		{"three times in a row", []answer{found("10.0.0.1"), gone, gone, failed, gone, gone, found("10.0.0.1"), gone, gone, gone},
			[]string{"10.0.0.1", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1 !", "10.0.0.1", "10.0.0.1 !", "10.0.0.1 !", "!"}},
		{"gone from the start", []answer{gone, found("10.0.0.1")}, []string{"!", "10.0.0.1"}},
		{"another domain's answer in doubt", []answer{found("10.0.0.1"),
			{addrs: ips("6.6.6.6"), from: "foo.public.", doubt: errServer}, found("10.0.0.2")},
			[]string{"10.0.0.1", "10.0.0.1 !", "10.0.0.2"}},
		{"the same domain's answer is in no doubt", []answer{
			{addrs: ips("10.0.0.1"), from: "foo.", doubt: errServer}, {addrs: ips("10.0.0.2"), from: "foo.", doubt: errServer}},
			[]string{"10.0.0.1", "10.0.0.2"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: row.answers}
				r, u := scripted(t, s, "foo")
				u.Start()
				for i, want := range row.want {
					for int(s.calls.Load()) <= i { // jitter says when exactly
						time.Sleep(100 * time.Millisecond)
					}
					synctest.Wait()
					if got := known(u); got != want {
						t.Errorf("answer %d: got %q, want %q", i, got, want)
					}
				}
				u.Retire()
				r.Close()
			})
		})
	}
}

func TestRefreshTimes(t *testing.T) {
	ttl := func(d time.Duration) answer { return answer{addrs: ips("10.0.0.1"), ttl: d, from: "foo."} }
	for _, row := range []struct {
		name   string
		answer answer
		ttl    bool
		want   time.Duration
	}{
		{"every five seconds", ttl(time.Minute), false, refreshEvery},
		{"by TTL", ttl(time.Minute), true, time.Minute},
		{"a TTL of nothing", ttl(0), true, leastTTL},
		{"sooner after a first failure", failed, true, retryFirst},
		{"no such name", gone, true, refreshEvery},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: []answer{row.answer}}
				r, u := scripted(t, s, "foo")
				u.spec.RespectTTL = row.ttl
				u.Start()
				synctest.Wait()
				time.Sleep(20*row.want + time.Millisecond)
				synctest.Wait()
				if n := s.calls.Load(); n < 18 || n > 24 {
					t.Errorf("got %d look-ups in 20 times %v, want about 20", n, row.want)
				}
				u.Retire()
				n := s.calls.Load()
				time.Sleep(10 * row.want)
				if s.calls.Load() != n {
					t.Error("a retired upstream's name is still looked up")
				}
				r.Close()
			})
		})
	}
}

func TestNamesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{found("10.0.0.1")}}
		r, a := scripted(t, s, "foo")
		b := New(Spec{Host: "foo", Port: 8080, ConnectTimeout: time.Second, IdleTimeout: time.Hour}, r)
		a.Start()
		synctest.Wait()
		b.Start() // hears at once what is known
		if err := b.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if got := known(b); got != "10.0.0.1:8080" {
			t.Errorf("got %q, want the shared address", got)
		}
		time.Sleep(refreshEvery * 2)
		if n := s.calls.Load(); n > 3 {
			t.Errorf("got %d look-ups for one name", n)
		}
		a.Retire()
		n := s.calls.Load()
		time.Sleep(refreshEvery * 2)
		if s.calls.Load() == n {
			t.Error("the name is not refreshed for the other upstream")
		}
		b.Retire()
		if len(r.names) != 0 {
			t.Error("a name that nobody uses is kept")
		}
		r.Close()
	})
}

func TestOpenWaitsForTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, u := scripted(t, &script{answers: []answer{found("10.0.0.1")}, delay: 2 * time.Second}, "foo")
		u.Start()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ready: got %v, want a timeout", err)
		}
		open(t, u).Release()
		if waited := time.Since(begin); waited != 2*time.Second {
			t.Errorf("waited %v, want 2s", waited)
		}
		u.Retire()
		r.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		r, u := scripted(t, &script{answers: []answer{found("10.0.0.1")}, delay: time.Minute}, "foo")
		u.Start()
		begin := time.Now()
		l, reason, err := u.Open(begin, Choice{})
		if l != nil || reason != decision.NoEndpoints || !errors.Is(err, errNoAnswer) || time.Since(begin) != defaultConnectTimeout {
			t.Errorf("got %v %v %v after %v, want no_endpoints after the connect timeout", l, reason, err, time.Since(begin))
		}
		begin = time.Now()
		if _, _, err := u.Open(begin, Choice{By: begin.Add(time.Second)}); !errors.Is(err, errNoAnswer) || time.Since(begin) != time.Second {
			t.Errorf("got %v after %v, want an end with the request", err, time.Since(begin))
		}
		u.Retire()
		r.Close()
	})
}

func TestOverriddenNamesAreNotLookedUp(t *testing.T) {
	s := &script{answers: []answer{gone}}
	r, _ := scripted(t, s, "foo")
	r.opts.Resolve = []Override{{Name: "foo", Addr: "127.0.0.9", To: 9000}}
	u := New(Spec{Host: "foo", Port: 80}, r)
	u.Start()
	if err := u.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if got := known(u); got != "127.0.0.9:9000" || s.calls.Load() != 0 {
		t.Errorf("got %q after %d look-ups, want 127.0.0.9:9000 after none", got, s.calls.Load())
	}
	u.Retire()
	r.Close()
}

// The whole way, with a real server: first answer, change, failure, end.
func TestResolverWithRealServer(t *testing.T) {
	const foo = "foo.default.svc.cluster.local."
	s := startNameServer(t, map[string][]string{foo + " A": {a(foo, 1, "10.0.0.1")}})
	r := newTestResolver(t, Options{DNS: s.addr})
	r.opts.Namespace = "default"
	changed := make(chan string, 16)
	find := r.find
	r.find = func(ctx context.Context, host string, family Family) answer {
		got := find(ctx, host, family)
		select {
		case changed <- got.String():
		default:
		}
		return got
	}
	u := New(Spec{Host: "foo", Port: 80, RespectTTL: true, ConnectTimeout: time.Second}, r)
	u.Start()
	if err := u.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := known(u); got != "10.0.0.1" {
		t.Errorf("got %q, want 10.0.0.1", got)
	}
	until := func(want string) {
		t.Helper()
		for got := ""; got != want; {
			select {
			case got = <-changed:
			case <-time.After(5 * time.Second):
				t.Fatalf("never got %q", want)
			}
		}
	}
	s.set(foo+" A", a(foo, 1, "10.0.0.2"))
	until("10.0.0.2")
	s.mu.Lock()
	s.rcode[foo] = dns.RcodeServerFailure
	s.mu.Unlock()
	until("failed")
	u.Retire()
	if list := u.ends.Load().list; len(list) != 1 || list[0].addr != netip.MustParseAddrPort("10.0.0.2:80") {
		t.Errorf("got %v, want the last good address", known(u))
	}
}
