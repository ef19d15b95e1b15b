package routes

import (
	"fmt"
	"strings"
	"testing"

	"legate/config"
)

// tcp makes a TCPMapping called name.
func tcp(name string, port int, host string, change ...func(*config.TCPMapping)) config.TCPMapping {
	m := config.TCPMapping{Meta: config.Meta{Kind: "TCPMapping", Name: name, Namespace: "default"}, Port: port, Host: host, Service: name}
	for _, c := range change {
		c(&m)
	}
	return m
}

func weighing(n int) func(*config.TCPMapping) { return func(m *config.TCPMapping) { m.Weight = &n } }
func at(address string) func(*config.TCPMapping) {
	return func(m *config.TCPMapping) { m.Address = address }
}
func resting(ms int) func(*config.TCPMapping) {
	return func(m *config.TCPMapping) { m.IdleTimeoutMS = &ms }
}
func ipv6(on bool) func(*config.TCPMapping) { return func(m *config.TCPMapping) { m.EnableIPv6 = &on } }
func originating(c string) func(*config.TCPMapping) {
	return func(m *config.TCPMapping) { m.TLS = c }
}

func breaking(max int) func(*config.TCPMapping) {
	return func(m *config.TCPMapping) {
		m.CircuitBreakers = &config.CircuitBreakers{Default: config.Limits{Connections: int64(max)}}
	}
}

// sketch renders groups: "db.example.com 127.0.0.1:5432 a 10% b 90%".
func sketch(groups []*TCPGroup) string {
	var lines []string
	for _, g := range groups {
		line := fmt.Sprintf("%s %s:%d", g.Host, g.Address, g.Port)
		for _, m := range g.Members {
			line += fmt.Sprintf(" %s %.4g%%", m.Mapping.Name, m.Share)
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "; ")
}

func TestBuildTCP(t *testing.T) {
	for _, tc := range []struct {
		name     string
		mappings []config.TCPMapping
		bind     string
		want     string
		problems []string // each a part of one Problem, in order
	}{
		{name: "none"},
		{name: "one", mappings: []config.TCPMapping{tcp("a", 1, "")}, want: ":1 a 100%"},
		{name: "one gets all, whatever its weight", mappings: []config.TCPMapping{tcp("a", 1, "", weighing(0))}, want: ":1 a 100%"},
		{
			name:     "groups are by port and host, in any case",
			mappings: []config.TCPMapping{tcp("a", 1, "a.example"), tcp("b", 1, "b.example"), tcp("c", 2, "a.example"), tcp("d", 1, "A.Example")},
			want:     "a.example :1 a 50% d 50%; b.example :1 b 100%; a.example :2 c 100%",
		},
		{
			name:     "and by address, unless it is where Listeners listen",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", at("0.0.0.0")), tcp("c", 1, "", at("::")), tcp("d", 1, "", at("127.0.0.1"))},
			want:     ":1 a 33.33% b 33.33% c 33.33%; 127.0.0.1:1 d 100%",
		},
		{
			name: "where Listeners listen on one address", bind: "127.0.0.1",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", at("127.0.0.1")), tcp("c", 1, "", at("0.0.0.0"))},
			want:     ":1 a 50% b 50%; 0.0.0.0:1 c 100%",
		},
		{
			name:     "true shares",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", weighing(10))},
			want:     ":1 a 90% b 10%",
		},
		{
			name:     "members without weight share equally what is left",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, ""), tcp("c", 1, "", weighing(40)), tcp("d", 1, "")},
			want:     ":1 a 20% b 20% c 40% d 20%",
		},
		{
			name:     "100 leaves nothing",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", weighing(100))},
			want:     ":1 a 0% b 100%",
		},
		{
			name:     "0 is nothing",
			mappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", weighing(0))},
			want:     ":1 a 100% b 0%",
		},
		{
			name:     "weights that leave something count in proportion",
			mappings: []config.TCPMapping{tcp("a", 1, "", weighing(30)), tcp("b", 1, "", weighing(10))},
			want:     ":1 a 75% b 25%",
		},
		{
			name:     "weights over 100 too, and are told",
			mappings: []config.TCPMapping{tcp("a", 1, "", weighing(60)), tcp("b", 1, "", weighing(60)), tcp("c", 1, "")},
			want:     ":1 a 50% b 50% c 0%",
			problems: []string{"TCPMapping/a.default: weight: Total weight of mappings exceeds 100"},
		},
		{
			name:     "only zeros",
			mappings: []config.TCPMapping{tcp("a", 1, "", weighing(0)), tcp("b", 1, "", weighing(0))},
			want:     ":1 a 0% b 0%",
			problems: []string{"all weights are 0; connections are closed"},
		},
		{
			name: "a later member that disagrees is dropped",
			mappings: []config.TCPMapping{
				tcp("a", 1, "", resting(5), originating("x"), breaking(3)), tcp("b", 1, "", resting(6)), tcp("c", 1, "", ipv6(true)),
				tcp("d", 1, "", originating("y")), tcp("e", 1, "", breaking(4)), tcp("f", 1, "", func(m *config.TCPMapping) { m.OriginateTLS = true }),
			},
			want: ":1 a 100%",
			problems: []string{
				"TCPMapping/b.default: cannot accept new mapping b with mismatched idle_timeout_ms: 6 != 5.",
				"mismatched enable_ipv6: true != -unset-.", "mismatched tls: y != x.", "mismatched circuit_breakers", "mismatched tls: true != x.",
			},
		},
		{
			name: "one that agrees or says nothing is not",
			mappings: []config.TCPMapping{
				tcp("a", 1, "", resting(5), originating("x"), breaking(3), ipv6(true)), tcp("b", 1, "", resting(5), originating("x"), breaking(3), ipv6(true)), tcp("c", 1, ""),
			},
			want: ":1 a 33.33% b 33.33% c 33.33%",
		},
		{
			name:     "without host the port is taken whole",
			mappings: []config.TCPMapping{tcp("a", 1, "a.example"), tcp("b", 1, ""), tcp("c", 1, "*"), tcp("d", 2, "*"), tcp("e", 1, "*", at("127.0.0.1"))},
			want:     ":1 b 100%; * :2 d 100%; * 127.0.0.1:1 e 100%",
			problems: []string{"TCPMapping/a.default: host: TCPMapping default/b has the whole of port 1", "TCPMapping/c.default: host:"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			groups, problems := BuildTCP(&config.World{TCPMappings: tc.mappings}, tc.bind)
			if got := sketch(groups); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if len(problems) != len(tc.problems) {
				t.Fatalf("got problems %v, want %d", problems, len(tc.problems))
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), tc.problems[i]) {
					t.Errorf("got  %v\nwant %s", p, tc.problems[i])
				}
			}
		})
	}
}

// Every roll goes somewhere, and in the shares that are told.
func TestTCPGroupChoose(t *testing.T) {
	groups, _ := BuildTCP(&config.World{TCPMappings: []config.TCPMapping{
		tcp("a", 1, ""), tcp("b", 1, "", weighing(25)), tcp("c", 1, "", weighing(0)), tcp("d", 1, ""),
	}}, "")
	g, got := groups[0], [4]int{}
	for roll := range uint64(800) {
		got[g.Choose(roll)]++
	}
	if got != [4]int{300, 200, 0, 300} {
		t.Errorf("got %v", got)
	}
	groups, _ = BuildTCP(&config.World{TCPMappings: []config.TCPMapping{tcp("a", 1, "", weighing(0)), tcp("b", 1, "", weighing(0))}}, "")
	if i := groups[0].Choose(7); i != -1 {
		t.Errorf("got %d, want nobody", i)
	}
}

func TestAllocsTCPGroupChoose(t *testing.T) {
	groups, _ := BuildTCP(&config.World{TCPMappings: []config.TCPMapping{tcp("a", 1, ""), tcp("b", 1, "", weighing(25))}}, "")
	if n := testing.AllocsPerRun(100, func() { groups[0].Choose(42) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
