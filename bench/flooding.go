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

// turns are how often the loads of the overload row take turns in one round: often enough
// for a machine that is slower for a second to be slower for all of them.
const turns = 4

// overloadRow measures what is served of twice as much as can be: its rate beside that of
// as many connections as in other rows, which ask again once they are answered, and its times beside those
// of half the rate.
func overloadRow(name string) row {
	return row{name: name, by: []string{"legate", "queueing", "limits-redis", "nginx", "haproxy"}, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		put := func(connections, rate int) (r flood.Result, err error) {
			out, err := a.part(ctx, "flood", "-addr", p.http, "-target", measured+"300",
				"-connections", strconv.Itoa(connections), "-rate", strconv.Itoa(rate), "-duration", (a.opts.duration * 2 / turns).String())
			if err != nil {
				return r, err
			}
			return r, json.Unmarshal(out, &r)
		}
		var o overload
		for range turns {
			if err := o.turn(put, a.opts); err != nil {
				return nil, err
			}
		}
		return o.figures(), p.emptyLog()
	}}
}

// An overload is what was measured in each turn.
type overload struct {
	capacity, served, refused                 []float64 // a second
	halfP99, twiceP99, refusedP50, refusedP99 []float64 // µs
}

// turn measures what can be borne, and then half and twice as much.
func (o *overload) turn(put func(connections, rate int) (flood.Result, error), opts *options) error {
	all, err := put(opts.connections, 0)
	if err != nil {
		return err
	}
	half, err := put(opts.crowd, int(all.PerSecond()/2))
	if err != nil {
		return err
	}
	twice, err := put(opts.crowd, int(all.PerSecond()*2))
	if err != nil {
		return err
	}
	o.capacity, o.served = append(o.capacity, all.PerSecond()), append(o.served, twice.PerSecond())
	o.halfP99, o.twiceP99 = append(o.halfP99, micros(half.ServedIn.P99)), append(o.twiceP99, micros(twice.ServedIn.P99))
	if twice.Refused > 0 {
		o.refusedP50, o.refusedP99 = append(o.refusedP50, micros(twice.RefusedIn.P50)), append(o.refusedP99, micros(twice.RefusedIn.P99))
	}
	o.refused = append(o.refused, float64(twice.Refused)/twice.Elapsed.Seconds())
	return nil
}

func (o *overload) figures() []figure {
	all := []figure{
		{what: "capacity", unit: "requests/s", value: median(o.capacity)},
		{what: "served of twice as many", unit: "%", value: 100 * pairedRatio(o.served, o.capacity)},
		{what: "p99 at half of it", unit: "µs", value: median(o.halfP99)},
		{what: "p99 at twice as many", unit: "µs", value: median(o.twiceP99)},
		{what: "refused of twice as many", unit: "requests/s", value: median(o.refused)},
	}
	if len(o.refusedP50) == 0 {
		return all
	}
	return append(all,
		figure{what: "p50 of refusals", unit: "µs", value: median(o.refusedP50)},
		figure{what: "p99 of refusals", unit: "µs", value: median(o.refusedP99)})
}
