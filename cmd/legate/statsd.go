package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"legate/telemetry"
	"legate/telemetry/statsd"
)

// statsdFromEnv returns where Ambassador's variables have numbers sent, nil for nowhere.
func statsdFromEnv(getenv func(string) string) (*statsd.Options, error) {
	interval, err := seconds(getenv("STATSD_FLUSH_INTERVAL"))
	if err != nil {
		return nil, fmt.Errorf("STATSD_FLUSH_INTERVAL: %w", err)
	}
	port := cmp.Or(getenv("STATSD_PORT"), "8125")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("STATSD_PORT: must be a port, got %q", port)
	}
	if !strings.EqualFold(getenv("STATSD_ENABLED"), "true") {
		return nil, nil
	}
	o := &statsd.Options{
		Address:  net.JoinHostPort(strings.Trim(cmp.Or(getenv("STATSD_HOST"), "statsd-sink"), "[]"), port),
		Interval: cmp.Or(interval, time.Second),
		Tags:     strings.EqualFold(getenv("DOGSTATSD"), "true"),
	}
	if o.Tags {
		o.EntityID = getenv("DD_ENTITY_ID")
	}
	return o, nil
}

// A statsdReport is the reporter to StatsD. nil does nothing.
type statsdReport struct {
	reporter *statsd.Reporter
	log      *slog.Logger
}

// reportToStatsD starts it, if it is wanted.
func reportToStatsD(o *statsd.Options, m *telemetry.Metrics, log *slog.Logger) *statsdReport {
	if o == nil {
		return nil
	}
	opts := *o
	opts.Failed = func(err error) {
		if err != nil {
			log.Warn("StatsD cannot be told; numbers are lost", "address", opts.Address, "error", err)
			return
		}
		log.Info("StatsD is told again", "address", opts.Address)
	}
	return &statsdReport{statsd.Start(m.WriteCounted, opts), log}
}

// close tells the rest.
func (r *statsdReport) close(ctx context.Context) {
	if r == nil {
		return
	}
	if err := r.reporter.Close(ctx); err != nil {
		r.log.Warn("StatsD was not told the rest", "error", err)
	}
}
