package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// keptAlive returns in how many seconds the kernel will probe an idle connection to that
// port, 0 if there is none that it will.
func keptAlive(t *testing.T, port string) int64 {
	t.Helper()
	n, err := strconv.Atoi(port)
	must(t, err)
	table, err := os.ReadFile("/proc/net/tcp")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		// sl local rem st tx:rx tr:when: proc_pid_net(5); 01 is ESTABLISHED, timer 02 keepalive, in hundredths of a second
		f := strings.Fields(line)
		if len(f) < 6 || f[3] != "01" || !strings.HasSuffix(f[2], fmt.Sprintf(":%04X", n)) {
			continue
		}
		if timer, when, ok := strings.Cut(f[5], ":"); ok && timer == "02" {
			ticks, err := strconv.ParseInt(when, 16, 64)
			must(t, err)
			return ticks / 100
		}
	}
	return 0
}

// Connections to services are probed as Mapping and Module ask, by either name of the
// time, and every 15 s where nobody does.
func TestKeepalive(t *testing.T) {
	t.Parallel()
	var manifests string
	rows := []struct {
		name, up string
		fields   []string
		seconds  int64
	}{
		{name: "idle-time", fields: []string{"keepalive: {idle_time: 1000, interval: 10, probes: 3}"}, seconds: 1000},
		{name: "time", fields: []string{"keepalive: {time: 2000}"}, seconds: 2000},
		{name: "default", seconds: 15},
	}
	for i := range rows {
		r := &rows[i]
		r.up = echo(t, r.name)
		manifests += mapping(r.name, "/"+r.name+"/", r.up, r.fields...)
	}
	g := start(t, setup{manifests: everyone + manifests})
	hold := func(target, up string, seconds int64) {
		t.Helper()
		if a := g.send(t, request{target: target}); a.StatusCode != 200 {
			t.Fatalf("%s: status %d", target, a.StatusCode)
		}
		if got := keptAlive(t, portOf(up)); got > seconds || got < seconds-10 {
			t.Errorf("%s: probed in %d s, want %d at most and not much less", target, got, seconds)
		}
	}
	for _, r := range rows {
		hold("/"+r.name+"/", r.up, r.seconds)
	}
	up := echo(t, "module")
	g.replace(everyone + module("keepalive: {idle_time: 500}") + mapping("module", "/module/", up))
	hold("/module/", up, 500)
}
