package authn

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// A profile is what a route decides about the tokens that are minted for its service. It
// is not changed. Profiles of one id are alike.
type profile struct {
	id       string
	audience []string
	origins  []string // nil where any may use the token
	services []string
	claims   []byte // those members of the payload, rendered, each with a comma before it
}

// servedProfiles are the profiles of one Service, by who mints.
type servedProfiles struct {
	list atomic.Pointer[[]servedProfile]
}

type servedProfile struct {
	minter  *Minter
	profile *profile
}

// profile returns what s decides about m's tokens. Budget: 0 allocs from the second time
// on.
func (m *Minter) profile(s *Service) *profile {
	list := s.profiles.list.Load()
	if list != nil {
		for i := range *list {
			if (*list)[i].minter == m {
				return (*list)[i].profile
			}
		}
	}
	p := m.makeProfile(s.Name, s.Origins)
	var next []servedProfile
	if list != nil { // a Service may outlive the filters of several configurations
		next = slices.DeleteFunc(slices.Clone(*list), func(o servedProfile) bool { return o.minter.by == m.by })
	}
	next = append(next, servedProfile{m, p})
	s.profiles.list.CompareAndSwap(list, &next) // who loses makes it once more
	return p
}

// makeProfile makes the profile of a service and the origins of its route's CORS policy.
func (m *Minter) makeProfile(service string, cors []string) *profile {
	p := &profile{audience: m.f.Audience, services: m.f.AllowedServices}
	if p.audience == nil {
		p.audience = []string{service}
	}
	if p.services == nil {
		p.services = []string{service}
	}
	switch origins := m.f.AllowedOrigins; {
	case !origins.CORS:
		p.origins = serialised(origins.List)
	case !slices.Contains(cors, "*"):
		p.origins = serialised(cors)
	}
	p.claims = appendMember(p.claims, "aud", p.audience)
	p.claims = appendMember(p.claims, "allowed_services", p.services)
	if len(p.origins) > 0 {
		p.claims = appendMember(p.claims, "allowed_origins", p.origins)
	}
	if len(m.f.IPRanges) > 0 {
		p.claims = appendMember(p.claims, "ip_ranges", m.f.IPRanges)
	}
	p.id = m.fingerprint + string(p.claims)
	return p
}

// serialised returns origins as browsers write them (RFC 6454 §6.2).
func serialised(origins []string) []string {
	var list []string
	for _, o := range origins {
		o = strings.TrimRight(strings.ToLower(strings.TrimSpace(o)), "/")
		if u, err := url.Parse(o); err == nil && (u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80") {
			o = o[:strings.LastIndexByte(o, ':')]
		}
		if o != "" && !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

// appendMember appends a member of a JSON object, a comma before it.
func appendMember(b []byte, name string, value any) []byte {
	return appendValue(append(appendText(append(b, ','), name), ':'), value)
}

// appendText appends s as encoding/json renders it.
func appendText(b []byte, s string) []byte {
	if isPlain(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a text cannot be rendered: " + err.Error()) // every text can
	}
	return append(b, text...)
}

// appendValue appends value as encoding/json renders it, which claims mostly need no help
// for.
func appendValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendText(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case []string:
		if v != nil {
			return appendList(b, v)
		}
	case []any:
		if v != nil {
			return appendList(b, v)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic("BUG: a claim cannot be rendered: " + err.Error()) // it came out of JSON, or is a list of texts
	}
	return append(b, text...)
}

func appendList[T any](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, item := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, item)
	}
	return append(b, ']')
}

// isPlain reports whether s stands in JSON as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
