package authn

import (
	"fmt"
	"io"
	"slices"

	"legate/config"
)

// logins are the OAuth2 Filters of one configuration. They are built by one goroutine and
// not changed after start.
type logins struct {
	byName    map[string]*login // by "name.namespace"
	parts     map[string]*loginParts
	providers map[providerKey]*provider
}

// A providerKey is what two Filters must agree on to share a provider.
type providerKey struct {
	url    string
	policy config.FetchPolicy
}

// newLogins makes the OAuth2 Filters of w. Sessions that ended, tokens and what providers
// said of themselves are taken over from prev, which may be nil and does not change.
func newLogins(w *config.World, prev *logins, secrets func(namespace, name string) *config.Secret, sets *keySets, d *Deps) (*logins, []config.Problem) {
	s := &logins{byName: map[string]*login{}, parts: map[string]*loginParts{}, providers: map[providerKey]*provider{}}
	if prev == nil {
		prev = &logins{}
	}
	var problems []config.Problem
	for i := range w.Filters {
		o := &w.Filters[i]
		name := o.FullName()
		if o.OAuth2 == nil || o.Broken != "" || s.parts[name] != nil {
			continue
		}
		parts := prev.parts[name]
		if parts == nil {
			parts = &loginParts{own: make([]byte, 32), ended: d.revocations()}
			if _, err := io.ReadFull(d.Random, parts.own); err != nil {
				panic("BUG: no random bytes: " + err.Error())
			}
		}
		s.parts[name] = parts
		l, shared, err := newLogin(o, parts, s.provider(o.OAuth2, prev, d), secrets, sets, d)
		if err != nil {
			problems = append(problems, objectProblem(&o.Meta, "OAuth2.", err, filterCloses))
			continue
		}
		if !shared {
			p := o.Problem("OAuth2.secretName", fmt.Sprintf("the client's secret has fewer than %d bytes, and there is no %s beside it to seal sessions with", minSecret, sessionKeys), config.Notice)
			p.Instead = "sessions are sealed with a key of this process: they end with it, and other replicas do not know them"
			problems = append(problems, p)
		}
		s.byName[l.realm] = l
	}
	return s, problems
}

// provider returns the one that c names: this configuration's, the previous one's, or a
// new one.
func (s *logins) provider(c *config.OAuth2Filter, prev *logins, d *Deps) *provider {
	k := providerKey{c.AuthorizationURL, c.Fetch}
	p := s.providers[k]
	if p == nil {
		p = prev.providers[k]
	}
	if p == nil {
		p = newProvider(c, d)
	}
	s.providers[k] = p
	return p
}

// addTo puts the paths of the logins among those that the gateway answers.
func (s *logins) addTo(endpoints *Endpoints, d *Deps) {
	browsers := map[string]*login{}
	for realm, l := range s.byName {
		if l.f.Grant == config.AuthorizationCode {
			browsers[realm] = l
		}
	}
	if len(browsers) > 0 {
		endpoints.Add(ownPaths+"*", &loginPaths{browsers, d}, loginPathsBy)
	}
}

// retire closes what next, which may be nil, does not have.
func (s *logins) retire(next *logins) {
	for k, p := range s.providers {
		if next == nil || next.providers[k] != p {
			p.client.CloseIdleConnections()
		}
	}
}

// oauth2 makes o as a rule of p uses it.
func (b *setBuilder) oauth2(p *config.FilterPolicy, field string, o *config.Filter, args *config.Arguments) (Filter, []config.Problem) {
	invalid := newInvalid(o.Namespace, o.Name, b.deps)
	l := b.logins.byName[o.Name+"."+o.Namespace]
	if l == nil {
		return invalid, nil // newLogins told why
	}
	closed := func(where string, err error) []config.Problem {
		problem := p.Problem(field+where, err.Error(), config.RouteClosed)
		problem.Instead = filterCloses
		return []config.Problem{problem}
	}
	if args != nil && args.Instead != nil && l.f.Grant != config.AuthorizationCode {
		return invalid, closed(".arguments.insteadOfRedirect", fmt.Errorf("%s redirects nobody", l.by))
	}
	judge, err := b.judge(l, args)
	if err != nil {
		return invalid, closed("", err)
	}
	var filters *rule
	var problems []config.Problem
	if args != nil && args.Instead != nil && len(args.Instead.Filters) > 0 {
		filters = &rule{by: p.FullName()}
		filters.uses, problems = newUses(p, b.deps, field+".arguments.insteadOfRedirect.filters", args.Instead.Filters, b.use)
	}
	x, err := newOAuth2(l, args, judge, filters, b.keys, b.deps)
	if err != nil {
		return invalid, append(problems, closed("", err)...)
	}
	if i := slices.IndexFunc(l.origins, func(o origin) bool { return !o.secure() }); i >= 0 && x.sameSite == "none" {
		problem := p.Problem(field+".arguments.sameSite", "browsers keep no cookie of "+l.origins[i].external+" that is for all sites, as it is not Secure", config.Notice)
		problem.Instead = "nobody who comes there gets a session"
		problems = append(problems, problem)
	}
	return x, problems
}

// judge makes the JWT Filter that l's access tokens are judged by, nil for none.
func (b *setBuilder) judge(l *login, args *config.Arguments) (*jwtFilter, error) {
	t := l.f.TokenFilter
	if t == nil {
		return nil, nil
	}
	i := slices.IndexFunc(b.world.Filters, func(f config.Filter) bool { return f.Is(t.Filter.Namespace, t.Filter.Name) })
	if i >= 0 {
		b.speaks(&b.world.Filters[i])
	}
	if i < 0 || b.world.Filters[i].JWT == nil || b.world.Filters[i].Broken != "" {
		return nil, fmt.Errorf("the accessTokenJWTFilter of %s: there is no JWT Filter %s.%s that could be used", l.by, t.Filter.Name, t.Filter.Namespace)
	}
	o := &b.world.Filters[i]
	asked := config.Arguments{}
	if t.Arguments != nil {
		asked = *t.Arguments
	}
	if t.InheritScope {
		asked.Scope = union(asked.Scope, inherited(l.scope(args), t.StripInheritedScope))
	}
	j, err := newJWT(fmt.Sprintf("Filter %s/%s", o.Namespace, o.Name), o.FullName(), o.JWT, &asked, b.keys, b.deps)
	if err == nil {
		j.offenders = nil // the provider gave the token, and not who asks
	}
	return j, err
}

// inherited returns the scopes that a JWT Filter asks for because a rule does.
func inherited(scope []string, strip bool) []string {
	var list []string
	for _, s := range scope {
		if s == "offline_access" {
			continue
		}
		if strip {
			s = afterSlash(s)
		}
		list = append(list, s)
	}
	return list
}

// afterSlash cuts everything up to the last slash.
func afterSlash(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return s[i+1:]
		}
	}
	return s
}
