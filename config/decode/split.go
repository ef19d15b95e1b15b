package decode

import (
	"bytes"
	"encoding/binary"
	"iter"
	"unicode/utf16"
)

// A chunk is the text of one document and the line of the file on which it begins.
type chunk struct {
	text []byte
	line int
}

// chunks splits a file before every "---" line and after every "..." line. YAML
// forbids both at the start of a line within a document, even in quoted and
// literal text, so no parsing is needed. Chunks without content are left out.
func chunks(text []byte) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		c := chunk{line: 1}
		start, line := 0, 1
		for at := 0; at < len(text); line++ {
			end := len(text)
			if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			switch cut := text[at:end]; {
			case isMarker(cut, "---") && at > start:
				c.text = text[start:at]
				if c.hasContent() && !yield(c) {
					return
				}
				start, c.line = at, line
			case isMarker(cut, "..."):
				c.text = text[start:at]
				if c.hasContent() && !yield(c) {
					return
				}
				start, c.line = end, line+1
			}
			at = end
		}
		c.text = text[start:]
		if c.hasContent() {
			yield(c)
		}
	}
}

// isMarker reports whether line is the given document marker, alone or followed
// by white space.
func isMarker(line []byte, marker string) bool {
	if len(line) < 3 || string(line[:3]) != marker {
		return false
	}
	return len(line) == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r' || line[3] == '\n'
}

// hasContent reports whether c holds more than comments, directives and a marker.
func (c chunk) hasContent() bool {
	for line := range bytes.Lines(c.text) {
		if isMarker(line, "---") {
			line = line[3:]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return true
		}
	}
	return false
}

// utf8Text removes a byte order mark, and converts what a Windows shell wrote as
// UTF-16.
func utf8Text(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return text[3:]
	case bytes.HasPrefix(text, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return text
	}
	units := make([]uint16, 0, len(text)/2)
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}
