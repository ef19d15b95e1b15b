package wire

// lower maps every byte to its lower case in ASCII, itself otherwise.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// Lower returns c in lower case if it is an ASCII letter.
func Lower(c byte) byte { return lower[c] }

// LowerInPlace turns b's ASCII letters to lower case.
func LowerInPlace(b []byte) {
	for i, c := range b {
		b[i] = lower[c]
	}
}

// EqualFold reports whether a and b are equal but for ASCII case.
func EqualFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// TrimOWS returns b without the spaces and tabs around it (RFC 9110 §5.6.3).
func TrimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// NextToken cuts the first element off a comma-separated list (RFC 9110 §5.6.1).
func NextToken(list []byte) (token, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return TrimOWS(list[:i]), list[i+1:]
		}
	}
	return TrimOWS(list), nil
}
