package statsd

import (
	"bytes"
	"strconv"
	"strings"
)

// A sample is one line of the text format of Prometheus.
type sample struct {
	name   string
	labels []label
	le     string // the upper end of a bucket; "" for no bucket
	value  string
}

type label struct{ name, value string }

// A bucketing is the histogram whose buckets are read.
type bucketing struct {
	key    string
	end    float64 // of the bucket before
	before uint64  // how many more there are up to it
}

// render appends what is to be told of text: Envoy's metrics, counts by what was added
// since the last time.
func (r *Reporter) render(out, text []byte) []byte {
	clear(r.next)
	kind := ""
	var buckets bucketing
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("# TYPE ")); ok {
			_, k, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			kind = string(k)
			continue
		}
		if !bytes.HasPrefix(line, []byte("envoy_")) {
			continue
		}
		s, ok := parse(string(bytes.TrimSpace(line)))
		if !ok {
			continue
		}
		switch kind {
		case "counter":
			out = r.counter(out, &s)
		case "gauge":
			out = append(r.name(out, &s, s.name), ':')
			out = r.finish(append(out, s.value...), "|g", 0, &s)
		case "histogram":
			out = r.bucket(out, &s, &buckets)
		}
	}
	r.last, r.next = r.next, r.last
	return out
}

// since returns what was added to a count since the last report, and remembers it.
func (r *Reporter) since(key string, now uint64) uint64 {
	before := r.last[key]
	r.next[key] = now
	if now < before { // it began anew
		return now
	}
	return now - before
}

func (r *Reporter) counter(out []byte, s *sample) []byte {
	now, err := strconv.ParseUint(s.value, 10, 64)
	if err != nil {
		return out
	}
	n := r.since(s.key(), now)
	if n == 0 {
		return out
	}
	out = strconv.AppendUint(append(r.name(out, s, s.name), ':'), n, 10)
	return r.finish(out, "|c", 0, s)
}

// bucket tells of times that came into a bucket since the last report: as many of its
// middle. A share says how many, as each of them was one.
func (r *Reporter) bucket(out []byte, s *sample, b *bucketing) []byte {
	name, ok := strings.CutSuffix(s.name, "_bucket")
	now, err := strconv.ParseUint(s.value, 10, 64)
	if !ok || err != nil {
		return out // the sum and the count follow from the rest
	}
	key := s.key()
	if key != b.key {
		*b = bucketing{key: key}
	}
	added := r.since(key+"\x00"+s.le, now)
	n := added - min(b.before, added)
	b.before = added
	end, err := strconv.ParseFloat(s.le, 64)
	middle := b.end
	if err == nil && s.le != "+Inf" {
		middle = (b.end + end) / 2
		b.end = end
	}
	if n == 0 {
		return out
	}
	out = strconv.AppendFloat(append(r.name(out, s, name), ':'), middle, 'f', -1, 64)
	return r.finish(out, "|ms", n, s)
}

// finish ends a line: its type, the share that it stands for if that is not all, and
// tags.
func (r *Reporter) finish(out []byte, kind string, n uint64, s *sample) []byte {
	out = append(out, kind...)
	if n > 1 {
		out = strconv.AppendFloat(append(out, "|@"...), 1/float64(n), 'g', 9, 64)
	}
	if r.opts.Tags {
		mark := "|#"
		for _, l := range s.labels {
			out = append(append(out, mark...), tagName(l.name)...)
			out = appendClean(append(out, ':'), l.value)
			mark = ","
		}
		if r.opts.EntityID != "" {
			out = append(append(out, mark...), "dd.internal.entity_id:"...)
			out = appendClean(out, r.opts.EntityID)
		}
	}
	return append(out, '\n')
}

// tagName is Envoy's name of a tag whose label is name: envoy.cluster_name.
func tagName(name string) string { return strings.Replace(name, "_", ".", 1) }

// key tells s from all others, but for the bucket.
func (s *sample) key() string {
	var b strings.Builder
	b.WriteString(s.name)
	for _, l := range s.labels {
		b.WriteString("\x00" + l.name + "\x00" + l.value)
	}
	return b.String()
}

func (s *sample) label(name string) string {
	for _, l := range s.labels {
		if l.name == name {
			return l.value
		}
	}
	return ""
}

// name appends what StatsD is to call a metric: Envoy's own name of it, of which
// Prometheus has another spelling. With tags, what labels say is not in it.
func (r *Reporter) name(out []byte, s *sample, name string) []byte {
	rest := strings.TrimPrefix(name, "envoy_")
	out = append(out, "envoy."...)
	for _, k := range kinds {
		after, ok := strings.CutPrefix(rest, k.prefix)
		if !ok {
			continue
		}
		out = append(out, k.says...)
		if id := s.label(k.label); k.label != "" && !r.opts.Tags {
			out = append(appendClean(out, id), '.')
		}
		rest = after
		break
	}
	for _, p := range parts {
		if after, ok := strings.CutPrefix(rest, p.prefix); ok {
			out, rest = append(out, p.says...), after
			break
		}
	}
	if after, ok := strings.CutPrefix(rest, "http_downstream_"); ok && s.label(byListener) != "" { // a Listener's, by prefix too
		out = append(out, "http."...)
		if !r.opts.Tags {
			out = append(appendClean(out, s.label(byPrefix)), '.')
		}
		rest = "downstream_" + after
	}
	if r.opts.Tags {
		return append(out, rest...)
	}
	if code := s.label(byClass); code != "" {
		return append(appendClean(append(out, strings.TrimSuffix(rest, "xx")...), code), "xx"...)
	}
	out = append(out, rest...)
	if code := s.label(byCode); code != "" {
		out = appendClean(append(out, '_'), code)
	}
	return out
}

const (
	byListener = "envoy_listener_address"
	byPrefix   = "envoy_http_conn_manager_prefix"
	byClass    = "envoy_response_code_class"
	byCode     = "envoy_response_code"
)

// kinds are what metrics are of, the longer names first, and the label that says which.
var kinds = []struct{ prefix, says, label string }{
	{"cluster_manager_", "cluster_manager.", ""},
	{"cluster_", "cluster.", "envoy_cluster_name"},
	{"http_", "http.", byPrefix},
	{"listener_manager_", "listener_manager.", ""},
	{"listener_", "listener.", byListener},
	{"tcp_", "tcp.", "envoy_tcp_prefix"},
	{"server_", "server.", ""},
	{"runtime_", "runtime.", ""},
}

// parts are those of a name that Envoy sets off by dots.
var parts = []struct{ prefix, says string }{
	{"circuit_breakers_default_", "circuit_breakers.default."},
	{"circuit_breakers_high_", "circuit_breakers.high."},
	{"external_", "external."},
	{"internal_", "internal."},
	{"health_check_", "health_check."},
	{"lua_", "lua."},
	{"ssl_", "ssl."},
}

// appendClean appends a name without what means something to StatsD.
func appendClean(out []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; c {
		case ':', '|', '@', '#', ',', '\n', '\r', ' ':
			out = append(out, '_')
		default:
			out = append(out, c)
		}
	}
	return out
}

// parse reads a line of the text format.
func parse(line string) (s sample, ok bool) {
	i := strings.IndexAny(line, "{ ")
	if i < 0 {
		return s, false
	}
	s.name = line[:i]
	rest := line[i:]
	for rest[0] == '{' || rest[0] == ',' {
		name, after, found := strings.Cut(rest[1:], `="`)
		if !found {
			return s, false
		}
		value, after, found := unquote(after)
		if !found || after == "" {
			return s, false
		}
		if name == "le" {
			s.le = value
		} else {
			s.labels = append(s.labels, label{name, value})
		}
		rest = after
	}
	s.value = strings.TrimSpace(strings.TrimPrefix(rest, "}"))
	return s, s.value != ""
}

// unquote reads a label's value up to its quote.
func unquote(text string) (value, rest string, ok bool) {
	if i := strings.IndexAny(text, `"\`); i >= 0 && text[i] == '"' {
		return text[:i], text[i+1:], true // as nearly always
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
