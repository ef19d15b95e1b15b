package authn

import (
	"bytes"
	"slices"

	"legate/wire"
)

// A reading is a way in which a lenient service may read a path, other than as the gateway
// does. A rule must hold for every one of them: nobody gets around one by spelling.
type reading uint8

const (
	readsEscapes     reading = 1 << iota // escaped slashes and semicolons are what they stand for
	readsBackslashes                     // and so are escaped backslashes, which are slashes
	cutsParameters                       // a segment ends before its semicolon
	dropsEmpty                           // a segment of nothing is none
	resolvesDots                         // segments of dots that come to light lead up
	foldsCase                            // letters are what they are in lower case

	everyReading = readsEscapes | readsBackslashes | cutsParameters | dropsEmpty | resolvesDots | foldsCase
)

// readings returns what may make a difference to how c's path is read, 0 for nothing: by its
// service, and by its route, which may take a path regardless of case. Budget: 0 allocs.
func (c *Call) readings() reading {
	all := readings(c.Path)
	if c.Service != nil && c.Service.FoldsCase {
		all |= foldsCase
	}
	return all
}

// readings returns what may make a difference to how path is read, 0 for nothing.
// Budget: 0 allocs.
func readings(path []byte) (all reading) {
	if len(path) == 0 || path[0] != '/' {
		return 0
	}
	semicolon, percent := bytes.IndexByte(path, ';') >= 0, bytes.IndexByte(path, '%')
	if percent >= 0 {
		for i := percent; i+2 < len(path); i++ {
			if path[i] != '%' {
				continue
			}
			switch escaped(path[i+1], path[i+2]) {
			case '\\':
				all |= readsBackslashes | dropsEmpty
			case '/', '.':
				all |= readsEscapes | dropsEmpty
			case ';':
				all |= readsEscapes
				semicolon = true
			}
		}
	}
	if semicolon {
		all |= cutsParameters | dropsEmpty
	}
	if all != 0 && bytes.IndexByte(path, '.') >= 0 || all&readsEscapes != 0 {
		all |= resolvesDots
	}
	if bytes.Contains(path, []byte("//")) {
		all |= dropsEmpty
	}
	return all
}

// otherwise asks the rules that decide about c where a service reads its path in some other
// way, those that first is not. Budget: 0 allocs beside the Filters', for a path up to
// maxReading.
func (p *policies) otherwise(c *Call, host, bare []byte, first *rule, all reading) Outcome {
	var buf [maxReading]byte
	var asked [everyReading + 1]*rule
	asked[0] = first
	n := 1
	for how := all; how > 0; how = (how - 1) & all {
		path := how.of(buf[:0], c.Path)
		fold := how&foldsCase != 0
		if !fold && bytes.Equal(path, c.Path) {
			continue
		}
		r := p.find(host, bare, path, fold)
		if r == nil || slices.Contains(asked[:n], r) {
			continue
		}
		asked[n] = r
		n++
		if r.decide(c, path) == Deny {
			return Deny
		}
	}
	return Allow
}

// of appends path to buf, which is empty, as who reads it in this way. Budget: 0 allocs for
// one that fits buf.
func (how reading) of(buf, path []byte) []byte {
	out := buf
	parameter := false
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			if meant := how.escaped(path[i+1], path[i+2]); meant != 0 {
				c, i = meant, i+2
			}
		}
		switch {
		case c == '/':
			parameter = false
			out = how.closeSegment(out)
		case c == ';' && how&cutsParameters != 0:
			parameter = true
		case !parameter:
			out = append(out, c)
		}
	}
	if dots := lastSegment(out); string(dots) == "." || string(dots) == ".." {
		if how&resolvesDots != 0 {
			out = how.closeSegment(out)
		}
	}
	if how&foldsCase != 0 {
		wire.LowerInPlace(out)
	}
	return out
}

// escaped returns what an escape stands for to who reads in this way, 0 for itself.
func (how reading) escaped(high, low byte) byte {
	switch meant := escaped(high, low); {
	case meant == '\\' && how&readsBackslashes != 0:
		return '/'
	case meant != '\\' && how&readsEscapes != 0:
		return meant
	}
	return 0
}

// escaped returns what an escape stands for where that may divide paths, 0 elsewhere.
func escaped(high, low byte) byte {
	switch low |= 0x20; {
	case high == '2' && low == 'f':
		return '/'
	case high == '5' && low == 'c':
		return '\\'
	case high == '3' && low == 'b':
		return ';'
	case high == '2' && low == 'e':
		return '.'
	}
	return 0
}

// closeSegment ends the last segment of out, which begins with a slash or is empty, with a
// slash. What leaves nothing behind has none. Nothing is above the root.
func (how reading) closeSegment(out []byte) []byte {
	last := lastSegment(out)
	switch {
	case len(out) > 0 && len(last) == 0 && how&dropsEmpty != 0:
		return out
	case string(last) == "." && how&resolvesDots != 0:
		return out[:len(out)-len(".")]
	case string(last) == ".." && how&resolvesDots != 0:
		above := out[:len(out)-len("/..")]
		return out[:max(bytes.LastIndexByte(above, '/'), 0)+len("/")]
	}
	return append(out, '/')
}

// lastSegment returns what follows out's last slash.
func lastSegment(out []byte) []byte { return out[bytes.LastIndexByte(out, '/')+1:] }
