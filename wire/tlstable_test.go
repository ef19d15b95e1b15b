package wire

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// table serves each of names by a configuration of its own.
func table(names ...string) (*TLSTable, map[string]*tls.Config) {
	t := &TLSTable{Listeners: make([]TLSNames, 1)}
	made := map[string]*tls.Config{}
	for _, name := range names {
		made[name] = &tls.Config{}
		t.Listeners[0].Add(name, made[name])
	}
	return t, made
}

func TestTLSTable(t *testing.T) {
	some := []string{"a.example.com", "*.example.com", "*.deep.example.com", "*example.net", "b.org"}
	all := append([]string{"*"}, some...)
	for _, row := range []struct {
		names     []string
		sni, want string
	}{
		{some, "a.example.com", "a.example.com"},
		{some, "A.Example.COM", "a.example.com"},
		{some, "b.example.com", "*.example.com"},
		{some, "x.y.example.com", "*.example.com"},
		{some, "x.deep.example.com", "*.deep.example.com"},
		{some, "deep.example.com", "*.example.com"},
		{some, ".example.com", ""},
		{some, "example.com", ""},
		{some, "example.net", ""},
		{some, "anexample.net", "*example.net"},
		{some, "an.example.net", "*example.net"},
		{some, "b.org", "b.org"},
		{some, "a.b.org", ""},
		{some, "*", ""},
		{some, "*.example.com", "*.example.com"},
		{some, "", ""},
		{all, "example.com", "*"},
		{all, "", "*"},
		{all, "a.example.com", "a.example.com"},
		{nil, "a.example.com", ""},
	} {
		table, made := table(row.names...)
		if got := table.Name(0, row.sni); got != row.want {
			t.Errorf("%q of %q: served as %q, want %q", row.sni, row.names, got, row.want)
		}
		if c := table.Config(0, row.sni); c != made[row.want] {
			t.Errorf("%q of %q: the configuration is another name's", row.sni, row.names)
		}
	}
	one, _ := table("*")
	var none *TLSTable
	if one.Config(1, "a.example.com") != nil || none.Config(0, "a.example.com") != nil {
		t.Error("a listener that is not there serves a name")
	}
}

// What serves a name is what a look at every name finds: the exact one, else the longest
// suffix, else "*".
func TestTLSTableAgainstALookAtAll(t *testing.T) {
	labels := []string{"a", "b", "cc", ""}
	name := func(r *rand.Rand) string {
		var parts []string
		for range 1 + r.IntN(3) {
			parts = append(parts, labels[r.IntN(len(labels))])
		}
		return strings.Join(parts, ".")
	}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		var names []string
		for range r.IntN(8) {
			if n := []string{"", "*", "*."}[r.IntN(3)] + name(r); n != "" {
				names = append(names, n)
			}
		}
		table, made := table(names...)
		sni := name(r)
		want, length := "", -1
		for _, n := range names {
			suffix, wild := strings.CutPrefix(n, "*")
			switch {
			case n == sni:
				want, length = n, len(sni)
			case wild && suffix == "" && length < 0:
				want, length = n, 0
			case wild && suffix != "" && len(sni) > len(suffix) && len(suffix) > length && strings.HasSuffix(sni, suffix):
				want, length = n, len(suffix)
			}
		}
		if got := table.Name(0, sni); got != want || table.Config(0, sni) != made[want] {
			t.Errorf("%q of %q: served as %q, want %q", sni, names, got, want)
		}
		for _, n := range names {
			if table.Listeners[0].Added(n) != made[n] {
				t.Errorf("%q of %q is not what was added", n, names)
			}
		}
	}
}

func TestAllocsTLSTable(t *testing.T) {
	table, _ := table("a.example.com", "*.example.com", "*")
	for _, sni := range []string{"a.example.com", "b.example.com", "nobody.test"} {
		if n := testing.AllocsPerRun(100, func() { table.Config(0, sni); table.Name(0, sni) }); n != 0 {
			t.Errorf("%s: %v allocations", sni, n)
		}
	}
}

// The choice of a certificate takes as long among many Hosts as among few.
func BenchmarkTLSTable(b *testing.B) {
	for _, form := range []string{"host-%d.example.com", "*.team-%d.example.com"} {
		for _, n := range []int{1, 1000, 100_000} {
			var names []string
			for i := range n {
				names = append(names, fmt.Sprintf(form, i))
			}
			table, _ := table(names...)
			sni := strings.Replace(names[n/2], "*", "www", 1)
			b.Run(fmt.Sprintf("%s/%d", form[:1], n), func(b *testing.B) {
				for b.Loop() {
					if table.Config(0, sni) == nil {
						b.Fatal("no configuration")
					}
				}
			})
		}
	}
}
