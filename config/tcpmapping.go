package config

// A TCPMapping is Ambassador's TCPMapping: which connections, to which service.
// Pointers are nil where the author said nothing.
type TCPMapping struct {
	Meta

	// Which connections. A Host is the server name that clients ask for in the TLS
	// handshake, which is then terminated; "*" stands for any name and for none. Without
	// a Host every connection to the port is meant, and nothing of it is understood.
	Port    int
	Address string // where to listen; "" for where Listeners do
	Host    string

	// Where to.
	Service                string
	Resolver               string
	TLS                    string // name of a TLSContext to originate with
	OriginateTLS           bool   // v2 "tls: true"
	Weight                 *int
	EnableIPv4, EnableIPv6 *bool
	CircuitBreakers        *CircuitBreakers // nil: those of the Module
	IdleTimeoutMS          *int             // 0 for none
	ClusterTag, StatsName  string
}
