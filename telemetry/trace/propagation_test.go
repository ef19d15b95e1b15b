package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"legate/wire"
)

// fields are a request's headers, as "name: value" each.
type fields []string

func (f fields) Find(name string) ([]byte, bool) {
	for _, line := range f {
		if n, v, _ := strings.Cut(line, ": "); n == name {
			return []byte(v), true
		}
	}
	return nil, false
}

const (
	b3Trace = "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124"
	b3Span  = "x-b3-spanid: a2fb4a1d1a96d312"
	w3c     = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// What headers say of a request's place in a trace.
func TestExtract(t *testing.T) {
	t.Parallel()
	const every = B3 | W3C | Datadog
	for name, tc := range map[string]struct {
		ways   Headers
		fields fields
		want   string // trace/parent sampled; "" for none
	}{
		"nothing":                        {every, nil, ""},
		"B3":                             {B3, fields{b3Trace, b3Span, "x-b3-sampled: 1"}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 yes"},
		"B3, not sampled":                {B3, fields{b3Trace, b3Span, "x-b3-sampled: 0"}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 no"},
		"B3, old words":                  {B3, fields{b3Trace, b3Span, "x-b3-sampled: true"}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 yes"},
		"B3, undecided":                  {B3, fields{b3Trace, b3Span}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 unsaid"},
		"B3, debug":                      {B3, fields{b3Trace, b3Span, "x-b3-flags: 1"}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 yes"},
		"B3, 64 bits":                    {B3, fields{"x-b3-traceid: 48485a3953bb6124", b3Span}, "48485a3953bb6124/a2fb4a1d1a96d312 unsaid"},
		"B3, decision only":              {B3, fields{"x-b3-sampled: 0"}, " no"},
		"B3 without a span":              {B3, fields{b3Trace, "x-b3-sampled: 1"}, " yes"},
		"B3, no digits":                  {B3, fields{"x-b3-traceid: xyz", b3Span}, ""},
		"B3, too long":                   {B3, fields{"x-b3-traceid: 463ac35c9f6413ad48485a3953bb61240", b3Span}, ""},
		"B3, all 0":                      {B3, fields{"x-b3-traceid: 0000000000000000", b3Span}, ""},
		"B3 nobody asks for":             {W3C, fields{b3Trace, b3Span}, ""},
		"single B3":                      {B3, fields{"b3: 463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1-05e3ac9a4f6e3b90"}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 yes"},
		"single B3, debug":               {B3, fields{"b3: 48485a3953bb6124-a2fb4a1d1a96d312-d"}, "48485a3953bb6124/a2fb4a1d1a96d312 yes"},
		"single B3, undecided":           {B3, fields{"b3: 48485a3953bb6124-a2fb4a1d1a96d312"}, "48485a3953bb6124/a2fb4a1d1a96d312 unsaid"},
		"single B3, decision only":       {B3, fields{"b3: 0"}, " no"},
		"single B3 comes before several": {B3, fields{b3Trace, b3Span, "b3: 0"}, " no"},
		"W3C":                            {W3C, fields{w3c}, "4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7 yes"},
		"W3C, not sampled":               {W3C, fields{"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}, "4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7 no"},
		"W3C of a later version":         {W3C, fields{"traceparent: 01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more"}, "4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7 yes"},
		"W3C of no version":              {W3C, fields{"traceparent: ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, ""},
		"W3C, more than its version has": {W3C, fields{w3c + "-more"}, ""},
		"W3C in upper case":              {W3C, fields{"traceparent: 00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}, ""},
		"W3C, no trace":                  {W3C, fields{"traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, ""},
		"W3C, no span":                   {W3C, fields{"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, ""},
		"W3C, cut off":                   {W3C, fields{"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"}, ""},
		"Datadog":                        {Datadog, fields{"x-datadog-trace-id: 255", "x-datadog-parent-id: 16", "x-datadog-sampling-priority: 2"}, "00000000000000ff/0000000000000010 yes"},
		"Datadog, 128 bits": {Datadog, fields{"x-datadog-trace-id: 255", "x-datadog-parent-id: 16", "x-datadog-tags: _dd.p.dm=-1,_dd.p.tid=640cfd8d00000000"},
			"640cfd8d0000000000000000000000ff/0000000000000010 unsaid"},
		"Datadog, refused":           {Datadog, fields{"x-datadog-trace-id: 255", "x-datadog-parent-id: 16", "x-datadog-sampling-priority: -1"}, "00000000000000ff/0000000000000010 no"},
		"Datadog, beyond 64 bits":    {Datadog, fields{"x-datadog-trace-id: 18446744073709551616", "x-datadog-parent-id: 16"}, ""},
		"Datadog, the largest":       {Datadog, fields{"x-datadog-trace-id: 18446744073709551615", "x-datadog-parent-id: 16"}, "ffffffffffffffff/0000000000000010 unsaid"},
		"several: the first counts":  {every, fields{w3c, b3Trace, b3Span}, "463ac35c9f6413ad48485a3953bb6124/a2fb4a1d1a96d312 unsaid"},
		"several: the one that says": {every, fields{w3c, "x-b3-traceid: no", b3Span}, "4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7 yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Propagation{Headers: tc.ways}
			c, s := p.extract(tc.fields)
			got := ""
			if c.Low|c.High != 0 {
				got = string(c.AppendTraceID(nil)) + "/" + fmt.Sprintf("%016x", c.Parent)
			}
			if word := [...]string{"unsaid", "no", "yes"}[s]; got != "" || s != unsaid {
				got += " " + word
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// written returns the headers that edits add, and checks that there is one of each.
func written(t testing.TB, e *wire.Edits) fields {
	t.Helper()
	var f fields
	for _, a := range e.Adds() {
		if _, twice := f.Find(a.FieldName()); twice {
			t.Errorf("%s is written twice", a.FieldName())
		}
		f = append(f, a.FieldName()+": "+string(a.Value))
	}
	return f
}

// What a service is told of its place in a trace.
func TestInject(t *testing.T) {
	t.Parallel()
	c := Context{High: 0x463ac35c9f6413ad, Low: 0x48485a3953bb6124, Span: 1, Parent: 2, Sampled: true}
	root := Context{Low: 0x48485a3953bb6124, Span: 1}
	for name, tc := range map[string]struct {
		ways  Headers
		c     Context
		came  fields
		want  string
		drops string
	}{
		"B3":                {B3, c, nil, "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124, x-b3-spanid: 0000000000000001, x-b3-parentspanid: 0000000000000002, x-b3-sampled: 1", "b3"},
		"B3, root":          {B3, root, nil, "x-b3-traceid: 48485a3953bb6124, x-b3-spanid: 0000000000000001, x-b3-sampled: 0", "x-b3-parentspanid"},
		"W3C":               {W3C, c, nil, "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-0000000000000001-01", "tracestate"},
		"W3C, root":         {W3C, root, nil, "traceparent: 00-000000000000000048485a3953bb6124-0000000000000001-00", "tracestate"},
		"W3C goes on":       {W3C, Context{High: 0x4bf92f3577b34da6, Low: 0xa3ce929d0e0e4736, Span: 1, Sampled: true}, fields{w3c, "tracestate: a=b"}, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01", ""},
		"Datadog":           {Datadog, c, nil, "x-datadog-trace-id: 5208512171318403364, x-datadog-parent-id: 1, x-datadog-sampling-priority: 1, x-datadog-tags: _dd.p.tid=463ac35c9f6413ad", ""},
		"Datadog, root":     {Datadog, root, nil, "x-datadog-trace-id: 5208512171318403364, x-datadog-parent-id: 1, x-datadog-sampling-priority: 0", "x-datadog-tags"},
		"Datadog's goes on": {Datadog, Context{Low: 255, Span: 1, Sampled: true}, fields{"x-datadog-trace-id: 255", "x-datadog-parent-id: 16", "x-datadog-sampling-priority: 2", "x-datadog-tags: a=b"}, "x-datadog-trace-id: 255, x-datadog-parent-id: 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Propagation{Headers: tc.ways}
			var e wire.Edits
			e.AddName([]byte("x-b3-traceid"), []byte("a Mapping's"))
			if tc.ways != B3 {
				e.Reset()
			}
			p.Inject(&tc.c, tc.came, &e, nil)
			if got := strings.Join(written(t, &e), ", "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if tc.drops != "" && !e.Drops(wire.FieldOther, []byte(tc.drops)) {
				t.Errorf("%s stays", tc.drops)
			}
			if tc.drops == "" && e.Drops(wire.FieldOther, nameTraceState) {
				t.Error("the trace's state is lost")
			}
		})
	}
}

// A new trace has ids as its driver's are, and what is written can be read.
func TestBegin(t *testing.T) {
	t.Parallel()
	now := time.Unix(0x640cfd8d, 0)
	for name, tc := range map[string]struct {
		p    Propagation
		high func(uint64) bool
	}{
		"128 bits": {Propagation{Headers: B3}, func(h uint64) bool { return h != 0 }},
		"64 bits":  {Propagation{Headers: B3, ShortIDs: true}, func(h uint64) bool { return h == 0 }},
		"Datadog":  {Propagation{Headers: Datadog | W3C, Seconds: true}, func(h uint64) bool { return h == 0x640cfd8d00000000 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tc.p.Begin(fields{}, now, true)
			if !tc.high(c.High) || c.Low == 0 || c.Span == 0 || c.Parent != 0 || !c.Sampled || c.IsZero() {
				t.Errorf("got %+v", c)
			}
			var e wire.Edits
			tc.p.Inject(&c, fields{}, &e, nil)
			next := tc.p.Begin(written(t, &e), now, false)
			if next.High != c.High || next.Low != c.Low || next.Parent != c.Span || next.Span == c.Span || !next.Sampled {
				t.Errorf("after %+v comes %+v", c, next)
			}
			if c = tc.p.Begin(fields{"x-b3-sampled: 0"}, now, true); c.Sampled && tc.p.Headers == B3 {
				t.Error("sampled against the client's word")
			}
		})
	}
}

// Whatever headers say, what is written is read as the same trace.
func FuzzExtract(f *testing.F) {
	f.Add("463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312", "1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "255", "_dd.p.tid=640cfd8d00000000")
	f.Add("", "", "", "", "", ",")
	f.Fuzz(func(t *testing.T, trace, span, sampled, parent, dd, tags string) {
		h := fields{"x-b3-traceid: " + trace, "x-b3-spanid: " + span, "x-b3-sampled: " + sampled, "traceparent: " + parent,
			"x-datadog-trace-id: " + dd, "x-datadog-parent-id: 1", "x-datadog-tags: " + tags}
		for _, ways := range []Headers{B3, W3C, Datadog} {
			p := Propagation{Headers: ways}
			c := p.Begin(h, time.Unix(1, 0), false)
			if c.IsZero() || c.High|c.Low == 0 {
				t.Fatalf("no trace: %+v", c)
			}
			var e wire.Edits
			p.Inject(&c, h, &e, nil)
			told := written(t, &e)
			if _, ok := told.Find("x-datadog-tags"); !ok && c.High != 0 { // they came with the trace, and stay
				told = append(told, "x-datadog-tags: "+tags)
			}
			if next, _ := p.extract(told); next.High != c.High || next.Low != c.Low || next.Parent != c.Span {
				t.Fatalf("%v: %+v was read as %+v", ways, c, next)
			}
		}
	})
}

func TestAllocsPropagation(t *testing.T) {
	p := Propagation{Headers: B3 | W3C | Datadog}
	var e wire.Edits
	memory := make([]byte, 0, 1024)
	var h wire.Head
	h.BuildRequest("GET", "a", "/", "x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid", "a2fb4a1d1a96d312", "tracestate", "a=b")
	s := Sampling{100, 100, 100}
	id := []byte("00000000-0000-4000-8000-000000000000")
	n := testing.AllocsPerRun(1000, func() {
		e.Reset()
		traced, mark := s.Decide(id, false, false, 1)
		Mark(id, mark)
		c := p.Begin(&h, time.Unix(1, 0), traced)
		p.Inject(&c, &h, &e, memory[:0])
	})
	if n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
