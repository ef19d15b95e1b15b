package config

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// object makes a good object of the given value.
func object(value any, m Meta, ids ...string) *Object {
	if m.Namespace == "" {
		m.Namespace = "default"
	}
	o := &Object{Meta: m, IDs: ids, Value: withMeta(value, m)}
	o.Problems = []Problem{{Ref: m.Ref(), Msg: "seen", Effect: Notice}}
	return o
}

func mappingAt(name, namespace string, line int) *Object {
	return object(&Mapping{}, Meta{Kind: "Mapping", Name: name, Namespace: namespace, File: "a.yaml", Line: line, Col: 1}, DefaultID)
}

// mappings renders which Mappings w has.
func mappings(w World) string {
	var names []string
	for i := range w.Mappings {
		names = append(names, fmt.Sprintf("%s:%d", w.Mappings[i].FullName(), w.Mappings[i].Line))
	}
	return strings.Join(names, " ")
}

func TestMergeSelects(t *testing.T) {
	labels, err := ParseLabelSelector("team=shop")
	if err != nil {
		t.Fatal(err)
	}
	fields, err := ParseFieldSelector("metadata.namespace=shop")
	if err != nil {
		t.Fatal(err)
	}
	shop := map[string]string{"team": "shop"}
	set := []*Object{
		object(&Mapping{}, Meta{Kind: "Mapping", Name: "default"}, "default"),
		object(&Mapping{}, Meta{Kind: "Mapping", Name: "edge", Labels: shop}, "edge", "other"),
		object(&Mapping{}, Meta{Kind: "Mapping", Name: "automatic", Namespace: "shop"}, "_automatic_"),
		object(&Secret{}, Meta{Kind: "Secret", Name: "here"}),
		object(&Secret{}, Meta{Kind: "Secret", Name: "there", Namespace: "shop", Labels: shop}),
		{Problems: []Problem{{Msg: "a file without objects"}}},
	}
	for _, test := range []struct {
		opts Options
		want string
	}{
		{Options{}, "automatic default here there -"},
		{Options{AmbassadorID: "edge"}, "automatic edge here there -"},
		{Options{AmbassadorID: "nobody", Namespace: "shop"}, "automatic here there -"},
		{Options{SingleNamespace: true}, "default here -"},
		{Options{SingleNamespace: true, Namespace: "shop"}, "automatic there -"},
		{Options{SecretsSingleNamespace: true, Namespace: "shop"}, "automatic default there -"},
		{Options{AmbassadorID: "edge", LabelSelector: labels}, "edge there -"},
		{Options{FieldSelector: fields}, "automatic there -"},
		{Options{FieldSelector: fields, SingleNamespace: true}, "-"},
	} {
		w := Merge(test.opts, set)
		var got []string
		for i := range w.Mappings {
			got = append(got, w.Mappings[i].Name)
		}
		for i := range w.Secrets {
			got = append(got, w.Secrets[i].Name)
		}
		for _, p := range w.Problems {
			if p.Ref.Name == "" {
				got = append(got, "-")
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: got %v, want %s", test.opts, got, test.want)
		}
		if len(w.Problems) != len(got) {
			t.Errorf("%+v: %d problems of %d objects: those of others must not be told", test.opts, len(w.Problems), len(got))
		}
	}
}

// What is written in an annotation comes with the object that bears it, whatever it
// says of itself; only its ambassador_id is its own.
func TestMergeSelectsByParent(t *testing.T) {
	labels, err := ParseLabelSelector("team=shop")
	if err != nil {
		t.Fatal(err)
	}
	parent := Parent{Kind: "Service", Name: "web", Namespace: "shop", Labels: map[string]string{"team": "shop"}, Document: 1}
	set := []*Object{
		object(&Mapping{}, Meta{Kind: "Mapping", Name: "inside", Namespace: "other", Parent: parent}, "default"),
		object(&Mapping{}, Meta{Kind: "Mapping", Name: "outside", Namespace: "other", Labels: parent.Labels}, "default"),
		{Meta: Meta{Parent: parent}, Problems: []Problem{{Msg: "unreadable"}}, Broken: true},
	}
	for _, test := range []struct {
		opts Options
		want string
	}{
		{Options{}, "outside.other:0 inside.other:0 and 3 problems"},
		{Options{AmbassadorID: "edge"}, " and 1 problems"},
		{Options{Namespace: "shop", SingleNamespace: true}, "inside.other:0 and 2 problems"},
		{Options{Namespace: "other", SingleNamespace: true}, "outside.other:0 and 1 problems"},
		{Options{LabelSelector: labels}, "outside.other:0 inside.other:0 and 3 problems"},
	} {
		w := Merge(test.opts, set)
		if got := fmt.Sprintf("%s and %d problems", mappings(w), len(w.Problems)); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.opts, got, test.want)
		}
	}
}

// "First" and "later" follow Ambassador's key for where an object comes from, in which
// documents of annotations stand under their parents' names.
func TestMergeOrdersByKey(t *testing.T) {
	within := func(name, service string, document int) *Object {
		p := Parent{Kind: "Service", Name: service, Namespace: "x", Document: document}
		return object(&Mapping{}, Meta{Kind: "Mapping", Name: name, Namespace: "x", Line: document, Parent: p}, DefaultID)
	}
	w := Merge(Options{}, []*Object{
		within("z", "web", 1), within("y", "web", 2), within("x", "web", 10), mappingAt("weather", "x", 1), mappingAt("web", "x-1", 1), mappingAt("web", "x", 1),
		mappingAt("twice", "x", 8), within("twice", "aaa", 9), // the annotation comes first, and is replaced
		mappingAt("again", "x", 8), within("again", "zzz", 9), // it comes later, and replaces
	})
	if got, want := mappings(w), "twice.x:8 weather.x:1 web.x-1:1 z.x:1 web.x:1 x.x:10 y.x:2 again.x:9"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFieldSelector(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "metadata.name=web": true, "metadata.name == web": true, "metadata.name!=web": false, "metadata.namespace=shop,metadata.name=web": true,
		"metadata.namespace=shop, metadata.name=other": false, "metadata.namespace!=kube-system": true, "metadata.namespace=": false,
	} {
		s, err := ParseFieldSelector(text)
		if err != nil || s.Matches("web", "shop") != want {
			t.Errorf("%q: got %v, %v, want %v", text, s.Matches("web", "shop"), err, want)
		}
	}
	for _, text := range []string{"metadata.name", "status.phase=Running", "=a", "metadata.name=a=b", "metadata.name in (a)"} {
		if _, err := ParseFieldSelector(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestMergeDuplicates(t *testing.T) {
	broken := mappingAt("a", "x", 9)
	broken.Value = nil
	twice := mappingAt("c", "x", 1)
	twice.Digest = Digest{1}
	moved := twice.Moved(1)
	first := []*Object{twice, moved, mappingAt("b", "x", 5), mappingAt("a", "x", 7), mappingAt("a", "x", 3), broken}
	second := []*Object{mappingAt("b", "x", 1), mappingAt("a", "y", 2), mappingAt("a.y", "x", 4), mappingAt("a", "y.x", 6)}
	w := Merge(Options{}, first, second)
	if got, want := mappings(w), "a.x:3 a.y:2 a.y.x:4 a.y.x:6 b.x:1 c.x:2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var got []string
	for _, p := range w.Problems {
		if p.Msg != "seen" {
			got = append(got, p.String())
		}
	}
	want := []string{
		"a.yaml:1:1: Mapping/c.x: is defined again at a.yaml:2 in the same words; one of them would do",
		"a.yaml:5:1: Mapping/b.x: is defined again at a.yaml:1; the later definition replaces this one",
		"a.yaml:7:1: Mapping/a.x: is defined again at a.yaml:3; the later definition replaces this one",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMergeKeepsOneModuleAndItsGuard(t *testing.T) {
	module := func(namespace string) *Object {
		return object(&Module{}, Meta{Kind: "Module", Name: "ambassador", Namespace: namespace, File: "m.yaml", Line: 1})
	}
	guard := object(&Guard{}, Meta{Kind: "Module", Name: "ambassador", Namespace: "a"})
	nameless := []*Object{{Meta: Meta{Kind: "FilterPolicy"}, Value: &Guard{}}, {Meta: Meta{Kind: "FilterPolicy"}, Value: &Guard{}}}
	w := Merge(Options{}, []*Object{module("b"), guard, module("a")}, nameless)
	if len(w.Modules) != 1 || w.Modules[0].Namespace != "a" || len(w.Guards) != 3 {
		t.Errorf("got Modules %+v and %d Guards, want the one of namespace a and 3", w.Modules, len(w.Guards))
	}
	want := "m.yaml:1:1: Module/ambassador.b: only one Module ambassador counts, and Module a/ambassador comes first; it is ignored"
	if !slices.ContainsFunc(w.Problems, func(p Problem) bool { return p.String() == want }) {
		t.Errorf("got %v, want among them %s", w.Problems, want)
	}
}

// The order must not depend on the order in which objects were read.
func TestMergeSortsLikeKeys(t *testing.T) {
	names := []string{"a", "a-", "a.", "a.b", "a/", "a1", "ab", "b", "", "a.b.c", "ab.c"}
	var set []*Object
	for _, name := range names {
		for _, namespace := range names {
			if name != "" {
				set = append(set, mappingAt(name, namespace, 1))
			}
		}
	}
	w := Merge(Options{}, set)
	for i := 1; i < len(w.Mappings); i++ {
		if a, b := w.Mappings[i-1].Key(), w.Mappings[i].Key(); a > b {
			t.Errorf("%q stands before %q", a, b)
		}
	}
	for i := range set {
		for j := range set {
			a, b := &set[i].Meta, &set[j].Meta
			if got, want := compareKeys(a, b), strings.Compare(a.Key(), b.Key()); got != want {
				t.Fatalf("%q and %q compare as %d, want %d", a.Key(), b.Key(), got, want)
			}
		}
	}
}

func TestLabelSelector(t *testing.T) {
	labels := map[string]string{"app": "shop", "tier": "web", "empty": "", "weight": "7"}
	for text, want := range map[string]bool{
		"": true, "app=shop": true, "app==shop": true, "app = shop , tier=web": true, "app=web": false, "app!=web": true,
		"app!=shop": false, "nope!=x": true, "nope=x": false, "app": true, "nope": false, "!nope": true, "!app": false, "empty=": true,
		"app in (a, shop)": true, "app in (a,b),tier": false, "app notin (a,b)": true, "nope notin (a)": true, "tier notin (web)": false,
		"weight>6": true, "weight > 7": false, "weight<8,app": true, "weight<-8": false, "tier>1": false, "nope>1": false, "nope<1": false,
	} {
		s, err := ParseLabelSelector(text)
		if err != nil || s.Matches(labels) != want {
			t.Errorf("%q: got %v, %v, want %v", text, s.Matches(labels), err, want)
		}
	}
	for _, text := range []string{"=a", "a b", "a in b", "a in (b", "a on (b)", "a=b=c", "!", "(a)", "a>b", "a>", ">1", "a>1>2", "a<>1", "!a>1"} {
		if _, err := ParseLabelSelector(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestOptionsFromEnv(t *testing.T) {
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	opts, err := OptionsFromEnv(getenv)
	if err != nil || opts.AmbassadorID != "default" || opts.Namespace != "default" || opts.SingleNamespace {
		t.Errorf("without variables: %+v, %v", opts, err)
	}
	env = map[string]string{"AMBASSADOR_ID": "edge", "AMBASSADOR_NAMESPACE": "gw", "AMBASSADOR_SINGLE_NAMESPACE": "1", "AMBASSADOR_LABEL_SELECTOR": "a=b"}
	opts, err = OptionsFromEnv(getenv)
	if err != nil || opts.AmbassadorID != "edge" || opts.Namespace != "gw" || !opts.SingleNamespace || opts.LabelSelector.Matches(nil) {
		t.Errorf("with variables: %+v, %v", opts, err)
	}
	env["AMBASSADOR_LABEL_SELECTOR"] = "a in b"
	if _, err = OptionsFromEnv(getenv); err == nil || !strings.Contains(err.Error(), "AMBASSADOR_LABEL_SELECTOR") {
		t.Errorf("a bad selector: %v", err)
	}
	env = map[string]string{"AMBASSADOR_FIELD_SELECTOR": "metadata.name=a", "AMBASSADOR_CERTS_SINGLE_NAMESPACE": "yes"}
	opts, err = OptionsFromEnv(getenv)
	if err != nil || opts.FieldSelector.Matches("b", "") || !opts.SecretsSingleNamespace {
		t.Errorf("with a field selector: %+v, %v", opts, err)
	}
	env["AMBASSADOR_FIELD_SELECTOR"] = "spec.prefix=/"
	if _, err = OptionsFromEnv(getenv); err == nil || !strings.Contains(err.Error(), "AMBASSADOR_FIELD_SELECTOR") {
		t.Errorf("a bad field selector: %v", err)
	}
}

// Who remembers the order of what was there before comes to the same World.
func TestMergeFollowsChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	names := []string{"a", "b", "a.b", "c"}
	for range 300 {
		var m merger
		sets := make([][]*Object, 2)
		for range 20 {
			for range rng.IntN(4) {
				i := rng.IntN(2)
				at := rng.IntN(len(sets[i]) + 1)
				if at < len(sets[i]) && rng.IntN(3) == 0 {
					sets[i] = slices.Delete(slices.Clone(sets[i]), at, at+1)
					continue
				}
				o := mappingAt(names[rng.IntN(4)], names[rng.IntN(2)], rng.IntN(4))
				if rng.IntN(4) == 0 {
					o = object(&Host{}, Meta{Kind: "Host", Name: names[rng.IntN(4)], Line: rng.IntN(4)}, DefaultID)
				}
				sets[i] = slices.Insert(slices.Clone(sets[i]), at, o)
			}
			got, want := m.merge(Options{}, sets), Merge(Options{}, sets...)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("of %v\n got %s and %v\nwant %s and %v", sets, mappings(got), got.Problems, mappings(want), want.Problems)
			}
			for i := range got.Mappings {
				if got.Mappings[i] != want.Mappings[i] {
					t.Fatalf("%s is another of the same name", got.Mappings[i].FullName())
				}
			}
		}
	}
}
