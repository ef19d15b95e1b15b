package kube

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"legate/config"
)

// A Name is that of an object of a kind that is known.
type Name struct{ Namespace, Name string }

// An Outcome is what has become of the objects that were yielded.
type Outcome struct {
	Problems   []config.Problem
	Unattached map[Name]bool   // Mappings that belong to no Host
	Endpoints  map[Name]string // of Mappings whose service is asked: "" where it has some, or why not
	Ingresses  map[Name]bool   // that are served
	Hosts      map[Name]HostState
}

// A HostState is how far a Host's certificate has come, in the words of its status.
type HostState struct {
	Source  string // None, Other or ACME
	State   string // of an order: Pending, Ready or Error; "" where nothing is ordered
	Done    string // the last phase of the order that was completed
	Next    string // the one that is under way or has failed
	Error   string // why the last attempt failed
	ErrorAt time.Time
	Retry   time.Time // before which it is not tried again
}

// A condition is one of an object's conditions, as other kinds have them.
type condition struct {
	Type       string `json:"type"`
	Status     string `json:"status"`
	Reason     string `json:"reason"`
	Message    string `json:"message"`
	Since      string `json:"lastTransitionTime"`
	Generation int64  `json:"observedGeneration,omitempty"`
}

// A status is what an object's status says that is ours.
type status struct {
	Conditions []condition `json:"conditions,omitempty"`
	State      string      `json:"state,omitempty"`       // of a Host as of Edge Stack's, and of a Mapping as of Ambassador's
	Reason     string      `json:"reason,omitempty"`      // of a Mapping
	Error      string      `json:"errorReason,omitempty"` // of a Host, as are those below
	ErrorAt    string      `json:"errorTimestamp,omitempty"`
	Backoff    string      `json:"errorBackoff,omitempty"`
	Source     string      `json:"tlsCertificateSource,omitempty"`
	Done       string      `json:"phaseCompleted,omitempty"`
	Next       string      `json:"phasePending,omitempty"`
	Rules      []ruled     `json:"rules,omitempty"` // of a FilterPolicy, one for each
}

// A ruled is what a FilterPolicy's status says of one of its rules.
type ruled struct {
	Conditions []condition `json:"conditions"`
}

// statusOf reads what an object's status says.
func statusOf(u *unstructured.Unstructured) (s status) {
	if text, err := json.Marshal(u.Object["status"]); err == nil && string(text) != "null" {
		_ = json.Unmarshal(text, &s) // what is not like ours is not ours
	}
	return s
}

// condition returns the condition of a type, nil if there is none.
func (s *status) condition(name string) *condition { return find(s.Conditions, name) }

func find(list []condition, name string) *condition {
	i := slices.IndexFunc(list, func(c condition) bool { return c.Type == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// The conditions. Accepted is whether the object serves as its author wrote it, Attached
// whether a Host takes the Mapping, Resolved whether its service has somebody to ask.
const (
	accepted = "Accepted"
	attached = "Attached"
	resolved = "Resolved"
)

// reasons are what a Problem's effect is called in a condition.
var reasons = map[config.Effect]string{
	config.Notice:        "Accepted",
	config.FieldIgnored:  "FieldsIgnored",
	config.ObjectIgnored: "NotServed",
	config.ObjectStale:   "LastGoodVersionServes",
	config.ObjectDropped: "Dropped",
	config.RouteClosed:   "RoutesClosed",
}

// maxMessage is how much of its Problems an object is told.
const maxMessage = 2000

// acceptance says whether what has these Problems is accepted, and returns the worst of them.
func acceptance(generation int64, problems []config.Problem) (c condition, worst config.Effect) {
	worst = config.Notice
	var told []string
	for i := range problems {
		p := &problems[i]
		worst = max(worst, p.Effect)
		told = append(told, sentence(p))
	}
	c = condition{Type: accepted, Status: "True", Reason: reasons[worst], Generation: generation}
	if worst >= config.ObjectIgnored {
		c.Status = "False"
	}
	c.Message = cut(strings.Join(told, "\n"), maxMessage)
	return c, worst
}

// judgedRules returns what is said of each of a FilterPolicy's rules, by its own Problems.
func judgedRules(generation int64, rules int, problems []config.Problem) []ruled {
	list := make([]ruled, rules)
	for i := range list {
		field := fmt.Sprintf("rules[%d]", i)
		var own []config.Problem
		for _, p := range problems {
			if rest, ok := strings.CutPrefix(p.Field, field); ok {
				p.Field = strings.TrimPrefix(rest, ".")
				own = append(own, p)
			}
		}
		c, _ := acceptance(generation, own)
		list[i].Conditions = []condition{c}
	}
	return list
}

// judged returns the status of an object, as its Problems tell. rules is how many a
// FilterPolicy has.
func judged(kind string, name Name, generation int64, rules int, problems []config.Problem, o *Outcome, states bool) status {
	c, worst := acceptance(generation, problems)
	s := status{Conditions: []condition{c}}
	serves := worst < config.ObjectIgnored || worst == config.ObjectStale
	switch kind {
	case "Mapping":
		s.Conditions = append(s.Conditions, mappingConditions(name, generation, serves, o)...)
		if states {
			s.State = "Running"
			if !serves {
				s.State, s.Reason = "Inactive", firstLine(c.Message)
			}
		}
	case "FilterPolicy":
		s.Rules = judgedRules(generation, rules, problems)
	case "Host":
		s.State = "Ready"
		if !serves {
			s.State, s.Error = "Error", firstLine(c.Message)
		}
		s.certified(o.Hosts[name])
	}
	return s
}

// certified adds how far a Host's certificate has come.
func (s *status) certified(h HostState) {
	s.Source, s.Done, s.Next = h.Source, h.Done, h.Next
	if h.State == "" {
		return
	}
	if s.State != "Error" {
		s.State = h.State
	}
	if h.Error != "" {
		s.Error, s.ErrorAt = cut(h.Error, maxMessage), h.ErrorAt.UTC().Format(time.RFC3339)
		if wait := h.Retry.Sub(h.ErrorAt); !h.Retry.IsZero() && wait > 0 {
			s.Backoff = wait.Round(time.Second).String()
		}
	}
}

// mappingConditions are what Mappings have beside.
func mappingConditions(name Name, generation int64, serves bool, o *Outcome) []condition {
	at := condition{Type: attached, Status: "True", Reason: "Attached", Generation: generation}
	switch {
	case !serves:
		at.Status, at.Reason = "False", "NotServed"
	case o.Unattached[name]:
		at.Status, at.Reason, at.Message = "False", "NoHost", "no Host takes it, by its hostname or by a mappingSelector"
	}
	why, asked := o.Endpoints[name]
	if !asked || at.Status == "False" {
		return []condition{at}
	}
	to := condition{Type: resolved, Status: "True", Reason: "EndpointsFound", Generation: generation}
	if why != "" {
		to.Status, to.Reason, to.Message = "False", "NoEndpoints", cut(why, maxMessage)
	}
	return []condition{at, to}
}

// sentence says what is wrong, without the object's own name.
func sentence(p *config.Problem) string {
	q := *p
	q.Ref = config.Ref{Within: p.Ref.Within}
	return q.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// since gives the conditions of s the times of those before that say the same, and reports
// whether anything differs.
func (s *status) since(before *status, now time.Time) (differs bool) {
	differs = sinceWhen(s.Conditions, before.Conditions, now) || len(s.Rules) != len(before.Rules)
	for i := range s.Rules {
		var was []condition
		if i < len(before.Rules) {
			was = before.Rules[i].Conditions
		}
		differs = sinceWhen(s.Rules[i].Conditions, was, now) || differs
	}
	for _, b := range before.Conditions { // that we do not say any more; others have their own
		differs = differs || (b.Type == attached || b.Type == resolved) && s.condition(b.Type) == nil
	}
	mine, theirs := *s, *before
	mine.Conditions, theirs.Conditions, mine.Rules, theirs.Rules = nil, nil, nil, nil
	return differs || !reflect.DeepEqual(mine, theirs)
}

// again gives conditions the times that they were said with before, although they are not there
// any more.
func (s *status) again(said *status) {
	rules := len(said.Rules) == len(s.Rules)
	sameTimes(s.Conditions, said.Conditions)
	for i := range s.Rules {
		if rules {
			sameTimes(s.Rules[i].Conditions, said.Rules[i].Conditions)
		}
	}
}

// sameTimes is again of a list of conditions.
func sameTimes(list, said []condition) {
	for i := range list {
		if c, b := &list[i], find(said, list[i].Type); b != nil && b.Status == c.Status && b.Since != "" {
			c.Since = b.Since
		}
	}
}

// sinceWhen is since of a list of conditions.
func sinceWhen(list, before []condition, now time.Time) (differs bool) {
	for i := range list {
		c := &list[i]
		c.Since = now.UTC().Format(time.RFC3339)
		b := find(before, c.Type)
		if b != nil && b.Status == c.Status {
			c.Since = b.Since
		}
		differs = differs || b == nil || *b != *c
	}
	return differs
}
