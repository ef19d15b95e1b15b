package config

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A history is what one source says over time, one step a line, and what serves then.
// "a=1" is object a with text 1; "a!2" is a broken one; "?2" a text that cannot be read;
// "a~3" one that turns out not to serve when the whole is made; "a+4" one that serves only
// beside the object needed; "a/edge=5" one that belongs to another gateway; "lock!6" a
// broken protector.
type history struct{ name, steps string }

var histories = []history{
	{"a broken object is stood in for until it is mended", `
		a=1 b=1 -> a=1 b=1
		a!2 b=2 -> a=1 b=2 | Mapping/a.x: is wrong; the last good version of the object keeps serving
		a!3 b=2 -> a=1 b=2 | Mapping/a.x: is wrong; the last good version of the object keeps serving
		a=4 b=2 -> a=4 b=2
		a!5 b=2 -> a=4 b=2 | Mapping/a.x: is wrong; the last good version of the object keeps serving`},
	{"nothing old stands in at the start", `
		a!1 b=1 -> b=1 | Mapping/a.x: is wrong; the object is dropped, the others serve
		a!2 b=1 -> b=1 | Mapping/a.x: is wrong; the object is dropped, the others serve`},
	{"what was deleted is forgotten", `
		a=1 b=1 -> a=1 b=1
		b=1 -> b=1
		a!2 b=1 -> b=1 | Mapping/a.x: is wrong; the object is dropped, the others serve`},
	{"what is deleted while it is broken is gone", `
		a=1 b=1 -> a=1 b=1
		a!2 b=1 -> a=1 b=1 | Mapping/a.x: is wrong; the last good version of the object keeps serving
		b=1 -> b=1`},
	{"a text that cannot be read may hold all that was in its file", `
		a=1 b=1 c=1 -> a=1 b=1 c=1
		a=1 ?2 -> a=1 b=1 c=1 | cannot be read; the last good version keeps serving of Mapping x/b, Mapping x/c
		a=2 ?2 c=2 -> a=2 b=1 c=2 | cannot be read; the last good version keeps serving of Mapping x/b
		a=2 c=2 -> a=2 c=2`},
	{"a text that was never read holds nothing old", `
		a=1 ?1 -> a=1 | cannot be read; the object is dropped, the others serve`},
	{"what does not serve when the whole is made is stood in for", `
		a=1 b=1 -> a=1 b=1
		a~2 b=2 -> a=1 b=2 | Mapping/a.x: does not serve; the last good version of the object keeps serving
		a~2 b=3 -> a=1 b=3 | Mapping/a.x: does not serve; the last good version of the object keeps serving
		a=3 b=3 -> a=3 b=3`},
	{"what never served stands in for nothing", `
		a~1 -> | Mapping/a.x: does not serve; the object is dropped, the others serve
		a!2 -> | Mapping/a.x: is wrong; the object is dropped, the others serve`},
	{"an old version that does not serve any more is given up", `
		a+1 needed=1 -> a+1 needed=1
		a!2 needed=1 -> a+1 needed=1 | Mapping/a.x: is wrong; the last good version of the object keeps serving
		a!2 -> | Mapping/a.x: is wrong; the object is dropped, the others serve`},
	{"what fails for the sake of another object comes back with it", `
		a+1 needed=1 -> a+1 needed=1
		a+1 -> | Mapping/a.x: needs another; the object is dropped, the others serve
		a!2 needed=1 -> a+1 needed=1 | Mapping/a.x: is wrong; the last good version of the object keeps serving`},
	{"what belongs to another gateway is not stood in for", `
		a=1 -> a=1
		a/edge=2 ->
		a!3 -> | Mapping/a.x: is wrong; the object is dropped, the others serve`},
	{"a broken lock closes, whatever it was before", `
		lock=1 -> lock=1
		lock!2 -> lock!2 | FilterPolicy/lock.x: is wrong; the routes that it guards answer 503`},
	{"of two definitions the later stands in", `
		a=1 a=2 -> a=2 | Mapping/a.x: is defined again at a.yaml:0; the later definition replaces this one
		a!3 -> a=2 | Mapping/a.x: is wrong; the last good version of the object keeps serving`},
	{"one good definition is enough", `
		a=1 -> a=1
		a!2 a=3 -> a=3 | Mapping/a.x: is wrong; the object is dropped, the others serve`},
}

func TestLastGoodVersions(t *testing.T) {
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			k := keeper{}
			for step := range strings.SplitSeq(strings.TrimSpace(h.steps), "\n") {
				said, want, _ := strings.Cut(strings.TrimSpace(step), "->")
				var set []*Object
				for word := range strings.FieldsSeq(said) {
					set = append(set, historic(word))
				}
				before := inWords(set)
				w, problems := take(&k, unserved, set)
				if got := serving(w, problems); got != strings.Join(strings.Fields(want), " ") {
					t.Errorf("%s\n got %s\nwant %s", step, got, strings.TrimSpace(want))
				}
				if inWords(set) != before {
					t.Errorf("%s: what the source said was changed", step)
				}
			}
		})
	}
}

// inWords renders everything that objects say.
func inWords(set []*Object) string {
	var b strings.Builder
	for _, o := range set {
		fmt.Fprintf(&b, "%+v %+v\n", *o, o.Value)
	}
	return b.String()
}

// take lets k see a set, and what check says of the Worlds made of it. It returns what
// serves in the end.
func take(k *keeper, check func(World) []Problem, set []*Object) (World, []Problem) {
	s := k.survey([][]*Object{set})
	w := s.world()
	for {
		better, ok := s.offer(check(w))
		if !ok {
			break
		}
		w = better
	}
	problems := check(w)
	s.learn(problems)
	return w, problems
}

// known is a check that finds nothing new.
func known(w World) []Problem { return w.Problems }

// historic makes the object of one word of a history.
func historic(word string) *Object {
	i := strings.IndexAny(word, "=!~+?")
	name, id, _ := strings.Cut(word[:i], "/")
	m := Meta{Kind: "Mapping", Name: name, Namespace: "x", File: "a.yaml"}
	mapping := &Mapping{Service: word}
	o := &Object{Meta: m, IDs: []string{DefaultID}, Digest: Digest([]byte(word + strings.Repeat(" ", 16))[:16])}
	if id != "" {
		o.IDs = []string{id}
	}
	p := Problem{Ref: Ref{Kind: m.Kind, Name: name, Namespace: "x"}, Msg: "is wrong", Effect: ObjectDropped}
	switch {
	case word[i] == '?':
		o.Meta, p.Ref, p.Msg = Meta{File: "a.yaml"}, Ref{}, "cannot be read"
		o.Broken, o.IDs = true, nil
	case name == "lock":
		o.Meta.Kind, p.Ref.Kind, p.Effect = "FilterPolicy", "FilterPolicy", RouteClosed
		o.Broken = word[i] == '!'
		o.Value = withMeta(&Guard{Rules: []GuardRule{{Host: word}}}, o.Meta)
	case word[i] == '!':
		o.Broken = true
	default:
		o.Value = withMeta(mapping, m)
	}
	if o.Broken {
		o.Problems = []Problem{p}
	}
	return o
}

// unserved is what compiling would say of w.
func unserved(w World) []Problem {
	problems := slices.Clone(w.Problems)
	needed := slices.ContainsFunc(w.Mappings, func(m *Mapping) bool { return m.Name == "needed" })
	for i := range w.Mappings {
		m := w.Mappings[i]
		switch {
		case strings.Contains(m.Service, "~"):
			problems = append(problems, m.Problem("", "does not serve", ObjectDropped))
		case strings.Contains(m.Service, "+") && !needed:
			problems = append(problems, m.Problem("", "needs another", ObjectDropped))
		}
	}
	return problems
}

// serving renders what serves, and what is said about the rest.
func serving(w World, problems []Problem) string {
	var words, said []string
	for i := range w.Guards {
		words = append(words, w.Guards[i].Rules[0].Host)
	}
	for i := range w.Mappings {
		m := w.Mappings[i]
		if !slices.ContainsFunc(problems[len(w.Problems):], func(p Problem) bool { return p.Ref.Name == m.Name }) {
			words = append(words, m.Service)
		}
	}
	for _, p := range problems {
		p.Ref.File = ""
		said = append(said, p.String())
	}
	slices.Sort(words)
	text := strings.Join(words, " ")
	if len(said) > 0 {
		text = strings.TrimSpace(text + " | " + strings.Join(said, " | "))
	}
	return text
}

// The guard that a Module's field implies stays with the Module that had the field.
func TestLastGoodModuleKeepsItsGuard(t *testing.T) {
	m := Meta{Kind: "Module", Name: "ambassador", Namespace: "x"}
	module := &Object{Meta: m, IDs: []string{DefaultID}, Digest: Digest{1}, Value: withMeta(&Module{ServerName: "old"}, m)}
	guard := &Object{Meta: m, IDs: []string{DefaultID}, Digest: Digest{1}, Value: withMeta(&Guard{}, m)}
	guard.Problems = []Problem{{Ref: m.Ref(), Field: "ip_allow", Msg: "is not served yet", Effect: RouteClosed}}
	broken := &Object{Meta: m, IDs: []string{DefaultID}, Digest: Digest{2}, Broken: true}
	broken.Problems = []Problem{{Ref: m.Ref(), Msg: "is wrong", Effect: ObjectDropped}}
	k := keeper{}
	for _, set := range [][]*Object{{module, guard}, {broken}, {broken}} {
		w, _ := take(&k, known, set)
		if len(w.Modules) != 1 || w.Modules[0].ServerName != "old" || len(w.Guards) != 1 {
			t.Errorf("got Modules %+v and Guards %+v", w.Modules, w.Guards)
		}
		if !slices.ContainsFunc(w.Problems, func(p Problem) bool { return p.Effect == RouteClosed }) {
			t.Errorf("nothing says why routes are closed: %v", w.Problems)
		}
	}
}

// Of an annotation that cannot be read, what it held is kept, and nothing else is.
func TestLastGoodVersionsOfAnnotations(t *testing.T) {
	within := func(name string, service string) *Object {
		m := Meta{Kind: "Mapping", Name: name, Namespace: "x", File: "a.yaml"}
		m.Parent = Parent{Kind: "Service", Name: service, Namespace: "x", Document: 1}
		return &Object{Meta: m, IDs: []string{DefaultID}, Digest: Digest([]byte(name + strings.Repeat(" ", 16))[:16]), Value: withMeta(&Mapping{}, m)}
	}
	torn := &Object{Meta: Meta{File: "a.yaml", Parent: Parent{Kind: "Service", Name: "web", Namespace: "x"}}, Broken: true}
	torn.Problems = []Problem{{Msg: "cannot be read", Effect: ObjectDropped}}
	k := keeper{}
	take(&k, known, []*Object{within("a", "web"), within("b", "web"), within("c", "other"), mappingAt("d", "x", 1)})
	w, _ := take(&k, known, []*Object{torn})
	if got, want := mappings(w), "a.x:0 b.x:0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A certificate that does not serve any more is one that somebody has just changed: the
// last good one stands in, and the Host stays.
func TestLastGoodCertificate(t *testing.T) {
	host := object(&Host{TLSSecret: SecretRef{Name: "cert"}}, Meta{Kind: "Host", Name: "shop", Namespace: "x"}, DefaultID)
	host.Digest, host.Problems = Digest{9}, nil
	secret := func(text byte) *Object {
		o := object(&Secret{Data: map[string][]byte{"tls.crt": {text}}}, Meta{Kind: "Secret", Name: "cert", Namespace: "x"})
		o.Digest, o.Problems = Digest{text}, nil
		return o
	}
	check := func(w World) []Problem {
		problems := slices.Clone(w.Problems)
		if len(w.Secrets) == 0 || w.Secrets[0].Data["tls.crt"][0] > 100 {
			problems = append(problems, w.Hosts[0].Problem("tlsSecret", "no certificate", ObjectDropped))
		}
		return problems
	}
	k := keeper{}
	for _, step := range []struct {
		secret byte
		want   string
	}{
		{1, "1 []"},
		{101, "1 [Secret/cert.x: Host x/shop cannot use it: no certificate; the last good version of the object keeps serving]"},
		{102, "1 [Secret/cert.x: Host x/shop cannot use it: no certificate; the last good version of the object keeps serving]"},
		{2, "2 []"},
	} {
		w, problems := take(&k, check, []*Object{host, secret(step.secret)})
		if got := fmt.Sprintf("%d %v", w.Secrets[0].Data["tls.crt"][0], problems); got != step.want {
			t.Errorf("certificate %d: got %s, want %s", step.secret, got, step.want)
		}
	}
	if w, problems := take(&k, check, []*Object{host}); len(w.Secrets) != 0 || len(problems) != 1 {
		t.Errorf("a Secret that was deleted: got %d Secrets, %v", len(w.Secrets), problems)
	}
}

// However a source's set changes, one that is brought up to date by what differs leads to
// what one leads to that is looked at as a whole each time.
func TestStandingsFollowChanges(t *testing.T) {
	words := []string{"a=1", "a=2", "a!3", "a~4", "a+5", "b=1", "b!2", "b~3", "b+6", "c=1", "c=2", "c!3", "needed=1", "needed!2", "lock=1", "lock!2", "a/edge=3", "?1", "?2", "d=1", "d~2"}
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 400 {
		same := map[string]*Object{}
		var updated, whole keeper
		var set []string
		for step := range 30 {
			for range rng.IntN(3) {
				switch i := rng.IntN(len(set) + 1); {
				case i == len(set) || rng.IntN(3) == 0:
					set = slices.Insert(set, i, words[rng.IntN(len(words))])
				case rng.IntN(2) == 0:
					set[i] = words[rng.IntN(len(words))]
				default:
					set = slices.Delete(set, i, i+1)
				}
			}
			var a, b []*Object
			seen := map[string]int{}
			for _, word := range set {
				seen[word]++
				key := fmt.Sprint(word, seen[word]) // twice the same words are two objects
				if same[key] == nil {
					same[key] = historic(word)
				}
				a, b = append(a, same[key]), append(b, historic(word))
			}
			gotWorld, got := take(&updated, unserved, a)
			wantWorld, want := take(&whole, unserved, b)
			if got, want := serving(gotWorld, got), serving(wantWorld, want); got != want {
				t.Fatalf("round %d, step %d: %v\n got %s\nwant %s", round, step, set, got, want)
			}
			if rng.IntN(6) == 0 {
				rng.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
			}
		}
	}
}
