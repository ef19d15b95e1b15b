package authn

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// An external is a service that is asked about requests, as an AuthService or an External
// filter says. It implements Filter.
type external struct {
	by       string
	to       []replica // take turns; never empty
	turn     atomic.Uint32
	grpc     bool
	prefix   []byte // of the path that an HTTP service is asked for
	timeout  time.Duration
	body     *config.IncludeBody // nil for nothing of it
	linkerd  bool                // a Linkerd proxy is told which service is meant
	onError  int                 // the status where it cannot be asked
	failOpen bool                // such requests pass instead

	ask   nameSet    // of the request's headers, those that an HTTP service is told
	pass  nameSet    // of an HTTP service's, those that are passed on
	added []wire.Add // to the question
	names nameSet    // of added

	returns [sha256.Size]byte // the policy of what is remembered of tokens that it returns

	questions sync.Pool // of *question
	counts    externalCounts
	deps      *Deps
}

// A replica is one of the services that an external stands for.
type replica struct {
	asker   wire.Asker
	address []byte // host and port
}

// A question is what is needed to ask once.
type question struct {
	wire.Question
	room []byte // backs a message of gRPC
}

// Always told to, and passed on from, an HTTP service.
var (
	alwaysAsked  = []string{"authorization", "cookie", "from", "proxy-authorization", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
	alwaysPassed = []string{"location", "authorization", "proxy-authenticate", "set-cookie", "www-authenticate"}
)

const (
	defaultOnError = 403
	defaultTimeout = 5 * time.Second
	// maxAnswer is the longest body of an answer: it is held whole.
	maxAnswer = 1 << 20
)

// newExternal makes what asks the services behind to as a says.
func newExternal(by string, a *config.ExternalAuth, to []replica, added []config.NameValue, deps *Deps) *external {
	e := &external{
		by: by, to: to, grpc: a.GRPC, prefix: []byte(a.PathPrefix), timeout: cmp.Or(a.Timeout, defaultTimeout), body: a.IncludeBody,
		onError: defaultOnError, failOpen: a.FailureModeAllow, linkerd: a.AddLinkerdHeaders, deps: deps,
		ask: newNameSet(alwaysAsked, a.AllowedRequestHeaders), pass: newNameSet(alwaysPassed, a.AllowedResponseHeaders),
	}
	if a.StatusOnError != 0 {
		e.onError = a.StatusOnError
	}
	var names []string
	for _, h := range added {
		e.added = append(e.added, wire.Add{ID: wire.LookupField([]byte(h.Name)), Name: []byte(h.Name), Value: []byte(h.Value)})
		names = append(names, h.Name)
	}
	e.names = newNameSet(names)
	e.returns = sha256.Sum256([]byte("returned by " + by))
	e.questions.New = func() any { return &question{} }
	return e
}

// Filter asks. Nobody is asked about a request that is only asked about itself.
// Budget: 0 allocs for a request without a body that an HTTP service lets pass.
func (e *external) Filter(c *Call) Outcome {
	if c.Dry {
		return Allow
	}
	body, whole, out := e.peek(c)
	if out == Deny {
		return Deny
	}
	shown, _, _ := c.authorization()
	q := e.questions.Get().(*question) //nolint:forcetypeassert // nothing else is put in
	q.Most = maxAnswer
	if e.grpc {
		out = e.check(c, q, body, whole)
	} else {
		out = e.request(c, q, body)
	}
	q.Release()
	e.questions.Put(q)
	if out == Allow {
		e.returned(c, shown)
	}
	return out
}

// Explain tells who would be asked, and as what.
func (e *external) Explain(c *Call) []string {
	names := make([]string, len(e.to))
	for i := range e.to {
		names[i] = string(e.to[i].address)
	}
	target := checkMethod
	if !e.grpc {
		path, _, _ := c.target()
		target = string(c.Head.MethodName()) + " " + string(e.prefix) + string(path)
	}
	lines := []string{e.by + " would be asked: " + target + " at " + strings.Join(names, " or ")}
	if e.failOpen {
		return append(lines, "if it cannot be, the request passes")
	}
	return append(lines, fmt.Sprintf("if it cannot be, the answer is %d", e.onError))
}

// peek returns what the service is shown of the body.
func (e *external) peek(c *Call) (body []byte, whole bool, out Outcome) {
	if !e.shows(c) {
		return nil, true, Allow
	}
	if !e.body.AllowPartial && c.Head.Length > int64(e.body.MaxBytes) {
		c.Reply = Reply{Reason: decision.BodyTooLarge, By: e.by}
		return nil, false, Deny
	}
	body, whole, err := c.Body.Peek(e.body.MaxBytes)
	switch {
	case err != nil:
		c.Reply = Reply{Reason: decision.ClientGone, By: e.by, Err: err}
		return nil, false, Deny
	case !whole && !e.body.AllowPartial:
		c.Reply = Reply{Reason: decision.BodyTooLarge, By: e.by}
		return nil, false, Deny
	}
	return body, whole, Allow
}

// shows reports whether the service is shown anything of the request's body.
func (e *external) shows(c *Call) bool {
	return e.body != nil && c.Body != nil && !c.Head.UpgradeTo
}

// next returns whose turn it is.
func (e *external) next() *replica {
	if len(e.to) == 1 {
		return &e.to[0]
	}
	return &e.to[e.turn.Add(1)%uint32(len(e.to))] //nolint:gosec // because nobody has four billion services
}

// failed decides about a request that nobody could be asked about.
func (e *external) failed(c *Call, err error) Outcome {
	if wire.OutcomeOf(err) == wire.GivenUp {
		c.Reply = Reply{Reason: decision.ClientGone, By: e.by, Err: err}
		return Deny
	}
	e.counts.failed()
	e.deps.audit(c, decision.Event{Kind: decision.AuthFailed, Allowed: e.failOpen, Reason: decision.AuthError, By: e.by, Status: e.failStatus()})
	if e.failOpen {
		c.Passed = decision.AuthError
		return Allow
	}
	c.Reply = Reply{Reason: decision.AuthError, By: e.by, Status: e.onError, Err: err}
	return Deny
}

// failStatus is what a client is told where nobody could be asked; 0 where others decide.
func (e *external) failStatus() int {
	if e.failOpen {
		return 0
	}
	return e.onError
}

// denied makes r the client's answer.
func (e *external) denied(c *Call, r Reply) Outcome {
	r.Reason, r.By = decision.AuthDenied, e.by
	if r.ContentType == nil && len(r.Body) > 0 {
		r.ContentType = textPlain
	}
	e.counts.denied()
	c.Reply = r
	return Deny
}

var textPlain = []byte("text/plain")

// externalCounts count an External filter's answers; the zero value counts nothing.
type externalCounts struct {
	metrics ExternalMetrics
}

func (n *externalCounts) allowed() {
	if n.metrics != nil {
		n.metrics.Outcome("allowed").Add()
	}
}

func (n *externalCounts) denied() {
	if n.metrics != nil {
		n.metrics.Outcome("denied").Add()
	}
}

func (n *externalCounts) failed() {
	if n.metrics != nil {
		n.metrics.Outcome("error").Add()
	}
}

// answered counts the status of an answer.
func (n *externalCounts) answered(status int) {
	if n.metrics != nil {
		n.metrics.Status(status).Add()
	}
}
