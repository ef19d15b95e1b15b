package telemetry

import (
	"cmp"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A family is a metric with its labels. What is counted per upstream is written as text
// at once: client_golang makes a dozen values of each sample, of which a thousand
// upstreams have a hundred thousand.
type family struct {
	name   string
	help   string
	labels []string // as values come
	order  []int    // in which they are written: by their names
	index  int
}

// families are all of them, by their index.
var families []*family

// newFamily adds one.
func newFamily(name, help string, labels ...string) *family {
	f := &family{name: name, help: help, labels: labels, index: len(families)}
	for i := range labels {
		f.order = append(f.order, i)
	}
	slices.SortFunc(f.order, func(a, b int) int { return cmp.Compare(labels[a], labels[b]) })
	families = append(families, f)
	return f
}

// A sink takes one scrape's numbers, each family's by itself.
type sink []samples

// samples are those of one family, in the text format of Prometheus 0.0.4.
type samples struct {
	kind string
	text []byte
}

var sinks = sync.Pool{New: func() any { s := make(sink, len(families)); return &s }}

// newSink returns an empty sink.
func newSink() *sink { return sinks.Get().(*sink) } //nolint:forcetypeassert // nothing else is put in

// free gives the sink back.
func (s *sink) free() {
	for i := range *s {
		(*s)[i].text = (*s)[i].text[:0]
	}
	sinks.Put(s)
}

// writeTo writes everything, families by their names.
func (s sink) writeTo(w io.Writer) error {
	order := slices.Clone(families)
	slices.SortFunc(order, func(a, b *family) int { return cmp.Compare(a.name, b.name) })
	for _, f := range order {
		these := &s[f.index]
		if len(these.text) == 0 {
			continue
		}
		if _, err := io.WriteString(w, "# HELP "+f.name+" "+f.help+"\n# TYPE "+f.name+" "+these.kind+"\n"); err != nil {
			return err
		}
		if _, err := w.Write(these.text); err != nil {
			return err
		}
	}
	return nil
}

func (s sink) gauge(f *family, v float64, labels ...string) {
	these := &s[f.index]
	these.kind = "gauge"
	these.text = f.appendName(these.text, "", labels, "")
	these.text = append(appendFloat(these.text, v), '\n')
}

func (s sink) counter(f *family, n uint64, labels ...string) {
	these := &s[f.index]
	these.kind = "counter"
	these.text = f.appendName(these.text, "", labels, "")
	these.text = append(strconv.AppendUint(these.text, n, 10), '\n')
}

// buckets emits a histogram: how many were at most each bound, all, and their sum.
func (s sink) buckets(f *family, ends []string, atMost func(i int) uint64, count uint64, sum float64, labels []string) {
	these := &s[f.index]
	these.kind = "histogram"
	text := these.text
	for i, end := range ends {
		text = append(strconv.AppendUint(f.appendName(text, "_bucket", labels, end), atMost(i), 10), '\n')
	}
	text = append(strconv.AppendUint(f.appendName(text, "_bucket", labels, "+Inf"), count, 10), '\n')
	text = append(appendFloat(f.appendName(text, "_sum", labels, ""), sum), '\n')
	these.text = append(strconv.AppendUint(f.appendName(text, "_count", labels, ""), count, 10), '\n')
}

// appendName appends the name of a sample with its labels, of which le may be one.
func (f *family) appendName(out []byte, suffix string, labels []string, le string) []byte {
	out = append(append(out, f.name...), suffix...)
	open := byte('{')
	for _, i := range f.order {
		out = append(append(append(out, open), f.labels[i]...), '=', '"')
		out = append(appendLabel(out, labels[i]), '"')
		open = ','
	}
	if le != "" {
		out = append(append(append(append(out, open), `le="`...), le...), '"')
		open = ','
	}
	if open == ',' {
		out = append(out, '}')
	}
	return append(out, ' ')
}

// appendLabel appends a label's value. Names come from objects that anybody may write.
func appendLabel(out []byte, value string) []byte {
	plain := utf8.ValidString(value)
	for i := 0; plain && i < len(value); i++ {
		plain = value[i] != '"' && value[i] != '\\' && value[i] != '\n'
	}
	if plain {
		return append(out, value...)
	}
	return append(out, escapes.Replace(strings.ToValidUTF8(value, "\ufffd"))...)
}

var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func appendFloat(out []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.AppendInt(out, int64(v), 10)
	}
	return strconv.AppendFloat(out, v, 'g', -1, 64)
}

// classes emits what was counted for one route and reason.
func (s sink) classes(f *family, counts *byClass, route, reason string) {
	for class := range counts {
		if n := counts[class].Load(); n > 0 {
			s.counter(f, n, route, classes[class], reason)
		}
	}
}

// histogram emits h in seconds.
func (s sink) histogram(f *family, h *histogram, labels ...string) {
	s.scaled(f, h, secondEnds, time.Second, labels)
}

// milliseconds emits h in the unit that Envoy has.
func (s sink) milliseconds(f *family, h *histogram, labels ...string) {
	s.scaled(f, h, millisecondEnds, time.Millisecond, labels)
}

func (s sink) scaled(f *family, h *histogram, ends []string, unit time.Duration, labels []string) {
	if h == nil {
		return
	}
	var cumulative [len(bounds)]uint64
	count := uint64(0)
	for i := range bounds {
		count += h.buckets[i].Load()
		cumulative[i] = count
	}
	count += h.buckets[len(bounds)].Load()
	s.buckets(f, ends, func(i int) uint64 { return cumulative[i] }, count, float64(h.sum.Load())/float64(unit), labels)
}

// timing emits t in milliseconds.
func (s sink) timing(f *family, t *Timing, labels ...string) {
	s.buckets(f, endsOf(t.Bounds, time.Millisecond), func(i int) uint64 { return t.AtMost[i] }, t.Count, float64(t.Sum)/float64(time.Millisecond), labels)
}

// The upper ends of our buckets as they are written.
var secondEnds, millisecondEnds = endsOf(bounds[:], time.Second), endsOf(bounds[:], time.Millisecond)

func endsOf(bounds []time.Duration, unit time.Duration) []string {
	ends := make([]string, len(bounds))
	for i, b := range bounds {
		ends[i] = strconv.FormatFloat(float64(b)/float64(unit), 'g', -1, 64)
	}
	return ends
}

// sortedKeys are the keys of a map in order, so that two scrapes read alike.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
