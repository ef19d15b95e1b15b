package decode

// A fate is what becomes of a field that Ambassador has and that is not decoded: a
// sentence for its author, or one of two words.
type fate string

const (
	notYet fate = "is not served yet" // it would change what is served
	quiet  fate = ""                  // it changes nothing, and never did
	// Other sentences say why the field changes nothing although it looks as if.

	gone       fate = "has had no effect since Ambassador 2"
	goneListen fate = gone + ": the Listener decides"
	goneHTTPS  fate = gone + ": Host.requestPolicy took its place"
)

var mappingUnserved = map[string]fate{
	"docs":                  quiet, // only the developer portal reads it
	"envoy_override":        quiet,
	"modules":               quiet,
	"v2BoolHeaders":         quiet, // what a conversion wrote down for the way back
	"v2BoolQueryParameters": quiet,
	"v2ExplicitTLS":         quiet,
}

var tcpMappingUnserved = map[string]fate{
	"v2ExplicitTLS": quiet, // what a conversion wrote down for the way back
}

var hostUnserved = map[string]fate{
	"previewUrl": "is ignored by Ambassador 3 too",
}

var acmeUnserved = map[string]fate{
	"registration": quiet, // the account is known by its key
}

var insecureUnserved = map[string]fate{
	"additionalPort": goneListen,
}

var listenerUnserved = map[string]fate{
	"http2MaxConcurrentStreams": notYet,
}

var internalUnserved = map[string]fate{
	"unix_sockets": "means nothing: no Listener is a unix socket",
}

var selectorUnserved = map[string]fate{
	"matchExpressions": "is not supported by Ambassador either: only matchLabels selects",
}

var moduleUnserved = map[string]fate{
	"admin_port":                 quiet,
	"auth_enabled":               gone,
	"debug_mode":                 gone,
	"envoy_validation_timeout":   quiet,
	"prune_unreachable_routes":   quiet,
	"regex_max_size":             quiet,
	"regex_type":                 gone,
	"runtime_flags":              notYet,
	"service_port":               goneListen,
	"statsd":                     "has no effect in Ambassador 3 either: STATSD_ENABLED and its like decide",
	"tls":                        gone,
	"x_forwarded_proto_redirect": goneHTTPS,
}

var moduleClientUnserved = func() map[string]fate {
	const other fate = "says nothing of how clients are verified"
	return map[string]fate{
		"alpn_protocols":          other,
		"cert_chain_file":         other,
		"private_key_file":        other,
		"redirect_cleartext_from": quiet,
	}
}()

var probeUnserved = map[string]fate{
	"allow_non_local": "means nothing: health is told to everybody",
}
