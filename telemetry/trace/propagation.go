package trace

import (
	"strconv"

	"legate/wire"
)

// Headers are the ways in which a trace travels.
type Headers uint8

// The ways; several may be used together.
const (
	B3      Headers = 1 << iota // Zipkin's x-b3-traceid and its like, or b3
	W3C                         // traceparent
	Datadog                     // x-datadog-trace-id and its like
)

// A Propagation says how traces travel and what new ids are like.
type Propagation struct {
	Headers  Headers
	ShortIDs bool // of 64 bits
	Seconds  bool // ids of 128 bits begin with the time, as Datadog's do
}

// A Header finds the headers of a request by their names in lower case.
type Header interface {
	Find(name string) ([]byte, bool)
}

// A sampling is what a request says about being sampled.
type sampling uint8

const (
	unsaid sampling = iota
	no
	yes
)

func said(b bool) sampling {
	if b {
		return yes
	}
	return no
}

// extract reads the trace that a request belongs to, by the first way in which it says
// so whole. What cannot be understood is as good as not said: a new trace begins.
func (p *Propagation) extract(h Header) (c Context, s sampling) {
	for _, way := range [...]struct {
		headers Headers
		read    func(Header) (Context, sampling)
	}{{Datadog, readDatadog}, {B3, readB3}, {W3C, readW3C}} {
		if p.Headers&way.headers == 0 {
			continue
		}
		found, sampled := way.read(h)
		if found.Low|found.High != 0 {
			return found, sampled
		}
		if s == unsaid {
			s = sampled
		}
	}
	return Context{}, s
}

// readB3 reads b3, or else x-b3-traceid and its like
// (https://github.com/openzipkin/b3-propagation). A sampling decision may come without
// a trace.
func readB3(h Header) (c Context, s sampling) {
	if single, ok := h.Find("b3"); ok {
		return readSingleB3(single)
	}
	if v, ok := h.Find("x-b3-sampled"); ok {
		s = said(string(v) == "1" || string(v) == "true")
	} else if v, ok := h.Find("x-b3-flags"); ok && string(v) == "1" {
		s = yes // debug
	}
	trace, ok := h.Find("x-b3-traceid")
	span, found := h.Find("x-b3-spanid")
	if !ok || !found {
		return Context{}, s
	}
	if !c.readTraceID(trace) || !readID(span, &c.Parent) {
		return Context{}, s
	}
	return c, s
}

// readSingleB3 reads {trace}-{span}[-{sampled}[-{parent}]], or {sampled} alone.
func readSingleB3(v []byte) (c Context, s sampling) {
	trace, rest := cut(v)
	if rest == nil {
		return Context{}, flagB3(trace)
	}
	span, rest := cut(rest)
	if !c.readTraceID(trace) || !readID(span, &c.Parent) {
		return Context{}, unsaid
	}
	flag, _ := cut(rest)
	return c, flagB3(flag)
}

func flagB3(v []byte) sampling {
	switch string(v) {
	case "1", "d":
		return yes
	case "0":
		return no
	}
	return unsaid
}

// cut splits v at its first dash; rest is nil if there is none.
func cut(v []byte) (first, rest []byte) {
	for i, c := range v {
		if c == '-' {
			return v[:i], v[i+1:]
		}
	}
	return v, nil
}

// traceparent's length in version 0, and where its parts begin
// (https://www.w3.org/TR/trace-context/#traceparent-header).
const (
	parentLength = 55
	parentTrace  = 3
	parentSpan   = 36
	parentFlags  = 53
)

// readW3C reads traceparent. Later versions may say more, behind what this one says.
func readW3C(h Header) (c Context, s sampling) {
	v, ok := h.Find("traceparent")
	if !ok || len(v) < parentLength || v[2] != '-' || v[parentSpan-1] != '-' || v[parentFlags-1] != '-' {
		return Context{}, unsaid
	}
	version, ok := parseHex(v[:2])
	if !ok || version == 0xff || version == 0 && len(v) != parentLength || len(v) > parentLength && v[parentLength] != '-' {
		return Context{}, unsaid
	}
	flags, ok := parseHex(v[parentFlags:parentLength])
	if !ok || anyUpper(v[:parentLength]) || !c.readTraceID(v[parentTrace:parentSpan-1]) || !readID(v[parentSpan:parentFlags-1], &c.Parent) {
		return Context{}, unsaid
	}
	return c, said(flags&1 != 0)
}

func anyUpper(v []byte) bool {
	for _, c := range v {
		if 'A' <= c && c <= 'F' {
			return true
		}
	}
	return false
}

// readDatadog reads x-datadog-trace-id and its like: decimal ids, of which the upper half
// of a trace's is among x-datadog-tags.
func readDatadog(h Header) (c Context, s sampling) {
	if v, ok := h.Find("x-datadog-sampling-priority"); ok {
		if n, ok := parseDecimal(v); ok {
			s = said(n > 0)
		} else if len(v) > 1 && v[0] == '-' {
			s = no
		}
	}
	trace, _ := h.Find("x-datadog-trace-id")
	span, _ := h.Find("x-datadog-parent-id")
	var ok bool
	if c.Low, ok = parseDecimal(trace); !ok || c.Low == 0 {
		return Context{}, s
	}
	if c.Parent, ok = parseDecimal(span); !ok {
		return Context{}, s
	}
	if tags, ok := h.Find("x-datadog-tags"); ok {
		c.High = upperHalf(tags)
	}
	return c, s
}

// upperHalf finds _dd.p.tid=0123456789abcdef in a list; 0 if it is not there.
func upperHalf(tags []byte) uint64 {
	const key = "_dd.p.tid="
	for len(tags) > 0 {
		item := tags
		for i, c := range tags {
			if c == ',' {
				item = tags[:i]
				break
			}
		}
		if len(item) == len(key)+16 && string(item[:len(key)]) == key {
			high, _ := parseHex(item[len(key):])
			return high
		}
		tags = tags[min(len(item)+1, len(tags)):]
	}
	return 0
}

// readTraceID reads 16 or 32 hexadecimal digits, not all of them 0.
func (c *Context) readTraceID(v []byte) bool {
	var ok bool
	if len(v) == 32 {
		if c.High, ok = parseHex(v[:16]); !ok {
			return false
		}
		v = v[16:]
	}
	if len(v) == 0 || len(v) > 16 {
		return false
	}
	c.Low, ok = parseHex(v)
	return ok && c.High|c.Low != 0
}

// readID reads up to 16 hexadecimal digits, not all of them 0.
func readID(v []byte, id *uint64) (ok bool) {
	if len(v) == 0 || len(v) > 16 {
		return false
	}
	*id, ok = parseHex(v)
	return ok && *id != 0
}

// parseHex reads up to 16 hexadecimal digits.
func parseHex(v []byte) (n uint64, ok bool) {
	for _, c := range v {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			n = n<<4 | uint64(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return n, len(v) > 0
}

func parseDecimal(v []byte) (n uint64, ok bool) {
	for _, c := range v {
		if c < '0' || c > '9' || n > (1<<64-1-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(v) > 0
}

// The headers that are written.
var (
	nameTraceID     = []byte("x-b3-traceid")
	nameSpanID      = []byte("x-b3-spanid")
	nameParentID    = []byte("x-b3-parentspanid")
	nameSampled     = []byte("x-b3-sampled")
	nameSingle      = []byte("b3")
	nameTraceParent = []byte("traceparent")
	nameTraceState  = []byte("tracestate")
	nameDDTrace     = []byte("x-datadog-trace-id")
	nameDDParent    = []byte("x-datadog-parent-id")
	nameDDPriority  = []byte("x-datadog-sampling-priority")
	nameDDTags      = []byte("x-datadog-tags")

	valueYes = []byte("1")
	valueNo  = []byte("0")
)

// Inject has the service told of c, in every way that p has. The values are appended to
// memory, which is returned and must outlive e. Budget: 0 allocs.
func (p *Propagation) Inject(c *Context, h Header, e *wire.Edits, memory []byte) []byte {
	flag := valueNo
	if c.Sampled {
		flag = valueYes
	}
	if p.Headers&B3 != 0 {
		memory = c.injectB3(e, memory, flag)
	}
	if p.Headers&W3C != 0 {
		memory = c.injectW3C(h, e, memory)
	}
	if p.Headers&Datadog != 0 {
		memory = c.injectDatadog(h, e, memory, flag)
	}
	return memory
}

func (c *Context) injectB3(e *wire.Edits, memory, flag []byte) []byte {
	e.Remove(wire.FieldOther, nameSingle) // it would say the same of another span
	start := len(memory)
	memory = c.AppendTraceID(memory)
	e.SetName(nameTraceID, memory[start:len(memory):len(memory)])
	start = len(memory)
	memory = appendHex(memory, c.Span)
	e.SetName(nameSpanID, memory[start:len(memory):len(memory)])
	e.Remove(wire.FieldOther, nameParentID)
	if c.Parent != 0 {
		start = len(memory)
		memory = appendHex(memory, c.Parent)
		e.AddName(nameParentID, memory[start:len(memory):len(memory)])
	}
	e.SetName(nameSampled, flag)
	return memory
}

// injectW3C writes traceparent. A state belongs to the trace that it came with.
func (c *Context) injectW3C(h Header, e *wire.Edits, memory []byte) []byte {
	if came, _ := readW3C(h); came.High != c.High || came.Low != c.Low {
		e.Remove(wire.FieldOther, nameTraceState)
	}
	start := len(memory)
	memory = append(memory, "00-"...)
	memory = appendHex(appendHex(memory, c.High), c.Low)
	memory = appendHex(append(memory, '-'), c.Span)
	if c.Sampled {
		memory = append(memory, "-01"...)
	} else {
		memory = append(memory, "-00"...)
	}
	e.SetName(nameTraceParent, memory[start:len(memory):len(memory)])
	return memory
}

// injectDatadog writes the ids. What else came with the trace travels on with it.
func (c *Context) injectDatadog(h Header, e *wire.Edits, memory, flag []byte) []byte {
	came, priority := readDatadog(h)
	same := came.High == c.High && came.Low == c.Low
	start := len(memory)
	memory = strconv.AppendUint(memory, c.Low, 10)
	e.SetName(nameDDTrace, memory[start:len(memory):len(memory)])
	start = len(memory)
	memory = strconv.AppendUint(memory, c.Span, 10)
	e.SetName(nameDDParent, memory[start:len(memory):len(memory)])
	if !same || priority == unsaid {
		e.SetName(nameDDPriority, flag)
	}
	if same {
		return memory
	}
	e.Remove(wire.FieldOther, nameDDTags)
	if c.High != 0 {
		start = len(memory)
		memory = appendHex(append(memory, "_dd.p.tid="...), c.High)
		e.AddName(nameDDTags, memory[start:len(memory):len(memory)])
	}
	return memory
}
