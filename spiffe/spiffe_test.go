package spiffe

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestWhoIsMeant(t *testing.T) {
	for _, row := range []struct {
		text, id string
		want     bool
	}{
		{"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/orders", true},
		{"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/orders2", false},
		{"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/orders/x", false},
		{"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://other.org/ns/shop/sa/orders", false},
		{"spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/Orders", false},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop/sa/orders", true},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop", false},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shopping/sa/orders", false},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://other.org/ns/shop/sa/orders", false},
		{"spiffe://cluster.local/*", "spiffe://cluster.local/ns/shop/sa/orders", true},
		{"spiffe://cluster.local/*", "spiffe://cluster.local", false},
		{"spiffe://cluster.local/*", "spiffe://cluster.local.evil.org/ns/shop/sa/orders", false},
	} {
		allowed, err := ParseID(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := allowed.matches(spiffeid.RequireFromString(row.id)); got != row.want {
			t.Errorf("%s and %s: got %v, want %v", row.text, row.id, got, row.want)
		}
	}
}

func TestWhatIsNoID(t *testing.T) {
	for _, text := range []string{
		"", "*", "/*", "orders", "https://cluster.local/ns/shop", "spiffe://", "spiffe:///ns/shop", "spiffe://*", "spiffe://*/ns/shop",
		"spiffe://cluster.local", "spiffe://cluster.local/", "spiffe://cluster.local//*", "spiffe://Cluster.Local/ns/shop", "spiffe://cluster.local:80/ns/shop",
		"spiffe://cluster.local/ns/*/sa/orders", "spiffe://cluster.local/ns/shop*", "spiffe://cluster.local/ns/../sa", "spiffe://cluster.local/ns/shop?x", "spiffe://cluster.local/ns/sh%6fp",
		"spiffe://user@cluster.local/ns/shop", " spiffe://cluster.local/ns/shop",
	} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, id)
		}
	}
}

// FuzzParseID holds what is read to what SPIFFE's own library reads: an ID means itself and
// nothing else.
func FuzzParseID(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/orders")
	f.Add("spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop/sa/orders")
	f.Fuzz(func(t *testing.T, text, other string) {
		allowed, err := ParseID(text)
		if err != nil {
			return
		}
		id, err := spiffeid.FromString(text)
		if err == nil && !allowed.matches(id) {
			t.Errorf("%q does not mean itself", text)
		}
		peer, otherErr := spiffeid.FromString(other)
		if otherErr != nil || err != nil {
			return
		}
		if got, want := allowed.matches(peer), other == text; got != want {
			t.Errorf("%q and %q: got %v, want %v", text, other, got, want)
		}
	})
}
