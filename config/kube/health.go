package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"legate/config"
)

// A health is what works and what does not between us and the API server.
type health struct {
	log     *slog.Logger
	now     func() time.Time
	changed func() // called when there is something else to tell

	mu      sync.Mutex
	failing map[string]failure // by what was asked: "list mappings.getambassador.io"
}

// A failure is a question that was not answered.
type failure struct {
	err   error
	since time.Time
	gone  bool // the server did not answer at all
}

// grace is how long a failure lasts before it is a Problem: servers are replaced every now
// and then, and nothing is lost by that.
const grace = 5 * time.Second

func newHealth(log *slog.Logger, changed func()) *health {
	return &health{log: log, now: time.Now, changed: changed, failing: map[string]failure{}}
}

// note takes in how a question ended.
func (h *health) note(question string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.answered(question)
		return
	}
	before, was := h.failing[question]
	f := failure{err: err, since: h.now(), gone: unanswered(err)}
	if was && before.gone == f.gone {
		f.since = before.since
	}
	silent := h.silent()
	h.failing[question] = f
	switch {
	case f.gone && silent.IsZero():
		h.log.Error("the API server does not answer; what was read last keeps serving", "error", err)
	case !f.gone && (!was || before.gone || before.err.Error() != err.Error()):
		h.log.Error("the API server refuses; what was read last keeps serving", "question", question, "error", err)
	}
	if !was || before.gone != f.gone {
		time.AfterFunc(grace, h.changed)
	}
}

// answered is note for who holds mu.
func (h *health) answered(question string) {
	f, was := h.failing[question]
	if !was {
		return
	}
	since := h.silent()
	delete(h.failing, question)
	switch {
	case !f.gone:
		h.log.Info("the API server does not refuse any more", "question", question)
	case h.silent().IsZero():
		h.log.Info("the API server answers again", "after", h.now().Sub(since).Round(time.Millisecond).String())
	}
	h.changed()
}

// silent returns since when the server does not answer, zero if it does.
func (h *health) silent() (since time.Time) {
	for _, f := range h.failing {
		if f.gone && (since.IsZero() || f.since.Before(since)) {
			since = f.since
		}
	}
	return since
}

// forget drops what is not asked any more.
func (h *health) forget(question string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, question)
}

// unanswered reports whether err is about the way to the server, and not its answer.
func unanswered(err error) bool {
	var netErr net.Error
	var urlErr *url.Error
	return apierrors.ReasonForError(err) == "" && (errors.As(err, &netErr) || errors.As(err, &urlErr)) || apierrors.IsServiceUnavailable(err)
}

// problems returns what has lasted.
func (h *health) problems() []*config.Object {
	h.mu.Lock()
	defer h.mu.Unlock()
	var told []*config.Object
	if since := h.silent(); !since.IsZero() && h.now().Sub(since) >= grace {
		told = append(told, notice("the API server does not answer: "+h.reason(), "what was read last keeps serving"))
	}
	for _, question := range slices.Sorted(maps.Keys(h.failing)) {
		if f := h.failing[question]; !f.gone && h.now().Sub(f.since) >= grace {
			told = append(told, notice(fmt.Sprintf("the API server does not let us %s: %v", question, f.err), "what was read last keeps serving"))
		}
	}
	return told
}

// reason is the first reason why the server does not answer.
func (h *health) reason() string {
	for _, question := range slices.Sorted(maps.Keys(h.failing)) {
		if f := h.failing[question]; f.gone {
			if urlErr, ok := errors.AsType[*url.Error](f.err); ok { // without the question's address
				return urlErr.Err.Error()
			}
			return f.err.Error()
		}
	}
	return "unknown"
}

// unsettled returns some reason why not everything has been read, nil for none.
func (h *health) unsettled() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, question := range slices.Sorted(maps.Keys(h.failing)) {
		return fmt.Errorf("%s: %w", question, h.failing[question].err)
	}
	return nil
}

// up reports whether every question is answered.
func (h *health) up() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.failing) == 0
}

// notice is a Problem of no object.
func notice(msg, instead string) *config.Object {
	return &config.Object{
		Digest:   digestOf([]byte(msg)),
		Problems: []config.Problem{{Msg: msg, Effect: config.Notice, Instead: instead}},
	}
}
