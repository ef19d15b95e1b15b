package h2

import "time"

// An Abuse is a way to make a peer work for nothing.
type Abuse uint8

// The kinds of abuse. Each is told of once for a connection or stream that ends over it.
const (
	RapidReset        Abuse = iota // streams opened to be reset
	ContinuationFlood              // a field block that does not end
	PingFlood                      // PING after PING
	SettingsFlood                  // SETTINGS after SETTINGS
	EmptyFrames                    // frames that say nothing
	TinyWindows                    // windows opened by crumbs
	HeadBomb                       // heads over the limit
	ForbiddenField                 // heads that break HTTP's rules
	LengthMismatch                 // DATA that disagrees with Content-Length
	WindowExceeded                 // DATA beyond the window
	NumAbuses
)

var abuseNames = [NumAbuses]string{
	"rapid_reset", "continuation_flood", "ping_flood", "settings_flood", "empty_frames", "tiny_windows",
	"head_bomb", "forbidden_field", "length_mismatch", "window_exceeded",
}

// String names the kind as metrics do.
func (a Abuse) String() string { return abuseNames[a] }

// A calm is how much a peer may still ask for that serves nobody. It grows back with
// time, and it is far more than any use needs.
type calm struct {
	left    [NumAbuses]float64
	at      time.Time
	updates int64 // WINDOW_UPDATE frames that came
	opened  int64 // bytes that they allowed
}

// allowances say how many of a kind may come at once, and how many each second.
var allowances = [NumAbuses]struct{ burst, rate float64 }{
	RapidReset:    {200, 50},
	PingFlood:     {500, 50},
	SettingsFlood: {50, 5},
	EmptyFrames:   {200, 20},
}

func (c *calm) begin() {
	for i := range c.left {
		c.left[i] = allowances[i].burst
	}
}

// refill is called for every read.
func (c *calm) refill(now time.Time) {
	d := now.Sub(c.at).Seconds()
	if d < 0.1 {
		return
	}
	c.at = now
	for i := range c.left {
		c.left[i] = min(c.left[i]+allowances[i].rate*d, allowances[i].burst)
	}
}

// spend reports whether one more of the kind is tolerated.
func (c *calm) spend(a Abuse) bool {
	c.left[a]--
	return c.left[a] >= 0
}

// forgive gives back part of what a kind costs, for something of use.
func (c *calm) forgive(a Abuse, n float64) {
	c.left[a] = min(c.left[a]+n, allowances[a].burst)
}

// manyUpdates is how many WINDOW_UPDATE frames may come before it matters how much each
// of them allows.
const manyUpdates = 2000

// minUpdate is what WINDOW_UPDATE frames must allow on average then.
const minUpdate = 64

// opening notes a WINDOW_UPDATE and reports whether it is tolerated.
func (c *calm) opening(n uint32) bool {
	c.updates++
	c.opened += int64(n)
	return c.updates < manyUpdates || c.opened/c.updates >= minUpdate
}
