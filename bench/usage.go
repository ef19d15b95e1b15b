package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of utime and stime: Linux shows user space 100 a second
// whatever the kernel's own clock does.
const tick = 10 * time.Millisecond

// A stat is what is used of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration
}

// parseStat reads a line of /proc/PID/stat. The command, in parentheses, may
// hold anything, parentheses included.
func parseStat(line []byte) (stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return stat{}, fmt.Errorf("stat line %q", line)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	f := bytes.Fields(line[end+1:])
	if err != nil || len(f) < 13 {
		return stat{}, fmt.Errorf("stat line %q", line)
	}
	var n [3]int
	for i, field := range [3]int{1, 11, 12} { // ppid, utime, stime
		if n[i], err = strconv.Atoi(string(f[field])); err != nil {
			return stat{}, fmt.Errorf("stat line %q: %w", line, err)
		}
	}
	return stat{pid: pid, parent: n[0], cpu: time.Duration(n[1]+n[2]) * tick}, nil
}

// family returns the stats of process pid and all its descendants.
func family(pid int) ([]stat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]stat{}
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil {
			continue // ended meanwhile
		}
		s, err := parseStat(line)
		if err != nil {
			return nil, err
		}
		all[s.pid] = s
	}
	if _, ok := all[pid]; !ok {
		return nil, fmt.Errorf("process %d is gone", pid)
	}
	var members []stat
	for _, s := range all {
		if descends(all, s.pid, pid) {
			members = append(members, s)
		}
	}
	return members, nil
}

func descends(all map[int]stat, pid, from int) bool {
	for pid > 0 && pid != from {
		pid = all[pid].parent
	}
	return pid == from
}

// cpuTime is what pid and its descendants have used so far.
func cpuTime(pid int) (time.Duration, error) {
	members, err := family(pid)
	var sum time.Duration
	for _, s := range members {
		sum += s.cpu
	}
	return sum, err
}

// memory is what pid and its descendants hold resident, in bytes, as if nobody
// else ran the same program: what they wrote, pages shared since a fork counted
// once, and the file pages of the one that has most of them. (Pss alone would
// divide those by every other process of the same binary, ours included.)
func memory(pid int) (float64, error) {
	members, err := family(pid)
	if err != nil {
		return 0, err
	}
	written, files := 0, 0
	for _, s := range members {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.pid))
		if err != nil {
			return 0, err
		}
		r, err := parseRollup(text)
		if err != nil {
			return 0, fmt.Errorf("smaps_rollup of %d: %w", s.pid, err)
		}
		written += r["Pss_Anon"]
		files = max(files, r["Rss"]-r["Anonymous"])
	}
	return float64(written+files) * 1024, nil
}

// parseRollup reads /proc/PID/smaps_rollup: names to KiB.
func parseRollup(text []byte) (map[string]int, error) {
	m := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if value, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return nil, err
			}
			m[name] = kib
		}
	}
	for _, name := range []string{"Rss", "Anonymous", "Pss_Anon"} {
		if _, ok := m[name]; !ok {
			return nil, fmt.Errorf("no %s", name)
		}
	}
	return m, nil
}
