package routes

import (
	"slices"
	"strings"
)

// A globKind is the form of a hostname glob.
type globKind uint8

const (
	globExact  globKind = iota
	globSuffix          // "*.example.com"
	globPrefix          // "example.*"
	globAny             // "*"
)

// splitGlob returns the form of a glob and the text beside its star. A star
// elsewhere is a character like any other, and so are stars at both ends.
func splitGlob(glob string) (globKind, string) {
	switch {
	case glob == "*":
		return globAny, ""
	case doubleStar(glob):
		return globExact, glob
	case strings.HasPrefix(glob, "*"):
		return globSuffix, glob[1:]
	case strings.HasSuffix(glob, "*"):
		return globPrefix, glob[:len(glob)-1]
	}
	return globExact, glob
}

func doubleStar(glob string) bool {
	return len(glob) > 1 && glob[0] == '*' && glob[len(glob)-1] == '*'
}

// oddGlob reports whether compatible says no although a name could match the glob
// and another one at once.
func oddGlob(glob string) bool {
	return strings.HasPrefix(glob, ".") || doubleStar(glob)
}

// compatible reports whether Ambassador associates two globs: whether some name
// could match both, with its exceptions. Both are in lower case.
func compatible(a, b string) bool {
	switch {
	case a == b, a == "*", b == "*":
		return true
	case oddGlob(a), oddGlob(b):
		return false
	}
	ak, at := splitGlob(a)
	bk, bt := splitGlob(b)
	if ak == globExact {
		ak, at, bk, bt = bk, bt, ak, at
	}
	switch {
	case ak == globExact: // two different names
		return false
	case bk == globExact && ak == globSuffix:
		return len(bt) > len(at) && strings.HasSuffix(bt, at)
	case bk == globExact:
		return len(bt) > len(at) && strings.HasPrefix(bt, at)
	case ak != bk:
		return true
	case ak == globSuffix:
		return strings.HasSuffix(at, bt) || strings.HasSuffix(bt, at)
	}
	return strings.HasPrefix(at, bt) || strings.HasPrefix(bt, at)
}

// A globMap finds values by glob: exact names by hash, the others by hash of each
// length of text that occurs.
type globMap[V any] struct {
	exact    map[string]V
	suffixes []lengthMap[V] // longest first
	prefixes []lengthMap[V] // longest first
	any      V
	hasAny   bool
}

// A lengthMap holds what belongs to texts of one length.
type lengthMap[V any] struct {
	n int
	m map[string]V
}

// set notes a glob's value, in place of an earlier one.
func (g *globMap[V]) set(kind globKind, text string, v V) {
	switch kind {
	case globAny:
		g.any, g.hasAny = v, true
	case globSuffix:
		g.suffixes = setLength(g.suffixes, text, v)
	case globPrefix:
		g.prefixes = setLength(g.prefixes, text, v)
	default:
		if g.exact == nil {
			g.exact = map[string]V{}
		}
		g.exact[text] = v
	}
}

// get returns the value set for exactly that glob.
func (g *globMap[V]) get(kind globKind, text string) (V, bool) {
	list := g.prefixes
	switch kind {
	case globAny:
		return g.any, g.hasAny
	case globExact:
		v, ok := g.exact[text]
		return v, ok
	case globSuffix:
		list = g.suffixes
	case globPrefix:
	}
	for i := range list {
		if list[i].n == len(text) {
			v, ok := list[i].m[text]
			return v, ok
		}
	}
	var none V
	return none, false
}

func setLength[V any](list []lengthMap[V], text string, v V) []lengthMap[V] {
	i, found := slices.BinarySearchFunc(list, len(text), func(l lengthMap[V], n int) int { return n - l.n })
	if !found {
		list = slices.Insert(list, i, lengthMap[V]{len(text), map[string]V{}})
	}
	list[i].m[text] = v
	return list
}

// find returns the value of the glob that fits name best: the name itself, the
// longest suffix, the longest prefix, the star. A star beside a text stands for at
// least one character. name is in lower case. Budget: 0 allocs.
func (g *globMap[V]) find(name []byte) (V, bool) {
	if v, ok := g.exact[string(name)]; ok {
		return v, true
	}
	for i := range g.suffixes {
		if l := &g.suffixes[i]; l.n < len(name) {
			if v, ok := l.m[string(name[len(name)-l.n:])]; ok {
				return v, true
			}
		}
	}
	for i := range g.prefixes {
		if l := &g.prefixes[i]; l.n < len(name) {
			if v, ok := l.m[string(name[:l.n])]; ok {
				return v, true
			}
		}
	}
	return g.any, g.hasAny
}
