package upstream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"legate/wire"
)

const (
	// maxAsks is how often a question is sent again that nobody has seen.
	maxAsks = 3
	// maxPooledAsks is how often a connection from the pool is tried.
	maxPooledAsks = 2
	// guarded is the length from which on the sending of a body may have to be cut off:
	// what is shorter goes into the socket's buffer, and the wait for the answer is limited.
	guarded = 8 << 10
)

var errLongAnswer = errors.New("the answer's body is longer than may be")

// Ask carries q to an endpoint and reads the whole answer. Where a connection from the
// pool turns out to have been closed before anybody saw the question, it is sent again.
//
// Budget: 0 allocs when a connection rests in the pool and the body is short.
func (u *Upstream) Ask(q *wire.Question) error {
	now := u.now()
	by := now.Add(q.Limit)
	for again := 0; ; again++ {
		open := u.Open
		if again >= maxPooledAsks {
			open = u.Fresh
		}
		link, _, err := open(now, Choice{By: by})
		if err != nil {
			return err
		}
		if err = converse(q, link, by, by.Sub(u.now())); err == nil {
			q.Hold(link)
			return nil
		}
		unseen := untouched(link, err)
		link.Abort()
		link.Release()
		if !unseen || again >= maxAsks {
			return u.late(err, by)
		}
	}
}

// late makes err that of a limit, where that was over when the exchange failed: an endpoint
// that was told of it may end the exchange a moment before its answer is missed, and a body
// that is cut off looks like a connection that broke.
func (u *Upstream) late(err error, by time.Time) error {
	if outcome := wire.OutcomeOf(err); outcome != wire.Reset && outcome != wire.RemoteReset || u.now().Before(by) {
		return err
	}
	return fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
}

// untouched reports whether nobody can have seen what link failed to carry, and another
// connection may fare better.
func untouched(link wire.Link, err error) bool {
	switch wire.OutcomeOf(err) {
	case wire.Reset:
		return link.Reused() && link.Untouched()
	case wire.Refused:
		return link.Untouched()
	default:
		return false
	}
}

// converse sends q over link and reads the answer, by then, which is so much time.
func converse(q *wire.Question, link wire.Link, by time.Time, left time.Duration) error {
	if len(q.Body) > guarded {
		limit := time.AfterFunc(left, link.Abort)
		defer func() {
			if !limit.Stop() {
				link.Abort() // now rather than when somebody else has the connection
			}
		}()
	}
	q.Head.Length, q.Head.NoBody = int64(len(q.Body)), len(q.Body) == 0
	if err := link.WriteHead(&q.Head, &q.Edits, int64(len(q.Body))); err != nil {
		return err
	}
	if len(q.Body) > 0 {
		if _, err := link.WriteBody(q.Body); err != nil {
			return err
		}
	}
	if err := link.EndRequest(nil); err != nil {
		return err
	}
	for q.Answer.Status = 0; q.Answer.Status < 200; {
		if err := link.ReadHead(&q.Answer, by, q.Tick); err != nil {
			return err
		}
	}
	if err := content(q, link, by); err != nil {
		return err
	}
	q.Trailer = link.Trailer()
	return nil
}

// content reads the answer's body.
func content(q *wire.Question, link wire.Link, by time.Time) error {
	q.Content = nil
	if q.Answer.NoBody || link.Done() {
		return nil
	}
	if q.Answer.Length > int64(q.Most) {
		return errLongAnswer
	}
	if rest, ok := link.Rest(); ok {
		q.Content = rest
		return nil
	}
	const piece = 4 << 10
	for n := 0; ; {
		b := q.Room(n + piece)
		m, err := link.ReadBody(b[n:], by, q.Tick)
		switch n += m; {
		case n > q.Most:
			return errLongAnswer
		case errors.Is(err, io.EOF) || err == nil && link.Done():
			q.Content = q.Room(n)
			return nil
		case err != nil:
			return err
		}
	}
}
