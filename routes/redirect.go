package routes

import (
	"cmp"
	"fmt"
	"strings"

	"legate/config"
	"legate/wire"
)

// A redirect is where a Redirect route sends its clients.
type redirect struct {
	host   string
	path   string    // replaces the whole path
	prefix *string   // replaces what matched
	regex  *regexSub // replaces its matches
}

func (b *builder) readRedirect(d *draft) (string, error) {
	m := d.mapping
	if !m.HostRedirect {
		b.ignoreRedirects(m, "only host_redirect redirects", m.PathRedirect != "", m.PrefixRedirect != "", m.RegexRedirect != nil)
		return "", nil
	}
	d.route.Kind = Redirect
	d.route.Status = cmp.Or(m.RedirectResponseCode, 301)
	switch d.route.Status {
	case 301, 302, 303, 307, 308:
	default:
		return "redirect_response_code", fmt.Errorf("must be 301, 302, 303, 307 or 308, got %d", m.RedirectResponseCode)
	}
	t := &d.route.target
	t.host = redirectHost(m.Service)
	switch {
	case m.PathRedirect != "":
		t.path = m.PathRedirect
		b.ignoreRedirects(m, "path_redirect is given too and counts", false, m.PrefixRedirect != "", m.RegexRedirect != nil)
	case m.PrefixRedirect != "":
		t.prefix = &m.PrefixRedirect
		b.ignoreRedirects(m, "prefix_redirect is given too and counts", false, false, m.RegexRedirect != nil)
	case m.RegexRedirect != nil:
		var err error
		if t.regex, err = b.regexSub(m.RegexRedirect); err != nil {
			return "regex_redirect", err
		}
	}
	return "", nil
}

// ignoreRedirects names the redirect fields that have no effect.
func (b *builder) ignoreRedirects(m *config.Mapping, why string, path, prefix, regex bool) {
	for _, f := range []struct {
		name string
		set  bool
	}{{"path_redirect", path}, {"prefix_redirect", prefix}, {"regex_redirect", regex}} {
		if f.set {
			b.problem(m.Problem(f.name, why, config.FieldIgnored))
		}
	}
}

// redirectHost is the host that a redirecting Mapping's service stands for. It is
// no service of the cluster, so it gets no namespace.
func redirectHost(service string) string {
	if _, rest, ok := strings.Cut(service, "://"); ok {
		service = rest
	}
	if i := strings.IndexAny(service, "/?#"); i >= 0 {
		service = service[:i]
	}
	return service
}

// Location appends to dst the address that a Redirect route sends r to.
// Budget: 0 allocs if dst has room, but for regex_redirect.
func (rt *Route) Location(dst []byte, t *Table, r *Request) []byte {
	dst = append(dst, t.scheme(r)...)
	dst = append(append(dst, "://"...), rt.target.host...)
	path := r.Head.Path()
	switch {
	case rt.target.path != "":
		dst = append(dst, rt.target.path...)
		if strings.Contains(rt.target.path, "?") {
			return dst
		}
	case rt.target.prefix != nil:
		dst = append(append(dst, *rt.target.prefix...), rt.rest(path)...)
	case rt.target.regex != nil:
		dst = rt.target.regex.replace(dst, path)
	default:
		dst = append(dst, path...)
	}
	return appendQuery(dst, r.Head)
}

func appendQuery(dst []byte, h *wire.Head) []byte {
	if query, has := h.Query(); has {
		dst = append(append(dst, '?'), query...)
	}
	return dst
}

// HTTPSLocation appends to dst the https address of a request that must come
// securely: its authority, path and query, without the port 80 that goes with http.
// Budget: 0 allocs if dst has room.
func (t *Table) HTTPSLocation(dst []byte, r *Request) []byte {
	authority := t.Authority(r)
	if host, port, _ := wire.SplitPort(authority); string(port) == "80" && t.scheme(r) == "http" {
		authority = host
	}
	dst = append(append(dst, "https://"...), authority...)
	return appendQuery(append(dst, r.Head.Path()...), r.Head)
}
