package config

import "time"

// A GrantType is how an OAuth2Filter comes by tokens (RFC 6749).
type GrantType uint8

// The grants.
const (
	AuthorizationCode GrantType = iota
	ClientCredentials
	PasswordGrant
)

// An OAuth2Filter logs people in at an identity provider, or asks it for tokens by what
// a request brings.
type OAuth2Filter struct {
	AuthorizationURL             string
	Grant                        GrantType
	SafetyMargin                 time.Duration // access tokens count as expired that much earlier
	ClientAuth                   ClientAuthentication
	Origins                      []ProtectedOrigin
	ClientID                     string
	Secret                       string // in the object itself; "" where SecretRef names one
	SecretRef                    SecretName
	SessionCookies               *SessionCookies // nil for cookies that outlive the browser
	MaxIdle                      time.Duration   // of a session; 0 for the default
	ExtraAuthorizationParameters []NameValue     // sorted by name
	PostLogoutRedirectURI        string
	Validation                   string // "auto", "jwt" or "userinfo"
	TokenFilter                  *AccessTokenFilter
	AllowMalformedAccessToken    bool
	Inject                       []HeaderTemplate
	Fetch                        FetchPolicy
}

// A ClientAuthentication is how the gateway proves to the provider who it is.
type ClientAuthentication struct {
	Method    string // "HeaderPassword", "BodyPassword" or "JWTAssertion"
	Assertion JWTAssertion
}

// A JWTAssertion is made as RFC 7523 says.
type JWTAssertion struct {
	SetClientID           bool
	Audience              string // "" for the token endpoint
	SigningMethod         string
	Lifetime              time.Duration
	SetNBF, SetIAT        bool
	NBFSafetyMargin       time.Duration
	OtherClaims           map[string]any
	OtherHeaderParameters map[string]any
}

// A ProtectedOrigin is an origin whose pages people log in to.
type ProtectedOrigin struct {
	Origin            string   // scheme and authority
	InternalOrigins   []string // as the gateway may see it; parts may be "*". Empty for Origin
	IncludeSubdomains bool
}

// A SessionCookies says whether cookies end with the browser, for requests that If
// matches and otherwise for the others.
type SessionCookies struct {
	Value bool
	If    *HeaderCondition
}

// An AccessTokenFilter is the JWT Filter that judges access tokens.
type AccessTokenFilter struct {
	Filter              SecretName // its name and namespace
	InheritScope        bool
	StripInheritedScope bool
	Arguments           *Arguments
}
