package config

import (
	"net/netip"
	"time"
)

// A MintFilter makes short-lived tokens for those who were verified.
type MintFilter struct {
	Issuer          string
	Lifetime        time.Duration
	Algorithm       string     // "ES256", "RS256" or "EdDSA"
	TokenType       string     // of the JOSE header
	SigningKeys     SecretName // zero for keys of this process only
	RevokedKeys     []string   // ids of keys that are not used or published any more
	Rotation        time.Duration
	Audience        []string // nil for the route's service
	Claims          []ClaimSource
	AllowedOrigins  OriginsClaim
	AllowedServices []string // nil for the route's
	IPRanges        []netip.Prefix
	ClientIPRange   bool // the caller's own address, instead of IPRanges
	AuthServices    []string
	PathPrefix      string // "" for the AuthService's
	Credentials     Credentials
}

// A ClaimSource is a minted claim and those that it may come from, the first that is there.
type ClaimSource struct {
	Name string
	From []string
}

// An OriginsClaim is where a token's allowed_origins come from.
type OriginsClaim struct {
	CORS bool // the route's CORS origins
	List []string
}

// Credentials are what a MintFilter accepts where nobody else has established who asks.
type Credentials struct {
	Issuers    []TrustedIssuer
	Kubernetes *KubernetesTokens // nil: none are accepted
	Passwords  SecretName
	Clients    SecretName
}

// A TrustedIssuer is somebody whose tokens are accepted.
type TrustedIssuer struct {
	Issuer    string
	Audiences []string
	JWKSURI   string // "" asks the issuer's discovery document
}

// KubernetesTokens are tokens of ServiceAccounts.
type KubernetesTokens struct{ Audience string }

// A TokenRequirement is a Mapping's jwt: what its requests must bring, and what of it the
// service is told. Filter holds what a JWT Filter would; its Inject is the Mapping's.
type TokenRequirement struct {
	RequireToken   bool
	Filter         JWTFilter
	PropagateToken bool
}
