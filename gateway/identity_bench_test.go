package gateway

import (
	"fmt"
	"testing"
	"time"

	"legate/authn"
)

// identity are manifests by which a request's token is verified by a policy, headers tell
// the service who asks, and the service gets a token that is minted for it.
func identity(i *idp, up string) string {
	return everyone + object("Filter", "jwt", fmt.Sprintf(`{JWT: {jwksURI: %q, audience: api, requireAudience: true, requireExpiresAt: true}}`, i.URL)) +
		object("Filter", "mint", `{Mint: {ipRanges: client}}`) +
		object("FilterPolicy", "p", `{rules: [{path: /public/*}, {host: "*", path: /r/*, filters: [{name: jwt}, {name: mint}]}]}`) +
		mapping("r", "/r/", up, `cors: {origins: ["https://app.example.com"]}`,
			`jwt: {requireToken: true, injectRequestHeaders: [{name: X-User-ID, value: "{{ .token.sub }}"}, {name: X-User-Permissions, value: "{{ .token.permissions }}"}]}`)
}

// identified are the fields of a request of alice, who says more than she should.
func identified(i *idp) []string {
	return []string{"User-Agent: t", "Accept: */*", "X-User-ID: root", "Authorization: Bearer " + i.token(fmt.Sprintf(
		`{"iss":"https://id.example.com","sub":"alice","aud":["api"],"exp":%d,"iat":1516239022,"scope":"openid profile","permissions":["read","write"]}`, time.Now().Add(time.Hour).Unix()))}
}

// atStages calls visit with a request of alice before the first stage of her route.
func atStages(t testing.TB, visit func(x *Exchange)) {
	t.Helper()
	i := newIDP(t)
	g := open(t, identity(i, echoUpstream(t)))
	if _, rec := g.send(asking("/r/x", identified(i)...)); rec.verdict != served { // verified, and minted for
		t.Fatalf("got %+v", rec.verdict)
	}
	reached, done := make(chan *Exchange), make(chan struct{})
	g.insert(trial{enter: func(x *Exchange) Verdict {
		reached <- x
		<-done
		return Continue
	}})
	c := g.dial()
	if _, err := c.Write([]byte(asking("/r/x", identified(i)...))); err != nil {
		t.Fatal(err)
	}
	x := <-reached
	defer close(done)
	visit(x)
}

// decide does with x what finding out who asks comes to, from the beginning.
func decide(x *Exchange, stages []Stage) Verdict {
	x.ToUp.Reset()
	x.call, x.arena = authn.Call{}, x.arena[:0]
	x.Snap.authn.Strip(x.Req, &x.ToUp)
	for _, s := range stages {
		if s.Enter(x) == Stop {
			return Stop
		}
	}
	return Continue
}

// identityStages are those of x's route that are about who asks.
func identityStages(x *Exchange) (list []Stage) {
	for _, s := range x.Route.chain.steps {
		switch s.stage.(type) {
		case policies, tokens, minting, reroute:
			list = append(list, s.stage)
		}
	}
	return list
}

// TestAllocsIdentity holds all that finds out who asks, of a client that was seen before,
// to no allocation; and to 1.5 µs, twice that where other tests run too. Of many tries the
// best one counts, as other programs only ever make it longer.
func TestAllocsIdentity(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	atStages(t, func(x *Exchange) {
		stages := identityStages(x)
		if len(stages) != 4 {
			t.Fatalf("%d stages", len(stages))
		}
		once := func() {
			if decide(x, stages) == Stop {
				t.Fatal("refused")
			}
		}
		if n := testing.AllocsPerRun(1000, once); n != 0 {
			t.Errorf("%v allocations", n)
		}
		best := time.Hour
		for range 50 {
			begun := time.Now()
			for range 1000 {
				once()
			}
			best = min(best, time.Since(begun)/1000)
		}
		if t.Logf("%v", best); best > 3*time.Microsecond {
			t.Errorf("it takes %v", best)
		}
	})
}

// What finding out who asks costs: a policy's rule, a token that is known, headers and a
// token that was minted before.
func BenchmarkIdentity(b *testing.B) {
	for _, all := range []bool{false, true} {
		b.Run(map[bool]string{false: "nothing", true: "everything"}[all], func(b *testing.B) {
			atStages(b, func(x *Exchange) {
				var stages []Stage
				if all {
					stages = identityStages(x)
				}
				b.ReportAllocs()
				for b.Loop() {
					if decide(x, stages) == Stop {
						b.Fatal("refused")
					}
				}
			})
		})
	}
}
