package format

import "unicode/utf8"

// plain says of every byte whether JSON strings hold it as it is.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"

// AppendEscaped appends value as the inside of a JSON string. Bytes that are not
// UTF-8 become U+FFFD. Budget: 0 allocs once dst has grown.
func AppendEscaped[T []byte | string](dst []byte, value T) []byte {
	for i := range len(value) {
		if !plain[value[i]] {
			return appendSpecial(append(dst, value[:i]...), value[i:])
		}
	}
	return append(dst, value...)
}

// appendSpecial is AppendEscaped from the first byte on that is not plain.
func appendSpecial[T []byte | string](dst []byte, value T) []byte {
	for i := 0; i < len(value); {
		c := value[i]
		switch {
		case plain[c]:
			dst = append(dst, c)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			var one [utf8.UTFMax]byte
			n := copy(one[:], value[i:])
			r, size := utf8.DecodeRune(one[:n])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, one[:size]...)
			}
			i += size
			continue
		}
		i++
	}
	return dst
}

// escapeFrom escapes what stands in b from a place on.
func escapeFrom(b []byte, from int) []byte {
	for i := from; i < len(b); i++ {
		if plain[b[i]] {
			continue
		}
		end := len(b)
		b = appendSpecial(b, b[i:end]) // read from where it stands: what grows away leaves it
		return b[:i+copy(b[i:], b[end:])]
	}
	return b
}
