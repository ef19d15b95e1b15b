// Package wire holds what every engine shares: the head of a message as views
// into one buffer, the edits made to it, the streams and links that carry it, and
// the socket beneath. It knows bytes and HTTP's rules about them; it knows no
// route, no policy and no configuration.
package wire

// A Field is a field name that the gateway knows, interned to a small integer.
type Field uint8

// The known names. FieldOther stands for every other name.
const (
	FieldOther Field = iota

	// Framing and connection: owned by the engines, never copied.
	FieldConnection
	FieldContentLength
	FieldHost
	FieldKeepAlive
	FieldProxyConnection
	FieldTE
	FieldTrailer
	FieldTransferEncoding
	FieldUpgrade

	// End to end.
	FieldAccept
	FieldAcceptEncoding
	FieldAcceptLanguage
	FieldAccessControlRequestHeaders
	FieldAccessControlRequestMethod
	FieldAuthorization
	FieldCacheControl
	FieldContentEncoding
	FieldContentType
	FieldCookie
	FieldDate
	FieldETag
	FieldExpect
	FieldExpires
	FieldForwarded
	FieldIfModifiedSince
	FieldIfNoneMatch
	FieldLastModified
	FieldLocation
	FieldOrigin
	FieldProxyAuthenticate
	FieldProxyAuthorization
	FieldRange
	FieldReferer
	FieldRetryAfter
	FieldServer
	FieldSetCookie
	FieldUserAgent
	FieldVary
	FieldVia
	FieldWWWAuthenticate
	FieldXEnvoyExpectedRqTimeoutMs
	FieldXEnvoyExternalAddress
	FieldXEnvoyInternal
	FieldXEnvoyOriginalPath
	FieldXEnvoyUpstreamServiceTime
	FieldXForwardedClientCert
	FieldXForwardedFor
	FieldXForwardedHost
	FieldXForwardedProto
	FieldXRequestID
	NumFields
)

// fieldNames are the wire spellings, in lower case.
var fieldNames = [NumFields]string{
	FieldConnection:                  "connection",
	FieldContentLength:               "content-length",
	FieldHost:                        "host",
	FieldKeepAlive:                   "keep-alive",
	FieldProxyConnection:             "proxy-connection",
	FieldTE:                          "te",
	FieldTrailer:                     "trailer",
	FieldTransferEncoding:            "transfer-encoding",
	FieldUpgrade:                     "upgrade",
	FieldAccept:                      "accept",
	FieldAcceptEncoding:              "accept-encoding",
	FieldAcceptLanguage:              "accept-language",
	FieldAccessControlRequestHeaders: "access-control-request-headers",
	FieldAccessControlRequestMethod:  "access-control-request-method",
	FieldAuthorization:               "authorization",
	FieldCacheControl:                "cache-control",
	FieldContentEncoding:             "content-encoding",
	FieldContentType:                 "content-type",
	FieldCookie:                      "cookie",
	FieldDate:                        "date",
	FieldETag:                        "etag",
	FieldExpect:                      "expect",
	FieldExpires:                     "expires",
	FieldForwarded:                   "forwarded",
	FieldIfModifiedSince:             "if-modified-since",
	FieldIfNoneMatch:                 "if-none-match",
	FieldLastModified:                "last-modified",
	FieldLocation:                    "location",
	FieldOrigin:                      "origin",
	FieldProxyAuthenticate:           "proxy-authenticate",
	FieldProxyAuthorization:          "proxy-authorization",
	FieldRange:                       "range",
	FieldReferer:                     "referer",
	FieldRetryAfter:                  "retry-after",
	FieldServer:                      "server",
	FieldSetCookie:                   "set-cookie",
	FieldUserAgent:                   "user-agent",
	FieldVary:                        "vary",
	FieldVia:                         "via",
	FieldWWWAuthenticate:             "www-authenticate",
	FieldXEnvoyExpectedRqTimeoutMs:   "x-envoy-expected-rq-timeout-ms",
	FieldXEnvoyExternalAddress:       "x-envoy-external-address",
	FieldXEnvoyInternal:              "x-envoy-internal",
	FieldXEnvoyOriginalPath:          "x-envoy-original-path",
	FieldXEnvoyUpstreamServiceTime:   "x-envoy-upstream-service-time",
	FieldXForwardedClientCert:        "x-forwarded-client-cert",
	FieldXForwardedFor:               "x-forwarded-for",
	FieldXForwardedHost:              "x-forwarded-host",
	FieldXForwardedProto:             "x-forwarded-proto",
	FieldXRequestID:                  "x-request-id",
}

// String returns the field's name in lower case.
func (f Field) String() string {
	if f < NumFields {
		return fieldNames[f]
	}
	return ""
}

// Bytes returns the field's name in lower case, which must not be changed.
// Budget: 0 allocs.
func (f Field) Bytes() []byte { return fieldBytes[f] }

var fieldBytes = func() (names [NumFields][]byte) {
	for f := range names {
		names[f] = []byte(fieldNames[f])
	}
	return names
}()

// LookupField returns the Field whose name is lower, which must be in lower case,
// or FieldOther. Budget: 0 allocs.
func LookupField(lower []byte) Field {
	if len(lower) < 2 || len(lower) >= len(fieldIndex) {
		return FieldOther
	}
	for _, f := range fieldIndex[len(lower)] {
		if fieldNames[f] == string(lower) {
			return f
		}
	}
	return FieldOther
}

// fieldIndex lists the known names by their length.
var fieldIndex = indexFields()

func indexFields() (index [32][]Field) {
	for f := FieldOther + 1; f < NumFields; f++ {
		n := len(fieldNames[f])
		index[n] = append(index[n], f)
	}
	return index
}

// A FieldSet is a set of known names.
type FieldSet uint64

// SetOf returns the set of the given names.
func SetOf(fields ...Field) FieldSet {
	var s FieldSet
	for _, f := range fields {
		s |= 1 << f
	}
	return s
}

// Has reports whether f is in s.
func (s FieldSet) Has(f Field) bool { return s&(1<<f) != 0 }

// HopByHop are the names that concern one connection only (RFC 9110 §7.6.1) or the
// framing, which each engine writes anew. No engine copies them.
const HopByHop FieldSet = 1<<FieldConnection | 1<<FieldKeepAlive | 1<<FieldProxyConnection |
	1<<FieldTE | 1<<FieldTrailer | 1<<FieldTransferEncoding | 1<<FieldUpgrade | 1<<FieldContentLength

// NotInTrailer are the names that must not come after a body (RFC 9110 §6.5.1): those
// that frame the message, steer it, say who asks, or change how its body is read.
const NotInTrailer = HopByHop | 1<<FieldHost | 1<<FieldAuthorization | 1<<FieldCookie |
	1<<FieldSetCookie | 1<<FieldContentEncoding | 1<<FieldContentType | 1<<FieldCacheControl |
	1<<FieldExpect | 1<<FieldRange | 1<<FieldProxyAuthorization | 1<<FieldXForwardedFor |
	1<<FieldXForwardedProto | 1<<FieldXForwardedHost | 1<<FieldForwarded | 1<<FieldXRequestID
