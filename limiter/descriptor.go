package limiter

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"strings"
	"time"

	"legate/config"
	"legate/wire"
)

// A Descriptor is one group of labels: what it says of a request is what limits are chosen
// by, and counted by.
type Descriptor struct{ Entries []Entry }

// An Entry is one label of a Descriptor.
type Entry struct {
	Kind   config.LabelKind
	Key    string
	Value  []byte     // of what is the same for all requests; nil for what is not
	Field  wire.Field // of a RequestHeader, FieldOther for what has no number
	Header string     // the same in lower case
}

// A Source knows the labels of one request.
type Source interface {
	// Label returns the value of e, and false where the request has none. It is valid as
	// long as the request.
	Label(e *Entry) ([]byte, bool)
}

// NewDescriptor makes labels ready. fixed tells the values of those kinds that are the
// same for all requests of a route.
func NewDescriptor(labels []config.Label, fixed func(config.LabelKind) string) Descriptor {
	d := Descriptor{Entries: make([]Entry, len(labels))}
	for i, l := range labels {
		e := Entry{Kind: l.Kind, Key: l.Key, Header: l.Header}
		switch l.Kind {
		case config.GenericKey:
			e.Value = []byte(l.Value)
		case config.SourceCluster, config.DestinationCluster:
			e.Value = []byte(fixed(l.Kind))
		case config.RequestHeader:
			e.Field = wire.LookupField([]byte(l.Header))
		case config.RemoteAddress:
		}
		d.Entries[i] = e
	}
	return d
}

// values appends what d's entries are in a request, or returns false where one is missing:
// then there is no such descriptor. Budget: 0 allocs once into has grown.
func (d *Descriptor) values(into [][]byte, s Source) ([][]byte, bool) {
	for i := range d.Entries {
		e := &d.Entries[i]
		v, ok := e.Value, true
		if v == nil {
			v, ok = s.Label(e)
		}
		if !ok {
			return into, false
		}
		into = append(into, v)
	}
	return into, true
}

// longValue is the length from which a value is told by its digest, so that no client
// decides how long the names of counters are.
const longValue = 64

// appendName appends the name of the counter for the first of d's entries, as Edge Stack
// writes it but for the time: domain, keys and values with an underscore between them.
// Underscores in values are written in another way, so that no two are told alike.
// Budget: 0 allocs once dst has grown.
func (d *Descriptor) appendName(dst []byte, domain string, values [][]byte) []byte {
	dst = append(dst, domain...)
	for i, v := range values {
		dst = append(append(append(dst, '_'), d.Entries[i].Key...), '_')
		if len(v) > longValue {
			sum := sha256.Sum256(v)
			dst = hex.AppendEncode(append(dst, '%'), sum[:16])
			continue
		}
		for _, c := range v {
			switch c {
			case '_':
				dst = append(dst, "%_"...)
			case '%':
				dst = append(dst, "%%"...)
			default:
				dst = append(dst, c)
			}
		}
	}
	return dst
}

// keySeeds make keys that nobody outside can aim at.
var keySeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// keyOf hashes a counter's name with how it counts. Budget: 0 allocs.
func keyOf(name []byte, w *Window) Key {
	salt := uint64(w.Unit/time.Second)<<16 | uint64(w.Burst) //nolint:gosec // neither is negative
	return Key{maphash.Bytes(keySeeds[0], name) ^ salt*0x9e3779b97f4a7c15, maphash.Bytes(keySeeds[1], name) ^ salt}
}

// String shows what d is made of: "generic_key=default, user".
func (d *Descriptor) String() string {
	var b strings.Builder
	for i := range d.Entries {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(d.Entries[i].Key)
		if v := d.Entries[i].Value; v != nil {
			b.WriteString("=" + string(v))
		}
	}
	return b.String()
}

// Tell shows what d is for a request: "generic_key=default, user=ann". It returns false
// where the request has not all of it.
func (d *Descriptor) Tell(from Source) (string, bool) {
	values, whole := d.values(nil, from)
	if !whole {
		return "", false
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = d.Entries[i].Key + "=" + string(v)
	}
	return strings.Join(parts, ", "), true
}
