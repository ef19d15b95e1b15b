package wire

import "time"

// Stamped has c notice when what it reads has arrived, if its socket is asked for that by
// SO_TIMESTAMPNS: before the first Read, or not at all.
func (c *Conn) Stamped() { c.stamped = c.raw != nil }

// Waited returns how long what was read last had waited for it by now; 0 where nobody knows.
// Budget: 0 allocs.
func (c *Conn) Waited(now time.Time) time.Duration {
	if c.arrived == 0 {
		return 0
	}
	d := time.Duration(now.UnixNano() - c.arrived)
	if d < 0 || d > longestWait {
		return 0 // somebody has set the clock
	}
	return d
}

// longestWait is more than anybody waits for an answer.
const longestWait = 5 * time.Minute
