package decode

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// ownAuthorizationParameters are those that the gateway itself sends people to the provider
// with.
var ownAuthorizationParameters = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "response_mode",
}

// oauth2 reads spec.OAuth2. What cannot be understood of it is a Problem that breaks the
// filter.
func (f *fields) oauth2() *config.OAuth2Filter {
	c := f.oauth2Tokens("AuthorizationCode", "ClientCredentials", "Password")
	c.ClientID = cmp.Or(f.text("clientID"), f.text("clientId"))
	c.Fetch = f.fetchPolicy()
	c.PostLogoutRedirectURI = cmp.Or(f.keysURI("postLogoutRedirectURI"), f.keysURI("v3postLogoutRedirectURI"))
	c.MaxIdle = f.atLeastNothing("clientSessionMaxIdle")
	c.Origins = f.protectedOrigins()
	c.SessionCookies = f.sessionCookies()
	c.ExtraAuthorizationParameters = f.authorizationParameters()
	f.clientSecret(c)
	for _, without := range []string{"audience", "stateTTL"} {
		if f.value(without) != nil {
			f.o.report(f.at(without), f.path+without, "has had no effect for long", config.Notice).Instead = "it is passed over"
		}
	}
	f.finishLock("authorizationURL", "grantType", "clientAuthentication", "protectedOrigins", "accessTokenValidation", "accessTokenJWTFilter")
	f.oauth2Needs(c)
	return c
}

// oauth2Tokens reads what every group says in the same way: where tokens come from, and
// what they must be.
func (f *fields) oauth2Tokens(grants ...string) *config.OAuth2Filter {
	c := &config.OAuth2Filter{
		AuthorizationURL: f.keysURI("authorizationURL"),
		Validation:       cmp.Or(f.oneOf("accessTokenValidation", "auto", "jwt", "userinfo"), "auto"),
		Inject:           f.headerTemplates("injectRequestHeaders"),
		SafetyMargin:     f.atLeastNothing("expirationSafetyMargin"),

		AllowMalformedAccessToken: f.isSet("allowMalformedAccessToken"),
	}
	if f.blank("authorizationURL") {
		f.missing("authorizationURL")
	}
	switch f.oneOf("grantType", grants...) {
	case "ClientCredentials":
		c.Grant = config.ClientCredentials
	case "Password", "ResourceOwner":
		c.Grant = config.PasswordGrant
	}
	c.ClientAuth = f.clientAuthentication(c.Grant)
	c.TokenFilter = f.accessTokenFilter(c.Validation)
	return c
}

// oauth2Needs reports what the grant asks for, and is not there.
func (f *fields) oauth2Needs(c *config.OAuth2Filter) {
	switch c.Grant {
	case config.AuthorizationCode:
		if len(c.Origins) == 0 && f.blank("protectedOrigins") && f.blank("clientURL") {
			f.missing("protectedOrigins")
		}
	case config.ClientCredentials, config.PasswordGrant:
		for _, name := range []string{"protectedOrigins", "clientURL"} {
			if !f.blank(name) {
				f.complain(f.find(name), "only people's browsers have origins, and the grantType is another")
			}
		}
	}
	if c.Grant == config.ClientCredentials {
		return // who asks brings what is needed
	}
	if c.ClientID == "" {
		f.missing("clientID")
	}
	if c.Secret == "" && c.SecretRef.Name == "" && c.ClientAuth.Method == "JWTAssertion" {
		f.missing("secretName")
	}
}

// blank reports whether a field says nothing: it is missing, or is an empty text or list.
func (f *fields) blank(name string) bool {
	e := f.value(name)
	if e == nil {
		return true
	}
	v := resolve(e.value)
	return v.Kind == yaml.ScalarNode && v.Value == "" || v.Kind == yaml.SequenceNode && len(v.Content) == 0
}

// atLeastNothing reads a duration that is not negative, 0 if it is missing.
func (f *fields) atLeastNothing(name string) time.Duration {
	d := f.duration(name)
	switch {
	case d == nil:
		return 0
	case *d < 0:
		f.wrong(f.find(name), "a duration that is not negative, as in 30s")
		return 0
	}
	return *d
}

// clientSecret reads where the client's secret is.
func (f *fields) clientSecret(c *config.OAuth2Filter) {
	c.Secret = f.text("secret")
	c.SecretRef = f.secret()
	if c.Secret != "" && c.SecretRef.Name != "" {
		f.complain(f.find("secretName"), "secret is given too, and only one of them can be it")
	}
}

// signingMethods are those of assertions.
var signingMethods = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512",
}

// clientAuthentication reads how the gateway proves who it is.
func (f *fields) clientAuthentication(grant config.GrantType) config.ClientAuthentication {
	a := config.ClientAuthentication{Method: "HeaderPassword"}
	sub := f.object("clientAuthentication")
	if sub == nil {
		return a
	}
	a.Method = cmp.Or(sub.oneOf("method", "HeaderPassword", "BodyPassword", "JWTAssertion"), a.Method)
	written := sub.find("jwtAssertion")
	if j := sub.object("jwtAssertion"); j != nil {
		if a.Method != "JWTAssertion" {
			sub.complain(written, "the method is "+a.Method+", which makes no assertions")
		}
		a.Assertion = j.assertion(grant)
	} else if a.Method == "JWTAssertion" {
		a.Assertion = config.JWTAssertion{SigningMethod: "RS256", Lifetime: time.Minute}
	}
	sub.finish(nil)
	return a
}

// assertion reads jwtAssertion. Where clients make their own, only one of its fields says
// something.
func (f *fields) assertion(grant config.GrantType) config.JWTAssertion {
	j := config.JWTAssertion{
		SetClientID:     f.isSet("setClientID"),
		Audience:        f.text("audience"),
		SigningMethod:   cmp.Or(f.oneOf("signingMethod", signingMethods...), "RS256"),
		Lifetime:        cmp.Or(f.atLeastNothing("lifetime"), time.Minute),
		SetNBF:          f.isSet("setNBF"),
		SetIAT:          f.isSet("setIAT"),
		NBFSafetyMargin: f.atLeastNothing("nbfSafetyMargin"),
	}
	j.OtherClaims = f.anything("otherClaims")
	j.OtherHeaderParameters = f.anything("otherHeaderParameters")
	if grant == config.ClientCredentials {
		for _, name := range []string{"audience", "signingMethod", "lifetime", "setNBF", "setIAT", "nbfSafetyMargin", "otherClaims", "otherHeaderParameters"} {
			if f.has(name) {
				f.complain(f.find(name), "with grantType ClientCredentials it is the client that makes the assertion")
			}
		}
	}
	f.finish(nil)
	return j
}

// anything reads an object of any members, as encoding/json would.
func (f *fields) anything(name string) map[string]any {
	e := f.value(name)
	if e == nil {
		return nil
	}
	var m map[string]any
	if err := e.value.Decode(&m); err != nil {
		f.wrong(e, "an object")
		return nil
	}
	return m
}

// protectedOrigins reads whose pages people log in to.
func (f *fields) protectedOrigins() []config.ProtectedOrigin {
	var list []config.ProtectedOrigin
	for _, o := range f.objects("protectedOrigins") {
		p := config.ProtectedOrigin{IncludeSubdomains: o.isSet("includeSubdomains"), Origin: o.outside()}
		if internal := o.origin("internalOrigin", true); internal != "" {
			p.InternalOrigins = []string{internal}
		}
		o.apart(&p, "internalOrigin")
		o.finish(nil)
		list = append(list, p)
	}
	if f.text("clientURL") != "" {
		if len(list) > 0 {
			f.complain(f.find("clientURL"), "protectedOrigins is given too, and takes its place")
			return list
		}
		list = append(list, config.ProtectedOrigin{Origin: f.origin("clientURL", false), InternalOrigins: []string{"*://*"}})
	}
	return list
}

// outside reads the origin that browsers have, which must be there.
func (f *fields) outside() string {
	if f.required("origin") == "" {
		return ""
	}
	return f.origin("origin", false)
}

// apart reports where p's origin cannot be told from its subdomains.
func (f *fields) apart(p *config.ProtectedOrigin, name string) {
	if p.IncludeSubdomains && strings.Contains(strings.Join(p.InternalOrigins, " "), "*") {
		f.complain(f.find(name), `"*" cannot be told apart from the subdomains that includeSubdomains asks for`)
	}
}

// origin reads scheme and authority of an address, in lower case and without the port that
// the scheme has of itself; "" if it is missing. wild lets either be "*".
func (f *fields) origin(name string, wild bool) string {
	text := f.text(name)
	if text == "" {
		return ""
	}
	o, ok := asOrigin(text, wild)
	if !ok {
		f.wrong(f.find(name), "an origin, as in https://shop.example.com")
	}
	return o
}

// asOrigin is origin for a text.
func asOrigin(text string, wild bool) (string, bool) {
	text = strings.ToLower(text)
	scheme, rest, found := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	ok := found && host != "" && (scheme == "http" || scheme == "https" || wild && scheme == "*")
	if ok && host != "*" {
		u, err := url.Parse("https://" + host)
		ok = err == nil && u.Host == host && u.User == nil && !strings.Contains(host, "*")
	} else if host == "*" {
		ok = ok && wild
	}
	if !ok {
		return "", false
	}
	if port := map[string]string{"http": ":80", "https": ":443"}[scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return scheme + "://" + host, true
}

func (f *fields) sessionCookies() *config.SessionCookies {
	sub := f.object("useSessionCookies")
	if sub == nil {
		return nil
	}
	s := &config.SessionCookies{Value: true, If: sub.headerCondition("ifRequestHeader")}
	if v := sub.flag("value"); v != nil {
		s.Value = *v
	}
	sub.finish(nil)
	return s
}

// authorizationParameters reads what is added to the address that people are sent to.
func (f *fields) authorizationParameters() []config.NameValue {
	const name = "extraAuthorizationParameters"
	values := f.texts(name)
	var list []config.NameValue
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(ownAuthorizationParameters, key) {
			f.complain(f.find(name), fmt.Sprintf("%q is the gateway's own to say", key))
			continue
		}
		list = append(list, config.NameValue{Name: key, Value: values[key]})
	}
	return list
}

// accessTokenFilter reads which JWT Filter judges access tokens.
func (f *fields) accessTokenFilter(validation string) *config.AccessTokenFilter {
	const name = "accessTokenJWTFilter"
	written := f.find(name)
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	if validation == "userinfo" {
		f.complain(written, "accessTokenValidation is userinfo, which looks into no token")
	}
	a := &config.AccessTokenFilter{
		Filter:              config.SecretName{Name: sub.required("name"), Namespace: cmp.Or(sub.text("namespace"), f.o.Meta.Namespace)},
		InheritScope:        sub.isSet("inheritScopeArgument"),
		StripInheritedScope: sub.isSet("stripInheritedScope"),
	}
	if args := sub.object("arguments"); args != nil {
		a.Arguments = args.filterArguments()
	}
	sub.finish(nil)
	return a
}
