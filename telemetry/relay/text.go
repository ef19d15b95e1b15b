package relay

import "unicode/utf8"

// AppendText appends at most limit bytes of v as valid UTF-8, as collectors throw away
// whole messages over one wrong byte. Budget: 0 allocs.
func AppendText[T []byte | string](dst []byte, v T, limit int) []byte {
	start := len(dst)
	dst = append(dst, v[:min(len(v), limit)]...)
	if utf8.Valid(dst[start:]) {
		return dst
	}
	dst = dst[:start]
	for len(v) > 0 {
		r, size := utf8.DecodeRuneInString(string(v[:min(len(v), utf8.UTFMax)])) // too short for an allocation
		if len(dst)+utf8.RuneLen(r) > start+limit {
			break
		}
		dst = utf8.AppendRune(dst, r)
		v = v[size:]
	}
	return dst
}
