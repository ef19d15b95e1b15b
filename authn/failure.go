package authn

import (
	"strings"
	"time"

	"legate/decision"
)

// A failure is why a credential was refused. It belongs to whoever made it.
type failure struct {
	reason  decision.Reason
	message string // what the client is told; never any of the token
	bits    validation
	scope   string // what is missing of it; "" for nothing
	err     error  // operators only; nil where message says it all

	retryAfter time.Duration // 0 for nothing said
}

// A validation is the set of what is wrong with a token, in the bits that templates of
// errorResponse may test.
type validation uint32

// The bits that mean something to the authors of templates.
const (
	malformed validation = 1 << iota
	unverifiable
	signatureInvalid
	wrongAudience
	expired
	wrongIssuedAt
	wrongIssuer
	notValidYet
	_
	claimsInvalid
)

// refuse returns the failure of a token.
func refuse(reason decision.Reason, bits validation, message string) *failure {
	return &failure{reason: reason, message: message, bits: bits}
}

// A ValidationError is what templates see of a token that did not hold.
type ValidationError struct{ Errors uint32 }

// A visibleError is what templates see of a failure: its text, and ValidationError where
// it is a token's.
type visibleError struct {
	message         string
	ValidationError *ValidationError
}

func (e *visibleError) Error() string { return e.message }

// visible returns what templates see of f.
func (f *failure) visible() *visibleError {
	v := &visibleError{message: f.message}
	if f.bits != 0 {
		v.ValidationError = &ValidationError{Errors: uint32(f.bits)}
	}
	return v
}

// challenge returns the WWW-Authenticate that goes with f (RFC 6750 §3), "" for none. realm
// is quoted already.
func (f *failure) challenge(realm string) string {
	switch f.reason.Status() {
	case 400:
		return "Bearer realm=" + realm + `, error="invalid_request", error_description=` + quoted(f.message)
	case 401:
		if f.reason == decision.PasswordWrong {
			return basicChallenge(realm)
		}
		if f.reason == decision.TokenMissing || f.reason == decision.IdentityMissing {
			return "Bearer realm=" + realm
		}
		return "Bearer realm=" + realm + `, error="invalid_token", error_description=` + quoted(f.message)
	case 403:
		if f.scope != "" {
			return "Bearer realm=" + realm + `, error="insufficient_scope", scope=` + quoted(f.scope)
		}
	}
	return ""
}

// basicChallenge asks for a name and a password (RFC 7617 §2). realm is quoted already.
func basicChallenge(realm string) string { return "Basic realm=" + realm + `, charset="UTF-8"` }

// quoted returns s as a quoted-string (RFC 9110 §5.6.4).
func quoted(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' && c != '\t' || c == 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
