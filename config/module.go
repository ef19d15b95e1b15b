package config

// A Module is Ambassador's Module "ambassador": settings for the whole gateway and
// defaults for Mappings. Pointers are nil where the author said nothing.
type Module struct {
	Meta
	MaxRequestHeadersKB            *int
	EnableHTTP10                   bool
	UseProxyProto                  bool   // of Ambassador 1: counts where there is no Listener
	XFFNumTrustedHops              int    // the same
	ServerName                     string // "" for "envoy"
	DefaultLabelDomain             string // "" for "ambassador"
	DefaultLabels                  []DefaultLabels
	UseRemoteAddress               *bool // nil: true
	PreserveExternalRequestID      bool
	SuppressEnvoyHeaders           bool
	StripMatchingHostPort          bool
	MergeSlashes                   bool
	RejectEscapedSlashes           bool
	AllowChunkedLength             bool
	ClusterRequestTimeoutMS        *int
	ClusterIdleTimeoutMS           *int
	ClusterMaxConnectionLifetimeMS *int
	ListenerIdleTimeoutMS          *int
	IPAllow, IPDeny                []IPRule // who may ask and who may not; empty for everybody
	GRPCWeb                        bool     // enable_grpc_web
	GRPCBridge                     bool     // enable_grpc_http11_bridge
	GRPCStats                      *GRPCStats
	EnableIPv4, EnableIPv6         *bool
	Resolver                       string
	UseOwnNamespaceForServices     bool // use_ambassador_namespace_for_service_resolution
	LoadBalancer                   *LoadBalancer
	BufferMaxRequestBytes          *int // of requests that are received whole first; nil for none
	ErrorResponseOverrides         []ErrorOverride
	Gzip                           *Gzip // nil for none
	CORS                           *CORS
	Keepalive                      *Keepalive
	AddLinkerdHeaders              bool
	CircuitBreakers                *CircuitBreakers
	FailureBreaker                 *FailureBreaker
	Retry                          *RetryPolicy
	BufferLimitBytes               *int
	LuaScripts                     string // lua_scripts; "" for none
	LogType                        string // envoy_log_type: "", "text", "json" or "typed_json"
	LogPath                        string // envoy_log_path
	LogFormat                      *Template
	Defaults                       Defaults
	ClientCerts                    ClientCerts
	ClientCertDetails              CertDetails
	Underscores                    UnderscoreAction
	ProperCase                     bool
	HeaderCases                    []string // header_case_overrides
	Liveness, Readiness            Probe
	Diagnostics                    Probe
	DiagnosticsNonLocal            bool // diagnostics.allow_non_local
}

// GRPCStats says which calls of gRPC are counted by service and method.
type GRPCStats struct {
	AllMethods    bool // whatever Services says
	Services      []GRPCService
	UpstreamStats bool // how long they take, too
}

// A GRPCService is a service of gRPC with those of its methods that are counted.
type GRPCService struct {
	Name    string
	Methods []string
}
