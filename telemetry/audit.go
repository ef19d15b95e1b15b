package telemetry

import (
	"context"
	"io"
	"strconv"

	"legate/decision"
)

// An AuditLog writes one JSON line per event: who asked, what was decided, by whom and
// why. It waits for its writer as little as an AccessLog does, and writes no token,
// cookie, key or query string.
type AuditLog struct{ log *AccessLog }

// NewAuditLog starts a log that writes to w. Close ends it; w stays open.
func NewAuditLog(w io.Writer, opts AccessLogOptions) *AuditLog {
	return &AuditLog{NewAccessLog(w, opts)}
}

// Audit notes one event. It keeps nothing of e and never blocks on the writer. A nil
// log notes nothing.
func (a *AuditLog) Audit(e *decision.Event) {
	if a == nil {
		return
	}
	l := a.log.lines.Get().(*line)
	l.event(e)
	a.log.take(l.buf)
	if cap(l.buf) <= keepLine {
		a.log.lines.Put(l)
	}
}

// Dropped returns how many lines were lost.
func (a *AuditLog) Dropped() uint64 { return a.log.Dropped() }

// Flush writes what waits, and returns when it is written, or lost.
func (a *AuditLog) Flush() { a.log.Flush() }

// Close writes what waits and ends the log; see AccessLog.Close.
func (a *AuditLog) Close(ctx context.Context) error { return a.log.Close(ctx) }

// event renders e as one JSON object and a line feed.
func (l *line) event(e *decision.Event) {
	b := append(l.buf[:0], `{"time":"`...)
	b = l.time(b, e.Time)
	b = append(b, `","log":"audit"`...)
	b = appendText(b, `,"event":"`, e.Kind.String())
	outcome := "deny"
	if e.Allowed {
		outcome = "allow"
	}
	b = appendText(b, `,"decision":"`, outcome)
	b = appendText(b, `,"reason":"`, e.Reason.String())
	b = appendText(b, `,"by":"`, e.By)
	b = appendText(b, `,"request_id":"`, e.RequestID)
	b = appendText(b, `,"sub":"`, e.Subject)
	b = appendText(b, `,"iss":"`, e.Issuer)
	b = appendText(b, `,"jti":"`, e.JTI)
	b = appendText(b, `,"minted_jti":"`, e.MintedJTI)
	b = appendText(b, `,"kid":"`, e.KeyID)
	if e.Client.IsValid() {
		b = append(b, `,"client_ip":"`...)
		b = appendAddr(b, e.Client)
		b = append(b, '"')
	}
	b = appendText(b, `,"host":"`, e.Host)
	b = appendBytes(b, `,"path":"`, pathOnly([]byte(e.Path)))
	if e.Status > 0 {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(e.Status), 10)
	}
	if e.Duration > 0 {
		b = append(b, `,"duration_ms":`...)
		b = appendMillis(b, e.Duration)
	}
	l.buf = append(b, "}\n"...)
}
