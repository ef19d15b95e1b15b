package limiter

import (
	"strings"
	"testing"
	"time"

	"legate/config"
)

// labels reads "generic_key=a, user" as labels of which one is written down and the other
// a header.
func labels(text string) []config.Label {
	var list []config.Label
	for part := range strings.SplitSeq(text, ", ") {
		key, value, given := strings.Cut(part, "=")
		if given {
			list = append(list, config.Label{Kind: config.GenericKey, Key: key, Value: value})
		} else {
			list = append(list, config.Label{Kind: config.RequestHeader, Key: key, Header: key})
		}
	}
	return list
}

// request is a Source of headers.
type request map[string]string

func (r request) Label(e *Entry) ([]byte, bool) {
	v, ok := r[e.Header]
	return []byte(v), ok
}

// pattern reads "user=, generic_key=a|tier=b" as a pattern of two items.
func pattern(text string) (p [][]config.LabelMatch) {
	if text == "" {
		return nil
	}
	for item := range strings.SplitSeq(text, ", ") {
		var any []config.LabelMatch
		for alternative := range strings.SplitSeq(item, "|") {
			key, value, _ := strings.Cut(alternative, "=")
			any = append(any, config.LabelMatch{Key: key, Value: value})
		}
		p = append(p, any)
	}
	return p
}

func limits(rows ...string) []config.RateLimit {
	o := config.RateLimit{Meta: config.Meta{Kind: "RateLimit", Name: "rl", Namespace: "shop"}, Domain: "ambassador"}
	for i, row := range rows {
		name, text, _ := strings.Cut(row, ": ")
		l := config.Limit{Index: i, Name: name, Pattern: pattern(text), Rate: 10, Unit: time.Minute}
		switch {
		case strings.HasSuffix(name, "/strict"):
			l.Rate, l.Unit = 59, time.Hour
		case strings.HasSuffix(name, "/log"):
			l.LogOnly, l.Rate = true, 1
		case strings.HasSuffix(name, "/slides"):
			l.Burst = 1
		case strings.HasSuffix(name, "/bursts"):
			l.Burst = 3
		}
		o.Limits = append(o.Limits, l)
	}
	return []config.RateLimit{o}
}

func TestTable(t *testing.T) {
	rows := []struct {
		about  string
		limits []string
		labels []string
		from   request
		exact  bool
		want   string // "limit counter", one for each that counts
	}{
		{"one entry", []string{"a: generic_key=x"}, []string{"generic_key=x"}, nil, false, "a ambassador_generic_key_x"},
		{"another value", []string{"a: generic_key=x"}, []string{"generic_key=y"}, nil, false, ""},
		{"another case", []string{"a: generic_key=x"}, []string{"generic_key=X"}, nil, false, ""},
		{"another key", []string{"a: generic_key=x"}, []string{"tier=x"}, nil, false, ""},
		{"no globs in values", []string{"a: generic_key=x*"}, []string{"generic_key=xy"}, nil, false, ""},
		{"every value has its counter", []string{"a: user=*"}, []string{"user"}, request{"user": "ann"}, false, "a ambassador_user_ann"},
		{"an empty pattern value is any", []string{"a: user="}, []string{"user"}, request{"user": "ann"}, false, "a ambassador_user_ann"},
		{"an empty value is one", []string{"a: user="}, []string{"user"}, request{"user": ""}, false, "a ambassador_user_"},
		{"a named value goes before any", []string{"a: user=", "b: user=ann"}, []string{"user"}, request{"user": "ann"}, false, "b ambassador_user_ann"},
		{"only that user", []string{"a: user=", "b: user=ann"}, []string{"user"}, request{"user": "bob"}, false, "a ambassador_user_bob"},
		{"a pattern is the beginning", []string{"a: generic_key=x"}, []string{"generic_key=x, user"}, request{"user": "u"}, false, "a ambassador_generic_key_x"},
		{"the longest goes first", []string{"a: generic_key=x", "b: generic_key=x, user="}, []string{"generic_key=x, user"}, request{"user": "u"}, false, "b ambassador_generic_key_x_user_u"},
		{"not the middle", []string{"a: user="}, []string{"generic_key=x, user"}, request{"user": "u"}, false, ""},
		{"a pattern that is longer", []string{"a: generic_key=x, user="}, []string{"generic_key=x"}, nil, false, ""},
		{"a named value without a limit of its own leads on to any", []string{"a: user=", "b: user=ann, path=/x"}, []string{"user, path"}, request{"user": "ann", "path": "/y"}, false, "a ambassador_user_ann"},
		{"a missing header drops its group alone", []string{"a: user=", "b: generic_key=x"}, []string{"generic_key=x, user", "generic_key=x"}, nil, false, "b ambassador_generic_key_x"},
		{"alternatives", []string{"a: user=|generic_key=x"}, []string{"generic_key=x", "user"}, request{"user": "u"}, false, "a ambassador_generic_key_x; a ambassador_user_u"},
		{"the strictest, across units", []string{"a: user=", "b/strict: user="}, []string{"user"}, request{"user": "u"}, false, "b/strict ambassador_user_u"},
		{"of two rates that are the same the one with less at once", []string{"a/bursts: user=", "b: user=", "c/slides: user="}, []string{"user"}, request{"user": "u"}, false, "c/slides ambassador_user_u"},
		{"the calendar's before three units at once", []string{"a/bursts: user=", "b: user="}, []string{"user"}, request{"user": "u"}, false, "b ambassador_user_u"},
		{"of what is all the same the first", []string{"a: user=", "b: user="}, []string{"user"}, request{"user": "u"}, false, "a ambassador_user_u"},
		{"who enforces before who logs", []string{"a/log: user=", "b: user="}, []string{"user"}, request{"user": "u"}, false, "b ambassador_user_u"},
		{"one counter counts once", []string{"a: generic_key=x"}, []string{"generic_key=x", "generic_key=x, user"}, request{"user": "u"}, false, "a ambassador_generic_key_x"},
		{"of its own length only", []string{"a: generic_key=x"}, []string{"generic_key=x, user", "generic_key=x"}, request{"user": "u"}, true, "a ambassador_generic_key_x"},
		{"of its own length only, with no other", []string{"a: generic_key=x"}, []string{"generic_key=x, user"}, request{"user": "u"}, true, ""},
		{"underscores tell values apart", []string{"a: user=, path="}, []string{"user, path"}, request{"user": "a_path_b", "path": "%"}, false, "a ambassador_user_a%_path%_b_path_%%"},
		{"long values by their digest", []string{"a: user="}, []string{"user"}, request{"user": strings.Repeat("u", 65)}, false, "a ambassador_user_%f20e249d15fa4b9f44ba21d154f62e1e"},
	}
	for _, row := range rows {
		t.Run(row.about, func(t *testing.T) {
			table, _ := NewTable(limits(row.limits...), TableOptions{Domain: "ambassador", ExactDepth: row.exact})
			rules := Rules{Table: table}
			for _, group := range row.labels {
				rules.Descriptors = append(rules.Descriptors, NewDescriptor(labels(group), nil))
			}
			var j Judgement
			rules.Find(&j, row.from)
			var got []string
			for i, l := range j.Limits {
				got = append(got, l.Name+" "+string(j.Takes[i].Name))
			}
			if strings.Join(got, "; ") != row.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), row.want)
			}
		})
	}
}

// What can never count is named.
func TestTableProblems(t *testing.T) {
	objects := limits("a: generic_key=x", "b/strict: generic_key=x", "c: user=, generic_key=y", "d: ", "e: path=", "g/log: generic_key=x", "h/strict: generic_key=x")
	other := limits("f: user=")[0]
	other.Domain, other.Name = "elsewhere", "other"
	table, problems := NewTable(append(objects, other), TableOptions{Domain: "ambassador"})
	reached := map[*Limit]bool{}
	for _, text := range []string{"generic_key=x", "user, generic_key=z", "tier=1"} {
		d := NewDescriptor(labels(text), nil)
		if got, want := table.Matches(&d, reached), text == "generic_key=x"; got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	got := ""
	for _, p := range append(problems, table.Unmatched(reached)...) {
		got += p.String() + "\n"
	}
	want := `RateLimit/rl.shop: limits[0].pattern: b/strict of RateLimit shop/rl has the same pattern and is stricter; that one counts instead
RateLimit/rl.shop: limits[3]: has no pattern; it matches nothing
RateLimit/rl.shop: limits[5].pattern: b/strict of RateLimit shop/rl has the same pattern and enforces; that one counts instead
RateLimit/rl.shop: limits[6].pattern: b/strict of RateLimit shop/rl has the same pattern and comes first; that one counts instead
RateLimit/other.shop: domain: requests carry labels of the domain "ambassador" only; its limits count nothing
RateLimit/rl.shop: limits[2].pattern: no Mapping and no default_labels give a request such labels; the limit never matches
RateLimit/rl.shop: limits[4].pattern: no Mapping and no default_labels give a request such labels; the limit never matches
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAllocsJudgement(t *testing.T) {
	table, _ := NewTable(limits("a: generic_key=x, user=", "b: user="), TableOptions{Domain: "ambassador"})
	rules := Rules{Table: table, Descriptors: []Descriptor{NewDescriptor(labels("generic_key=x, user"), nil), NewDescriptor(labels("user"), nil)}}
	from := &ready{[]byte("ann")}
	m := NewMemory(0)
	var j Judgement
	run := func() {
		rules.Find(&j, from)
		if err := j.Take(m, 0, noon, false); err != nil || len(j.Takes) != 2 {
			t.Fatal(err, len(j.Takes))
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// ready is a Source that has one value for all.
type ready struct{ value []byte }

func (r *ready) Label(*Entry) ([]byte, bool) { return r.value, true }

func BenchmarkJudgement(b *testing.B) {
	table, _ := NewTable(limits("a: generic_key=x, user=", "b: user="), TableOptions{Domain: "ambassador"})
	rules := Rules{Table: table, Descriptors: []Descriptor{NewDescriptor(labels("generic_key=x, user"), nil)}}
	from := &ready{[]byte("ann")}
	m := NewMemory(0)
	var j Judgement
	for b.Loop() {
		rules.Find(&j, from)
		if err := j.Take(m, 0, noon, false); err != nil {
			b.Fatal(err)
		}
	}
}
