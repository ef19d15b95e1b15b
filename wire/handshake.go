package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
)

// NoCertificate reports whether a handshake failed as the client has shown none of the
// certificates that it must. crypto/tls has no value for that error.
func NoCertificate(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "client didn't provide a certificate")
}

// refusals are how crypto/tls words what a server says that does not believe the
// certificate of its client, or misses one (RFC 8446 §6.2).
var refusals = func() map[string]bool {
	words := map[string]bool{}
	for _, alert := range []tls.AlertError{
		40,  // handshake_failure
		42,  // bad_certificate
		43,  // unsupported_certificate
		44,  // certificate_revoked
		45,  // certificate_expired
		46,  // certificate_unknown
		48,  // unknown_ca
		49,  // access_denied
		116, // certificate_required
	} {
		words[alert.Error()] = true
	}
	return words
}()

// CertificateRefused reports whether a connection was ended by a server that does not
// believe its client's certificate. In TLS 1.3 it says so when the handshake is over for
// the client, who learns of it instead of an answer.
func CertificateRefused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && op.Err != nil && refusals[op.Err.Error()]
}

// BadCertificate reports whether a handshake failed as the client's certificate is not
// believed.
func BadCertificate(err error) bool {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	return unverified || errors.Is(err, ErrRevoked) || errors.Is(err, ErrNoList) || errors.Is(err, ErrOldList)
}
