package upstream

import (
	"testing"
	"time"

	"legate/config"
)

// A logical name is one endpoint: new connections lead to one address, and when that
// changes the connections to the one before are used up rather than closed.
func TestLogicalDNS(t *testing.T) {
	u := fakeUpstream(t, Spec{DNSType: config.LogicalDNS}, Options{}, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	a, b := open(t, u), open(t, u)
	if a.Endpoint() != b.Endpoint() {
		t.Errorf("connections lead to %s and %s", a.Endpoint(), b.Endpoint())
	}
	a.Release()
	b.Release()
	u.update(ips("10.0.0.1", "10.0.0.2", "10.0.0.3"), nil)
	if c := open(t, u); c != b {
		t.Error("another look-up with the same answer moved it")
	} else {
		c.Release()
	}
	u.update(ips("10.0.0.9"), nil)
	if a.shut.Load() || b.shut.Load() {
		t.Fatal("connections to the address before were closed")
	}
	c, d, e := open(t, u), open(t, u), open(t, u)
	if c != b || d != a || e.Endpoint() != "10.0.0.9:80" {
		t.Errorf("got %s, %s, %s: want what rests first, and then the new address", c.Endpoint(), d.Endpoint(), e.Endpoint())
	}
	c.Close()
	d.Close()
	u.update(ips("10.0.0.9"), nil)
	if got := addresses(u); got != "10.0.0.9:80" {
		t.Errorf("without connections the address before stays: %s", got)
	}
	if l, _, err := u.Fresh(time.Now(), Choice{}); err != nil || l.Endpoint() != "10.0.0.9:80" {
		t.Errorf("got %v %v", l, err)
	}
}
