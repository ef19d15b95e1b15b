package config

// A HeaderAdd is one header that is added. Its value may hold Envoy's %COMMAND%s.
type HeaderAdd struct {
	Name, Value string
	Append      bool // true: beside what is there; false: instead of it
}

// HeaderWishes are what is changed about headers in one direction. nil says nothing, so
// that defaults count; an empty list says that there is to be none.
type HeaderWishes struct {
	Add    []HeaderAdd
	Remove []string
	// Where the Module's defaults are written; "" in a Mapping, which has them under
	// their own names.
	AddField, RemoveField string
}

// Defaults are the Module's for what Mappings and TLSContexts do not say.
type Defaults struct {
	Request, Response HeaderWishes
	StatsName         string
	SecretNamespacing *bool
}

// ClientCerts says what becomes of X-Forwarded-Client-Cert.
type ClientCerts uint8

// The values of forward_client_cert_details. Those that say "if mutual" remove the
// field where the client has shown no certificate.
const (
	SanitizeCerts      ClientCerts = iota // remove it
	ForwardCerts                          // pass it on, if mutual
	AppendCerts                           // add our element to it, if mutual
	SetCerts                              // our element instead of it, if mutual
	AlwaysForwardCerts                    // pass it on
)

// CertDetails are what our element of X-Forwarded-Client-Cert says beside who we are
// and the certificate's hash.
type CertDetails struct{ Subject, Cert, Chain, DNS, URI bool }

// An UnderscoreAction says what becomes of requests with an underscore in the name of a
// header.
type UnderscoreAction uint8

// The values of headers_with_underscores_action.
const (
	AllowUnderscores UnderscoreAction = iota
	RejectUnderscores
	DropUnderscores // the headers, not the requests
)
