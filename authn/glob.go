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
			i++
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
