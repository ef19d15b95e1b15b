package config

import "slices"

// Trace finds what now lists in old, by reference: from is the place in old of each, -1
// for one that is not there, and gone are the places in old of those that are not there
// any more. ok is false where some of both have changed places among one another.
func Trace[T any](old, now []*T) (from, gone []int, ok bool) {
	from = make([]int, len(now))
	begin, end := 0, 0 // what both begin and end with
	for begin < min(len(old), len(now)) && old[begin] == now[begin] {
		from[begin] = begin
		begin++
	}
	for end < min(len(old), len(now))-begin && old[len(old)-1-end] == now[len(now)-1-end] {
		end++
		from[len(now)-end] = len(old) - end
	}
	places := make(map[*T]int, len(old)-end-begin)
	for i := begin; i < len(old)-end; i++ {
		places[old[i]] = i
	}
	last := -1
	for i := begin; i < len(now)-end; i++ {
		at, found := places[now[i]]
		if !found {
			from[i] = -1
			continue
		}
		if at < last {
			return nil, nil, false
		}
		from[i], last = at, at
		delete(places, now[i]) // one that stands there twice is new the second time
	}
	for i := begin; i < len(old)-end && len(places) > 0; i++ {
		if at, left := places[old[i]]; left && at == i {
			gone = append(gone, i)
		}
	}
	return from, gone, true
}

// Splice returns a sorted list without what is gone of it and with what comes, which is
// sorted too. The list itself stays as it was.
func Splice[T any](list []T, gone func(T) bool, come []T, compare func(a, b T) int) []T {
	all := make([]T, 0, len(list)+len(come))
	for _, item := range list {
		if !gone(item) {
			all = append(all, item)
		}
	}
	if len(come) == 0 || len(all) == 0 {
		return append(all, come...)
	}
	at, n := len(all), len(come)
	all = append(all, come...)
	for i := n - 1; i >= 0; i-- { // from the end, so that nothing moves twice
		to, _ := slices.BinarySearchFunc(all[:at], come[i], compare)
		copy(all[to+i+1:], all[to:at])
		all[to+i], at = come[i], to
	}
	return all
}
