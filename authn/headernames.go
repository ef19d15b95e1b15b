package authn

import "legate/wire"

// A nameSet is a set of names of headers.
type nameSet struct {
	known  wire.FieldSet
	others map[string]struct{}
}

// newNameSet makes a set of names in lower case.
func newNameSet(lists ...[]string) nameSet {
	s := nameSet{others: map[string]struct{}{}}
	for _, list := range lists {
		for _, name := range list {
			if f := wire.LookupField([]byte(name)); f != wire.FieldOther {
				s.known |= 1 << f
			} else {
				s.others[name] = struct{}{}
			}
		}
	}
	return s
}

// has reports whether a name, interned as f and in lower case, is in s. Budget: 0 allocs.
func (s *nameSet) has(f wire.Field, name []byte) bool {
	if f != wire.FieldOther {
		return s.known.Has(f)
	}
	_, ok := s.others[string(name)]
	return ok
}

// keep returns a copy of b that lives as long as the request.
func (c *Call) keep(b []byte) []byte {
	if c.Memory == nil {
		return append([]byte(nil), b...)
	}
	m := append(*c.Memory, b...)
	*c.Memory = m
	return m[len(m)-len(b) : len(m) : len(m)]
}

// set makes value the only line of that name which the upstream receives. Both are copied.
func (c *Call) set(f wire.Field, name, value []byte) {
	if f != wire.FieldOther {
		c.Edits.Set(f, c.keep(value))
		return
	}
	c.Edits.SetName(c.keep(name), c.keep(value))
}

// remove takes every line of that name, which is copied, away from the upstream.
func (c *Call) remove(name []byte) {
	f := wire.LookupField(name)
	if f != wire.FieldOther {
		c.Edits.Remove(f, nil)
		return
	}
	c.Edits.Remove(f, c.keep(name))
}

// lines calls each for every line that the upstream would receive by now: what the client
// sent and nobody removed, then what was added. name may be nil where f is a known one.
func (c *Call) lines(each func(f wire.Field, name, value []byte)) {
	for i := range c.Head.Len() {
		if f, name, value := c.Head.Line(i); !c.Edits.Drops(f, name) {
			each(f, name, value)
		}
	}
	for i := range c.Edits.Adds() {
		a := &c.Edits.Adds()[i]
		each(a.ID, a.Name, a.Value)
	}
}

// target returns the path and the query that the upstream would receive by now, but for
// what its route makes of the path.
func (c *Call) target() (path, query []byte, hasQuery bool) {
	if c.Edits.Path != nil && c.Edits.HasQuery {
		return c.Path, c.Edits.Query, c.Edits.Query != nil
	}
	query, hasQuery = c.Head.Query()
	return c.Path, query, hasQuery
}
