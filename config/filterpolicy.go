package config

import "time"

// A FilterPolicy is Ambassador's FilterPolicy: which requests meet which Filters.
type FilterPolicy struct {
	Meta
	Rules []FilterRule
	// Broken is what is wrong with it, "" for nothing: every request that it could guard
	// is refused then.
	Broken string
}

// A FilterRule is what happens to requests that Host and Path match, globs in which "*"
// matches any run of characters, "?" one, "[a-z]" one of a set, and a backslash takes the
// next one literally. No Filters means that nothing is asked of them.
type FilterRule struct {
	Host, Path string
	Precedence int // highest first
	Filters    []FilterUse
}

// A FilterUse is one Filter as a rule uses it.
type FilterUse struct {
	Name, Namespace string
	If              *HeaderCondition // nil for always
	ContinueOnDeny  bool             // its refusal is thrown away, and the next one asked
	BreakOnAllow    bool             // what it lets through meets no further one
	Arguments       *Arguments       // nil for none
}

// A HeaderCondition is a test of one header of the request.
type HeaderCondition struct {
	Name   string  // in lower case
	Value  *string // exactly; nil for any that is not empty
	Regex  string  // RE2, unanchored; "" for none
	Negate bool
}

// Arguments are what a rule tells the Filter that it uses. Pointers and slices are nil
// where the author said nothing.
type Arguments struct {
	Scope []string

	// Of a JWT Filter, in place of its own.
	JWKSURI         string
	Audiences       []string
	Issuer          string
	ValidAlgorithms []string
	PropagateToken  *bool
	RequireAudience *bool
	RequireIssuer   *bool
	ExpiresAt       ClaimOverride
	NotBefore       ClaimOverride
	IssuedAt        ClaimOverride

	// Of an OAuth2 Filter.
	Instead  *InsteadOfRedirect
	SameSite string // "", "lax", "strict" or "none"
}

// A ClaimOverride is a ClaimRule of which parts may be left as they were.
type ClaimOverride struct {
	Required *bool
	Leeway   *time.Duration
}

// An InsteadOfRedirect is what requests get that must not be sent to the provider.
type InsteadOfRedirect struct {
	If      *HeaderCondition // nil for all
	Status  int              // 0 for the default
	Filters []FilterUse
}
