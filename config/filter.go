package config

import "time"

// A Filter is Ambassador's Filter: one way of establishing who asks, for FilterPolicies
// to name. Exactly one of its kinds is there, none where Broken says why.
type Filter struct {
	Meta
	Broken string // what is wrong with it; "" for nothing. It answers every request with 500

	JWT      *JWTFilter
	OAuth2   *OAuth2Filter
	External *ExternalAuth
	APIKey   *APIKeyFilter
	Plugin   *PluginFilter
	Mint     *MintFilter
}

// A SecretName names a Secret.
type SecretName struct{ Name, Namespace string }

// A HeaderTemplate is a header and the text/template that makes its value.
type HeaderTemplate struct{ Name, Value string }

// A FetchPolicy is how key sets and identity providers are asked.
type FetchPolicy struct {
	InsecureTLS    bool
	RenegotiateTLS string        // "never", "onceAsClient", "freelyAsClient"
	MaxStale       time.Duration // how long an answer may be used beyond what its headers say
}

// A ClaimRule is what is asked of one of a token's times.
type ClaimRule struct {
	Required bool
	Leeway   time.Duration
}

// A JWTFilter verifies the bearer token of a request.
type JWTFilter struct {
	JWKSURI         string
	ValidAlgorithms []string // empty for all that are safe
	Audiences       []string // one of them must be the token's; empty for any
	RequireAudience bool
	Issuer          string // "" for any
	RequireIssuer   bool
	ExpiresAt       ClaimRule
	NotBefore       ClaimRule
	IssuedAt        ClaimRule
	Fetch           FetchPolicy
	Inject          []HeaderTemplate // headers of the request
	Error           ErrorResponse
}

// An ErrorResponse is what a Filter's refusal looks like.
type ErrorResponse struct {
	Realm   string           // "" for the Filter's name and namespace
	Headers []HeaderTemplate // nil for the default
	Body    string           // a template; "" for the default
}

// An APIKeyFilter lets requests through that bring a key.
type APIKeyFilter struct {
	Header  string // in lower case
	Secrets []SecretName
}

// A PluginFilter is a Go plug-in, which no other program than the one it was built with
// can load.
type PluginFilter struct{ Name string }
