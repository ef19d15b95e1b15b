package main

import (
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is how much of the container's memory the program may use: the rest is for
// what the kernel keeps on its behalf.
const memoryShare = 0.9

// limitMemory keeps the program within the memory of its container, unless GOMEMLIMIT says
// how much it may use, and returns the limit.
func limitMemory(log *slog.Logger) int64 {
	_, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil && !errors.Is(err, memlimit.ErrNoLimit) && !errors.Is(err, memlimit.ErrNoCgroup) && !errors.Is(err, memlimit.ErrCgroupsNotSupported) {
		log.Warn("memory of the container is not known", "error", err)
	}
	return debug.SetMemoryLimit(-1)
}
