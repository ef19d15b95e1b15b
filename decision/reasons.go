package decision

// A Reason is the one word a stage leaves behind. Once released, its name never
// changes meaning.
type Reason uint8

// The reasons. None means that the stage had nothing to object to.
const (
	None Reason = iota

	// Framing and limits of the client's side.
	BadRequest
	BadHost
	BadPath
	BadFraming
	URITooLong
	HeaderTooLarge
	TooManyHeaders
	HeadTimeout
	BodyTooSlow
	HTTP10Disabled
	VersionUnsupported
	MethodUnsupported
	UpgradeRefused
	ClientGone
	StreamIdle
	TooManyConnections

	// Routing.
	NoHost
	NoRoute
	HTTPSRedirect
	Redirect
	InsecureRejected
	PolicyInvalid
	HealthCheck

	// The upstream's side.
	NoEndpoints
	DialRefused
	DialTimeout
	DialFailed
	TLSFailed
	UpstreamResetBeforeHead
	UpstreamResetAfterHead
	UpstreamTimeout
	UpstreamIdle
	UpstreamBadAnswer
	UpstreamHeaderTooLarge

	// The gateway itself.
	Draining
	Internal
	NumReasons
)

// A Fault says on whose side the cause of a reason lies.
type Fault uint8

// The sides that can be at fault.
const (
	NoFault Fault = iota
	ClientFault
	OperatorFault
	UpstreamFault
	GatewayFault
)

var faultNames = [...]string{"nobody", "client", "operator", "upstream", "gateway"}

// String returns the side's name as docs/reasons.md shows it.
func (f Fault) String() string { return faultNames[f] }

// reasonRow is what is known of one reason.
type reasonRow struct {
	name   string
	status uint16 // of the local answer; 0 where the reason leaves the status alone
	fault  Fault
	flag   string // Envoy's response flag, "-" where it has none
	body   string // Envoy's body for the local answer
	advice string // what an operator should do
}

const connectError = "upstream connect error or disconnect/reset before headers. reset reason: "

// The table every name, status, flag and body is read from; docs/reasons.md is
// generated from it.
var reasons = [NumReasons]reasonRow{
	None: {"", 0, NoFault, "-", "", "nothing"},

	BadRequest:         {"bad_request", 400, ClientFault, "DPE", "", "the request line or a field is malformed; look at the client"},
	BadHost:            {"bad_host", 400, ClientFault, "DPE", "", "Host is missing, doubled, invalid, or disagrees with the request target"},
	BadPath:            {"bad_path", 400, ClientFault, "DPE", "", "the path holds a broken escape, a NUL or a fragment"},
	BadFraming:         {"bad_framing", 400, ClientFault, "DPE", "", "the body's length is ambiguous: possible request smuggling"},
	URITooLong:         {"uri_too_long", 414, ClientFault, "DPE", "", "the request line is over the limit"},
	HeaderTooLarge:     {"header_too_large", 431, ClientFault, "DPE", "", "raise Module max_request_headers_kb if such requests are legitimate"},
	TooManyHeaders:     {"too_many_headers", 431, ClientFault, "DPE", "", "the request has too many header fields"},
	HeadTimeout:        {"head_timeout", 408, ClientFault, "DPE", "", "the request head did not arrive in time"},
	BodyTooSlow:        {"body_too_slow", 408, ClientFault, "SI", "stream timeout", "the request body came slower than the minimum rate"},
	HTTP10Disabled:     {"http10_disabled", 426, ClientFault, "DPE", "", "set Module enable_http10 to serve HTTP/1.0"},
	VersionUnsupported: {"version_unsupported", 505, ClientFault, "DPE", "", "the client speaks a version this listener does not"},
	MethodUnsupported:  {"method_unsupported", 501, ClientFault, "DPE", "", "CONNECT is not served here"},
	UpgradeRefused:     {"upgrade_refused", 403, ClientFault, "-", "", "list the protocol in the Mapping's allow_upgrade"},
	ClientGone:         {"client_gone", 0, ClientFault, "DC", "", "the client closed before its answer was complete"},
	StreamIdle:         {"stream_idle", 408, ClientFault, "SI", "stream timeout", "no byte moved for the stream's idle timeout"},
	TooManyConnections: {"too_many_connections", 0, ClientFault, "-", "", "the listener is at its connection limit; scale out or raise it"},

	NoHost:           {"no_host", 404, OperatorFault, "NR", "", "no Host serves this authority; legate routes shows them"},
	NoRoute:          {"no_route", 404, OperatorFault, "NR", "", "no Mapping matches; legate explain says why each lost"},
	HTTPSRedirect:    {"https_redirect", 301, NoFault, "-", "", "the Host's requestPolicy redirects cleartext requests"},
	Redirect:         {"redirect", 301, NoFault, "-", "", "the Mapping redirects"},
	InsecureRejected: {"insecure_rejected", 404, NoFault, "NR", "", "the Host's requestPolicy rejects cleartext requests"},
	PolicyInvalid:    {"policy_invalid", 503, OperatorFault, "-", "", "an object that protects this route cannot be enforced; the problems list names it"},
	HealthCheck:      {"health_check", 200, NoFault, "-", "", "nothing"},

	NoEndpoints:             {"no_endpoints", 503, UpstreamFault, "UH", "no healthy upstream", "the upstream's name has no address; check the Service and DNS"},
	DialRefused:             {"dial_refused", 503, UpstreamFault, "UF", connectError + "connection failure", "the endpoint refuses connections"},
	DialTimeout:             {"dial_timeout", 503, UpstreamFault, "UF", connectError + "connection timeout", "the endpoint does not answer within connect_timeout_ms"},
	DialFailed:              {"dial_failed", 503, UpstreamFault, "UF", connectError + "connection failure", "the endpoint cannot be reached"},
	TLSFailed:               {"tls_failed", 503, UpstreamFault, "UF", connectError + "connection failure", "the TLS handshake with the endpoint failed; compare both sides' settings"},
	UpstreamResetBeforeHead: {"upstream_reset_before_head", 503, UpstreamFault, "UC", connectError + "connection termination", "the endpoint closed before answering; look at its log and idle timeout"},
	UpstreamResetAfterHead:  {"upstream_reset_after_head", 0, UpstreamFault, "UC", "", "the endpoint closed in the middle of its answer"},
	UpstreamTimeout:         {"upstream_timeout", 504, UpstreamFault, "UT", "upstream request timeout", "the endpoint is slower than timeout_ms"},
	UpstreamIdle:            {"upstream_idle", 504, UpstreamFault, "SI", "stream timeout", "the endpoint sent no byte for idle_timeout_ms"},
	UpstreamBadAnswer:       {"upstream_bad_answer", 502, UpstreamFault, "UPE", connectError + "protocol error", "the endpoint's answer is malformed or ambiguous"},
	UpstreamHeaderTooLarge:  {"upstream_header_too_large", 502, UpstreamFault, "UPE", connectError + "protocol error", "the endpoint's answer head is over the limit"},

	Draining: {"draining", 503, GatewayFault, "-", "", "the gateway is shutting down"},
	Internal: {"internal", 500, GatewayFault, "-", "", "a defect of the gateway; report the log line that begins with BUG"},
}

// String returns the reason's released name: "token_expired". None is "".
func (r Reason) String() string {
	if r < NumReasons {
		return reasons[r].name
	}
	return "unknown"
}

// Status returns the status of the local answer given for r, or 0 where r leaves
// the status as it is.
func (r Reason) Status() int { return int(reasons[r].status) }

// Fault returns on whose side the cause of r lies.
func (r Reason) Fault() Fault { return reasons[r].fault }

// Flag returns Envoy's response flag for r, or "-".
func (r Reason) Flag() string { return reasons[r].flag }

// Body returns the body of the local answer, as Envoy words it.
func (r Reason) Body() string { return reasons[r].body }

// Advice returns what an operator should do about r.
func (r Reason) Advice() string { return reasons[r].advice }
