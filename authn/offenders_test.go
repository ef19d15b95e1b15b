package authn

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"legate/config"
	"legate/decision"
)

// Who fails how often is looked at no more, and until when.
func TestOffenders(t *testing.T) {
	for _, row := range []struct {
		name     string
		failures int           // that an address may have each second
		failed   int           // at once
		later    time.Duration // when it asks
		as       string
		wait     time.Duration
	}{
		{"one that never failed", 10, 0, 0, "192.0.2.1", 0},
		{"one less than what is kept of ten seconds", 10, 99, 0, "192.0.2.1", 0},
		{"as many", 10, 100, 0, "192.0.2.1", 100 * time.Millisecond},
		{"and half of what makes up for one", 10, 100, 50 * time.Millisecond, "192.0.2.1", 50 * time.Millisecond},
		{"and all of it", 10, 100, 100 * time.Millisecond, "192.0.2.1", 0},
		{"many more", 10, 200, 0, "192.0.2.1", 10*time.Second + 100*time.Millisecond},
		{"many more, later", 10, 200, 11 * time.Second, "192.0.2.1", 0},
		{"another address", 10, 200, 0, "192.0.2.2", 0},
		{"the same address, as an IPv6 socket names it", 10, 100, 0, "::ffff:192.0.2.1", 100 * time.Millisecond},
		{"as often as can be counted", MaxTokenFailures, 10 * MaxTokenFailures, 0, "192.0.2.1", offenderTick},
		{"more than can be counted", 3 * MaxTokenFailures, 10 * MaxTokenFailures, 0, "192.0.2.1", offenderTick},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := NewOffenders(row.failures, midday)
			for range row.failed {
				o.failed(netip.MustParseAddr("192.0.2.1"), midday)
			}
			if got := o.wait(netip.MustParseAddr(row.as), midday.Add(row.later)); got != row.wait {
				t.Errorf("got %v, want %v", got, row.wait)
			}
		})
	}
}

// One customer has a whole network of IPv6, and the next customer another.
func TestOffendersOfIPv6(t *testing.T) {
	o := NewOffenders(1, midday)
	for i := range 10 {
		o.failed(netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i)), midday)
	}
	if o.wait(netip.MustParseAddr("2001:db8:1:2:ffff::1"), midday) == 0 {
		t.Error("another address of the network may fail again")
	}
	if o.wait(netip.MustParseAddr("2001:db8:1:3::1"), midday) != 0 {
		t.Error("the next network has to wait")
	}
}

// However many addresses fail, the table takes no more memory, and who fails most is not
// forgotten for them.
func TestOffendersAreBounded(t *testing.T) {
	o := NewOffenders(10, midday)
	if size := unsafe.Sizeof(*o); size > 1<<20 {
		t.Errorf("the table takes %d bytes", size)
	}
	worst := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		o.failed(worst, midday)
	}
	others := netip.MustParseAddr("10.0.0.0")
	for range 500_000 {
		o.failed(others, midday)
		others = others.Next()
	}
	if o.wait(worst, midday) == 0 {
		t.Error("the worst one is forgotten")
	}
	if o.wait(netip.MustParseAddr("11.0.0.0"), midday) != 0 {
		t.Error("one that never failed has to wait")
	}
}

// Failures at once are all counted, and what is forgiven is as if it had not been.
func TestOffendersAtOnce(t *testing.T) {
	o := NewOffenders(1, midday)
	addr := netip.MustParseAddr("192.0.2.1")
	o.failed(addr, midday) // its place is found
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				o.failed(addr, midday)
				o.failed(addr, midday)
				o.forgive(addr, 1)
			}
		})
	}
	all.Wait()
	if got, want := o.wait(addr, midday), (8001+1-10)*time.Second; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAllocsOffenders(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	o := NewOffenders(10, midday)
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() {
		o.failed(addr, midday)
		o.wait(addr, midday)
		o.forgive(addr, 1)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// from is c, sent from an address at a time.
func from(c *Call, addr string, at time.Time) *Call {
	c.Client, c.Now = netip.MustParseAddr(addr), at
	return c
}

const (
	attacker = "192.0.2.1"
	stranger = "192.0.2.2"
)

// An address that floods the gateway with tokens that do not hold has no more of them looked
// at, however they fail. Tokens that were seen before go on, and so do other addresses.
func TestTokenFlood(t *testing.T) {
	good := fmt.Sprintf(`{"sub":"alice","iss":"https://id.example.com","exp":%d}`, after(time.Hour))
	seen, fresh := es256(good), es256(strings.Replace(good, "alice", "bob", 1))
	for _, row := range []struct {
		name, token string
		counts      bool
	}{
		{"bad signature", tampered(es256(good)), true},
		{"unknown kid", signedBy("ES256", "ec", `{"alg":"ES256","kid":"other"}`, good), true},
		{"expired", es256(fmt.Sprintf(`{"iss":"https://id.example.com","exp":%d}`, after(-time.Hour))), true},
		{"another issuer", es256(`{"iss":"https://evil.example.com"}`), true},
		{"no JWT", "opaque", true},
		{"a good one", seen, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := newIssuer(t, jwks("ec"))
			d, _, counts := issuerDeps(t)
			d.Offenders = NewOffenders(2, midday)
			var events []decision.Event
			d.Audit = func(e *decision.Event) { events = append(events, *e) }
			j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Issuer: "https://id.example.com"}, nil)
			judge := func(token, addr string, at time.Time) (decision.Reason, *Call) {
				c := from(callOf("authorization", "Bearer "+token), addr, at)
				j.Filter(c)
				return c.Reply.Reason, c
			}
			if got, _ := judge(seen, attacker, midday); got != decision.None {
				t.Fatalf("the first token is refused: %v", got)
			}
			for n := range 20 {
				if got, _ := judge(row.token, attacker, midday); got == decision.TokenFlood {
					t.Fatalf("token %d is not looked at", n)
				}
			}
			events = nil
			got, c := judge(row.token, attacker, midday)
			if !row.counts {
				if got != decision.None {
					t.Errorf("got %v of a token that holds", got)
				}
				return
			}
			if got != decision.TokenFlood || c.Reply.Status != 429 || replyField(c, "retry-after") != "1" || replyField(c, "www-authenticate") != "" {
				t.Errorf("got %v, %+v", got, c.Reply)
			}
			if body := string(c.Reply.Body); !strings.Contains(body, "too many tokens did not hold; try again later") {
				t.Errorf("got body %s", body)
			}
			if n := counts.of("verified", "api.shop", "token_flood").n.Load(); n != 1 {
				t.Errorf("counted %d times", n)
			}
			if len(events) != 1 || events[0].Kind != decision.TokenRejected || events[0].Reason != decision.TokenFlood || events[0].Client.String() != attacker {
				t.Errorf("audited: %+v", events)
			}
			for _, row := range []struct {
				name, token, addr string
				at                time.Time
				want              decision.Reason
			}{
				{"a good token that nobody has seen", fresh, attacker, midday, decision.TokenFlood},
				{"one that was seen", seen, attacker, midday, decision.None},
				{"the good one from elsewhere", fresh, stranger, midday, decision.None},
				{"and then from there", fresh, attacker, midday, decision.None},
				{"a bad one when its time has come", tampered(fresh), attacker, midday.Add(time.Second / 2), decision.TokenInvalid},
				{"and the next", tampered(fresh), attacker, midday.Add(time.Second / 2), decision.TokenFlood},
			} {
				if got, _ := judge(row.token, row.addr, row.at); got != row.want {
					t.Errorf("%s: got %v, want %v", row.name, got, row.want)
				}
			}
		})
	}
}

// Whoever only asks counts nothing, and is told what would happen.
func TestTokenFloodAskedAbout(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	d.Offenders = NewOffenders(1, midday)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil)
	ask := func(dry bool) decision.Reason {
		c := from(callOf("authorization", "Bearer "+tampered(es256(`{}`))), attacker, midday)
		c.Dry = dry
		j.Filter(c)
		return c.Reply.Reason
	}
	for range 30 {
		if got := ask(true); got != decision.TokenInvalid {
			t.Fatalf("got %v of who only asks", got)
		}
	}
	for range 10 {
		ask(false)
	}
	if got := ask(true); got != decision.TokenFlood {
		t.Errorf("got %v, want what a request would get", got)
	}
}

// What is no fault of the client's is not counted.
func TestTokenFloodWithoutKeys(t *testing.T) {
	i := newIssuer(t, "no key set")
	d, clock, _ := issuerDeps(t)
	d.Offenders = NewOffenders(1, midday)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL}, nil)
	for n := range 30 {
		c := from(callOf("authorization", "Bearer "+es256(`{}`)), attacker, clock.Now())
		if j.Filter(c); c.Reply.Reason != decision.KeySetUnavailable {
			t.Fatalf("request %d: got %v", n, c.Reply.Reason)
		}
	}
}

// Tokens that one Filter refuses and the next one takes are no failures, however many there
// are; those that none takes are.
func TestTokenFloodOfSeveralIssuers(t *testing.T) {
	first, second := newIssuer(t, jwks("rsa")), newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	d.Offenders, d.Cache = NewOffenders(1, midday), NewCache(-1)
	filters := map[string]Filter{
		"first":  newTestFilter(t, d, &config.JWTFilter{JWKSURI: first.URL}, nil),
		"second": newTestFilter(t, d, &config.JWTFilter{JWKSURI: second.URL}, nil),
	}
	p, _ := newPolicies(&config.World{FilterPolicies: []config.FilterPolicy{policy("p", config.FilterRule{Host: "*", Path: "*", Filters: []config.FilterUse{
		{Name: "first", ContinueOnDeny: true, BreakOnAllow: true}, {Name: "second"},
	}})}}, d, func(_ *config.FilterPolicy, _ string, u *config.FilterUse) (Filter, []config.Problem) {
		return filters[u.Name], nil
	})
	p.offenders = d.Offenders
	ask := func(token string) decision.Reason {
		c := from(callOf("authorization", "Bearer "+token), attacker, midday)
		p.Filter(c)
		return c.Reply.Reason
	}
	for n := range 30 {
		if got := ask(es256(`{"sub":"alice"}`)); got != decision.None {
			t.Fatalf("token %d of the second issuer: %v", n, got)
		}
	}
	for range 5 { // each fails twice
		ask(tampered(es256(`{"sub":"alice"}`)))
	}
	if got := ask(es256(`{"sub":"alice"}`)); got != decision.TokenFlood {
		t.Errorf("got %v after as many failures as there may be", got)
	}
}

// Who has tokens exchanged or revoked, and who meets a Mapping's jwt, is counted alike.
func TestTokenFloodOfMintFilters(t *testing.T) {
	now := midday
	bad := func(m *Minter) string {
		g := grant{identity: alice(now, ""), profile: &profile{claims: appendMember(nil, "aud", []string{m.f.Issuer})}}
		minted, err := m.sign(&g, now)
		if err != nil {
			t.Fatal(err)
		}
		return tampered(strings.TrimPrefix(string(minted.line.Value), "Bearer "))
	}
	for _, row := range []struct {
		name string
		ask  func(m *Minter, token string) *Call
	}{
		{"as a Filter", func(m *Minter, token string) *Call {
			c := call(now, nil, "authorization", "Bearer "+token)
			m.Filter(c)
			return c
		}},
		{"token exchange", func(m *Minter, token string) *Call {
			return post(m, now, "/token", pairs("grant_type", grantExchange, "subject_token", token, "subject_token_type", typeJWT))
		}},
		{"revocation", func(m *Minter, token string) *Call {
			return post(m, now, "/revoke", pairs("token", token))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := testDeps(t, &now)
			d.Offenders = NewOffenders(1, now)
			m := office(t, d)
			token := bad(m)
			for n := range 10 {
				if c := row.ask(m, token); c.Reply.Status == 429 {
					t.Fatalf("token %d is not looked at", n)
				}
			}
			c := row.ask(m, token)
			if c.Reply.Reason != decision.TokenFlood || c.Reply.Status != 429 || headerOf(c, "retry-after") != "1" {
				t.Errorf("got %v %d, Retry-After %q", c.Reply.Reason, c.Reply.Status, headerOf(c, "retry-after"))
			}
		})
	}
}

// BenchmarkTokenFlood is what a token that does not hold costs when it is looked at, and
// when it is one too many.
func BenchmarkTokenFlood(b *testing.B) {
	for _, row := range []struct {
		name     string
		failures int
	}{{"looked at", 0}, {"refused", 1}} {
		b.Run(row.name, func(b *testing.B) {
			i := newIssuer(b, jwks("ec"))
			d, _, _ := issuerDeps(b)
			d.Offenders = NewOffenders(row.failures, midday)
			j := newTestFilter(b, d, &config.JWTFilter{JWKSURI: i.URL}, nil)
			c := from(callOf("authorization", "Bearer "+tampered(es256(anyClaims))), attacker, midday)
			for range 10 {
				j.Filter(c)
			}
			b.ReportAllocs()
			for b.Loop() {
				if j.Filter(c) != Deny {
					b.Fatal("allowed")
				}
			}
		})
	}
}
