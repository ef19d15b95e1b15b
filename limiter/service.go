package limiter

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"legate/wire"
	"legate/wire/rpc"
)

const (
	shouldRateLimit = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
	// maxAnswer is the longest answer of a Service: it is held whole.
	maxAnswer = 1 << 20
)

// A Service is somebody else's RateLimitService, which is asked about requests in the
// place of what counts here. It is used by many goroutines at once.
type Service struct {
	to        wire.Asker
	authority []byte
	domain    string
	timeout   time.Duration
	questions sync.Pool // of *question
}

// A question is what is needed to ask once.
type question struct {
	wire.Question
	room   []byte // backs the message
	labels []byte // the descriptors, encoded
}

// NewService makes what asks the service behind to about the labels of a domain.
func NewService(to wire.Asker, authority, domain string, timeout time.Duration) *Service {
	s := &Service{to: to, authority: []byte(authority), domain: domain, timeout: timeout}
	s.questions.New = func() any { return &question{} }
	return s
}

// An Answer is what a Service says of one request.
type Answer struct {
	Over        bool
	ToUp        []wire.Add     // to be added to the request, if it passes
	ToClient    []wire.Add     // to be added to the answer, whoever gives it
	ContentType []byte         // of Body; nil where nothing is said of it
	Body        []byte         // of the refusal
	Metadata    map[string]any // for the access log; nil for none
}

// Errors of a Service that answered.
var (
	errUndecided = errors.New("the answer says neither that the request passes nor that it does not")
	errHeader    = errors.New("the answer has a header that is none")
)

// Ask asks about a request with those descriptors, and returns nil without having asked
// where it has none of them whole. An error says that nobody could be asked, or that the
// answer cannot be understood; wire.OutcomeOf knows whether the client has gone meanwhile.
func (s *Service) Ask(j *Judgement, descriptors []Descriptor, from Source, tick wire.Tick) (*Answer, error) {
	q := s.questions.Get().(*question) //nolint:forcetypeassert // nothing else is put in
	defer s.questions.Put(q)
	q.labels = q.labels[:0]
	for i := range descriptors {
		values, whole := descriptors[i].values(j.values[:0], from)
		j.values = values
		if whole {
			q.labels = descriptors[i].encode(q.labels, values)
		}
	}
	if len(q.labels) == 0 {
		return nil, nil //nolint:nilnil // because nobody was asked, and nothing is wrong with that
	}
	b := rpc.Begin(&q.Question, s.authority, shouldRateLimit, s.timeout, q.room)
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), s.domain)
	q.room = append(b, q.labels...)
	q.Most, q.Tick = maxAnswer, tick
	defer q.Release()
	message, err := rpc.Call(s.to, &q.Question, q.room)
	if err != nil {
		return nil, err
	}
	return understand(message)
}

// encode appends d, with those values, as one of the descriptors of a RateLimitRequest.
// Its parts are encoded one by one so that no text is made of what a client sent.
// Budget: 0 allocs once dst has grown, for values that are UTF-8.
func (d *Descriptor) encode(dst []byte, values [][]byte) []byte {
	size := 0
	for i := range values {
		values[i] = text(values[i])
		size += 1 + protowire.SizeBytes(entrySize(d.Entries[i].Key, values[i]))
	}
	dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.BytesType), uint64(size))
	for i, v := range values {
		key := d.Entries[i].Key
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.BytesType), uint64(entrySize(key, v))) //nolint:gosec // because sizes are not negative
		dst = protowire.AppendString(protowire.AppendTag(dst, 1, protowire.BytesType), key)
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 2, protowire.BytesType), v)
	}
	return dst
}

func entrySize(key string, value []byte) int {
	return 2 + protowire.SizeBytes(len(key)) + protowire.SizeBytes(len(value))
}

// text returns v as messages need it. A service refuses what is not UTF-8, and then limits
// would be no more for whoever sends it.
func text(v []byte) []byte {
	if utf8.Valid(v) {
		return v
	}
	return bytes.ToValidUTF8(v, []byte("!"))
}

// understand reads an answer.
func understand(message []byte) (*Answer, error) {
	var r ratelimitv3.RateLimitResponse
	if err := proto.Unmarshal(message, &r); err != nil {
		return nil, fmt.Errorf("the answer is no RateLimitResponse: %w", err)
	}
	a := &Answer{Body: r.GetRawBody()}
	switch r.GetOverallCode() {
	case ratelimitv3.RateLimitResponse_OK:
	case ratelimitv3.RateLimitResponse_OVER_LIMIT:
		a.Over = true
	default:
		return nil, errUndecided
	}
	var err error
	if a.ToUp, err = a.lines(r.GetRequestHeadersToAdd(), false); err != nil {
		return nil, err
	}
	if a.ToClient, err = a.lines(r.GetResponseHeadersToAdd(), true); err != nil {
		return nil, err
	}
	if m := r.GetDynamicMetadata(); m != nil {
		a.Metadata = m.AsMap()
	}
	return a, nil
}

// lines returns headers to add: those in which a service has a say. The content type of an
// answer is that of its body, and so of a's.
func (a *Answer) lines(list []*corev3.HeaderValue, toClient bool) ([]wire.Add, error) {
	var lines []wire.Add
	for _, h := range list {
		name, value := []byte(h.GetKey()), []byte(h.GetValue())
		if raw := h.GetRawValue(); len(raw) > 0 {
			value = bytes.Clone(raw)
		}
		wire.LowerInPlace(name)
		value = wire.TrimOWS(value)
		if !wire.IsFieldName(bytes.TrimPrefix(name, []byte(":"))) || !wire.IsFieldValue(value) {
			return nil, fmt.Errorf("%w, %q", errHeader, name)
		}
		switch f := wire.LookupField(name); {
		case !wire.Changeable(name):
		case toClient && f == wire.FieldContentType:
			a.ContentType = value
		default:
			lines = append(lines, wire.Add{ID: f, Name: name, Value: value})
		}
	}
	return lines, nil
}
