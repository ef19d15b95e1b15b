package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"legate/bench/flood"
)

// toil is a Module whose script keeps a processor busy for so long that the gateway is the
// limit, and neither what asks nor what answers.
const toil = `
---
apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {name: ambassador}
spec:
  config:
    lua_scripts: |
      function envoy_on_request(handle)
        local n = 0
        for i = 1, 1500 do n = n + i end
      end
`

// Asked for twice as much as one processor can do, the gateway still serves what it can, and
// serves it almost as fast as when it is half busy: it does not serve what has waited, and refuses
// what it can afford to refuse. Gateway and load have a processor each.
func TestTwiceItsCapacity(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	tool := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", tool, "legate/bench").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	up := loopback(freePorts(t, 1)[0])
	service := exec.Command("taskset", "-c", "1", tool, "upstream", "-addr", up)
	must(t, service.Start())
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
	})
	g := start(t, setup{
		plain: true, shell: "taskset -cp 0 $$ >/dev/null", args: []string{"--max-queueing", "5ms"},
		manifests: everyone + toil + mapping("x", "/x/", up),
	})
	put := func(connections int, rate float64) flood.Result {
		t.Helper()
		out, err := exec.Command("taskset", "-c", "1", tool, "flood", "-addr", g.clear, "-target", "/x/300",
			"-connections", fmt.Sprint(connections), "-rate", fmt.Sprint(int(rate)), "-duration", "2s").Output()
		must(t, err)
		var r flood.Result
		must(t, json.Unmarshal(out, &r))
		return r
	}
	var last error
	for range 6 { // whoever else is on the machine may have taken a part of one of them, and may go on for some seconds
		all := put(16, 0)
		half, twice := put(512, all.PerSecond()/2), put(512, 2*all.PerSecond())
		t.Logf("all: %v", &all)
		t.Logf("half: %v", &half)
		t.Logf("twice: %v", &twice)
		if last = judgeOverload(&all, &half, &twice); last == nil {
			break
		}
		t.Log(last)
	}
	if last != nil {
		t.Error(last)
	}
	// The congestion is over when nobody has waited for a moment, which somebody may have in
	// whatever else this machine does.
	eventually(t, 10*time.Second, "requests are served afterwards", func() bool {
		return g.send(t, request{target: "/x/300"}).StatusCode == 200
	})
}

// judgeOverload compares. The limits are wider than what is promised, 90 % and three times, as
// a share of the machine is all that tests have of it. Without a limit of what may be waited
// for, 512 connections wait for each other a multiple of the longest time.
func judgeOverload(all, half, twice *flood.Result) error {
	if half.Refused > half.Served/20 {
		return fmt.Errorf("%d refused and %d served at half of what can be served", half.Refused, half.Served)
	}
	if share := twice.PerSecond() / all.PerSecond(); share < 0.75 {
		return fmt.Errorf("%.2f of what can be served is served", share)
	}
	if most := max(4*half.ServedIn.P99, 40*time.Millisecond); twice.ServedIn.P99 > most {
		return fmt.Errorf("p99 is %v, want no more than %v", twice.ServedIn.P99, most)
	}
	if twice.Refused == 0 {
		return errors.New("nothing is refused")
	}
	return nil
}
