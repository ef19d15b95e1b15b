package wire

import "testing"

func TestLawful(t *testing.T) {
	for _, row := range []struct {
		name, value              string
		isName, isValue, changes bool
	}{
		{"x-a", "some text", true, true, true},
		{"!#$%&'*+-.^_`|~9z", "tab\tand caf\xe9", true, true, true},
		{"", "", false, true, false},
		{":path", "/", false, true, false},
		{"x a", "a\r\nx-b: 1", false, false, true},
		{"X-A", "a\x00", false, false, true},
		{"x\xe9", "a\x7f", false, false, true},
		{"host", "a", true, true, false},
		{"content-length", "1", true, true, false},
		{"te", "trailers", true, true, false},
		{"authorization", "Bearer x", true, true, true},
	} {
		if got := [3]bool{IsFieldName([]byte(row.name)), IsFieldValue([]byte(row.value)), Changeable([]byte(row.name))}; got != [3]bool{row.isName, row.isValue, row.changes} {
			t.Errorf("%q: %q: got %v", row.name, row.value, got)
		}
	}
}
