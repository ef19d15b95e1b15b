package authn

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"legate/config"
	"legate/decision"
)

// Who only asks what would become of a request leaves nothing behind: no failure counts, no
// login is remembered, and the first real use is still audited.
func TestAskingLeavesNothing(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	var log eventLog
	counts := &tallies{}
	d.Audit, d.Metrics = log.audit, counts
	m := office(t, d)
	log.kinds = nil
	ask := func(password string, dry bool) decision.Reason {
		c := call(now, nil, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:"+password)))
		c.Dry = dry
		m.Filter(c)
		return c.Reply.Reason
	}
	for range 2 * freeForAddress {
		if got := ask("x", true); got != decision.PasswordWrong {
			t.Fatalf("asked with a wrong password: %v", got)
		}
	}
	if got := ask("wonder:land", true); got != decision.None {
		t.Errorf("asked with the right one: %v", got)
	}
	if len(log.kinds) > 0 {
		t.Errorf("audited %v", log.kinds)
	}
	for _, outcome := range []string{"none", decision.PasswordWrong.String()} {
		if n := counts.of("verified", "jwt-auth.ambassador", outcome).n.Load(); n != 0 {
			t.Errorf("%s: counted %d times", outcome, n)
		}
	}
	if got := ask("wonder:land", false); got != decision.None || strings.Join(log.kinds, " ") != "login_success" {
		t.Errorf("then the user: %v, audited %v", got, log.kinds)
	}
	for range freeForUser { // what was counted in earnest counts for who asks, too
		ask("x", false)
	}
	if got := ask("x", true); got != decision.TooManyFailures {
		t.Errorf("asked while nobody may try: %v", got)
	}
}

// Of several issuers each speaks for itself, in whichever way a token says who issued it.
func TestIssuersAreNotMixedUp(t *testing.T) {
	one, other := newIssuer(t, jwks("ec")), newIssuer(t, strings.ReplaceAll(jwks("stranger"), `"kid":"stranger"`, `"kid":"ec"`))
	d, _, _ := issuerDeps(t)
	d.Clock, d.Namespace = func() time.Time { return midday }, "ambassador"
	var log eventLog
	d.Audit = log.audit
	m := minter(t, d, mintFilter(func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{
			{Issuer: one.URL, JWKSURI: one.URL, Audiences: []string{"web"}}, {Issuer: other.URL, JWKSURI: other.URL, Audiences: []string{"app"}},
		}
	}))
	log.kinds = nil
	exp := midday.Add(time.Hour).Unix()
	for _, r := range []struct {
		name, key, claims string
		want              decision.Reason
	}{
		{"one's own", "ec", `"iss":"ONE","aud":"web"`, decision.None},
		{"the other's own", "stranger", `"iss":"OTHER","aud":"app"`, decision.None},
		{"the other speaks for one", "stranger", `"iss":"ONE","aud":"web"`, decision.TokenInvalid},
		{"one speaks for the other", "ec", `"iss":"OTHER","aud":"app"`, decision.TokenInvalid},
		{"one's, for the other's client", "ec", `"iss":"ONE","aud":"app"`, decision.TokenAudience},
		{"the other's, for one's client", "stranger", `"iss":"OTHER","aud":"web"`, decision.TokenAudience},
		{"with a slash more", "ec", `"iss":"ONE/","aud":"web"`, decision.TokenIssuer},
		{"nobody's", "ec", `"aud":"web"`, decision.TokenIssuer},
		{"both's", "ec", `"iss":["ONE","OTHER"],"aud":"web"`, decision.TokenIssuer},
		{"first one's, then the other's", "stranger", `"iss":"ONE","iss":"OTHER","aud":"app"`, decision.TokenMalformed},
		{"first the other's, then one's", "stranger", `"iss":"OTHER","iss":"ONE","aud":"web"`, decision.TokenInvalid},
		{"one's in capitals", "ec", `"ISS":"ONE","aud":"web"`, decision.TokenIssuer},
		{"the other's, and one's in capitals", "ec", `"iss":"OTHER","ISS":"ONE","aud":"web"`, decision.TokenIssuer},
		{"the gateway's own", "ec", `"iss":"ambassador-jwt-issuer","aud":"web"`, decision.TokenInvalid},
	} {
		claims := strings.NewReplacer("ONE", one.URL, "OTHER", other.URL).Replace(r.claims)
		token := signedBy("ES256", r.key, `{"alg":"ES256","kid":"ec"}`, fmt.Sprintf(`{"sub":"alice",%s,"exp":%d}`, claims, exp))
		before := len(log.kinds)
		for _, dry := range []bool{true, false} {
			c := call(midday, nil, "Authorization", "Bearer "+token)
			c.Dry = dry
			m.Filter(c)
			if c.Reply.Reason != r.want {
				t.Errorf("%s: %v, want %v", r.name, c.Reply.Reason, r.want)
			}
			if r.want != decision.None && c.Identity != nil {
				t.Errorf("%s: taken for %+v", r.name, c.Identity)
			}
		}
		kind := "token_rejected"
		if r.want == decision.None {
			kind = "token_accepted"
		}
		if got := strings.Join(log.kinds[before:], " "); got != kind {
			t.Errorf("%s: audited %q, want %q", r.name, got, kind)
		}
	}
}

// An issuer may be trusted for several audiences, each with keys of its own.
func TestIssuerTrustedTwice(t *testing.T) {
	keys := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	const issuer = "https://id.example.com"
	m := minter(t, d, mintFilter(func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{
			{Issuer: issuer, Audiences: []string{"web"}, JWKSURI: keys.URL}, {Issuer: issuer, Audiences: []string{"app"}, JWKSURI: keys.URL + "/app"},
		}
	}))
	for audience, want := range map[string]decision.Reason{"web": decision.None, "app": decision.None, "other": decision.TokenAudience} {
		token := es256(fmt.Sprintf(`{"iss":%q,"sub":"alice","aud":%q,"exp":%d}`, issuer, audience, after(time.Hour)))
		c := call(midday, nil, "Authorization", "Bearer "+token)
		if m.Filter(c); c.Reply.Reason != want {
			t.Errorf("for %s: %v, want %v", audience, c.Reply.Reason, want)
		}
	}
}

// Who issues tokens may have a clock that is ahead.
func TestIssuersWhoseClocksDiffer(t *testing.T) {
	keys := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	d.Cluster = &fakeCluster{keys: jwks("ec"), review: vouched}
	m := minter(t, d, mintFilter(func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: "https://id.example.com", JWKSURI: keys.URL}}
		f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"}
	}))
	for ahead, want := range map[time.Duration]decision.Reason{clocksDiffer: decision.None, clocksDiffer + time.Second: decision.TokenNotYetValid} {
		at := midday.Add(ahead)
		user := es256(fmt.Sprintf(`{"iss":"https://id.example.com","sub":"alice","iat":%d,"nbf":%d,"exp":%d}`, at.Unix(), at.Unix(), at.Unix()+60))
		for _, token := range []string{user, accountToken("ec", at, nil)} {
			c := call(midday, nil, "Authorization", "Bearer "+token)
			if m.Filter(c); c.Reply.Reason != want {
				t.Errorf("%v ahead: %v, want %v", ahead, c.Reply.Reason, want)
			}
		}
	}
}

// Who waits for an issuer, or for the cluster, does so no longer than all Filters may.
func TestMintFiltersHavePatience(t *testing.T) {
	testKeys()
	for _, row := range []struct {
		name, token string
		trusts      func(c *config.Credentials)
	}{
		{"an issuer", es256(`{"iss":"https://id.example.com","sub":"alice","exp":99999999999}`), func(c *config.Credentials) {
			c.Issuers = []config.TrustedIssuer{{Issuer: "https://id.example.com", JWKSURI: "http://id.example.com/keys"}}
		}},
		{"the cluster", accountToken("ec", midday, nil), func(c *config.Credentials) { c.Kubernetes = &config.KubernetesTokens{Audience: "legate"} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _, _ := issuerDeps(t)
				over := make(chan struct{})
				d.Clock, d.Cluster = time.Now, stalledCluster{over}
				d.Dial = func(context.Context, string, string) (net.Conn, error) {
					<-over
					return nil, net.ErrClosed
				}
				m := minter(t, d, mintFilter(func(f *config.MintFilter) { row.trusts(&f.Credentials) }))
				c := call(time.Now(), nil, "Authorization", "Bearer "+row.token)
				c.Patience = time.Second
				if m.Filter(c); c.Reply.Reason != decision.KeySetUnavailable {
					t.Errorf("got %v", c.Reply.Reason)
				}
				if took := time.Since(c.Now); took < time.Second || took > time.Second+10*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				close(over) // until then the attempt goes on, for others
			})
		})
	}
}

// A stalledCluster does not answer until it is over.
type stalledCluster struct{ over <-chan struct{} }

func (s stalledCluster) Ask(ctx context.Context, _, _ string, _ []byte) (int, []byte, error) {
	select {
	case <-s.over:
	case <-ctx.Done():
	}
	return 0, nil, net.ErrClosed
}
