package upstream

import (
	"cmp"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// ringPoints is how many points an endpoint has on a ring: with fewer, shares differ too
// much. It does not depend on the number of endpoints, as the points that stay must not
// move when one comes or goes.
const ringPoints = 256

// A ring is consistent hashing: endpoints own arcs of a circle of hashes, so that one
// that leaves hands over its own requests and nobody else's.
type ring struct {
	list   []*endpoint
	points []point
}

// A point ends the arc of an endpoint.
type point struct {
	hash  uint64
	owner int32 // index in list
}

func newRing(list []*endpoint) *ring {
	r := &ring{list: list, points: make([]point, 0, ringPoints*len(list))}
	for i, e := range list {
		for n := range ringPoints {
			r.points = append(r.points, point{xxhash.Sum64String(e.text + "_" + strconv.Itoa(n)), int32(i)})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.owner, b.owner))
	})
	return r
}

// pick returns the owner of the hash's arc, or of the next one that is another's.
// Budget: 0 allocs.
func (r *ring) pick(c Choice) *endpoint {
	if c.Hash == 0 {
		return anyone(r.list, c)
	}
	at := sort.Search(len(r.points), func(i int) bool { return r.points[i].hash >= c.Hash })
	for i := range r.points {
		if e := r.list[r.points[(at+i)%len(r.points)].owner]; e.text != c.Avoid {
			return e
		}
	}
	return r.list[0]
}
