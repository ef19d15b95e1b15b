package wire

import (
	"bytes"
	"strings"
)

// IsFieldName reports whether name, in lower case, can be a field's (RFC 9110 §5.1).
func IsFieldName(name []byte) bool {
	for _, b := range name {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", b) < 0 {
			return false
		}
	}
	return len(name) > 0
}

// IsFieldValue reports whether value can be a field's (RFC 9110 §5.5).
func IsFieldValue(value []byte) bool {
	return !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// Bound are the names that frame a message, belong to one connection or say whom it is
// for: whoever else decides about a message has no say in them.
const Bound = HopByHop | 1<<FieldHost

// Changeable reports whether name, in lower case, is one in which others have a say: none
// of Bound, and no part of the start line.
func Changeable(name []byte) bool {
	f := LookupField(name)
	return len(name) > 0 && name[0] != ':' && (f == FieldOther || !Bound.Has(f))
}
