package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"legate/telemetry"
)

// accessLogs opens the access log that the Module asks for.
type accessLogs struct {
	stdout   io.Writer
	fallback string // format where the Module names none
	log      *slog.Logger
	metrics  *telemetry.Metrics

	mu      sync.Mutex
	current *telemetry.AccessLog
	format  string
	path    string
}

// open returns the log of that format and path, "" meaning the default. The one
// that is open is returned as long as nothing changes; if the path cannot be opened
// it stays.
func (a *accessLogs) open(format, path string) *telemetry.AccessLog {
	a.mu.Lock()
	defer a.mu.Unlock()
	format = cmp.Or(format, a.fallback)
	if path == "/dev/fd/1" || path == "/dev/stdout" {
		path = ""
	}
	if a.current != nil && format == a.format && path == a.path {
		return a.current
	}
	next, err := a.make(format, path)
	if err != nil {
		a.log.Error("access log cannot be opened; the last one goes on", "path", path, "error", err)
		if a.current != nil {
			return a.current
		}
		if next, err = a.make(format, ""); err != nil {
			return nil
		}
		path = ""
	}
	old := a.current
	a.current, a.format, a.path = next, format, path
	a.metrics.Watch(next)
	if old != nil {
		time.AfterFunc(oldLogTime, func() { a.end(old) })
	}
	return next
}

func (a *accessLogs) make(format, path string) (*telemetry.AccessLog, error) {
	opts := telemetry.AccessLogOptions{Format: telemetry.JSON, Failed: a.failed}
	if format == "text" {
		opts.Format = telemetry.Text
	}
	if path == "" {
		return telemetry.NewAccessLog(a.stdout, opts), nil
	}
	return telemetry.OpenAccessLog(path, opts)
}

// oldLogTime is how long a log that was replaced takes the lines of requests that
// began before.
const oldLogTime = time.Minute

func (a *accessLogs) end(old *telemetry.AccessLog) {
	ctx, cancel := context.WithTimeout(context.Background(), oldLogTime)
	defer cancel()
	if err := old.Close(ctx); err != nil {
		a.log.Error("access log was not written to its end", "error", err)
	}
}

func (a *accessLogs) failed(err error) {
	if err != nil {
		a.log.Error("access log cannot be written; lines are lost", "error", err)
		return
	}
	a.log.Info("access log is written again")
}

func (a *accessLogs) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return
	}
	if err := a.current.Reopen(); err != nil {
		a.log.Error("access log cannot be reopened", "error", err)
	}
}

func (a *accessLogs) close(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return
	}
	if err := a.current.Close(ctx); err != nil {
		a.log.Error("access log was not written to its end", "error", err)
	}
}
