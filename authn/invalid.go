package authn

import (
	"fmt"

	"legate/config"
	"legate/decision"
	"legate/templates"
)

// An invalidFilter stands for a Filter that is missing or cannot be used: what it would
// decide about is refused.
type invalidFilter struct {
	by, message string
	deps        *Deps
}

// newInvalid stands for the Filter called name in namespace.
func newInvalid(namespace, name string, d *Deps) *invalidFilter {
	return &invalidFilter{deps: d, by: fmt.Sprintf("Filter %s/%s", namespace, name), message: fmt.Sprintf("the Filter %s.%s is missing or invalid", name, namespace)}
}

// Filter refuses every request.
func (i *invalidFilter) Filter(c *Call) Outcome {
	refusePlainly(c, i.by, decision.FilterInvalid, i.message)
	i.deps.audit(c, decision.Event{Kind: decision.AuthFailed, Reason: decision.FilterInvalid, By: i.by, Status: c.Reply.Status})
	return Deny
}

// plainResponse is the answer where nobody asks for another.
var plainResponse = func() *templates.Response {
	r, err := templates.NewResponse(&config.ErrorResponse{})
	if err != nil {
		panic("BUG: the default answer does not compile: " + err.Error())
	}
	return r
}()

// refusePlainly writes the answer of a Filter that has no say in what its refusals look
// like.
func refusePlainly(c *Call, by string, reason decision.Reason, message string) {
	a := plainResponse.Render(&templates.Refusal{Status: reason.Status(), Message: message, RequestID: string(c.RequestID)})
	c.Reply = Reply{Reason: reason, By: by, Status: a.Status, ContentType: a.ContentType, Body: a.Body}
}
