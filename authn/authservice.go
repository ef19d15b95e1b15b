package authn

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"legate/config"
	"legate/decision"
)

// newExternalFilter makes an External filter. broken says why it cannot be asked, "" for
// nothing.
func newExternalFilter(f *config.Filter, deps *Deps) (filter Filter, broken string, problems []config.Problem) {
	to, address, problems := deps.External(&f.Meta, f.External)
	if broken = closes(problems); broken != "" {
		deps.Metrics.Outcome("handler_error") // is there from the start
		return nil, broken, problems
	}
	ref := f.Ref()
	e := newExternal(ref.String(), f.External, []replica{{to, []byte(address)}}, nil, deps)
	e.counts.metrics = deps.Metrics
	return e, "", problems
}

// closes returns what of problems keeps a service from being asked, "" for nothing.
func closes(problems []config.Problem) string {
	for i := range problems {
		if e := problems[i].Effect; e == config.RouteClosed || e == config.ObjectDropped {
			return problems[i].Msg
		}
	}
	return ""
}

// NewAuthService makes one of all AuthServices: they are replicas of each other and not a
// chain. It returns nil where there are none, or where they stand for the filters of the
// gateway itself.
func NewAuthService(w *config.World, deps *Deps) (Filter, []config.Problem) {
	list := make([]*config.AuthService, 0, len(w.AuthServices))
	for i := range w.AuthServices {
		if a := &w.AuthServices[i]; !a.BuiltIn {
			list = append(list, a)
		} else if a.Broken != "" {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(list, func(a, b *config.AuthService) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	m := merger{deps: deps, linkerd: len(w.Modules) > 0 && w.Modules[0].AddLinkerdHeaders}
	return m.merge(list), m.problems
}

// A merger makes one of several AuthServices.
type merger struct {
	deps     *Deps
	linkerd  bool // by the Module
	problems []config.Problem
}

// merge makes one of list, or what answers in its place where that cannot be.
func (m *merger) merge(list []*config.AuthService) Filter {
	first := list[0]
	for _, a := range list {
		if a.Broken != "" {
			return newMisconfigured(a)
		}
	}
	all := *first
	all.AllowedRequestHeaders, all.AllowedResponseHeaders = slices.Clone(first.AllowedRequestHeaders), slices.Clone(first.AllowedResponseHeaders)
	for _, a := range list[1:] {
		if field := differs(first, a); field != "" {
			m.conflict(a, field, fmt.Sprintf("%s has another: services that stand for each other must be asked alike", first.Ref()), config.RouteClosed, closedByMerge)
			return newMisconfigured(first)
		}
		m.add(&all, a)
	}
	var to []replica
	for _, a := range list {
		if a.Service == "" {
			continue
		}
		named := *a
		named.StatsName, named.CircuitBreakers = all.StatsName, all.CircuitBreakers
		asker, address, problems := m.deps.AuthService(&named)
		for i := range problems {
			if problems[i].Effect == config.RouteClosed {
				problems[i].Instead = closedByMerge
			}
		}
		m.problems = append(m.problems, problems...)
		if closes(problems) != "" {
			return newMisconfigured(a)
		}
		to = append(to, replica{asker, []byte(address)})
	}
	if len(to) == 0 {
		m.conflict(first, "auth_service", "nobody is named who could be asked", config.RouteClosed, closedByMerge)
		return newMisconfigured(first)
	}
	all.AddLinkerdHeaders = m.linkerd
	if all.AddLinkerd != nil {
		all.AddLinkerdHeaders = *all.AddLinkerd
	}
	ref := first.Ref()
	return newExternal(ref.String(), &all.ExternalAuth, to, all.AddHeaders, m.deps)
}

const closedByMerge = "every route without bypass_auth answers 500"

// differs returns the field by which a cannot stand for first, "" for none.
func differs(first, a *config.AuthService) string {
	switch {
	case a.Service == "" || first.Service == "":
	case a.GRPC != first.GRPC:
		return "proto"
	case a.TLSContext != first.TLSContext || originates(a) != originates(first):
		return "tls"
	}
	return ""
}

// originates reports whether a is asked over TLS.
func originates(a *config.AuthService) bool {
	return a.OriginateTLS || a.TLSContext != "" || len(a.Service) > len("https://") && a.Service[:len("https://")] == "https://"
}

// conflict reports what of a cannot be had beside the others.
func (m *merger) conflict(a *config.AuthService, field, msg string, effect config.Effect, instead string) {
	p := a.Problem(field, msg, effect)
	p.Instead = instead
	m.problems = append(m.problems, p)
}

// add merges a into all as Ambassador does: lists are joined, the first path_prefix
// counts, what lets pass or answers errors counts whoever says it, and of the rest the
// last.
func (m *merger) add(all, a *config.AuthService) {
	for _, s := range a.AllowedRequestHeaders {
		if !slices.Contains(all.AllowedRequestHeaders, s) {
			all.AllowedRequestHeaders = append(all.AllowedRequestHeaders, s)
		}
	}
	for _, s := range a.AllowedResponseHeaders {
		if !slices.Contains(all.AllowedResponseHeaders, s) {
			all.AllowedResponseHeaders = append(all.AllowedResponseHeaders, s)
		}
	}
	m.prefix(all, a)
	if a.Timeout != 0 {
		if all.Timeout != 0 && a.Timeout != all.Timeout {
			m.conflict(a, "timeout_ms", "an AuthService before this one has another", config.Notice, lastCounts)
		}
		all.Timeout = a.Timeout
	}
	if a.IncludeBody != nil {
		if all.IncludeBody != nil && *a.IncludeBody != *all.IncludeBody {
			m.conflict(a, "include_body", "an AuthService before this one has another", config.Notice, lastCounts)
		}
		all.IncludeBody = a.IncludeBody
	}
	if len(a.AddHeaders) > 0 {
		if len(all.AddHeaders) > 0 && !slices.Equal(a.AddHeaders, all.AddHeaders) {
			m.conflict(a, "add_auth_headers", "an AuthService before this one has others", config.Notice, lastCounts)
		}
		all.AddHeaders = a.AddHeaders
	}
	all.StatsName = cmp.Or(a.StatsName, all.StatsName)
	all.CircuitBreakers = cmp.Or(a.CircuitBreakers, all.CircuitBreakers)
	all.AddLinkerd = cmp.Or(a.AddLinkerd, all.AddLinkerd)
	all.FailureModeAllow = all.FailureModeAllow || a.FailureModeAllow
	all.StatusOnError = cmp.Or(a.StatusOnError, all.StatusOnError)
}

const lastCounts = "this one counts"

// prefix merges path_prefix.
func (m *merger) prefix(all, a *config.AuthService) {
	switch {
	case a.PathPrefix == "" || a.PathPrefix == all.PathPrefix:
	case all.PathPrefix == "":
		all.PathPrefix = a.PathPrefix
	default:
		m.conflict(a, "path_prefix", fmt.Sprintf("an AuthService before this one has %q", all.PathPrefix), config.FieldIgnored, "that one counts")
	}
}

// A misconfigured answers in the place of an AuthService that cannot be understood.
type misconfigured struct {
	by, message string
}

func newMisconfigured(a *config.AuthService) *misconfigured {
	ref := a.Ref()
	return &misconfigured{by: ref.String(), message: "the " + a.Name + " AuthService is misconfigured; see the logs for more information"}
}

// Filter refuses every request, in the words of Ambassador.
func (m *misconfigured) Filter(c *Call) Outcome {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetIndent("", "  ")
	_ = enc.Encode(struct { // of texts and a number: it cannot fail
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
		Status    int    `json:"status_code"`
	}{m.message, string(c.RequestID), 500})
	c.Reply = Reply{Reason: decision.AuthMisconfigured, By: m.by, Status: 500, ContentType: []byte("application/json"), Body: body.Bytes()}
	return Deny
}
