package config

import (
	"fmt"
	"testing"
)

func TestTrace(t *testing.T) {
	one := map[rune]*Mapping{}
	list := func(names string) []*Mapping {
		var all []*Mapping
		for _, n := range names {
			if one[n] == nil {
				one[n] = &Mapping{}
			}
			all = append(all, one[n])
		}
		return all
	}
	for _, row := range []struct{ old, now, want string }{
		{"", "", "[] [] true"},
		{"", "ab", "[-1 -1] [] true"},
		{"ab", "", "[] [0 1] true"},
		{"abc", "abc", "[0 1 2] [] true"},
		{"abc", "axc", "[0 -1 2] [1] true"},
		{"abcd", "bxcy", "[1 -1 2 -1] [0 3] true"},
		{"abcd", "acbd", "[] [] false"},
		{"abc", "abbc", "[0 1 -1 2] [] true"},
		{"abbc", "abc", "[0 1 3] [2] true"},
	} {
		from, gone, ok := Trace(list(row.old), list(row.now))
		if got := fmt.Sprint(from, gone, ok); got != row.want {
			t.Errorf("%s to %s: got %s, want %s", row.old, row.now, got, row.want)
		}
	}
}
