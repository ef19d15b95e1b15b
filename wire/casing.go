package wire

// A Casing is how HTTP/1.1 spells the names of fields, which are the same in any case:
// for the few who look at it. nil is lower case.
type Casing struct{ spelled map[string]string }

// ProperCase begins every word of a name with a capital letter.
func ProperCase() *Casing { return &Casing{} }

// SpellAs writes these names as they are written here, and all others in lower case.
func SpellAs(names []string) *Casing {
	c := &Casing{spelled: make(map[string]string, len(names))}
	for _, name := range names {
		lower := []byte(name)
		LowerInPlace(lower)
		c.spelled[string(lower)] = name
	}
	return c
}

// Spell respells the names of the field lines in head, which is complete but for its
// empty line and begins with a start line. Budget: 0 allocs.
func (c *Casing) Spell(head []byte) {
	if c == nil {
		return
	}
	for at := lineEnd(head, 0); at < len(head); at = lineEnd(head, at) {
		name := head[at:]
		for i, b := range name {
			if b == ':' || b == '\r' {
				name = name[:i]
				break
			}
		}
		c.name(name)
	}
}

// lineEnd returns where the line after that at from begins.
func lineEnd(head []byte, from int) int {
	for i := from; i+1 < len(head); i++ {
		if head[i] == '\r' && head[i+1] == '\n' {
			return i + 2
		}
	}
	return len(head)
}

func (c *Casing) name(name []byte) {
	if c.spelled != nil {
		copy(name, c.spelled[string(name)])
		return
	}
	first := true
	for i, b := range name {
		letter := 'a' <= b && b <= 'z'
		if first && letter {
			name[i] = b - 'a' + 'A'
		}
		first = !letter && (b < '0' || b > '9')
	}
}
