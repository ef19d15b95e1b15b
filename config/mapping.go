package config

// A NameValue is one condition of a Mapping: a header or query parameter and
// what it must be.
type NameValue struct{ Name, Value string }

// A RegexSub replaces every match of Pattern by Substitution.
type RegexSub struct{ Pattern, Substitution string }

// A Mapping is Ambassador's Mapping: which requests, to which service, changed how.
// Pointers are nil where the author said nothing, so that defaults of the Module
// can still apply.
type Mapping struct {
	Meta

	// Which requests. Hostname is a glob; a v1 or v2 object without a host is
	// decoded with "*", a v3alpha1 object with "".
	Prefix               string
	PrefixExact          bool
	PrefixRegex          bool
	Hostname             string
	Host                 string // exact, or a regex with HostRegex
	HostRegex            bool
	Method               string
	MethodRegex          bool
	Headers              []NameValue // sorted by name
	RegexHeaders         []NameValue // sorted by name
	QueryParameters      []NameValue // sorted by name
	RegexQueryParameters []NameValue // sorted by name
	CaseSensitive        *bool
	Precedence           int

	AuthContextExtensions map[string]string // told to an AuthService by gRPC

	// Where to.
	Service                        string
	Resolver                       string
	TLS                            string // name of a TLSContext to originate with
	OriginateTLS                   bool   // v2 "tls: true"
	Shadow                         bool   // copies of what its group is asked go there, and no answers come back
	GRPC                           bool   // HTTP/2 to the service
	Weight                         *int
	ConnectTimeoutMS               *int
	ClusterIdleTimeoutMS           *int
	ClusterMaxConnectionLifetimeMS *int
	EnableIPv4, EnableIPv6         *bool
	RespectDNSTTL                  bool
	ClusterTag, StatsName          string
	LoadBalancer                   *LoadBalancer
	Keepalive                      *Keepalive
	DNSType                        DNSType
	AddLinkerdHeaders              *bool
	CircuitBreakers                *CircuitBreakers
	FailureBreaker                 *FailureBreaker
	Priority                       *Priority
	Retry                          *RetryPolicy
	HealthChecks                   []HealthCheck
	TimeoutMS                      *int // 0 for none
	IdleTimeoutMS                  *int // 0 for none

	// Changed how.
	Rewrite           *string // nil: "/"; "" leaves the path alone
	RegexRewrite      *RegexSub
	HostRewrite       string
	AutoHostRewrite   bool
	Request, Response HeaderWishes // what is said of headers
	CORS              *CORS        // nil where nothing was said
	AllowUpgrade      []string     // protocols, in lower case; nil where nothing was said

	// Answered here.
	HostRedirect         bool
	PathRedirect         string
	PrefixRedirect       string
	RegexRedirect        *RegexSub
	RedirectResponseCode int // 0: 301

	// Where there is no answer but a failure.
	ErrorResponseOverrides       []ErrorOverride // nil for the Module's
	BypassErrorResponseOverrides *bool

	// Limited by what. The groups of each domain are in the order written.
	LimitLabels []LabelGroup

	// Protected how.
	BypassAuth *bool
	JWT        *TokenRequirement // what its requests must bring; nil for nothing
	JWTBroken  bool              // spec.jwt cannot be understood: nobody may pass
}
