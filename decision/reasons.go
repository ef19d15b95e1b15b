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
	HeaderUnderscore
	HeadTimeout
	BodyTooSlow
	BodyTooLarge
	HTTP10Disabled
	VersionUnsupported
	MethodUnsupported
	ProxyHeaderUnexpected
	UpgradeRefused
	AddressDenied
	ScriptAnswer
	ClientGone
	StreamIdle
	TooManyConnections
	Overloaded

	// Routing.
	NoHost
	NoRoute
	HTTPSRedirect
	Redirect
	Preflight
	InsecureRejected
	PolicyInvalid
	HealthCheck
	OwnEndpoint
	ACMEChallenge

	// Who asks.
	TokenMissing
	AuthorizationMalformed
	TokenMalformed
	TokenInvalid
	TokenExpired
	TokenNotYetValid
	TokenClaims
	TokenAudience
	TokenIssuer
	TokenScope
	KeySetUnavailable
	TemplateFailed
	FilterInvalid
	APIKeyMissing
	APIKeyUnknown
	IdentityMissing
	MintFailed
	TokenRevoked
	TokenOrigin
	TokenAddress
	TokenService
	PasswordWrong
	TooManyFailures
	TokenFlood
	TokenRequestRefused
	LoginRedirect
	LoginRequired
	LoginRefused
	LoginInvalid
	OriginUnprotected
	SessionAmbiguous
	SessionTooLarge
	SessionStoreDown
	ProviderUnavailable
	CredentialsMissing
	CredentialsRefused
	AuthDenied
	AuthError
	AuthMisconfigured

	// How often they may.
	OverLimit
	LimitStoreDown

	// The upstream's side.
	BreakerOpen
	NoEndpoints
	DialRefused
	DialTimeout
	DialFailed
	TLSFailed
	UpstreamNotAllowed
	SVIDMissing
	UpstreamOverflow
	UpstreamNotHTTP2
	UpstreamRefusedStream
	UpstreamRemoteReset
	UpstreamResetBeforeHead
	UpstreamResetAfterHead
	UpstreamTimeout
	UpstreamTryTimeout
	RetriesExhausted
	UpstreamIdle
	UpstreamBadAnswer
	UpstreamHeaderTooLarge
	AnswerTooLarge
	TunnelIdle
	UpstreamReset

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
	name    string
	stages  stages // that give it
	status  uint16 // of the local answer; 0 where the reason leaves the status alone
	fault   Fault
	flag    string // Envoy's response flag, "-" where it has none
	body    string // Envoy's body for the local answer
	meaning string // what happened
	advice  string // what an operator should do
}

// stages is a set of stages; bit n stands for Stage n.
type stages uint16

func at(list ...Stage) (set stages) {
	for _, s := range list {
		set |= 1 << s
	}
	return set
}

const anyStage stages = 1<<NumStages - 1

const connectError = "upstream connect error or disconnect/reset before headers. reset reason: "

// The table every name, status, flag and body is read from; docs/reasons.md is
// generated from it.
var reasons = [NumReasons]reasonRow{
	None: {"", anyStage, 0, NoFault, "-", "", "the stage had nothing to object to", "nothing"},

	BadRequest: {"bad_request", at(Accept, Proxy), 400, ClientFault, "DPE", "",
		"the request line, a field or a trailer is malformed, or a gRPC-Web body in text form is no base64",
		"look at the client; the line's client_ip names it"},
	BadHost: {"bad_host", at(Accept), 400, ClientFault, "DPE", "",
		"Host is missing, doubled, invalid, or disagrees with the request target",
		"look at the client, or at the proxy before us"},
	BadPath: {"bad_path", at(Accept), 400, ClientFault, "DPE", "",
		"the path holds a broken escape, a NUL or a fragment, or an escaped slash where the Module rejects those",
		"look at the client; Module reject_requests_with_escaped_slashes decides about slashes"},
	BadFraming: {"bad_framing", at(Accept, Proxy), 400, ClientFault, "DPE", "",
		"the body's length is ambiguous, or its chunks are broken: possible request smuggling",
		"look at the client; Module allow_chunked_length forgives a length beside chunked"},
	URITooLong: {"uri_too_long", at(Accept), 414, ClientFault, "DPE", "",
		"the request line is over the limit",
		"raise Module max_request_headers_kb if such requests are legitimate"},
	HeaderTooLarge: {"header_too_large", at(Accept, Proxy), 431, ClientFault, "DPE", "",
		"the request head or trailer is over the limit",
		"raise Module max_request_headers_kb if such requests are legitimate"},
	TooManyHeaders: {"too_many_headers", at(Accept, Proxy), 431, ClientFault, "DPE", "",
		"the request has too many header fields",
		"look at the client"},
	HeaderUnderscore: {"header_underscore", at(Accept), 400, ClientFault, "DPE", "",
		"the name of a header holds an underscore, which the Module rejects",
		"look at the client; Module headers_with_underscores_action decides about such names"},
	HeadTimeout: {"head_timeout", at(Accept), 408, ClientFault, "DPE", "",
		"the request head did not arrive in time",
		"nothing, if few: slow or hostile clients"},
	BodyTooSlow: {"body_too_slow", at(Accept, Proxy), 408, ClientFault, "SI", "stream timeout",
		"the request body came slower than the minimum rate",
		"nothing, if few: slow or hostile clients"},
	BodyTooLarge: {"body_too_large", at(Accept, Authn), 413, ClientFault, "-", "Payload Too Large",
		"the request body is over the limit of Module buffer, over buffer_limit_bytes where a hook of lua_scripts asks for it, over the max_bytes of an include_body without allow_partial, or over the 64 KiB that the gateway's own endpoints read; by tells",
		"raise buffer.max_request_bytes, buffer_limit_bytes or include_body.max_bytes if such requests are legitimate"},
	HTTP10Disabled: {"http10_disabled", at(Accept), 426, ClientFault, "DPE", "",
		"the client speaks HTTP/1.0, which the Module does not enable",
		"set Module enable_http10 to serve HTTP/1.0"},
	VersionUnsupported: {"version_unsupported", at(Accept), 505, ClientFault, "DPE", "",
		"the client speaks a version that this listener does not",
		"look at the client"},
	ProxyHeaderUnexpected: {"proxy_header_unexpected", at(Accept), 400, OperatorFault, "DPE", "",
		"the connection begins with a PROXY header, and its Listener reads none: the load balancer and the Listener disagree",
		"put PROXY first in the Listener's protocolStack, or turn the PROXY protocol off at the load balancer"},
	MethodUnsupported: {"method_unsupported", at(Accept), 501, ClientFault, "DPE", "",
		"the method is CONNECT, which is not served",
		"look at the client: it takes the gateway for a forward proxy"},
	UpgradeRefused: {"upgrade_refused", at(Proxy), 403, ClientFault, "-", "",
		"the request asks for a protocol that the Mapping does not allow",
		"name the protocol in the Mapping's allow_upgrade, if it is wanted"},
	AddressDenied: {"address_denied", at(Accept), 403, ClientFault, "-", "RBAC: access denied",
		"the Module's ip_allow or ip_deny keeps the client's address out",
		"compare the line's client_ip with those lists; peer there is the other end of the socket"},
	ScriptAnswer: {"script_answer", at(Accept), 0, NoFault, "-", "",
		"a hook of Module lua_scripts has answered the request itself, with the status that it says",
		"nothing"},
	ClientGone: {"client_gone", anyStage, 0, ClientFault, "DC", "",
		"the client closed before its answer was complete",
		"nothing, if few; compare duration_ms with the client's own timeout"},
	StreamIdle: {"stream_idle", at(Accept, Proxy), 408, ClientFault, "SI", "stream timeout",
		"no byte of the request moved for the idle timeout",
		"raise the Mapping's idle_timeout_ms if clients may pause that long"},
	TooManyConnections: {"too_many_connections", at(Accept), 0, ClientFault, "-", "",
		"the listener is at its connection limit",
		"scale out or raise the limit"},
	Overloaded: {"overloaded", at(Accept), 503, GatewayFault, "OM", "envoy overloaded",
		"the gateway has as many requests in hand as --max-requests allows, memory is short, or requests wait longer for a processor than --max-queueing allows",
		"add replicas, memory or processors; look for services that are slow: their requests are those that wait"},

	NoHost: {"no_host", at(Match), 404, OperatorFault, "NR", "",
		"no Host serves this authority",
		"compare the line's host with the Hosts' hostname and the Listeners' hostBinding"},
	NoRoute: {"no_route", at(Match), 404, OperatorFault, "NR", "",
		"no Mapping matches",
		"compare the line with /api/v1/routes on the admin port; a Mapping attached to 0 Hosts is in /api/v1/problems"},
	HTTPSRedirect: {"https_redirect", at(Match), 301, NoFault, "-", "",
		"the Host's requestPolicy redirects cleartext requests",
		"nothing; insecure.action Route serves them"},
	Redirect: {"redirect", at(Proxy), 301, NoFault, "-", "",
		"the Mapping redirects, with the status that it names",
		"nothing"},
	Preflight: {"preflight", at(CORS), 200, NoFault, "-", "",
		"a browser asks whether a page of another origin may send a request, and the route's cors allows that origin",
		"nothing"},
	InsecureRejected: {"insecure_rejected", at(Match), 404, NoFault, "NR", "",
		"the Host's requestPolicy rejects cleartext requests",
		"nothing; insecure.action Route serves them"},
	PolicyInvalid: {"policy_invalid", at(Authn), 503, OperatorFault, "-", "",
		"an object that protects this route cannot be enforced; by names it",
		"look it up in the problems list: mend it, or take it away"},
	HealthCheck: {"health_check", at(Match), 200, NoFault, "-", "",
		"one of the health paths was asked for; 503 while the gateway is not ready",
		"nothing"},
	OwnEndpoint: {"own_endpoint", at(Authn), 200, NoFault, "-", "",
		"one of the gateway's own paths was asked for, such as a key set or a token endpoint, and answered",
		"nothing"},
	ACMEChallenge: {"acme_challenge", at(Accept), 200, NoFault, "-", "",
		"an authority that a certificate was ordered from asked whether the host is ours, and was shown so",
		"nothing"},

	TokenMissing: {"token_missing", at(Authn), 401, ClientFault, "UAEX", "",
		"the request has no bearer token, and its route asks for one",
		"nothing; a client that should have one may look at WWW-Authenticate"},
	AuthorizationMalformed: {"authorization_malformed", at(Authn), 400, ClientFault, "UAEX", "",
		"Authorization says Bearer and then nothing, too much, or what no token can be; or there are several",
		"look at the client, or at the proxy before us"},
	TokenMalformed: {"token_malformed", at(Authn), 401, ClientFault, "UAEX", "",
		"the bearer token is no JSON Web Token, or one that readers could read differently",
		"look at the client: it sends an opaque token perhaps, or one of another service"},
	TokenInvalid: {"token_invalid", at(Authn), 401, ClientFault, "UAEX", "",
		"the token's signature does not hold, its alg is not among validAlgorithms, or no key of the key set has its kid",
		"if it is many clients, compare jwksURI with the issuer that they use; else nothing"},
	TokenExpired: {"token_expired", at(Authn), 401, ClientFault, "UAEX", "",
		"the token's exp has passed, leewayForExpiresAt included",
		"nothing: the client gets a new one; compare the clocks if new ones are refused too"},
	TokenNotYetValid: {"token_not_yet_valid", at(Authn), 401, ClientFault, "UAEX", "",
		"the token's nbf or iat is still to come, leeway included",
		"compare the issuer's clock with the gateway's, or set leewayForNotBefore and leewayForIssuedAt"},
	TokenClaims: {"token_claims", at(Authn), 401, ClientFault, "UAEX", "",
		"a time that the filter requires is missing from the token, or is no number",
		"look at the issuer, or at requireExpiresAt, requireNotBefore and requireIssuedAt"},
	TokenAudience: {"token_audience", at(Authn), 401, ClientFault, "UAEX", "",
		"the token's aud has none of the audiences asked for",
		"look whether audience is what the issuer writes for these clients"},
	TokenIssuer: {"token_issuer", at(Authn), 401, ClientFault, "UAEX", "",
		"the token's iss is not exactly the issuer asked for",
		"compare the two, a slash at the end included"},
	TokenScope: {"token_scope", at(Authn), 403, ClientFault, "UAEX", "",
		"the token lacks a scope that the rule asks for",
		"nothing; or have the issuer grant it"},
	KeySetUnavailable: {"key_set_unavailable", at(Authn), 500, OperatorFault, "UAEX", "",
		"the keys to verify tokens with cannot be had, and none are known from before",
		"look at jwksURI and the way to it; legate_jwks_refresh_total counts the attempts, the log says why they fail"},
	TemplateFailed: {"template_failed", at(Authn), 500, OperatorFault, "UAEX", "",
		"a template of injectRequestHeaders or errorResponse fails on this request's token",
		"mend the template: the line's error says where it fails; hasKey asks for claims that may be missing"},
	FilterInvalid: {"filter_invalid", at(Authn), 500, OperatorFault, "UAEX", "",
		"the rule that decides about the request names a Filter that is missing, of a kind that is not served, or not understood",
		"legate check tells what is wrong with the Filter; by names it"},
	APIKeyMissing: {"api_key_missing", at(Authn), 403, ClientFault, "UAEX", "",
		"the request does not have the header that its API key should be in",
		"nothing; or look whether httpHeader is what clients send"},
	APIKeyUnknown: {"api_key_unknown", at(Authn), 403, ClientFault, "UAEX", "",
		"the request's API key is none of those in the Filter's Secrets",
		"nothing, if few; space around the keys of a Secret is part of them"},

	IdentityMissing: {"identity_missing", at(Authn, Mint), 401, ClientFault, "UAEX", "",
		"a token is to be minted for the service, and nobody has established who asks",
		"nothing; or name a filter that does before the Mint filter, or give that one credentials"},
	MintFailed: {"mint_failed", at(Authn, Mint), 500, OperatorFault, "UAEX", "",
		"a token could not be made for the service: there is no key, or it would be too long",
		"look at the line's error; have the Mint filter's claims hold less"},
	TokenRevoked: {"token_revoked", at(Authn), 401, ClientFault, "UAEX", "",
		"the token was revoked at a Mint filter's revoke endpoint",
		"nothing: the client has to ask for another one"},
	TokenOrigin: {"token_origin", at(Authn), 403, ClientFault, "UAEX", "",
		"the minted token that came back is not for pages of the request's Origin",
		"nothing, or let the Mapping's cors name that origin"},
	TokenAddress: {"token_address", at(Authn), 403, ClientFault, "UAEX", "",
		"the minted token that came back is for other addresses than the client's",
		"compare the line's client_ip with the Mint filter's ipRanges; a token that was stolen looks the same"},
	TokenService: {"token_service", at(Authn), 403, ClientFault, "UAEX", "",
		"the minted token that came back is for other services than the route's",
		"nothing, or name the service in the Mint filter's allowedServices"},
	PasswordWrong: {"password_wrong", at(Authn), 401, ClientFault, "UAEX", "",
		"the user or client is not known, or the password is another",
		"nothing, if few: the audit log tells whose they are"},
	TooManyFailures: {"too_many_failures", at(Authn), 429, ClientFault, "UAEX", "",
		"so many passwords were wrong, of that user or from that address, that no further one is looked at for a while",
		"nothing: the pause ends by itself"},
	TokenFlood: {"token_flood", at(Authn), 429, ClientFault, "UAEX", "",
		"so many tokens from the client's address did not hold that no further one is looked at for a moment, unless it was seen before and held",
		"look whose the line's client_ip is: somebody tries tokens, or a client sends one that has expired again and again. If it is a proxy's, let the gateway know the clients behind it; else raise --token-failures"},
	TokenRequestRefused: {"token_request_refused", at(Authn), 400, ClientFault, "UAEX", "",
		"a token endpoint refused what it was asked for; its answer says why in the words of OAuth",
		"look at the client"},
	OverLimit: {"over_limit", at(Limit), 429, ClientFault, "RL", "",
		"the request is one too many for a RateLimit",
		"nothing, or raise the limit; explain tells which labels lead to it, legate_ratelimit_total counts what it says"},
	LimitStoreDown: {"limit_store_down", at(Limit), 500, GatewayFault, "RLSE", "",
		"the store of rate limits, or the RateLimitService, was not there or did not answer in time; requests pass all the same unless failure_mode_deny is set",
		"look at Redis or the service; legate_ratelimit_store_errors_total counts the requests"},
	LoginRedirect: {"login_redirect", at(Authn), 302, NoFault, "UAEX", "",
		"nobody has logged in with that browser, or the login is over, and the OAuth2 filter that by names sends it to the identity provider",
		"nothing; for clients that are no browsers, let insteadOfRedirect or a JWT Filter before it answer"},
	LoginRequired: {"login_required", at(Authn), 403, ClientFault, "UAEX", "",
		"nobody has logged in, and insteadOfRedirect has the OAuth2 filter say so instead of sending the client to the identity provider",
		"nothing"},
	LoginRefused: {"login_refused", at(Authn), 403, ClientFault, "UAEX", "",
		"the identity provider sent the browser back with an error, or does not take the code that it sent it back with; the answer names the error",
		"look at the provider's own log, and at the clientID and the secret of the Filter"},
	LoginInvalid: {"login_invalid", at(Authn), 400, ClientFault, "UAEX", "",
		"what the browser came back with from the identity provider, or sent to log out, is not what this gateway began with this browser, or the ID token does not hold",
		"the line's error tells what is wrong with an ID token; else somebody opened an old address, keeps no cookies, or tries to log somebody else in"},
	OriginUnprotected: {"origin_unprotected", at(Authn), 400, OperatorFault, "UAEX", "",
		"the request came to an origin that is none of the OAuth2 filter's protectedOrigins",
		"add the origin, or internalOrigin where another proxy changes Host or takes TLS off, or let the FilterPolicy name other hosts"},
	SessionAmbiguous: {"session_ambiguous", at(Authn), 400, ClientFault, "UAEX", "",
		"the browser sent two different sessions of one OAuth2 filter, as when a page of another subdomain sets one: nobody knows whose the request is",
		"let the person remove the cookies; find out which host sets cookies for the domain of the others"},
	SessionTooLarge: {"session_too_large", at(Authn), 500, OperatorFault, "UAEX", "",
		"the tokens of the identity provider are too large for cookies",
		"let the provider put less into its tokens, such as groups"},
	SessionStoreDown: {"session_store_down", at(Authn), 503, GatewayFault, "UAEX", "",
		"the Redis that keeps the sessions of OAuth2 filters does not answer, so that nobody knows who has logged in",
		"look at the Redis that --redis names; the line's error tells what went wrong. Nobody has to log in again when it is back"},
	ProviderUnavailable: {"provider_unavailable", at(Authn), 502, UpstreamFault, "UAEX", "",
		"the identity provider of an OAuth2 filter cannot be reached, is too slow, or answers what cannot be understood",
		"look at the provider; the line's error tells what went wrong. Who has logged in goes on as long as the access token lasts"},
	CredentialsMissing: {"credentials_missing", at(Authn), 401, ClientFault, "UAEX", "",
		"the OAuth2 filter asks for X-Ambassador headers that say who the request is from, and one is missing",
		"nothing"},
	CredentialsRefused: {"credentials_refused", at(Authn), 401, ClientFault, "UAEX", "",
		"the identity provider gives no token for what the request's X-Ambassador headers say",
		"look at the provider's own log"},
	AuthDenied: {"auth_denied", at(Authn), 403, ClientFault, "UAEX", "",
		"the AuthService or External filter that by names refused the request; the answer is the one that it gave",
		"nothing; the service's own log tells why"},
	AuthError: {"auth_error", at(Authn), 403, UpstreamFault, "UAEX", "",
		"the AuthService or External filter that by names could not be asked: it cannot be reached, is too slow, failed, or answers what cannot be understood",
		"look at the service; the line's error tells what went wrong, status_on_error the status, and with failure_mode_allow such requests pass"},
	AuthMisconfigured: {"auth_misconfigured", at(Authn), 500, OperatorFault, "UAEX", "",
		"an AuthService cannot be understood, so nobody can be asked",
		"look up the AuthService that by names in the problems list, and mend it"},

	BreakerOpen: {"breaker_open", at(Break), 503, UpstreamFault, "UH", "no healthy upstream",
		"the upstream failed so many requests that its failure_breaker leaves it alone; Retry-After tells the client when it is tried again",
		"look at the upstream: legate_decisions_total and the log's line before \"breaker changed\" tell how it fails"},
	NoEndpoints: {"no_endpoints", at(Proxy), 503, UpstreamFault, "UH", "no healthy upstream",
		"the upstream's name has no address",
		"check the Service and DNS"},
	DialRefused: {"dial_refused", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection failure",
		"the endpoint refuses connections",
		"check that the service listens on that port"},
	DialTimeout: {"dial_timeout", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection timeout",
		"the endpoint does not answer within connect_timeout_ms",
		"check network policies, and whether the endpoint is overloaded"},
	DialFailed: {"dial_failed", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection failure",
		"the endpoint cannot be reached",
		"check the network between the gateway and the endpoint"},
	TLSFailed: {"tls_failed", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection failure",
		"the TLS handshake with the endpoint failed",
		"compare both sides' versions, authorities and certificates"},
	UpstreamNotAllowed: {"upstream_not_allowed", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection failure",
		"the endpoint has proved its SPIFFE ID, and the TLSContext's spiffe_ids does not allow that one",
		"the line's error names it: if that is who should answer, add it to spiffe_ids, else find out who answers in the service's place"},
	SVIDMissing: {"svid_missing", at(Proxy), 503, GatewayFault, "UF", connectError + "connection failure",
		"the gateway cannot say who it is to an upstream in the mesh: the Workload API has not given it an SVID, or the one that it gave has expired",
		"the line's error tells why: look whether the agent behind --spiffe-socket runs, and whether the gateway is registered with it"},
	UpstreamOverflow: {"upstream_overflow", at(Break, Proxy), 503, UpstreamFault, "UO", connectError + "overflow",
		"the upstream has as many requests, requests that wait for a connection, or TCP connections as its circuit_breakers allow",
		"scale the service out, or raise max_requests, max_pending_requests or max_connections; legate_upstream_overflows_total tells which"},
	UpstreamNotHTTP2: {"upstream_not_http2", at(Proxy), 503, UpstreamFault, "UF", connectError + "connection failure",
		"the endpoint does not agree to HTTP/2, which a Mapping with grpc: true asks for",
		"take grpc: true away, or check that the service speaks HTTP/2 on that port: over TLS by ALPN, in the clear without an upgrade"},
	UpstreamRefusedStream: {"upstream_refused_stream", at(Proxy), 503, UpstreamFault, "UR", connectError + "remote refused stream reset",
		"the endpoint took none of the connections' streams, and did nothing with the request",
		"look at the endpoint: it is overloaded or shutting down"},
	UpstreamRemoteReset: {"upstream_remote_reset", at(Proxy), 503, UpstreamFault, "UR", connectError + "remote reset",
		"the endpoint reset the request's HTTP/2 stream, before or within its answer; the connection goes on",
		"look at the endpoint's log"},
	UpstreamResetBeforeHead: {"upstream_reset_before_head", at(Proxy), 503, UpstreamFault, "UC", connectError + "connection termination",
		"the endpoint closed before answering",
		"look at its log, and keep cluster_idle_timeout_ms below its own idle timeout"},
	UpstreamResetAfterHead: {"upstream_reset_after_head", at(Proxy), 0, UpstreamFault, "UC", "",
		"the endpoint closed in the middle of its answer",
		"look at the endpoint's log"},
	UpstreamTimeout: {"upstream_timeout", at(Proxy), 504, UpstreamFault, "UT", "upstream request timeout",
		"the endpoint is slower than timeout_ms",
		"look at the endpoint, or raise the Mapping's timeout_ms"},
	UpstreamTryTimeout: {"upstream_try_timeout", at(Proxy), 504, UpstreamFault, "UT", "upstream request timeout",
		"the endpoint is slower than the retry_policy's per_try_timeout, in the last try too",
		"look at the endpoint, or raise per_try_timeout"},
	RetriesExhausted: {"retries_exhausted", at(Proxy), 0, UpstreamFault, "URX", "",
		"the upstream's answer asks for another try by the retry_policy, but num_retries are used up: the client got that answer",
		"look at the endpoints: they fail more often than retries can hide"},
	UpstreamIdle: {"upstream_idle", at(Proxy), 504, UpstreamFault, "SI", "stream timeout",
		"the endpoint sent no byte for idle_timeout_ms",
		"look at the endpoint, or raise the Mapping's idle_timeout_ms"},
	UpstreamBadAnswer: {"upstream_bad_answer", at(Proxy), 502, UpstreamFault, "UPE", connectError + "protocol error",
		"the endpoint's answer is malformed or ambiguous",
		"look at the endpoint; Legate is as strict with answers as with requests"},
	UpstreamHeaderTooLarge: {"upstream_header_too_large", at(Proxy), 502, UpstreamFault, "UPE", connectError + "protocol error",
		"the endpoint's answer head is over the limit",
		"look at the endpoint: its cookies, mostly"},
	AnswerTooLarge: {"answer_too_large", at(Proxy), 502, UpstreamFault, "-", "",
		"an answer that has to be held back is over 1 MiB for Module enable_grpc_http11_bridge, or over buffer_limit_bytes for a hook of lua_scripts",
		"let the clients of that service speak HTTP/2, or the script leave its bodies alone"},
	TunnelIdle: {"tunnel_idle", at(Proxy), 0, NoFault, "SI", "",
		"no byte moved through an upgraded or TCP connection, either way, for idle_timeout_ms",
		"nothing, if few; else have its peers send pings, or raise idle_timeout_ms of the Mapping or TCPMapping"},
	UpstreamReset: {"upstream_reset", at(Proxy), 0, UpstreamFault, "UC", "",
		"the endpoint broke a TCP connection off without ending it",
		"look at the endpoint's log"},

	Draining: {"draining", anyStage, 503, GatewayFault, "-", "",
		"the drain ran out of time and cut the request or connection off",
		"raise --drain-timeout, or look for requests that last that long"},
	Internal: {"internal", at(Proxy), 500, GatewayFault, "-", "",
		"a defect of the gateway",
		"report the log line that begins with BUG"},
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

// Meaning returns what happened when r was given.
func (r Reason) Meaning() string { return reasons[r].meaning }

// Stages returns the stages that give r, in their order.
func (r Reason) Stages() []Stage {
	var list []Stage
	for s := range NumStages {
		if reasons[r].stages&(1<<s) != 0 {
			list = append(list, s)
		}
	}
	return list
}
