package config

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// What the words of TLS settings stand for, towards clients and towards services. What
// these may use of it is theirs to say.
var (
	TLSVersions = map[string]uint16{
		"v1.0": tls.VersionTLS10, "v1.1": tls.VersionTLS11, "v1.2": tls.VersionTLS12, "v1.3": tls.VersionTLS13,
	}
	// TLSSuites are the suites of TLS 1.2 and below that crypto/tls has, by OpenSSL's names.
	TLSSuites = map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
	TLSCurves = map[string]tls.CurveID{
		"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
		"X25519MLKEM768": tls.X25519MLKEM768,
	}
)

// UnknownTLSName says why a name is no suite of TLSSuites, or no curve of TLSCurves.
func UnknownTLSName(name string) string {
	if strings.HasPrefix(name, "TLS_") {
		return fmt.Sprintf("%q is a suite of TLS 1.3, of which none can be chosen", name)
	}
	return fmt.Sprintf("%q is not served here", name)
}
