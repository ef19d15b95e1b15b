package upstream

import "github.com/cespare/xxhash/v2"

// maglevSize is the number of slots in a table: a prime, as the method asks for.
const maglevSize = 65537

// A maglev is Google's table of the same name (Eisenbud et al., NSDI 2016, §3.4): as
// even as can be, and nearly as stable as a ring when endpoints come and go.
type maglev struct {
	list  []*endpoint
	table []uint16 // index in list
}

func newMaglev(list []*endpoint) balancer {
	if len(list) > 1<<16 {
		return newRing(list)
	}
	m := &maglev{list: list, table: make([]uint16, maglevSize)}
	type permutation struct{ at, skip uint64 }
	turns := make([]permutation, len(list))
	for i, e := range list {
		h := xxhash.Sum64String(e.text)
		turns[i] = permutation{h % maglevSize, xxhash.Sum64String(e.text+"_skip")%(maglevSize-1) + 1}
	}
	taken := make([]bool, maglevSize)
	for filled := 0; ; {
		for i := range turns {
			p := &turns[i]
			for taken[p.at] {
				p.at = (p.at + p.skip) % maglevSize
			}
			taken[p.at] = true
			m.table[p.at] = uint16(i)
			if filled++; filled == maglevSize {
				return m
			}
		}
	}
}

// pick returns the endpoint in the hash's slot, or in the next one that is another's.
// Budget: 0 allocs.
func (m *maglev) pick(c Choice) *endpoint {
	if c.Hash == 0 {
		return anyone(m.list, c)
	}
	for i := range uint64(maglevSize) {
		if e := m.list[m.table[(c.Hash+i)%maglevSize]]; e.text != c.Avoid {
			return e
		}
	}
	return m.list[0]
}
