package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"time"

	"legate/bench/flood"
)

// floodMain asks as much as a contestant can bear, or more, and prints what became of it.
func floodMain(args []string) error {
	fs := flag.NewFlagSet("flood", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	n := fs.Int("connections", 64, "connections")
	rate := fs.Int("rate", 0, "requests a second; 0 for as fast as they are answered")
	duration := fs.Duration("duration", time.Second, "how long")
	_ = fs.Parse(args)
	r, err := flood.Run(flood.Load{
		Addr: *addr, Request: getRequest(*target, "keep-alive"), Connections: *n, Rate: *rate, Warm: *duration / 4, Duration: *duration,
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// overloadRow measures what is served of twice as much as can be: its rate beside that of
// as many connections as in other rows, which ask again once they are answered, and its times beside those
// of half the rate.
func overloadRow(name string) row {
	return row{name: name, by: []string{"legate", "queueing", "limits-redis", "nginx", "haproxy"}, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		put := func(connections, rate int) (r flood.Result, err error) {
			out, err := a.part(ctx, "flood", "-addr", p.http, "-target", measured+"300",
				"-connections", strconv.Itoa(connections), "-rate", strconv.Itoa(rate), "-duration", a.opts.duration.String())
			if err != nil {
				return r, err
			}
			return r, json.Unmarshal(out, &r)
		}
		all, err := put(a.opts.connections, 0)
		if err != nil {
			return nil, err
		}
		capacity := all.PerSecond()
		half, err := put(a.opts.crowd, int(capacity/2))
		if err != nil {
			return nil, err
		}
		twice, err := put(a.opts.crowd, int(capacity*2))
		if err != nil {
			return nil, err
		}
		return []figure{
			{what: "capacity", unit: "requests/s", value: capacity},
			{what: "served of twice as many", unit: "%", value: 100 * twice.PerSecond() / capacity},
			{what: "p99 at half of it", unit: "µs", value: micros(half.ServedIn.P99)},
			{what: "p99 at twice as many", unit: "µs", value: micros(twice.ServedIn.P99)},
			{what: "refused of twice as many", unit: "requests/s", value: float64(twice.Refused) / twice.Elapsed.Seconds()},
			{what: "p50 of refusals", unit: "µs", value: micros(twice.RefusedIn.P50)},
		}, p.emptyLog()
	}}
}
