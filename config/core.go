package config

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A Secret is a Kubernetes Secret whose keys a gateway uses: certificates, keys,
// authorities. Data is decoded from base64.
type Secret struct {
	Meta
	Type string
	Data map[string][]byte
}

// orderedEntry is the entry that says of a certificate in the Secret who was asked for it.
const orderedEntry = "ordered-from"

// MarkOrdered notes in a Secret's entries that its certificate was ordered from an authority, the
// URL of its directory.
func MarkOrdered(data map[string][]byte, authority string) {
	data[orderedEntry] = []byte(orderedMark(data) + authority)
}

// OrderedFrom returns which authority the certificate in a Secret's entries was ordered from by a
// gateway that wrote it there, "" where somebody else put it there, also over one that was.
func OrderedFrom(data map[string][]byte) string {
	authority, ok := strings.CutPrefix(string(data[orderedEntry]), orderedMark(data))
	if !ok {
		return ""
	}
	return authority
}

// orderedMark tells the certificate that is marked from any other.
func orderedMark(data map[string][]byte) string {
	sum := sha256.Sum256(data["tls.crt"])
	return hex.EncodeToString(sum[:]) + " "
}

// A Service is a Kubernetes Service, as far as names and ports go.
type Service struct {
	Meta
	Type         string
	ClusterIP    string // "None" for a Service without an address of its own
	ExternalName string // the name that a Service of type ExternalName stands for
	Ports        []ServicePort
}

// A ServicePort is one port of a Service.
type ServicePort struct {
	Name     string // "" where there is only one
	Port     int
	Protocol string // "TCP", "UDP" or "SCTP"
	// TargetPort is where the endpoints listen: a number, or the name of a port of
	// their pods.
	TargetPort string
}

// A Resolver is an object that Mappings name to say how the addresses of their
// services are found. Which way that is, its Kind says.
type Resolver struct {
	Meta
	Address    string // of a ConsulResolver's agent; "" for the local one
	Datacenter string // of a ConsulResolver
}

// A Guard is an object that protects routes but cannot be enforced: a kind not
// served here, or one that is broken. Every route it could guard is closed.
// A rule with an empty Host or Path stands for every host or path.
type Guard struct {
	Meta
	Rules []GuardRule
	// Broken is true where the rules could not be read: nothing that others exempt
	// counts against it.
	Broken bool
	// Bypassable is true for an AuthService and what it would have called: a
	// Mapping with bypass_auth is not guarded by them.
	Bypassable bool
}

// A GuardRule is one host and path glob of a Guard: "*" matches any run of characters,
// "?" one, "[a-z]" one of a set, and a backslash takes the next one literally. Among the
// rules of all Guards of one kind the first that matches a request decides: by
// Precedence, highest first, then by the Guards' namespaces and names, then as written.
type GuardRule struct {
	Host, Path string
	Precedence int
	Exempt     bool // what it matches is not to be protected
}
