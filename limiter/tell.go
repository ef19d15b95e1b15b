package limiter

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"legate/config"
	"legate/templates"
	"legate/wire"
)

// A Code says what limits said of a request, as Envoy's service numbers it.
type Code int

// The codes.
const (
	Unknown   Code = 0
	OK        Code = 1
	OverLimit Code = 2
)

// A Response is what limits say of one request: .RateLimitResponse of templates.
type Response struct {
	OverallCode Code
	Statuses    []Status
}

// A Status is what one limit says.
type Status struct {
	Code           Code
	CurrentLimit   Current
	LimitRemaining int64
}

// Current is how often a limit lets requests pass.
type Current struct {
	RequestsPerUnit int64
	Unit            string // "MINUTE"
}

var unitNames = map[time.Duration]string{time.Second: "SECOND", time.Minute: "MINUTE", time.Hour: "HOUR", 24 * time.Hour: "DAY"}

// Data are what templates see of j. RetryAfter is in whole seconds, as the header of that name.
func (j *Judgement) Data() map[string]any {
	r := Response{OverallCode: OK, Statuses: make([]Status, len(j.Takes))}
	var seconds int64
	for i := range j.Takes {
		t := &j.Takes[i]
		r.Statuses[i] = Status{Code: OK, CurrentLimit: Current{t.Window.Rate, unitNames[t.Window.Unit]}, LimitRemaining: t.Remaining}
		switch {
		case t.Unknown:
			r.Statuses[i].Code = Unknown
		case t.Over:
			r.Statuses[i].Code = OverLimit
		}
	}
	if i := j.Refused(); i >= 0 {
		r.OverallCode, seconds = OverLimit, j.Takes[i].RetrySeconds()
	}
	return map[string]any{"RateLimitResponse": r, "RetryAfter": time.Duration(seconds) * time.Second}
}

// Refusal makes the answer to a request that l refuses. The error says what of it could
// not be made.
func (l *Limit) Refusal(data map[string]any, requestID string) (templates.Answer, error) {
	a := templates.Answer{Status: 429}
	var err error
	if l.RefusalBody != nil {
		body := l.RefusalBody.Render(&templates.Refusal{Status: 429, Message: "rate limit exceeded", RequestID: requestID, Extra: data})
		if body.Err != nil {
			return body, body.Err
		}
		a.Body = body.Body
	}
	if l.RefusalHeaders != nil {
		a.Headers, err = l.RefusalHeaders.Each(data)
		for i := range a.Headers {
			if a.Headers[i].ID == wire.FieldContentType {
				a.ContentType = a.Headers[i].Value
			}
		}
		a.Headers = without(a.Headers, wire.FieldContentType)
	}
	return a, err
}

func without(lines []wire.Add, f wire.Field) []wire.Add {
	kept := lines[:0]
	for _, l := range lines {
		if l.ID != f {
			kept = append(kept, l)
		}
	}
	return kept
}

// Tell says for people what l says of a request.
func (l *Limit) Tell(t *Take) string {
	action := ""
	if l.LogOnly {
		action = ", which only logs"
	}
	per := fmt.Sprintf("%d every %v", t.Window.Rate, t.Window.Unit)
	if t.Window.Burst > 0 {
		per = fmt.Sprintf("%d in any %v", t.Window.Rate*t.Window.Burst, t.Window.Unit*time.Duration(t.Window.Burst))
	}
	said := fmt.Sprintf("%d would remain", t.Remaining)
	switch {
	case t.Unknown:
		said = "the store cannot be asked"
	case t.Over:
		said = fmt.Sprintf("over it, until %v from now", t.RetryAfter.Round(time.Millisecond))
	}
	return fmt.Sprintf("limit %s of %s%s: %s, counter %s: %s", l.Name, l.By, action, per, t.Name, said)
}

// Waits reports whether l is for requests with exactly that label.
func (l *Limit) Waits(label config.Label) bool {
	p := l.source.Pattern
	return len(p) == 1 && len(p[0]) == 1 && p[0][0] == config.LabelMatch{Key: label.Key, Value: label.Value}
}

// Problem is a notice about l's pattern.
func (l *Limit) Problem(msg, instead string) config.Problem {
	p := l.object.Problem(fmt.Sprintf("limits[%d].pattern", l.source.Index), msg, config.Notice)
	p.Instead = instead
	return p
}

// Pattern shows l's pattern: "generic_key=orders, user=*".
func (l *Limit) Pattern() string {
	items := make([]string, len(l.source.Pattern))
	for i, alternatives := range l.source.Pattern {
		each := make([]string, len(alternatives))
		for j, m := range alternatives {
			each[j] = m.Key + "=" + cmp.Or(m.Value, "*")
		}
		items[i] = strings.Join(each, " or ")
	}
	return strings.Join(items, ", ")
}

// Written is where l's object was read.
func (l *Limit) Written() *config.Meta { return l.object }

// UnitName is the unit as manifests have it: "minute".
func (l *Limit) UnitName() string { return strings.ToLower(unitNames[l.Window.Unit]) }
