package config

// An InsecureAction is what a Host does with requests that did not come securely.
type InsecureAction uint8

// The actions. Redirect is Ambassador's default.
const (
	InsecureRedirect InsecureAction = iota
	InsecureRoute
	InsecureReject
)

// A SecretRef names a Secret.
type SecretRef struct{ Name, Namespace string }

// A Host is Ambassador's Host: a name that is served, its certificate, and which
// Mappings it takes.
type Host struct {
	Meta
	Hostname    string            // glob, may carry ":port"; "" was decoded as "*"
	Selector    map[string]string // mappingSelector.matchLabels
	HasSelector bool              // an empty selector selects everything
	TLSSecret   SecretRef         // Name "" for none; Namespace "" for the Host's own
	TLSContext  string            // name of a TLSContext
	TLS         *TLSSettings      // inline settings
	Insecure    InsecureAction
	ACME        *ACME // who its certificate is ordered from; nil for nobody
}

// An ACME says how the certificate in a Host's TLSSecret is ordered and renewed (RFC 8555).
type ACME struct {
	Authority string    // URL of the authority's directory
	Email     string    // where the authority reaches the account's owner; "" for nowhere
	Account   SecretRef // has the account's key and what binds it to one elsewhere; Name "" for none
}

// LetsEncrypt is the directory of the authority that Edge Stack orders from where nothing
// else is said.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// TLSSettings are what a TLSContext and a Host's inline tls have in common.
type TLSSettings struct {
	CertChainFile, PrivateKeyFile string
	CASecret                      string
	CACertChainFile               string
	CRLSecret                     string
	CRLFile                       string
	ALPNProtocols                 []string
	CertRequired                  *bool
	MinTLSVersion, MaxTLSVersion  string // "v1.0" to "v1.3", "" for the default
	CipherSuites                  []string
	ECDHCurves                    []string
	SNI                           string
	SPIFFEIDs                     []string // whom the peer may be; nil where that is not asked, empty for nobody
}

// A TLSContext is Ambassador's TLSContext: named TLS settings for termination
// (through a Host) and origination (through a Mapping's tls).
type TLSContext struct {
	Meta
	TLSSettings
	Hosts                 []string
	Secret                string // name or name.namespace
	SecretNamespacing     *bool
	RedirectCleartextFrom int // keeps a context without certificate alive; redirects nothing
}
