package kube

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"legate/config"
	"legate/config/decode"
)

// A ringing store counts how often it said that something changed.
func ringing(r resource) (s *store, rings *int) {
	rings = new(int)
	return newStore(r, decode.Options{}, func() { *rings++ }), rings
}

func mapping(t *testing.T, name, prefix string, generation int) *unstructured.Unstructured {
	t.Helper()
	return object(t, fmt.Sprintf(`{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":%q,"namespace":"shop","uid":%q,"generation":%d},"spec":{"hostname":"*","prefix":%q,"service":"s"},"status":{"n":%d}}`,
		name, name, generation, prefix, generation))
}

// names lists what s holds.
func (s *store) names() string {
	var names []string
	list, _ := s.entries()
	for _, e := range list {
		names = append(names, fmt.Sprintf("%s:%d", e.name, len(e.objects)))
	}
	return strings.Join(names, " ")
}

// Objects that say the same stay the same, whatever the API server sends of them again.
func TestStoreKeepsWhatSaysTheSame(t *testing.T) {
	s, rings := ringing(resource{group: ambassadorGroup, kind: "Mapping"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Replace([]any{mapping(t, "b", "/b/", 1), mapping(t, "a", "/a/", 1)}, "1"))
	if got := s.names(); got != "a:1 b:1" || *rings != 1 {
		t.Fatalf("got %q after %d rings", got, *rings)
	}
	before := s.add(nil)
	must(s.Update(mapping(t, "a", "/a/", 1)))
	if *rings != 1 {
		t.Error("a status alone makes everything anew")
	}
	must(s.Replace([]any{mapping(t, "b", "/b/", 1), mapping(t, "a", "/a/", 1)}, "9"))
	after := s.add(nil)
	if before[0] != after[0] || before[1] != after[1] {
		t.Error("what was listed again is not the same any more")
	}
	must(s.Update(mapping(t, "a", "/other/", 2)))
	if changed := s.add(nil); changed[0] == before[0] || changed[1] != before[1] || changed[0].Value.(*config.Mapping).Prefix != "/other/" {
		t.Error("one change changes that one object")
	}
	must(s.Delete(mapping(t, "a", "/other/", 2)))
	if got := s.names(); got != "b:1" {
		t.Errorf("after a deletion: %q", got)
	}
	must(s.Replace(nil, "10"))
	if _, synced := s.entries(); s.names() != "" || !synced {
		t.Errorf("after all have gone: %q", s.names())
	}
}

func secret(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	return object(t, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"`+name+`","namespace":"shop","uid":"`+name+`"},"data":{"k":"dg=="}}`)
}

// Of Secrets that nobody names nothing is held but their names.
func TestStoreHoldsNamedSecrets(t *testing.T) {
	s, _ := ringing(resource{kind: "Secret"})
	s.wanted = wanted{"cert": true}
	if err := s.Replace([]any{secret(t, "cert"), secret(t, "other")}, "1"); err != nil {
		t.Fatal(err)
	}
	if got := s.names(); got != "cert:1 other:0" {
		t.Fatalf("got %q", got)
	}
	missing := s.keep(wanted{"other.shop": true, "elsewhere": true})
	if len(missing) != 1 || missing[0].name != "other" || s.names() != "cert:0 other:0" {
		t.Fatalf("missing %v of %q", missing, s.names())
	}
	if err := s.fetched(missing[0], secret(t, "other")); err != nil || s.names() != "cert:0 other:1" {
		t.Errorf("fetched: %v, %q", err, s.names())
	}
	if missing := s.keep(wanted{"other.shop": true}); len(missing) != 0 {
		t.Errorf("missing again: %v", missing)
	}
	if err := s.Delete(secret(t, "cert")); err != nil {
		t.Fatal(err)
	}
	gone := &entry{namespace: "shop", name: "cert"}
	if err := s.fetched(gone, secret(t, "cert")); err != nil || s.names() != "other:1" {
		t.Errorf("what was deleted meanwhile comes back: %v, %q", err, s.names())
	}
}

// Whatever comes and goes, whoever asks gets what is held, in order; and what was handed out
// before stays as it was.
func TestStoreStaysInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, _ := ringing(resource{group: ambassadorGroup, kind: "Mapping"})
	var list, copied []*entry
	for i := range 2000 {
		name := fmt.Sprintf("m-%d", r.IntN(30))
		switch r.IntN(6) {
		case 0:
			if err := s.Delete(mapping(t, name, "/", 1)); err != nil {
				t.Fatal(err)
			}
		case 1:
			if !slices.Equal(list, copied) {
				t.Fatalf("after %d steps: what was handed out has changed", i)
			}
			list, _ = s.entries()
			copied = slices.Clone(list)
			if want := slices.SortedFunc(maps.Values(s.held), compareEntries); !slices.Equal(list, want) {
				t.Fatalf("after %d steps %s is held", i, s.names())
			}
		default:
			if err := s.Update(mapping(t, name, fmt.Sprintf("/%d/", i%3), i%3)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What others write into objects over and over is not kept while nobody looks.
func TestStoreForgetsWhatIsWrittenOver(t *testing.T) {
	s, rings := ringing(resource{group: ambassadorGroup, kind: "Mapping"})
	if err := s.Replace([]any{mapping(t, "a", "/a/", 1), mapping(t, "b", "/b/", 1)}, "1"); err != nil {
		t.Fatal(err)
	}
	s.names()
	for i := range 1000 {
		u := mapping(t, "a", "/a/", 1)
		u.Object["status"] = map[string]any{"state": fmt.Sprint("State", i)}
		if err := s.Update(u); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.come) + len(s.gone); n > 200 {
		t.Errorf("%d versions are kept", n)
	}
	if got := s.names(); got != "a:1 b:1" || *rings != 1 || s.find("shop/a").status.State != "State999" {
		t.Errorf("got %q after %d rings", got, *rings)
	}
}

// Whatever of what is in force names a Secret keeps it, and a change of that has the set made
// anew.
func TestServes(t *testing.T) {
	s := &Source{dirty: make(chan struct{}, 1)}
	w := &config.World{
		Hosts: []config.Host{{
			TLSSecret: config.SecretRef{Name: "cert", Namespace: "shop"}, ACME: &config.ACME{Account: config.SecretRef{Name: "account"}},
			TLS: &config.TLSSettings{CASecret: "ca.other", CRLSecret: "crl"},
		}},
		TLSContexts: []config.TLSContext{{Secret: "context"}},
		Filters:     []config.Filter{{APIKey: &config.APIKeyFilter{Secrets: []config.SecretName{{Name: "keys"}}}}},
	}
	rang := func() bool {
		select {
		case <-s.dirty:
			return true
		default:
			return false
		}
	}
	if s.Serves(w); !rang() {
		t.Error("what is named first is not read")
	}
	for _, name := range []string{"cert", "account", "ca.other", "crl", "context", "keys"} {
		if !(*s.serving.Load())[name] {
			t.Errorf("%s is not kept", name)
		}
	}
	if s.Serves(w); rang() {
		t.Error("the same has all made anew")
	}
	w.Hosts = nil
	if s.Serves(w); !rang() || (*s.serving.Load())["cert"] {
		t.Error("what is not named any more is kept")
	}
}
