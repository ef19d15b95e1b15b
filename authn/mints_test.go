package authn

import (
	"strings"
	"testing"

	"legate/config"
)

func TestStandsIn(t *testing.T) {
	rows := []struct {
		name, entry, service, namespace string
		tls, want                       bool
	}{
		{"as written", "jwt-auth:3000", "jwt-auth:3000", "ambassador", false, true},
		{"with a scheme", "jwt-auth:3000", "http://jwt-auth:3000", "ambassador", false, true},
		{"with its namespace", "jwt-auth.ambassador:3000", "jwt-auth:3000", "ambassador", false, true},
		{"with all of its name", "jwt-auth:3000", "jwt-auth.ambassador.svc.cluster.local:3000", "ambassador", false, true},
		{"in other letters", "JWT-auth:3000", "jwt-AUTH:3000", "ambassador", false, true},
		{"the port of its scheme", "jwt-auth:443", "https://jwt-auth", "ambassador", false, true},
		{"the port where tls originates", "jwt-auth:443", "jwt-auth", "ambassador", true, true},
		{"another port", "jwt-auth:3001", "jwt-auth:3000", "ambassador", false, false},
		{"another namespace", "jwt-auth.shop:3000", "jwt-auth:3000", "ambassador", false, false},
		{"another name", "auth:3000", "jwt-auth:3000", "ambassador", false, false},
	}
	for _, r := range rows {
		o := mintFilter(func(f *config.MintFilter) { f.AuthServices = []string{"other:1", r.entry} })
		a := &config.AuthService{Meta: config.Meta{Namespace: r.namespace}, ExternalAuth: config.ExternalAuth{Service: r.service, OriginateTLS: r.tls}}
		if got := standsIn(o, a); got != r.want {
			t.Errorf("%s: %v, want %v", r.name, got, r.want)
		}
	}
}

// What outlives a change of the configuration, and what is told of it.
func TestMintsCarryOver(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	world := func(filters ...*config.Filter) *config.World {
		w := &config.World{}
		for _, f := range filters {
			w.Filters = append(w.Filters, *f)
		}
		return w
	}
	build := func(w *config.World, old *mints) *mints {
		s, problems := newMints(w, old, newKeySets(d, nil), d)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		s.start()
		t.Cleanup(func() { s.retire(nil) })
		return s
	}
	first := build(world(mintFilter()), nil)
	key := first.get("ambassador", "jwt-auth").signer.current.Load().signing
	first.get("ambassador", "jwt-auth").revoked.Note("j1", noon.Add(60*60*1e9), now)
	second := build(world(mintFilter(func(f *config.MintFilter) { f.Lifetime = 5 * 60 * 1e9 })), first)
	first.retire(second)
	m := second.get("ambassador", "jwt-auth")
	if m.signer.current.Load().signing != key || !m.revoked.Has("j1") {
		t.Error("a change of the lifetime has cost the key or what was revoked")
	}
	if first.get("ambassador", "jwt-auth").fingerprint == m.fingerprint {
		t.Error("tokens of the old lifetime are still handed out")
	}
	if got := string(second.keySet()); !strings.Contains(got, key.id) {
		t.Errorf("published are %s", got)
	}
	other := mintFilter()
	other.Name = "other"
	both, problems := newMints(world(mintFilter(), other), nil, newKeySets(d, nil), d)
	var e Endpoints
	problems = append(problems, both.addTo(&e, world(mintFilter(), other))...)
	if len(problems) != 1 || !strings.Contains(problems[0].Msg, "another filter has its endpoints") || problems[0].Ref.Name != "other" {
		t.Errorf("two filters below one prefix: %v", problems)
	}
}

func TestMintProblems(t *testing.T) {
	now := noon
	rows := []struct {
		name   string
		change func(*config.MintFilter)
		want   string
		broken bool
	}{
		{"no Secret of passwords", func(f *config.MintFilter) { f.Credentials.Passwords.Name = "gone" }, "there is no Secret gone.", true},
		{"no Secret of clients", func(f *config.MintFilter) { f.Credentials.Clients.Name = "gone" }, "there is no Secret gone.", true},
		{"passwords in the clear", func(f *config.MintFilter) {
			f.Credentials.Passwords = config.SecretName{Name: "plain", Namespace: "ambassador"}
		}, "neither a bcrypt nor an argon2id hash", true},
		{"no Secret of keys", func(f *config.MintFilter) { f.SigningKeys.Name = "gone" }, "there is no Secret gone.", false},
		{"a Secret without keys", func(f *config.MintFilter) { f.SigningKeys = config.SecretName{Name: "plain", Namespace: "ambassador"} }, "holds no private key", false},
		{"tokens of ServiceAccounts", func(f *config.MintFilter) { f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "x"} }, "there is no API server to ask", false},
	}
	plain := config.Secret{Meta: config.Meta{Name: "plain", Namespace: "ambassador"}, Data: map[string][]byte{"x": []byte("alice:wonderland")}}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			d := testDeps(t, &now)
			o := mintFilter(r.change)
			s, problems := newMints(&config.World{Filters: []config.Filter{*o}, Secrets: []config.Secret{plain}}, nil, newKeySets(d, nil), d)
			if len(problems) != 1 || !strings.Contains(problems[0].Msg, r.want) || strings.Contains(problems[0].Msg, "wonderland") {
				t.Fatalf("got %v", problems)
			}
			if s.get("ambassador", "jwt-auth").broken != r.broken {
				t.Errorf("broken is %v", !r.broken)
			}
		})
	}
}
