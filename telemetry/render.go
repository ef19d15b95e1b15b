package telemetry

import (
	"net/netip"
	"strconv"
	"time"

	"legate/decision"
	"legate/format"
)

// A line is the space in which one entry is rendered, and the second whose text
// is known already: most lines begin in the same second as the one before.
type line struct {
	buf    []byte
	second int64
	stamp  [len("2006-01-02T15:04:05.")]byte
}

// json renders e as one JSON object and a line feed.
func (l *line) json(e *Entry) {
	b := append(l.buf[:0], `{"time":"`...)
	b = l.time(b, e.Start)
	b = append(b, '"')
	b = appendBytes(b, `,"request_id":"`, e.RequestID)
	b = appendBytes(b, `,"trace_id":"`, e.TraceID)
	b = appendBytes(b, `,"method":"`, e.Method)
	b = appendBytes(b, `,"host":"`, e.Host)
	b = appendBytes(b, `,"path":"`, pathOnly(e.Path))
	b = append(b, `,"protocol":"`...)
	if e.TCP {
		b = append(b, "tcp"...)
	} else {
		b = appendProtocol(b, e.Major, e.Minor)
	}
	b = append(b, '"')
	if rec := e.Record; rec != nil {
		if !e.TCP {
			b = append(b, `,"status":`...)
			b = strconv.AppendUint(b, uint64(rec.Status), 10)
		}
		if r := rec.Reason(); r != decision.None {
			b = appendText(b, `,"reason":"`, r.String())
		}
		b = appendText(b, `,"stage":"`, rec.Ended.String())
		b = appendText(b, `,"by":"`, rec.By)
	}
	b = appendText(b, `,"route":"`, e.Route)
	b = appendText(b, `,"upstream":"`, e.Upstream)
	b = appendText(b, `,"endpoint":"`, e.Endpoint)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, e.Duration)
	if e.UpstreamTime > 0 {
		b = append(b, `,"upstream_ms":`...)
		b = appendMillis(b, e.UpstreamTime)
	}
	b = append(b, `,"bytes_in":`...)
	b = strconv.AppendInt(b, e.BytesIn, 10)
	b = append(b, `,"bytes_out":`...)
	b = strconv.AppendInt(b, e.BytesOut, 10)
	if e.ClientIP.IsValid() {
		b = append(b, `,"client_ip":"`...)
		b = appendAddr(b, e.ClientIP)
		b = append(b, '"')
	}
	b = appendText(b, `,"vpc_endpoint":"`, e.VPCEndpoint)
	b = appendText(b, `,"sub":"`, e.Sub)
	b = append(b, `,"generation":`...)
	b = strconv.AppendUint(b, e.Generation, 10)
	if e.Retries > 0 {
		b = append(b, `,"retries":`...)
		b = strconv.AppendInt(b, int64(e.Retries), 10)
	}
	b = appendText(b, `,"tls":"`, e.TLS)
	l.buf = append(b, "}\n"...)
}

// text renders e as Ambassador's default line.
func (l *line) text(e *Entry) {
	b := append(l.buf[:0], "ACCESS ["...)
	b = l.time(b, e.Start)
	b = append(b, `] "`...)
	b = appendOrDash(b, e.Method)
	b = append(b, ' ')
	b = appendOrDash(b, pathOnly(e.Path))
	b = append(b, ' ')
	b = appendProtocol(b, e.Major, e.Minor)
	b = append(b, `" `...)
	flag := "-"
	status := uint64(0)
	if rec := e.Record; rec != nil {
		status = uint64(rec.Status)
		if r := rec.Reason(); r != decision.None {
			flag = r.Flag()
		}
	}
	b = strconv.AppendUint(b, status, 10)
	b = append(b, ' ')
	b = append(b, flag...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.BytesIn, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.BytesOut, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, max(e.Duration, 0).Milliseconds(), 10)
	b = append(b, ' ')
	if e.UpstreamTime > 0 {
		b = strconv.AppendInt(b, e.UpstreamTime.Milliseconds(), 10)
	} else {
		b = append(b, '-')
	}
	b = append(b, ` "`...)
	b = appendOrDash(b, e.XFF)
	b = append(b, `" "`...)
	b = appendOrDash(b, e.UserAgent)
	b = append(b, `" "`...)
	b = appendOrDash(b, e.RequestID)
	b = append(b, `" "`...)
	b = appendOrDash(b, e.Host)
	b = append(b, `" "`...)
	b = appendOrDash(b, e.Endpoint)
	l.buf = append(b, "\"\n"...)
}

// format renders e by its own format, and ends the line if that does not.
func (l *line) format(e *Entry) {
	l.buf = e.Format.Append(l.buf[:0], e.Source)
	if n := len(l.buf); n == 0 || l.buf[n-1] != '\n' {
		l.buf = append(l.buf, '\n')
	}
}

// time appends t in UTC with milliseconds.
func (l *line) time(b []byte, t time.Time) []byte {
	if s := t.Unix(); s != l.second || l.stamp[0] == 0 {
		l.second = s
		t.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, l.stamp[:]...)
	return append(appendThree(b, t.Nanosecond()/1e6), 'Z')
}

// pathOnly cuts off a query or fragment.
func pathOnly(target []byte) []byte {
	for i, c := range target {
		if c == '?' || c == '#' {
			return target[:i]
		}
	}
	return target
}

func appendProtocol(b []byte, major, minor uint8) []byte {
	switch {
	case major == 1 && minor == 1:
		return append(b, "HTTP/1.1"...)
	case major >= 2:
		return strconv.AppendUint(append(b, "HTTP/"...), uint64(major), 10)
	case major == 1:
		return append(b, "HTTP/1.0"...)
	}
	return append(b, '-')
}

// appendMillis appends d in milliseconds, to the microsecond.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	b = strconv.AppendInt(b, us/1000, 10)
	return appendThree(append(b, '.'), int(us%1000))
}

// appendThree appends n, which is below 1000, with three digits.
func appendThree(b []byte, n int) []byte {
	const digits = "0123456789"
	return append(b, digits[n/100], digits[n/10%10], digits[n%10])
}

// appendAddr appends ip without a zone, which a PROXY header could fill with anything.
func appendAddr(b []byte, ip netip.Addr) []byte {
	return ip.WithZone("").Unmap().AppendTo(b)
}

// appendBytes appends a JSON member, or nothing if value is empty. open is
// `,"name":"`.
func appendBytes(b []byte, open string, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	return append(format.AppendEscaped(append(b, open...), value), '"')
}

// appendText is appendBytes for strings.
func appendText(b []byte, open, value string) []byte {
	if value == "" {
		return b
	}
	return append(format.AppendEscaped(append(b, open...), value), '"')
}

// appendOrDash appends value, escaped so that it cannot end the line or the
// quotes around it.
func appendOrDash[T []byte | string](b []byte, value T) []byte {
	if len(value) == 0 {
		return append(b, '-')
	}
	return format.AppendEscaped(b, value)
}
