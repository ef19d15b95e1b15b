package authn

import "bytes"

// otherReading returns path as a lenient service may read it: with escaped slashes and
// semicolons as what they stand for, no parameters in its segments, no empty segments, and
// the dots resolved that come to light. It appends to buf, and reports false where it is
// what it was. A rule must hold for either reading: nobody gets around one by spelling.
// Budget: 0 allocs for a path that fits buf.
func otherReading(buf, path []byte) (other []byte, differs bool) {
	if !hasReadings(path) {
		return nil, false
	}
	out := buf[:0]
	parameter := false
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			if meant := escaped(path[i+1], path[i+2]); meant != 0 {
				c, i = meant, i+2
			}
		}
		switch {
		case c == '/':
			parameter = false
			out = closeSegment(out)
		case c == ';':
			parameter = true
		case !parameter:
			out = append(out, c)
		}
	}
	if dots := lastSegment(out); string(dots) == "." || string(dots) == ".." {
		out = closeSegment(out)
	}
	return out, !bytes.Equal(out, path)
}

// hasReadings reports whether path may be read in another way at all.
func hasReadings(path []byte) bool {
	return bytes.IndexByte(path, ';') >= 0 || bytes.IndexByte(path, '%') >= 0 || bytes.Contains(path, []byte("//"))
}

// escaped returns what an escape stands for where that divides paths, 0 elsewhere. A
// backslash is a slash to some.
func escaped(high, low byte) byte {
	switch low |= 0x20; {
	case high == '2' && low == 'f', high == '5' && low == 'c':
		return '/'
	case high == '3' && low == 'b':
		return ';'
	case high == '2' && low == 'e':
		return '.'
	}
	return 0
}

// closeSegment ends the last segment of out with a slash: an empty one and one of dots
// leave nothing behind.
func closeSegment(out []byte) []byte {
	switch last := lastSegment(out); {
	case len(out) > 0 && len(last) == 0:
		return out
	case string(last) == ".":
		return out[:len(out)-1]
	case string(last) == "..":
		out = out[:len(out)-len("/..")]
		return out[:bytes.LastIndexByte(out, '/')+1]
	}
	return append(out, '/')
}

// lastSegment returns what follows out's last slash.
func lastSegment(out []byte) []byte { return out[bytes.LastIndexByte(out, '/')+1:] }
