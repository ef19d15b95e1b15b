package authn

import (
	"bytes"
	"errors"
	"fmt"

	"legate/wire"
)

var (
	zero              = []byte("0")
	nameContentLength = []byte("content-length")
	nameLinkerd       = []byte("l5d-dst-override")
	nameToRemove      = "x-envoy-auth-headers-to-remove"
)

var errTooManyLines = errors.New("the question has too many headers")

// request asks an HTTP service: a request like the client's, with the headers that the
// service may see. Budget: 0 allocs for one that it lets pass.
func (e *external) request(c *Call, q *question, body []byte) Outcome {
	q.Begin(c.Head.MethodName(), c.Head.Host())
	path, query, hasQuery := c.target()
	q.Target(e.prefix, path, query, hasQuery)
	fits := q.Add(nameContentLength, zero) // has the length written whatever the method
	c.lines(func(f wire.Field, name, value []byte) {
		if f != wire.FieldOther && wire.Bound.Has(f) || !e.ask.has(f, name) || e.names.has(f, name) {
			return
		}
		if name == nil {
			name = f.Bytes()
		}
		fits = q.Add(name, value) && fits
	})
	for i := range e.added {
		fits = q.Add(e.added[i].Name, e.added[i].Value) && fits
	}
	to := e.next()
	if e.linkerd {
		fits = q.Add(nameLinkerd, to.address) && fits
	}
	if !fits {
		return e.failed(c, errTooManyLines)
	}
	q.Body, q.Limit, q.Tick = body, c.wait(e.timeout, e.deps.Clock()), c.Tick
	if err := to.asker.Ask(&q.Question); err != nil {
		return e.failed(c, err)
	}
	return e.judge(c, &q.Answer, q.Content)
}

// judge does what an answer asks for: exactly 200 lets the request pass, and 5xx is the
// service's own failure.
func (e *external) judge(c *Call, a *wire.Head, content []byte) Outcome {
	e.counts.answered(a.Status)
	switch {
	case a.Status == 200:
		e.counts.allowed()
		e.allowed(c, a)
		return Allow
	case a.Status >= 500:
		return e.failed(c, fmt.Errorf("the service answered %d", a.Status))
	}
	r := Reply{Status: a.Status, Body: bytes.Clone(content)}
	for i := range a.Len() {
		f, name, value := a.Line(i)
		switch {
		case f != wire.FieldOther && wire.Bound.Has(f) || !e.pass.has(f, name):
		case f == wire.FieldContentType:
			r.ContentType = bytes.Clone(value)
		default:
			r.Headers = append(r.Headers, wire.Add{ID: f, Name: bytes.Clone(name), Value: bytes.Clone(value)})
		}
	}
	return e.denied(c, r)
}

// allowed makes the changes to the request that an answer asks for. Budget: 0 allocs.
func (e *external) allowed(c *Call, a *wire.Head) {
	for i := range a.Len() {
		f, name, value := a.Line(i)
		if (f == wire.FieldOther || !wire.Bound.Has(f)) && e.pass.has(f, name) {
			c.set(f, name, value)
		}
	}
	for i := range a.Len() {
		if f, name, list := a.Line(i); f == wire.FieldOther && string(name) == nameToRemove {
			c.removeListed(list)
		}
	}
}

// removeListed removes the headers that a comma-separated list names.
func (c *Call) removeListed(list []byte) {
	for len(list) > 0 {
		var name []byte
		name, list = wire.NextToken(list)
		name = c.keep(name)
		wire.LowerInPlace(name)
		if wire.Changeable(name) {
			c.remove(name)
		}
	}
}
