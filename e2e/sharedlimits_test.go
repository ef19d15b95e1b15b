package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// shop1000 are a limit of a thousand a minute for everybody together, and of fifty a day for
// each user.
const shop1000 = `
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec:
  hostname: "*"
  prefix: /shop/
  service: shop
  labels: {ambassador: [{g: [shop]}]}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: users}
spec:
  hostname: "*"
  prefix: /users/
  service: shop
  labels: {ambassador: [{g: [users, {request_headers: {key: user, header_name: x-user}}]}]}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: shop}
spec:
  domain: ambassador
  limits:
  - {pattern: [{generic_key: shop}], rate: 1000, unit: minute}
  - {pattern: [{generic_key: users}, {user: everybody}], rate: 100000000, unit: day}
  - {pattern: [{generic_key: users}, {user: "*"}], rate: 50, unit: day}
`

// limitsWithin says how long requests wait for what replicas share, and whether they pass
// where that is too long.
func limitsWithin(d time.Duration, deny bool) string {
	return fmt.Sprintf(`
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata: {name: limits}
spec: {service: "127.0.0.1:8500", timeout_ms: %d, failure_mode_deny: %v}
`, d.Milliseconds(), deny)
}

// Twenty milliseconds are what a request waits where nothing else is said. Where all have to
// be counted exactly they have more, as other tests have these cores too.
const (
	budget  = 20 * time.Millisecond
	leisure = 10 * time.Second
)

// replicas are two gateways with the same objects and the same Redis, as they are released.
func replicas(t *testing.T, manifests string, env ...string) [2]*gateway {
	t.Helper()
	s := setup{plain: true, manifests: manifests, args: []string{"--resolve", "shop=" + echo(t, "shop")}, env: env}
	return [2]*gateway{start(t, s), start(t, s)}
}

// A crowd is many clients that ask, each on a connection of its own, first one replica and
// then the other.
type crowd struct {
	statuses [600]atomic.Int64
	mu       sync.Mutex
	waits    []time.Duration // of all answers since they were last looked at
}

// ask has n clients ask until more says that it is enough.
func (c *crowd) ask(t *testing.T, at [2]*gateway, n int, r request, more func() bool) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		conns := [2]*client{at[0].connect(t), at[1].connect(t)}
		all.Go(func() {
			for k := i; more(); k++ {
				began := time.Now()
				a, err := conns[k%2].exchange(r)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				c.note(a.StatusCode, time.Since(began))
			}
		})
	}
	all.Wait()
}

func (c *crowd) note(status int, took time.Duration) {
	c.statuses[status].Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, took)
}

// took returns the answers since it was last called, by how long they took: half of them,
// 99 of 100, and all.
func (c *crowd) took() (n int, half, most, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waits := c.waits
	c.waits = nil
	if len(waits) == 0 {
		return 0, 0, 0, 0
	}
	slices.Sort(waits)
	return len(waits), waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1]
}

// A hundred clients at two gateways with one Redis and a limit of a thousand a minute: of
// what came in each minute a thousand passed, or all if it was less.
func TestReplicasCountTogether(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	at := replicas(t, shop1000+limitsWithin(leisure, true), "REDIS_URL="+server.Addr)
	var c crowd
	var left atomic.Int64
	left.Store(2500)
	c.ask(t, at, 100, request{target: "/shop/x"}, func() bool { return left.Add(-1) >= 0 })
	var came, want int64
	for key := range strings.FieldsSeq(strings.Trim(server.Do(t, "KEYS", "ambassador_generic_key_shop_*"), "[]")) {
		var n int64
		if _, err := fmt.Sscan(server.Do(t, "GET", key), &n); err != nil {
			t.Fatal(err)
		}
		came, want = came+n, want+min(n, 1000)
	}
	if came != 2500 || c.statuses[200].Load() != want || c.statuses[429].Load() != 2500-want {
		t.Errorf("%d were counted, %d passed and %d did not, want 2500, %d and %d", came, c.statuses[200].Load(), c.statuses[429].Load(), want, 2500-want)
	}
	if want >= 2500 {
		t.Error("the limit was never met")
	}
}

// A slowRedis is a way to a server that takes its time.
type slowRedis struct {
	addr  string
	delay atomic.Int64
}

func slowly(t *testing.T, to string) *slowRedis {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	s := &slowRedis{addr: ln.Addr().String()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			go s.carry(up, c)
			go s.carry(c, up)
		}
	}()
	return s
}

// carry brings what src says to dst, late.
func (s *slowRedis) carry(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		time.Sleep(time.Duration(s.delay.Load()))
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A trouble is something that happens to what replicas share, and ends.
type trouble struct {
	about    string
	deny     bool // requests whose limits are unknown do not pass
	unharmed bool // nobody notices
}

var troubles = []trouble{
	{about: "paused"},
	{about: "paused", deny: true},
	{about: "killed"},
	{about: "slow"},
	{about: "failing over"},
	{about: "moving a slot", unharmed: true},
	{about: "losing a node of its cluster"},
}

// open starts what is shared. It returns how to reach it, and what makes the trouble and
// what ends it.
func (tr *trouble) open(t *testing.T) (env []string, begin, end func()) {
	t.Helper()
	switch tr.about {
	case "failing over":
		w := redistest.StartWatched(t)
		return []string{"REDIS_TYPE=SENTINEL", "REDIS_URL=" + w.URL()}, w.Nodes[0].Kill, func() {}
	case "moving a slot", "losing a node of its cluster":
		nodes := redistest.StartCluster(t, 3)
		env = []string{"REDIS_TYPE=CLUSTER", "REDIS_URL=" + nodes[0].Addr + "," + nodes[1].Addr}
		key := fmt.Sprintf("ambassador_generic_key_users_user_everybody_%d", time.Now().Unix()/86400*86400)
		var slot int
		_, err := fmt.Sscan(nodes[0].Do(t, "CLUSTER", "KEYSLOT", key), &slot)
		must(t, err)
		home := slot * 3 / 16384
		if tr.unharmed {
			return env, func() {
				for i := range 3 { // all the way round
					redistest.MoveSlot(t, slot, nodes, (home+i)%3, (home+i+1)%3)
				}
			}, func() {}
		}
		return env, func() { nodes[home].Signal(syscall.SIGSTOP) }, func() { nodes[home].Signal(syscall.SIGCONT) }
	}
	server := redistest.Start(t)
	env = []string{"REDIS_URL=" + server.Addr}
	switch tr.about {
	case "paused":
		return env, func() { server.Signal(syscall.SIGSTOP) }, func() { server.Signal(syscall.SIGCONT) }
	case "killed":
		return env, server.Kill, func() { server.Restart(t) }
	}
	way := slowly(t, server.Addr)
	return []string{"REDIS_URL=" + way.addr}, func() { way.delay.Store(int64(100 * time.Millisecond)) }, func() { way.delay.Store(0) }
}

// unaskable and askable are what a gateway's log says once each.
const (
	unaskable = "rate limits cannot be asked for at redis"
	askable   = "rate limits are asked for at redis again"
)

// Whatever happens to what two gateways share, under load: every request is answered, none
// waits for it beyond the budget, it is told, and afterwards both count together again.
func TestLimitsInTrouble(t *testing.T) {
	for _, tr := range troubles {
		t.Run(fmt.Sprintf("%s/deny=%v", tr.about, tr.deny), func(t *testing.T) {
			env, begin, end := tr.open(t)
			waits := budget
			if tr.unharmed {
				waits = leisure
			}
			at := replicas(t, shop1000+limitsWithin(waits, tr.deny), env...)
			var c crowd
			var over atomic.Bool
			var asking sync.WaitGroup
			asking.Go(func() {
				c.ask(t, at, 16, request{target: "/users/x", header: []string{"X-User: everybody"}}, func() bool { return !over.Load() })
			})
			many := func() { // requests of the present
				t.Helper()
				seen := c.statuses[200].Load() + c.statuses[500].Load()
				eventually(t, patience(20*time.Second), "requests are answered", func() bool { return c.statuses[200].Load()+c.statuses[500].Load() > seen+400 })
			}
			many()
			n, half, most, longest := c.took()
			t.Logf("before: %d answers, half within %v, 99 of 100 within %v, all within %v", n, half, most, longest)
			begin()
			if !tr.unharmed {
				at[0].awaitError(t, unaskable)
				at[1].awaitError(t, unaskable)
			}
			many()
			n, half, hard, longest := c.took()
			t.Logf("%s: %d answers, half within %v, 99 of 100 within %v, all within %v", tr.about, n, half, hard, longest)
			if limit := most + waits + patience(100*time.Millisecond); hard > limit || longest > patience(time.Second) {
				t.Errorf("99 of 100 wait %v and one %v, want %v at most", hard, longest, limit)
			}
			end()
			if !tr.unharmed {
				at[0].awaitError(t, askable)
				at[1].awaitError(t, askable)
			}
			many()
			over.Store(true)
			asking.Wait()
			tr.judge(t, at, &c)
		})
	}
}

// judge looks at what became of the requests, and that both gateways count together again.
func (tr *trouble) judge(t *testing.T, at [2]*gateway, c *crowd) {
	t.Helper()
	passed, failed := c.statuses[200].Load(), c.statuses[500].Load()
	for status := range c.statuses {
		if n := c.statuses[status].Load(); n > 0 && status != 200 && status != 500 {
			t.Errorf("%d are answered %d", n, status)
		}
	}
	if (failed > 0) != tr.deny || passed == 0 {
		t.Errorf("%d pass and %d do not", passed, failed)
	}
	for i, g := range at {
		down := verdict{"limit", "limit_store_down", 500}
		if n := g.log.count(down); (n > 0) != tr.deny {
			t.Errorf("gateway %d answered %d with %v", i, n, down)
		}
		_, metrics := g.operator("/metrics")
		if none := strings.Contains(metrics, "\nlegate_ratelimit_store_errors_total 0\n"); none != tr.unharmed {
			t.Errorf("gateway %d counts no errors of the store: %v", i, none)
		}
		said := strings.Join(g.errors.all(), "\n")
		gone, back := strings.Count(said, unaskable), strings.Count(said, askable)
		if (gone == 0) != tr.unharmed || gone-back < 0 || gone-back > 1 {
			t.Errorf("gateway %d says %d times that limits cannot be asked for and %d times that they are again", i, gone, back)
		}
		g.replace(shop1000 + limitsWithin(leisure, true))
		eventually(t, patience(20*time.Second), "limits are asked for again", func() bool { // whoever was impatient may have had it given up once more
			return g.send(t, request{target: "/users/x", header: []string{"X-User: early"}}).StatusCode == 200
		})
	}
	var after crowd
	var left atomic.Int64
	left.Store(120)
	after.ask(t, at, 8, request{target: "/users/x", header: []string{"X-User: after"}}, func() bool { return left.Add(-1) >= 0 })
	if after.statuses[200].Load() != 50 || after.statuses[429].Load() != 70 {
		t.Errorf("afterwards %d pass and %d do not, want 50 and 70", after.statuses[200].Load(), after.statuses[429].Load())
	}
}

// awaitError waits until the program's log says text.
func (g *gateway) awaitError(t testing.TB, text string) {
	t.Helper()
	eventually(t, patience(20*time.Second), "the log says "+text, func() bool { return strings.Contains(strings.Join(g.errors.all(), "\n"), text) })
}
