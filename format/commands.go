package format

// An Op says which of Envoy's commands a Command is.
type Op uint8

// The commands, in the order of Envoy's documentation.
const (
	Req Op = iota + 1
	Resp
	Trailer
	StartTime
	Protocol
	ResponseCode
	ResponseCodeDetails
	ResponseFlags
	BytesReceived
	BytesSent
	Duration
	RequestDuration
	ResponseDuration
	ResponseTxDuration
	RouteName
	UpstreamHost
	UpstreamCluster
	UpstreamLocalAddress
	UpstreamTransportFailureReason
	UpstreamRequestAttemptCount
	DownstreamRemoteAddress
	DownstreamRemoteAddressWithoutPort
	DownstreamRemotePort
	DownstreamDirectRemoteAddress
	DownstreamDirectRemoteAddressWithoutPort
	DownstreamDirectRemotePort
	DownstreamLocalAddress
	DownstreamLocalAddressWithoutPort
	DownstreamLocalPort
	RequestedServerName
	DownstreamTLSVersion
	DownstreamTLSCipher
	DownstreamPeerSubject
	DownstreamPeerIssuer
	DownstreamPeerURISAN
	DownstreamPeerDNSSAN
	DownstreamPeerFingerprint256
	DownstreamPeerFingerprint1
	DownstreamPeerSerial
	DownstreamPeerCert
	DownstreamPeerCertVStart
	DownstreamPeerCertVEnd
	DownstreamLocalSubject
	DownstreamLocalURISAN
	DownstreamLocalDNSSAN
	ConnectionID
	GRPCStatus
	GRPCStatusNumber
	LocalReplyBody
	DynamicMetadata
	hostname // made ready text
	nothing  // has no value here
	numOps
)

// A shape is what a command takes in parentheses.
type shape uint8

const (
	noArg   shape = iota
	aField        // NAME or NAME?ALT, required
	aTime         // the format of a time, or nothing
	aStatus       // how a status of gRPC is written, or nothing
	anyArg
)

// A command is what is known of a name.
type command struct {
	op      Op
	takes   shape
	early   bool // its value is gone with the upstream's answer
	logOnly bool // says what only operators may see
}

// commands are those of Envoy 1.27 by their names.
var commands = map[string]command{
	"REQ":                               {op: Req, takes: aField},
	"RESP":                              {op: Resp, takes: aField, early: true},
	"TRAILER":                           {op: Trailer, takes: aField, early: true},
	"START_TIME":                        {op: StartTime, takes: aTime},
	"PROTOCOL":                          {op: Protocol},
	"RESPONSE_CODE":                     {op: ResponseCode},
	"RESPONSE_CODE_DETAILS":             {op: ResponseCodeDetails},
	"RESPONSE_FLAGS":                    {op: ResponseFlags},
	"BYTES_RECEIVED":                    {op: BytesReceived},
	"BYTES_SENT":                        {op: BytesSent},
	"DURATION":                          {op: Duration},
	"REQUEST_DURATION":                  {op: RequestDuration},
	"REQUEST_TX_DURATION":               {op: RequestDuration}, // the request is passed on as it comes in
	"RESPONSE_DURATION":                 {op: ResponseDuration},
	"RESPONSE_TX_DURATION":              {op: ResponseTxDuration},
	"ROUTE_NAME":                        {op: RouteName},
	"UPSTREAM_HOST":                     {op: UpstreamHost},
	"UPSTREAM_CLUSTER":                  {op: UpstreamCluster},
	"UPSTREAM_CLUSTER_RAW":              {op: UpstreamCluster},
	"UPSTREAM_LOCAL_ADDRESS":            {op: UpstreamLocalAddress, early: true},
	"UPSTREAM_TRANSPORT_FAILURE_REASON": {op: UpstreamTransportFailureReason, logOnly: true},
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":    {op: UpstreamRequestAttemptCount},

	"DOWNSTREAM_REMOTE_ADDRESS":                     {op: DownstreamRemoteAddress},
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        {op: DownstreamRemoteAddressWithoutPort},
	"DOWNSTREAM_REMOTE_PORT":                        {op: DownstreamRemotePort},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              {op: DownstreamDirectRemoteAddress},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": {op: DownstreamDirectRemoteAddressWithoutPort},
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 {op: DownstreamDirectRemotePort},
	"DOWNSTREAM_LOCAL_ADDRESS":                      {op: DownstreamLocalAddress},
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         {op: DownstreamLocalAddressWithoutPort},
	"DOWNSTREAM_LOCAL_PORT":                         {op: DownstreamLocalPort},

	"REQUESTED_SERVER_NAME":           {op: RequestedServerName},
	"DOWNSTREAM_TLS_VERSION":          {op: DownstreamTLSVersion},
	"DOWNSTREAM_TLS_CIPHER":           {op: DownstreamTLSCipher},
	"DOWNSTREAM_PEER_SUBJECT":         {op: DownstreamPeerSubject},
	"DOWNSTREAM_PEER_ISSUER":          {op: DownstreamPeerIssuer},
	"DOWNSTREAM_PEER_URI_SAN":         {op: DownstreamPeerURISAN},
	"DOWNSTREAM_PEER_DNS_SAN":         {op: DownstreamPeerDNSSAN},
	"DOWNSTREAM_PEER_FINGERPRINT_256": {op: DownstreamPeerFingerprint256},
	"DOWNSTREAM_PEER_FINGERPRINT_1":   {op: DownstreamPeerFingerprint1},
	"DOWNSTREAM_PEER_SERIAL":          {op: DownstreamPeerSerial},
	"DOWNSTREAM_PEER_CERT":            {op: DownstreamPeerCert},
	"DOWNSTREAM_PEER_CERT_V_START":    {op: DownstreamPeerCertVStart, takes: aTime},
	"DOWNSTREAM_PEER_CERT_V_END":      {op: DownstreamPeerCertVEnd, takes: aTime},
	"DOWNSTREAM_LOCAL_SUBJECT":        {op: DownstreamLocalSubject},
	"DOWNSTREAM_LOCAL_URI_SAN":        {op: DownstreamLocalURISAN},
	"DOWNSTREAM_LOCAL_DNS_SAN":        {op: DownstreamLocalDNSSAN},

	"CONNECTION_ID":      {op: ConnectionID},
	"GRPC_STATUS":        {op: GRPCStatus, takes: aStatus, early: true},
	"GRPC_STATUS_NUMBER": {op: GRPCStatusNumber, early: true},
	"LOCAL_REPLY_BODY":   {op: LocalReplyBody},
	"HOSTNAME":           {op: hostname},

	"CLUSTER_METADATA":                    {op: nothing, takes: anyArg},
	"CONNECTION_TERMINATION_DETAILS":      {op: nothing},
	"DOWNSTREAM_TLS_SESSION_ID":           {op: nothing}, // crypto/tls does not tell
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": {op: nothing},
	"DYNAMIC_METADATA":                    {op: DynamicMetadata, takes: anyArg},
	"FILTER_CHAIN_NAME":                   {op: nothing},
	"FILTER_STATE":                        {op: nothing, takes: anyArg},
	"METADATA":                            {op: nothing, takes: anyArg},
	"PER_REQUEST_STATE":                   {op: nothing, takes: anyArg},
	"UPSTREAM_FILTER_STATE":               {op: nothing, takes: anyArg},
	"UPSTREAM_METADATA":                   {op: nothing, takes: anyArg},
	"VIRTUAL_CLUSTER_NAME":                {op: nothing},
}

// numeric reports whether the values of o are numbers, which JSON can hold as such.
func (o Op) numeric() bool {
	switch o {
	case ResponseCode, BytesReceived, BytesSent, Duration, RequestDuration, ResponseDuration, ResponseTxDuration,
		UpstreamRequestAttemptCount, DownstreamRemotePort, DownstreamDirectRemotePort, DownstreamLocalPort, ConnectionID, GRPCStatusNumber:
		return true
	default:
		return false
	}
}
