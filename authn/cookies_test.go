package authn

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

// What is cut into cookies is what they are joined to, also in a browser that still has the
// cookies of a longer one.
func TestChunks(t *testing.T) {
	for _, row := range []struct{ length, cookies int }{
		{0, 1}, {1, 1}, {chunkSize - 1, 1}, {chunkSize, 2}, {chunkSize + 1, 2}, {2*chunkSize - 1, 2}, {2 * chunkSize, 3}, {maxChunks*chunkSize - 1, maxChunks},
	} {
		value := strings.Repeat("x", row.length)
		list, err := chunks(value)
		if err != nil || len(list) != row.cookies {
			t.Errorf("%d bytes: %d cookies, want %d; %v", row.length, len(list), row.cookies, err)
			continue
		}
		var pairs []string
		for i := range maxChunks {
			part := "left" + strings.Repeat("y", chunkSize-4)
			if i < len(list) {
				part = list[i]
			}
			pairs = append(pairs, chunkName(shopSession, i)+"="+part)
		}
		c := visit(midday, "GET", must(url.Parse(page)), "Cookie", strings.Join(pairs, "; "))
		if got, several := c.joined(shopSession); got != value || several {
			t.Errorf("%d bytes come back as %d", row.length, len(got))
		}
	}
	if _, err := chunks(strings.Repeat("x", maxChunks*chunkSize)); !errors.Is(err, errSessionTooLarge) {
		t.Errorf("what takes more than %d cookies: %v", maxChunks, err)
	}
}
