package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"legate/config"
	"legate/config/decode"
)

// A hearer is an API server that is told what becomes of Mappings, and of nothing else.
type hearer struct {
	teller  *Teller
	store   *store
	log     bytes.Buffer
	now     time.Time
	refuses map[string]metav1.Status // by name, whose status it does not take
	told    []string                 // whom it was told of, in which version
}

func (h *hearer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var group, version, namespace, name, part string
	if r.Method != http.MethodPatch {
		http.Error(w, "nothing but statuses is taken", http.StatusMethodNotAllowed)
		return
	}
	path := strings.NewReplacer("/", " ").Replace(r.URL.Path)
	if _, err := fmt.Sscanf(path, " apis %s %s namespaces %s mappings %s %s", &group, &version, &namespace, &name, &part); err != nil || part != "status" {
		http.Error(w, r.URL.Path, http.StatusBadRequest)
		return
	}
	h.told = append(h.told, version+"/"+name)
	w.Header().Set("Content-Type", "application/json")
	if no, ok := h.refuses[name]; ok {
		no.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		no.Status = metav1.StatusFailure
		w.WriteHeader(int(no.Code))
		_ = json.NewEncoder(w).Encode(no)
		return
	}
	fmt.Fprintf(w, `{"apiVersion":%q,"kind":"Mapping","metadata":{"name":%q,"namespace":%q}}`, group+"/"+version, name, namespace)
}

// newHearer returns one that has these Mappings, and who tells it of them.
func newHearer(t *testing.T, mappings resource, names ...string) *hearer {
	t.Helper()
	h := &hearer{refuses: map[string]metav1.Status{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{writer: client, following: map[string]*following{}, opts: Options{Log: slog.New(slog.NewTextHandler(&h.log, nil))}}
	h.store = newStore(mappings, decode.Options{}, func() {})
	s.following[mappings.name()] = &following{resource: mappings, source: s, store: h.store}
	for _, name := range names {
		h.has(t, name, 1)
	}
	h.teller = s.Teller(TellOptions{Identity: "me", Lease: "legate"})
	h.teller.now = func() time.Time { return h.now }
	later := time.Now().Add(time.Hour)
	h.teller.lease.until.Store(&later)
	return h
}

// has has a Mapping of that generation, which says nothing of its own status.
func (h *hearer) has(t *testing.T, name string, generation int) {
	t.Helper()
	if err := h.store.Update(mapping(t, name, "/"+name+"/", generation)); err != nil {
		t.Fatal(err)
	}
}

// tell has it told once, and returns whom it was told of.
func (h *hearer) tell(t *testing.T) string {
	t.Helper()
	h.told = nil
	h.teller.outcome = func() Outcome { return Outcome{Problems: []config.Problem{}} }
	m := h.teller.source.Mark()
	h.teller.applied.Store(m)
	h.teller.tell(t.Context(), m)
	return strings.Join(h.told, " ")
}

var mappings = resource{group: ambassadorGroup, kind: "Mapping", plural: "mappings", versions: []string{"v3alpha1"}, told: []string{"v3alpha1"}}

// invalid is how an API server refuses a status because of what else the object says.
var invalid = metav1.Status{Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: "spec: wrong"}

// An object whose status is not taken keeps no other from being told, and is told when it has
// changed, or after a while.
func TestTellsOthers(t *testing.T) {
	h := newHearer(t, mappings, "a", "b", "c")
	h.refuses["a"] = invalid
	steps := []struct {
		name   string
		before func()
		want   string
	}{
		{"at first", func() {}, "v3alpha1/a v3alpha1/b v3alpha1/c"},
		{"soon after", func() { h.now = h.now.Add(lookAgain) }, ""},
		{"another has come", func() { h.has(t, "d", 1) }, "v3alpha1/d"},
		{"it has changed", func() { h.has(t, "a", 2) }, "v3alpha1/a"},
		{"after as long as one refusal lasts", func() { h.now = h.now.Add(holdOff) }, ""},
		{"after as long as two do", func() { h.now = h.now.Add(holdOff) }, "v3alpha1/a"},
		{"it is taken", func() { h.now = h.now.Add(4 * holdOff); delete(h.refuses, "a") }, "v3alpha1/a v3alpha1/b v3alpha1/c v3alpha1/d"},
		{"it was", func() { h.now = h.now.Add(lookAgain) }, ""},
	}
	for _, step := range steps {
		step.before()
		if got := h.tell(t); got != step.want {
			t.Errorf("%s: told of %q, want %q\n%s", step.name, got, step.want, h.log.String())
		}
	}
	if n := strings.Count(h.log.String(), `msg="an object is not told what becomes of it" kind=mappings.getambassador.io object=shop/a`); n != 3 {
		t.Errorf("three refusals are logged %d times:\n%s", n, h.log.String())
	}
}

// Where one after the other is refused, it is about the kind.
func TestTellsNoMoreOfAKind(t *testing.T) {
	h := newHearer(t, mappings, "a", "b", "c", "d", "e")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		h.refuses[name] = invalid
	}
	if got := h.tell(t); got != "v3alpha1/a v3alpha1/b v3alpha1/c" {
		t.Errorf("told of %q", got)
	}
	h.now = h.now.Add(holdOff - time.Second)
	if got := h.tell(t); got != "" {
		t.Errorf("within a minute told of %q", got)
	}
	delete(h.refuses, "d")
	h.now = h.now.Add(2 * time.Second)
	for _, name := range []string{"a", "b", "c"} {
		h.teller.sent["mappings.getambassador.io/shop/"+name] = sent{stamp: h.store.find("shop/" + name).stamp, at: h.now, refused: 2}
	}
	if got := h.tell(t); got != "v3alpha1/d v3alpha1/e" {
		t.Errorf("after a minute told of %q", got)
	}
}

// Who may write none is not tried with every object, and one that has just gone is no matter.
func TestTellsByWhatIsRefused(t *testing.T) {
	for _, test := range []struct {
		name      string
		status    metav1.Status
		told, say string
	}{
		{"no right", metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "no rule"}, "v3alpha1/a", "objects are not told"},
		{"gone", metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not found"}, "v3alpha1/a v3alpha1/b", ""},
		{"made anew", metav1.Status{Code: http.StatusConflict, Reason: metav1.StatusReasonConflict, Message: "uid"}, "v3alpha1/a v3alpha1/b", ""},
		{"no room", metav1.Status{Code: http.StatusInternalServerError, Message: "failed to create typed patch object (shop/a): .status.conditions: field not declared in schema"}, "v3alpha1/a", "objects are not told"},
		{"too much at once", metav1.Status{Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests, Message: "later"}, "v3alpha1/a", "objects are not told"},
	} {
		h := newHearer(t, mappings, "a", "b")
		h.refuses["a"] = test.status
		if got := h.tell(t); got != test.told {
			t.Errorf("%s: told of %q, want %q", test.name, got, test.told)
		}
		if said := h.log.String(); (test.say == "") != (said == "") || !strings.Contains(said, test.say) {
			t.Errorf("%s: logged %q", test.name, said)
		}
	}
}

// A status is written in a version that is served, whatever the object was read in; never where
// there is none.
func TestTellsInAVersion(t *testing.T) {
	for _, test := range []struct {
		name string
		told []string
		want string
	}{
		{"that it was read in", []string{"v2", "v3alpha1"}, "v3alpha1/a"},
		{"that there is now", []string{"v2"}, "v2/a"},
		{"none", nil, ""},
	} {
		r := mappings
		r.told = test.told
		h := newHearer(t, r, "a")
		if got := h.tell(t); got != test.want {
			t.Errorf("%s: told of %q, want %q", test.name, got, test.want)
		}
	}
}

// Where somebody else writes over what we said, nobody quarrels: it is said again after a while.
func TestTellsAgain(t *testing.T) {
	h := newHearer(t, mappings, "a")
	if got := h.tell(t); got != "v3alpha1/a" {
		t.Fatalf("told of %q", got)
	}
	for range int(sayAgain/lookAgain) - 1 {
		h.now = h.now.Add(lookAgain)
		if got := h.tell(t); got != "" {
			t.Fatalf("%v: told of %q again", h.now, got)
		}
	}
	h.now = h.now.Add(lookAgain)
	if got := h.tell(t); got != "v3alpha1/a" {
		t.Errorf("after %v: told of %q", sayAgain, got)
	}
}

// A Service's address is what an Ingress may be told of it.
func TestBalancerOf(t *testing.T) {
	for _, test := range []struct{ status, want string }{
		{`{}`, ``},
		{`{"loadBalancer":{"ingress":[]}}`, ``},
		{`{"loadBalancer":{"ingress":[{"hostname":"front.elb.amazonaws.com"}]}}`, `[{"hostname":"front.elb.amazonaws.com"}]`},
		{`{"loadBalancer":{"ingress":[{"ip":"192.0.2.7","ipMode":"VIP","ports":[{"port":80,"protocol":"TCP"}]}]}}`, `[{"ip":"192.0.2.7","ports":[{"port":80,"protocol":"TCP"}]}]`},
	} {
		if got := balancerOf(object(t, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"status":`+test.status+`}`)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.status, got, test.want)
		}
	}
}
