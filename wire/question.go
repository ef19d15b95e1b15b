package wire

import "time"

// A Question is a request that the gateway sends on its own behalf, and what was answered.
// The zero value is ready for Begin, and can begin again once it was released. It is for
// one goroutine.
type Question struct {
	Head  Head          // made by Begin, Target and Add
	Edits Edits         // made by whoever needs any
	Body  []byte        // not copied
	Limit time.Duration // for everything, from the connection to the answer's last byte
	Tick  Tick          // asked while the answer is awaited; nil for nobody
	Most  int           // of the answer's body, in bytes; a longer one is an error

	Answer  Head   // valid until Release
	Content []byte // the answer's body, valid until Release
	Trailer *Head  // the answer's, valid until Release; nil for none

	link Link
	room []byte // backs Content where it came in pieces
}

// An Asker carries Questions to a service. It is used by many goroutines at once.
type Asker interface {
	// Ask sends q and waits for the whole answer. Whatever it returns, q is released
	// afterwards. The error is for operators; OutcomeOf classifies it.
	Ask(q *Question) error
}

// Begin makes q a request without fields and body.
func (q *Question) Begin(method, host []byte) {
	h := &q.Head
	h.Reset(h.Buffer()[:0])
	h.Major, h.Minor, h.Length, h.NoBody = 1, 1, 0, true
	h.SetMethod(h.Append(method))
	h.SetHost(h.Append(host))
	q.Edits.Reset()
	q.Body, q.Tick = nil, nil
}

// Target makes prefix and path, taken together, what is asked for.
func (q *Question) Target(prefix, path, query []byte, hasQuery bool) {
	h := &q.Head
	whole := h.Append(prefix)
	whole.Len += h.Append(path).Len
	at, asked := whole, Span{}
	if hasQuery {
		mark := h.AppendString("?")
		asked = h.Append(query)
		whole.Len += mark.Len + asked.Len
	}
	h.SetTarget(whole, at, asked, hasQuery)
}

// Add adds a field, its name in lower case. It reports false where there are too many.
func (q *Question) Add(name, value []byte) bool {
	h := &q.Head
	n := h.Append(name)
	h.AppendString(": ")
	v := h.Append(value)
	h.AppendString("\r\n")
	return h.AddSpan(n, v)
}

// Hold notes whose memory the answer is, until Release.
func (q *Question) Hold(l Link) { q.link = l }

// Room returns memory for n bytes of an answer's body, with what of it is there already.
func (q *Question) Room(n int) []byte {
	if cap(q.room) < n {
		q.room = append(make([]byte, 0, max(n, 2*cap(q.room))), q.room...)
	}
	q.room = q.room[:n]
	return q.room
}

// maxRoom is the most memory that is kept for the next answer.
const maxRoom = 64 << 10

// Release gives the answer back, and with it the connection that it came over.
func (q *Question) Release() {
	if q.link != nil {
		q.link.Release()
		q.link = nil
	}
	q.Body, q.Content, q.Trailer, q.Tick = nil, nil, nil, nil
	if cap(q.room) > maxRoom {
		q.room = nil
	}
	if cap(q.Head.Buffer()) > maxRoom {
		q.Head = Head{}
	}
	q.room = q.room[:0]
	q.Answer.Forget()
}
