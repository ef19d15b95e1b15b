package als

import (
	"bytes"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"legate/telemetry/relay"
	"legate/wire"
)

// The numbers of the fields of envoy.data.accesslog.v3 and of what it is made of.
const (
	entryCommon     = 1 // of HTTPAccessLogEntry, and of TCPAccessLogEntry
	entryVersion    = 2
	entryRequest    = 3
	entryResponse   = 4
	entryConnection = 2 // of TCPAccessLogEntry

	connReceived = 1 // of ConnectionProperties
	connSent     = 2

	commonClient      = 2 // of AccessLogCommon
	commonLocal       = 3
	commonTLS         = 4
	commonStart       = 5
	commonReceived    = 6
	commonSent        = 7
	commonSentAll     = 8
	commonAnswered    = 9
	commonAnsweredAll = 10
	commonBegan       = 11
	commonReplied     = 12
	commonEndpoint    = 13
	commonFrom        = 14
	commonUpstream    = 15
	commonFlags       = 16
	commonFailure     = 18
	commonRoute       = 19
	commonPeer        = 20
	commonDuration    = 23
	commonAttempts    = 24
	commonDetails     = 25
	commonStream      = 26
	commonType        = 33

	typeTCPEnd     = 3 // of AccessLogType
	typeRequestEnd = 6

	requestMethod   = 1 // of HTTPRequestProperties
	requestScheme   = 2
	requestHost     = 3
	requestPath     = 5
	requestAgent    = 6
	requestReferer  = 7
	requestFor      = 8
	requestID       = 9
	requestOriginal = 10
	requestBody     = 12
	requestHeaders  = 13

	responseCode     = 1 // of HTTPResponseProperties
	responseBody     = 3
	responseHeaders  = 4
	responseTrailers = 5
	responseDetails  = 6

	tlsVersion = 1 // of TLSProperties
	tlsCipher  = 2
	tlsName    = 3
	tlsLocal   = 4
	tlsPeer    = 5

	certNames   = 1 // of CertificateProperties
	certSubject = 2
	certIssuer  = 3
	nameURI     = 1 // of SubjectAltName
	nameDNS     = 2
)

// maxText is the most of a text that a log service is told.
const maxText = 8 << 10

// A buffer is the space in which an entry is encoded: what is within a message is
// encoded before the message is, as its length comes first.
type buffer struct{ entry, part, inner, within []byte }

// http appends e as a HTTPAccessLogEntry to what b has for entries.
func (b *buffer) http(dst []byte, e *Entry) []byte {
	out := b.entry[:0]
	b.common(e, typeRequestEnd)
	out = appendMessage(out, entryCommon, b.part)
	out = appendNumber(out, entryVersion, version(e.Major, e.Minor))
	b.request(e)
	out = appendMessage(out, entryRequest, b.part)
	b.response(e)
	out = appendMessage(out, entryResponse, b.part)
	b.entry = out
	return appendMessage(dst, logEntry, out)
}

// tcp appends e as a TCPAccessLogEntry.
func (b *buffer) tcp(dst []byte, e *Entry) []byte {
	out := b.entry[:0]
	b.common(e, typeTCPEnd)
	out = appendMessage(out, entryCommon, b.part)
	b.part = appendNumber(b.part[:0], connReceived, uint64(max(e.BytesIn, 0)))
	b.part = appendNumber(b.part, connSent, uint64(max(e.BytesOut, 0)))
	out = appendMessage(out, entryConnection, b.part)
	b.entry = out
	return appendMessage(dst, logEntry, out)
}

func version(major, minor uint8) uint64 {
	switch {
	case major == 1 && minor == 0:
		return 1
	case major == 1:
		return 2
	case major == 2 || major == 3:
		return uint64(major) + 1
	}
	return 0
}

// common encodes what requests and connections have in common into b.part.
func (b *buffer) common(e *Entry, kind uint64) {
	p := b.part[:0]
	p = b.address(p, commonClient, e.Client)
	p = b.address(p, commonLocal, e.Local)
	if e.TLS != nil {
		b.tls(e.TLS, e.ServerCert)
		p = appendMessage(p, commonTLS, b.inner)
	}
	b.inner = appendNumber(b.inner[:0], 1, uint64(e.Start.Unix()))   //nolint:gosec // because it is now
	b.inner = appendNumber(b.inner, 2, uint64(e.Start.Nanosecond())) //nolint:gosec // because it is not negative
	p = appendMessage(p, commonStart, b.inner)
	for _, t := range [...]struct {
		number protowire.Number
		after  time.Duration
	}{
		{commonReceived, e.Received}, {commonSent, e.Sent}, {commonSentAll, e.SentAll}, {commonAnswered, e.Answered},
		{commonAnsweredAll, e.AnsweredAll}, {commonBegan, e.Began}, {commonReplied, e.Replied}, {commonDuration, e.Duration},
	} {
		p = b.duration(p, t.number, t.after)
	}
	p = b.address(p, commonEndpoint, e.Endpoint)
	p = b.address(p, commonFrom, e.From)
	p = b.address(p, commonPeer, e.Peer)
	p = b.text(p, commonUpstream, e.Upstream)
	if n := flagNumber(e.Flag); n > 0 {
		p = b.flag(p, n)
	}
	p = b.text(p, commonFailure, e.Failure)
	p = b.text(p, commonRoute, e.Route)
	p = appendNumber(p, commonAttempts, uint64(max(e.Attempts, 0)))
	if kind == typeTCPEnd {
		p = b.text(p, commonDetails, e.Details)
	}
	p = b.bytes(p, commonStream, e.RequestID)
	b.part = appendNumber(p, commonType, kind)
}

// request encodes what was asked into b.part.
func (b *buffer) request(e *Entry) {
	p := appendNumber(b.part[:0], requestMethod, method(e.Method))
	p = b.bytes(p, requestScheme, e.Scheme)
	p = b.bytes(p, requestHost, e.Authority)
	p = b.bytes(p, requestPath, withoutQuery(e.Path))
	p = b.bytes(p, requestAgent, e.UserAgent)
	p = b.bytes(p, requestReferer, withoutQuery(e.Referer))
	p = b.bytes(p, requestFor, e.ForwardedFor)
	p = b.bytes(p, requestID, e.RequestID)
	p = b.bytes(p, requestOriginal, withoutQuery(e.OriginalPath))
	p = appendNumber(p, requestBody, uint64(max(e.BytesIn, 0)))
	b.part = b.values(p, requestHeaders, e.RequestValues)
}

// response encodes what was answered into b.part.
func (b *buffer) response(e *Entry) {
	p := b.part[:0]
	if e.Status > 0 {
		b.inner = appendNumber(b.inner[:0], 1, uint64(e.Status))
		p = appendMessage(p, responseCode, b.inner)
	}
	p = appendNumber(p, responseBody, uint64(max(e.BytesOut, 0)))
	p = b.values(p, responseHeaders, e.AnswerValues)
	p = b.values(p, responseTrailers, e.Tails)
	b.part = b.text(p, responseDetails, e.Details)
}

// tls encodes a handshake into b.inner.
func (b *buffer) tls(t *wire.TLSInfo, server *wire.CertFacts) {
	p := b.inner[:0]
	if t.Version >= 0x301 && t.Version <= 0x304 { // TLS 1.0 to 1.3
		p = appendNumber(p, tlsVersion, uint64(t.Version-0x300))
	}
	p = protowire.AppendTag(p, tlsCipher, protowire.BytesType)
	p = protowire.AppendVarint(p, uint64(protowire.SizeTag(1)+protowire.SizeVarint(uint64(t.Cipher)))) //nolint:gosec // a length
	p = protowire.AppendVarint(protowire.AppendTag(p, 1, protowire.VarintType), uint64(t.Cipher))
	p = b.text(p, tlsName, t.ServerName)
	p = b.cert(p, tlsLocal, server)
	b.inner = b.cert(p, tlsPeer, t.Client())
}

func (b *buffer) cert(p []byte, number protowire.Number, f *wire.CertFacts) []byte {
	if f == nil {
		return p
	}
	w := b.within[:0]
	for _, uri := range f.URIs {
		w = appendName(w, nameURI, uri)
	}
	for _, name := range f.DNS {
		w = appendName(w, nameDNS, name)
	}
	w = appendText(w, certSubject, f.Subject)
	b.within = appendText(w, certIssuer, f.Issuer)
	return appendMessage(p, number, b.within)
}

// appendName appends a SubjectAltName.
func appendName(w []byte, number protowire.Number, name string) []byte {
	w = protowire.AppendTag(w, certNames, protowire.BytesType)
	w = protowire.AppendVarint(w, uint64(protowire.SizeTag(number)+protowire.SizeBytes(len(name)))) //nolint:gosec // a length
	return protowire.AppendString(protowire.AppendTag(w, number, protowire.BytesType), name)
}

// values appends a map of headers.
func (b *buffer) values(p []byte, number protowire.Number, values []Value) []byte {
	for i := range values {
		b.inner = appendText(b.inner[:0], 1, values[i].Name)
		b.inner = appendText(b.inner, 2, values[i].Value)
		p = appendMessage(p, number, b.inner)
	}
	return p
}

// address appends an Address, or nothing.
func (b *buffer) address(p []byte, number protowire.Number, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return p
	}
	var text [64]byte
	host := a.Addr().WithZone("").Unmap().AppendTo(text[:0])
	b.within = protowire.AppendBytes(protowire.AppendTag(b.within[:0], 2, protowire.BytesType), host)
	b.within = protowire.AppendVarint(protowire.AppendTag(b.within, 3, protowire.VarintType), uint64(a.Port()))
	b.inner = appendMessage(b.inner[:0], 1, b.within) // SocketAddress
	return appendMessage(p, number, b.inner)
}

func (b *buffer) duration(p []byte, number protowire.Number, d time.Duration) []byte {
	if d <= 0 {
		return p
	}
	b.inner = appendNumber(b.inner[:0], 1, uint64(d/time.Second))
	b.inner = appendNumber(b.inner, 2, uint64(d%time.Second))
	return appendMessage(p, number, b.inner)
}

// flag appends ResponseFlags with one of its fields.
func (b *buffer) flag(p []byte, n protowire.Number) []byte {
	if n == flagUnauthorized {
		b.within = appendNumber(b.within[:0], 1, 1) // by an external service
		b.inner = appendMessage(b.inner[:0], n, b.within)
	} else {
		b.inner = appendNumber(b.inner[:0], n, 1)
	}
	return appendMessage(p, commonFlags, b.inner)
}

func (b *buffer) text(p []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return p
	}
	return appendText(p, number, s)
}

func (b *buffer) bytes(p []byte, number protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return p
	}
	return appendText(p, number, v)
}

// appendText appends a text that may be anything. Its length is known only once it is
// there, and takes two bytes in any case.
func appendText[T []byte | string](p []byte, number protowire.Number, v T) []byte {
	p = protowire.AppendTag(p, number, protowire.BytesType)
	at := len(p)
	p = relay.AppendText(append(p, 0, 0), v, maxText)
	n := len(p) - at - 2
	p[at], p[at+1] = byte(n)|0x80, byte(n>>7) //nolint:gosec // because maxText is below 1<<14
	return p
}

func appendMessage(p []byte, number protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(p, number, protowire.BytesType), m)
}

func appendNumber(p []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return p
	}
	return protowire.AppendVarint(protowire.AppendTag(p, number, protowire.VarintType), v)
}

func withoutQuery(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		return target[:i]
	}
	return target
}

// method is the number of a method in envoy.config.core.v3.RequestMethod.
func method(m wire.Method) uint64 { return methods[m] }

var methods = [...]uint64{
	wire.MethodOther: 0, wire.GET: 1, wire.HEAD: 2, wire.POST: 3, wire.PUT: 4, wire.DELETE: 5,
	wire.CONNECT: 6, wire.OPTIONS: 7, wire.TRACE: 8, wire.PATCH: 9,
}

// flagUnauthorized is the number of the flag that says more than that it is set.
const flagUnauthorized = 13

// flagNumber is the number of the field of ResponseFlags that Envoy's flag stands for, 0
// for none.
func flagNumber(flag string) protowire.Number { return flags[flag] }

var flags = map[string]protowire.Number{
	"LH": 1, "UH": 2, "UT": 3, "LR": 4, "UR": 5, "UF": 6, "UC": 7, "UO": 8, "NR": 9, "DI": 10, "FI": 11, "RL": 12,
	"UAEX": flagUnauthorized, "RLSE": 14, "DC": 15, "URX": 16, "SI": 17, "IH": 18, "DPE": 19, "UMSDR": 20, "RFCF": 21,
	"NFCF": 22, "DT": 23, "UPE": 24, "NC": 25, "OM": 26, "DF": 27, "DR": 28,
}
