package decode

import (
	"cmp"

	"legate/config"
)

// gatewaySettings are what the settings of each grant are called.
var gatewaySettings = [...]string{
	config.AuthorizationCode: "authorizationCodeSettings", config.ClientCredentials: "clientCredentialsSettings", config.PasswordGrant: "passwordSettings",
}

// gatewayOAuth2 reads the OAuth2 part of a Filter of the later group, which has the settings
// of each grant by themselves. What cannot be understood of it is a Problem that breaks the
// filter.
func (f *fields) gatewayOAuth2() *config.OAuth2Filter {
	c := f.oauth2Tokens("AuthorizationCode", "ClientCredentials", "Password", "ResourceOwner")
	if h := f.object("httpClientSettings"); h != nil {
		c.Fetch = h.fetchPolicy()
		h.finish(nil)
	}
	for grant, name := range gatewaySettings {
		written, its := f.find(name), config.GrantType(grant) == c.Grant
		s := f.object(name)
		switch {
		case s == nil && its && c.Grant != config.ClientCredentials:
			f.missing(name)
		case s == nil:
		case !its:
			f.complain(written, "the grantType is another")
		case c.Grant == config.ClientCredentials:
			s.finish(nil) // who asks brings what is needed
		default:
			s.gatewayGrant(c)
		}
	}
	f.finishLock("authorizationURL", "grantType", "clientAuthentication", "accessTokenValidation", "accessTokenJWTFilter",
		"authorizationCodeSettings", "passwordSettings", "clientCredentialsSettings")
	return c
}

// gatewayGrant reads the settings of a grant for which the gateway is a client.
func (f *fields) gatewayGrant(c *config.OAuth2Filter) {
	c.ClientID, c.Secret = f.required("clientID"), f.text("clientSecret")
	written := f.find("clientSecretRef")
	if r := f.object("clientSecretRef"); r != nil {
		c.SecretRef = config.SecretName{Name: r.required("name"), Namespace: cmp.Or(r.text("namespace"), f.o.Meta.Namespace)}
		r.finish(nil)
		if c.Secret != "" {
			f.complain(written, "clientSecret is given too, and only one of them can be it")
		}
	}
	if c.Secret == "" && c.SecretRef.Name == "" && c.ClientAuth.Method == "JWTAssertion" {
		f.missing("clientSecretRef")
	}
	if c.Grant == config.AuthorizationCode {
		f.gatewayBrowsers(c)
	}
	f.finishLock("clientID", "clientSecret", "clientSecretRef", "protectedOrigins", "sessionCookieSettings")
}

// gatewayBrowsers reads how people's browsers are sent around.
func (f *fields) gatewayBrowsers(c *config.OAuth2Filter) {
	c.MaxIdle = f.atLeastNothing("clientSessionMaxIdle")
	c.ExtraAuthorizationParameters = f.authorizationParameters()
	c.PostLogoutRedirectURI = f.keysURI("postLogoutRedirectURI")
	if p := f.object("pkce"); p != nil {
		p.oneOf("codeChallengeMethod", "S256") // which is what is done, whether it says so or not
		p.finish(nil)
	}
	if s := f.object("sessionCookieSettings"); s != nil {
		c.SessionCookies = &config.SessionCookies{Value: s.isSet("disableSessionExpiration"), If: s.gatewayCondition("ifRequestHeader")}
		s.finish(nil)
	}
	for _, o := range f.objects("protectedOrigins") {
		p := config.ProtectedOrigin{IncludeSubdomains: o.isSet("includeSubdomains"), Origin: o.outside()}
		for _, text := range o.list("allowedInternalOrigins") {
			internal, ok := asOrigin(text, true)
			if !ok {
				o.wrong(o.find("allowedInternalOrigins"), "a list of origins, as in https://shop.example.com")
			}
			p.InternalOrigins = append(p.InternalOrigins, internal)
		}
		o.apart(&p, "allowedInternalOrigins")
		o.finish(nil)
		c.Origins = append(c.Origins, p)
	}
	if len(c.Origins) == 0 && f.blank("protectedOrigins") {
		f.missing("protectedOrigins")
	}
}
