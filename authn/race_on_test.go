//go:build race

package authn

// raceEnabled: under the race detector a sync.Pool drops what it holds at random, so allocations are not counted there.
const raceEnabled = true
