package wire

import "testing"

func TestCasing(t *testing.T) {
	const head = "GET /a:b HTTP/1.1\r\nhost: a.test\r\nx-request-id: a-b: c\r\nfoo$b#$are: x\r\nx-2nd: y\r\nwww-authenticate:\r\n"
	for _, row := range []struct {
		name   string
		casing *Casing
		want   string
	}{
		{"lower", nil, head},
		{"proper", ProperCase(), "GET /a:b HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: a-b: c\r\nFoo$B#$Are: x\r\nX-2nd: y\r\nWww-Authenticate:\r\n"},
		{"spelled", SpellAs([]string{"WWW-Authenticate", "X-REQUEST-id"}), "GET /a:b HTTP/1.1\r\nhost: a.test\r\nX-REQUEST-id: a-b: c\r\nfoo$b#$are: x\r\nx-2nd: y\r\nWWW-Authenticate:\r\n"},
	} {
		got := []byte(head)
		row.casing.Spell(got)
		if string(got) != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
		if n := testing.AllocsPerRun(100, func() { row.casing.Spell(got) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", row.name, n)
		}
	}
}
