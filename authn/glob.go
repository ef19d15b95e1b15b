package authn

// A glob is a pattern of a FilterPolicy: "*" matches any run of bytes, slashes too, "?"
// one, "[a-z]" one of a set, "[!a-z]" one that is not of it, and a backslash takes what
// follows literally.
type glob string

// match reports whether g matches all of s. Budget: 0 allocs.
func (g glob) match(s []byte) bool {
	i, j := 0, 0        // in g and in s
	star, from := -1, 0 // the last star, and where what it stands for ends for now
	for j < len(s) || i < len(g) {
		if i < len(g) && g[i] == '*' {
			star, from = i, j
			if i++; i == len(g) {
				return true
			}
			continue
		}
		if j < len(s) && i < len(g) {
			if n, ok := g.one(i, s[j]); ok {
				i, j = i+n, j+1
				continue
			}
		}
		if star < 0 || from >= len(s) {
			return false
		}
		from++ // the star stands for one more
		i, j = star+1, from
	}
	return true
}

// one reports whether what stands at i of g, which is not a star, matches c, and how long
// it is.
func (g glob) one(i int, c byte) (n int, ok bool) {
	switch {
	case g[i] == '?':
		return 1, true
	case g[i] == '\\' && i+1 < len(g):
		return 2, g[i+1] == c
	case g[i] == '[':
		return g.set(i, c)
	}
	return 1, g[i] == c
}

// set is one for a set.
func (g glob) set(from int, c byte) (n int, ok bool) {
	i, negated := from+1, false
	if i < len(g) && (g[i] == '!' || g[i] == '^') {
		i, negated = i+1, true
	}
	in := false
	for first := true; i < len(g) && (g[i] != ']' || first); first = false {
		low := g.literal(&i)
		high := low
		if i+1 < len(g) && g[i] == '-' && g[i+1] != ']' {
			i++
			high = g.literal(&i)
		}
		in = in || low <= c && c <= high
	}
	return i + 1 - from, in != negated
}

// literal returns the byte at i of a set, and moves i behind it.
func (g glob) literal(i *int) byte {
	if g[*i] == '\\' && *i+1 < len(g) {
		*i++
	}
	*i++
	return g[*i-1]
}

// start returns the text that all begins with that g matches, and whether that is all of
// it.
func (g glob) start() (text string, whole bool) {
	var b []byte
	for i := 0; i < len(g); i++ {
		switch g[i] {
		case '*', '?', '[':
			return string(b), false
		case '\\':
			if i+1 < len(g) {
				i++
			}
		}
		b = append(b, g[i])
	}
	return string(b), true
}

// A piece is one part of a glob: a star, or what matches one byte.
type piece struct {
	star bool
	of   glob // a set, an escape, or one character
}

// has reports whether p may stand for c.
func (p *piece) has(c byte) bool {
	if p.star {
		return true
	}
	_, ok := p.of.one(0, c)
	return ok
}

// pieces takes g apart.
func (g glob) pieces() []piece {
	var list []piece
	for i := 0; i < len(g); {
		if g[i] == '*' {
			list = append(list, piece{star: true})
			i++
			continue
		}
		n, _ := g.one(i, 0)
		list = append(list, piece{of: g[i:min(i+n, len(g))]})
		i += n
	}
	return list
}
