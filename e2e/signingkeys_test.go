package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// keptFilter is mintFilter with keys that are kept, by an issuer that everybody else has
// too.
func keptFilter(i *issuer) string {
	return strings.Replace(mintFilter(i), "    ipRanges: client\n", "    signingKeys: {secretName: signing}\n", 1)
}

// A signing is what the admin port says of a filter's keys.
type signing struct {
	Kept, Error string
	Keys        []struct {
		KID   string `json:"kid"`
		InUse bool   `json:"in_use"`
	}
}

func (g *gateway) signing() signing {
	g.t.Helper()
	v := view[struct {
		Signing []signing `json:"signing_keys"`
	}](g, "identity")
	if len(v.Signing) != 1 {
		g.t.Fatalf("%d filters sign: %+v", len(v.Signing), v)
	}
	return v.Signing[0]
}

// keys are the published keys by their first letters, the one that signs in brackets.
func (s signing) keys() string {
	var ids []string
	for _, k := range s.Keys {
		id := k.KID[:6]
		if k.InUse {
			id = "[" + id + "]"
		}
		ids = append(ids, id)
	}
	return strings.Join(ids, " ")
}

// age lets time pass for the keys that are kept in a folder: their dates go back by d. The
// gateways are told by a change of their manifests.
func age(t testing.TB, state string, d time.Duration, told func()) {
	t.Helper()
	path := filepath.Join(state, "signing-keys", "ambassador_signing.json")
	lock, err := os.Open(path + ".lock")
	must(t, err)
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	text, err := os.ReadFile(path)
	must(t, err)
	var kept struct {
		Keys []struct {
			PKCS8     []byte    `json:"pkcs8"`
			Published time.Time `json:"published"`
			Signs     time.Time `json:"signs"`
		} `json:"keys"`
	}
	must(t, json.Unmarshal(text, &kept))
	for i := range kept.Keys {
		k := &kept.Keys[i]
		k.Published, k.Signs = k.Published.Add(-d), k.Signs.Add(-d)
	}
	text, err = json.Marshal(kept)
	must(t, err)
	must(t, os.WriteFile(path+".aged", text, 0o600))
	must(t, os.Rename(path+".aged", path))
	lock.Close()
	told()
}

// A meshProxy verifies by a copy of the key set, as istiod's proxies do, with a library
// that is not ours.
type meshProxy struct {
	mu   sync.Mutex
	oidc *oidc.IDTokenVerifier
}

// look takes a fresh copy from a gateway.
func (p *meshProxy) look(t testing.TB, g *gateway) {
	t.Helper()
	_, text := g.operator("/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal([]byte(text), &set))
	static := &oidc.StaticKeySet{}
	for _, k := range set.Keys {
		static.PublicKeys = append(static.PublicKeys, k.Key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oidc = oidc.NewVerifier("ambassador-jwt-issuer", static, &oidc.Config{ClientID: "service-a.service-namespace", SupportedSigningAlgs: []string{"ES256"}})
}

func (p *meshProxy) verify(t testing.TB, token string) error {
	t.Helper()
	p.mu.Lock()
	v := p.oidc
	p.mu.Unlock()
	_, err := v.Verify(t.Context(), token)
	return err
}

// Two gateways share a folder and go through a whole rotation, while clients ask both. A
// mesh that looks at either's key set every 20 minutes refuses none of their tokens. Time
// passes in steps of ten minutes, by the dates of the keys.
func TestRotationOfSharedKeys(t *testing.T) {
	t.Parallel()
	i, state := startIssuer(t), filepath.Join(t.TempDir(), "state")
	manifests := mission + keptFilter(i)
	args := []string{"--state", state, "--resolve", "service-a.service-namespace=" + echo(t, "service-a")}
	gateways := []*gateway{start(t, setup{manifests: manifests, args: args}), start(t, setup{manifests: manifests, args: args})}
	if one, other := gateways[0].signing(), gateways[1].signing(); one.keys() != other.keys() || len(one.Keys) != 1 || !strings.Contains(one.Kept, state) {
		t.Fatalf("one has %+v, the other %+v", one, other)
	}
	var mesh meshProxy
	mesh.look(t, gateways[0])

	var pause sync.RWMutex // the mesh looks while no token is on its way
	var stop atomic.Bool
	var sent [2]atomic.Int64
	var used sync.Map       // key ids
	var latest atomic.Value // token
	var clients sync.WaitGroup
	for n := range 4 {
		g := gateways[n%2]
		clients.Go(func() {
			for round := 0; !stop.Load(); round++ {
				pause.RLock()
				sub := fmt.Sprintf("user-%d-%d", n, round) // who gets a token of their own
				a, err := g.try(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + i.token(t, map[string]any{"sub": sub})}})
				if err != nil || a.StatusCode != 200 || a.saw == nil {
					t.Errorf("a request failed: %v %v", err, a.Response)
				} else if err := mesh.verify(t, bearer(a)); err != nil {
					t.Errorf("the mesh refuses a token: %v", err)
				} else {
					used.Store(headerOf(t, bearer(a))["kid"], true)
					latest.Store(bearer(a))
				}
				pause.RUnlock()
				if t.Failed() {
					return
				}
				sent[n%2].Add(1)
			}
		})
	}
	defer clients.Wait()
	defer stop.Store(true)
	story := []string{gateways[0].signing().keys()}
	// The first key signs for a day. Of its last 40 minutes and the 100 after them:
	for step, minutes := range append([]int{23*60 + 20}, make([]int, 14)...) {
		if minutes == 0 {
			minutes = 10
		}
		age(t, state, time.Duration(minutes)*time.Minute, func() {
			for n, g := range gateways { // one learns of it before the other
				g.replace(manifests + mapping(fmt.Sprintf("other-%d-%d", step, n), "/other/", "127.0.0.1:1", "bypass_auth: true"))
			}
		})
		if step%2 == 1 {
			pause.Lock()
			mesh.look(t, gateways[step/2%2])
			pause.Unlock()
		}
		if step > 0 { // what was made ten minutes ago has not lapsed
			if err := mesh.verify(t, latest.Load().(string)); err != nil {
				t.Errorf("step %d: the mesh refuses a token from before: %v", step, err)
			}
		}
		if one, other := gateways[0].signing().keys(), gateways[1].signing().keys(); one != other {
			t.Fatalf("step %d: one has %s, the other %s", step, one, other)
		} else if one != story[len(story)-1] {
			story = append(story, one)
		}
		from := [2]int64{sent[0].Load(), sent[1].Load()}
		eventually(t, 20*time.Second, "clients ask both", func() bool {
			return t.Failed() || sent[0].Load() > from[0]+4 && sent[1].Load() > from[1]+4
		})
	}
	stop.Store(true)
	clients.Wait()
	a, b := strings.Trim(story[0], "[]"), gateways[0].signing().Keys[len(gateways[0].signing().Keys)-1].KID[:6]
	want := []string{fmt.Sprintf("[%s]", a), fmt.Sprintf("[%s] %s", a, b), fmt.Sprintf("%s [%s]", a, b), fmt.Sprintf("[%s]", b)}
	if fmt.Sprint(story) != fmt.Sprint(want) {
		t.Errorf("the keys were %q, want %q", story, want)
	}
	n := 0
	used.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d keys have signed, want two", n)
	}
}

func headerOf(t testing.TB, token string) map[string]any {
	t.Helper()
	encoded, _, _ := strings.Cut(token, ".")
	return decoded(t, "."+encoded+".")
}

// Keys outlive a gateway that is killed, and so does what it had signed with them.
func TestKeysOutliveAGateway(t *testing.T) {
	t.Parallel()
	i, state := startIssuer(t), t.TempDir()
	s := setup{manifests: mission + keptFilter(i), args: []string{"--state", state, "--resolve", "service-a.service-namespace=" + echo(t, "service-a")}}
	g := start(t, s)
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"wonderland"}}
	a := g.send(t, request{method: "POST", target: "/auth/token", header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: form.Encode()})
	var said struct {
		Token string `json:"access_token"`
	}
	must(t, json.Unmarshal(a.body, &said))
	_, before := g.operator("/.well-known/jwks.json")
	must(t, g.cmd.Process.Kill())
	g.exit(t)

	again := start(t, s)
	if _, after := again.operator("/.well-known/jwks.json"); after != before {
		t.Errorf("the keys were %s and are %s", before, after)
	}
	if a := again.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + said.Token}}); again.verdict(t, a) != served {
		t.Errorf("a token from before: %+v %s", again.verdict(t, a), a.body)
	}
	again.noSecrets(t, said.Token)
}

// Where nothing can be kept the gateway says so, serves by a key of its own, and keeps that
// one as soon as it can.
func TestKeysCannotBeKept(t *testing.T) {
	t.Parallel()
	i, state := startIssuer(t), filepath.Join(t.TempDir(), "state")
	must(t, os.WriteFile(state, nil, 0o600)) // in the place of the folder
	manifests := mission + keptFilter(i)
	g := start(t, setup{manifests: manifests, args: []string{"--state", state, "--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	g.errors.await(t, `signing keys are in trouble.*not a directory`)
	before := g.signing()
	if !strings.Contains(before.Error, state) || len(before.Keys) != 1 {
		t.Errorf("it says %+v", before)
	}
	verify := downstream(t, g)
	ask := func() {
		t.Helper()
		a := g.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice"})}})
		if v := g.verdict(t, a); v != served {
			t.Fatalf("got %+v %s", v, a.body)
		}
		if err := verify(bearer(a)); err != nil {
			t.Errorf("the service refuses its token: %v", err)
		}
	}
	ask()
	must(t, os.Remove(state))
	g.replace(manifests + mapping("other", "/other/", "127.0.0.1:1", "bypass_auth: true"))
	g.errors.await(t, `signing keys are in order again`)
	if after := g.signing(); after.Error != "" || after.keys() != before.keys() {
		t.Errorf("then it says %+v", after)
	}
	ask()
	if info, err := os.Stat(filepath.Join(state, "signing-keys", "ambassador_signing.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
