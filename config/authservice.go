package config

import "time"

// An AuthService is Ambassador's AuthService: a service that is asked about every request
// of Mappings without bypass_auth.
type AuthService struct {
	Meta
	ExternalAuth
	BuiltIn         bool   // it stands for the gateway's own filters; nothing is called
	Broken          string // what is wrong with it, as its author is told; "" for nothing
	TLSContext      string
	AddHeaders      []NameValue // of the question, sorted by name
	AddLinkerd      *bool
	StatsName       string
	CircuitBreakers *CircuitBreakers
	ConnectTimeout  time.Duration // 0 for the default
	IdleTimeout     time.Duration // of connections; 0 for the default
	MaxLifetime     time.Duration // of connections; 0 for none
}

// An ExternalAuth is a service that decides about requests, and how it is asked.
type ExternalAuth struct {
	Service                string // [scheme://]host[:port]
	GRPC                   bool
	OriginateTLS           bool
	CACertificate          SecretName
	Certificate            SecretName
	PathPrefix             string
	Timeout                time.Duration // 0 for 5 s
	AllowedRequestHeaders  []string      // in lower case
	AllowedResponseHeaders []string      // in lower case: allowed_authorization_headers
	IncludeBody            *IncludeBody
	FailureModeAllow       bool
	StatusOnError          int // 0 for 403
	AddLinkerdHeaders      bool
}

// An IncludeBody is how much of a request's body the service is shown.
type IncludeBody struct {
	MaxBytes     int
	AllowPartial bool // what is longer is cut off rather than refused
}
