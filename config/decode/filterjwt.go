package decode

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"legate/config"
)

// algorithms are the names that validAlgorithms may hold.
var algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA", "none",
}

// jwtFilter reads what a JWT Filter says of tokens and of refusals.
func (f *fields) jwtFilter() *config.JWTFilter {
	c := &config.JWTFilter{}
	f.jwtRules(c)
	c.Inject = f.headerTemplates("injectRequestHeaders")
	c.Error = f.errorResponse()
	if c.Error.Realm == "" {
		c.Error.Realm = f.text("realm") // where it was before 1.0
	} else {
		f.take("realm")
	}
	f.finishLock()
	if c.JWKSURI == "" && !onlyUnsigned(c.ValidAlgorithms) {
		f.missing("jwksURI")
	}
	return c
}

// onlyUnsigned reports whether algorithms need no keys.
func onlyUnsigned(algorithms []string) bool { return len(algorithms) == 1 && algorithms[0] == "none" }

// jwtRules reads what is asked of tokens.
func (f *fields) jwtRules(c *config.JWTFilter) {
	c.JWKSURI = f.keysURI("jwksURI")
	c.ValidAlgorithms = f.validAlgorithms()
	c.Audiences = f.nonEmpty("audience")
	c.RequireAudience = f.isSet("requireAudience")
	c.Issuer = f.text("issuer")
	c.RequireIssuer = f.isSet("requireIssuer")
	for _, r := range []struct {
		rule *config.ClaimRule
		of   string
	}{{&c.ExpiresAt, "ExpiresAt"}, {&c.NotBefore, "NotBefore"}, {&c.IssuedAt, "IssuedAt"}} {
		r.rule.Required = f.isSet("require" + r.of)
		if d := f.duration("leewayFor" + r.of); d != nil {
			r.rule.Leeway = *d
		}
	}
	c.Fetch = f.fetchPolicy()
}

// fetchPolicy reads how key sets and identity providers are asked.
func (f *fields) fetchPolicy() (p config.FetchPolicy) {
	p.InsecureTLS = f.isSet("insecureTLS")
	if p.RenegotiateTLS = f.oneOf("renegotiateTLS", "never", "onceAsClient", "freelyAsClient"); p.RenegotiateTLS == "never" {
		p.RenegotiateTLS = ""
	}
	for _, name := range []string{"v3MaxStale", "maxStale"} {
		if d := f.duration(name); d != nil {
			p.MaxStale = *d
		}
	}
	return p
}

// keysURI returns the address of a key set, "" if it is missing.
func (f *fields) keysURI(name string) string {
	text := f.text(name)
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		f.wrong(f.find(name), `an address that begins with "https://" or "http://"`)
		return ""
	}
	return text
}

// validAlgorithms returns the algorithms that tokens may be signed by, nil for those that
// are safe.
func (f *fields) validAlgorithms() []string {
	list := f.list("validAlgorithms")
	for _, a := range list {
		if !slices.Contains(algorithms, a) {
			f.complain(f.find("validAlgorithms"), fmt.Sprintf("%q is no algorithm that is known here, only %s", a, strings.Join(algorithms, ", ")))
			return nil
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

// nonEmpty returns a list of texts, nil if none of them says anything.
func (f *fields) nonEmpty(name string) []string {
	list := slices.DeleteFunc(f.list(name), func(s string) bool { return s == "" })
	if len(list) == 0 {
		return nil
	}
	return list
}

// maxErrorHeaders is how many headers of an errorResponse Ambassador takes.
const maxErrorHeaders = 16

// errorResponse reads what refusals look like.
func (f *fields) errorResponse() (r config.ErrorResponse) {
	e := f.object("errorResponse")
	if e == nil {
		return r
	}
	r.Realm = e.text("realm")
	r.Headers = e.headerTemplates("headers")
	if contentType := e.text("contentType"); contentType != "" {
		r.Headers = append(r.Headers, config.HeaderTemplate{Name: "Content-Type", Value: contentType})
	}
	if len(r.Headers) > maxErrorHeaders {
		e.complain(e.find("headers"), fmt.Sprintf("there are more than %d", maxErrorHeaders))
	}
	r.Body = e.text("bodyTemplate")
	e.finish(nil)
	return r
}

// jwtArguments reads what a rule tells the JWT Filter that it uses.
func (f *fields) jwtArguments(a *config.Arguments) {
	a.Scope = f.list("scope")
	if older := f.list("scopes"); a.Scope == nil {
		a.Scope = older
	}
	a.JWKSURI = f.keysURI("jwksURI")
	a.Audiences = f.nonEmpty("audience")
	a.Issuer = f.text("issuer")
	a.ValidAlgorithms = f.validAlgorithms()
	a.PropagateToken = f.flag("propagateToken")
	a.RequireAudience, a.RequireIssuer = f.flag("requireAudience"), f.flag("requireIssuer")
	for _, r := range []struct {
		rule *config.ClaimOverride
		of   string
	}{{&a.ExpiresAt, "ExpiresAt"}, {&a.NotBefore, "NotBefore"}, {&a.IssuedAt, "IssuedAt"}} {
		r.rule.Required = f.flag("require" + r.of)
		r.rule.Leeway = f.duration("leewayFor" + r.of)
	}
}

// tokenRequirement reads a Mapping's jwt, which e is. broken says that it cannot be
// understood: the Mapping stays then, and its route is closed, as without it requests
// might find another that asks for less.
func (f *fields) tokenRequirement(e *entry) (t *config.TokenRequirement, broken bool) {
	o := f.o
	dropped, before := o.dropped, len(o.Problems)
	o.dropped = false
	t = &config.TokenRequirement{PropagateToken: true}
	if j := f.object(e.name); j != nil {
		t.RequireToken = j.isSet("requireToken")
		j.jwtRules(&t.Filter)
		t.Filter.Inject = j.headerTemplates("injectRequestHeaders")
		t.Filter.Error = j.errorResponse()
		if p := j.flag("propagateToken"); p != nil {
			t.PropagateToken = *p
		}
		j.finishLock("requireToken", "injectRequestHeaders", "propagateToken")
	}
	broken = o.dropped
	o.dropped = dropped
	for i := range o.Problems[before:] {
		if p := &o.Problems[before+i]; p.Effect == config.ObjectDropped {
			p.Effect, p.Instead = config.RouteClosed, "the route answers 503"
		}
	}
	return t, broken
}

// locks are the fields that ask something of tokens.
var locks = []string{
	"jwksURI", "validAlgorithms", "audience", "requireAudience", "issuer", "requireIssuer", "requireExpiresAt", "requireNotBefore", "requireIssuedAt",
}

// finishLock is finish for an object whose fields protect routes: one that looks like a
// misspelt lock, or like one of others, is not passed over. Its author believes in it.
func (f *fields) finishLock(others ...string) {
	for i := range f.written {
		e := &f.written[i]
		if e.used {
			continue
		}
		if guess := closest(e.name, append(slices.Clone(locks), others...)); guess != "" {
			e.used = true
			f.complain(e, fmt.Sprintf("there is no such field, did you mean %q?", guess))
		}
	}
	f.finish(nil)
}
