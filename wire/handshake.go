package wire

import (
	"crypto/tls"
	"errors"
	"strings"
)

// ErrRevoked ends a handshake whose client shows a certificate that is revoked.
var ErrRevoked = errors.New("the client's certificate is revoked")

// NoCertificate reports whether a handshake failed as the client has shown none of the
// certificates that it must. crypto/tls has no value for that error.
func NoCertificate(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "client didn't provide a certificate")
}

// BadCertificate reports whether a handshake failed as the client's certificate is not
// believed.
func BadCertificate(err error) bool {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	return unverified || errors.Is(err, ErrRevoked)
}
