package gateway

import (
	"cmp"
	"strconv"

	"legate/config"
	"legate/format"
	"legate/telemetry"
	"legate/wire"
)

// logFormat makes the Module's envoy_log_format ready. One that makes no sense leaves
// the built-in format.
func (c *compiler) logFormat() {
	if c.module == nil || c.module.LogFormat == nil {
		return
	}
	t := c.module.LogFormat
	var f *format.Format
	var notices []string
	var err error
	if cmp.Or(c.module.LogType, "text") == "text" {
		f, notices, err = format.Compile(t.Text, format.Log)
	} else {
		f, notices, err = format.CompileJSON(t, format.Log, c.module.LogType == "typed_json")
	}
	const field = "config.envoy_log_format"
	if err != nil {
		p := c.module.Problem(field, err.Error(), config.FieldIgnored)
		p.Instead = "the built-in format is used"
		c.problems = append(c.problems, p)
		return
	}
	for _, n := range notices {
		p := c.module.Problem(field, n, config.Notice)
		p.Instead = "what stands for a missing value is written"
		c.problems = append(c.problems, p)
	}
	c.next.logFormat, c.next.logEarly = f, f.Early()
}

// A tcpSource says what commands stand for in a TCP connection that is over.
type tcpSource struct {
	entry *telemetry.Entry
	peer  *wire.Peer
	snap  *Snapshot
}

// AppendCommand appends what one command stands for, as far as there is such a thing
// without requests.
func (s tcpSource) AppendCommand(dst []byte, c *format.Command) ([]byte, bool) {
	e := s.entry
	switch c.Op {
	case format.StartTime:
		return c.AppendTime(dst, e.Start), true
	case format.Duration:
		return strconv.AppendInt(dst, e.Duration.Milliseconds(), 10), true
	case format.ResponseCode:
		return append(dst, '0'), true
	case format.ResponseFlags:
		return append(dst, responseFlag(e.Record)...), true
	case format.ResponseCodeDetails:
		return appendString(dst, e.Record.Reason().String())
	case format.BytesReceived:
		return strconv.AppendInt(dst, e.BytesIn, 10), true
	case format.BytesSent:
		return strconv.AppendInt(dst, e.BytesOut, 10), true
	case format.RouteName:
		return appendString(dst, e.Route)
	case format.UpstreamCluster:
		return appendString(dst, e.Upstream)
	case format.UpstreamHost:
		return appendString(dst, e.Endpoint)
	case format.RequestedServerName:
		return append(dst, e.Host...), len(e.Host) > 0
	default:
		return appendConnection(dst, c, s.peer, e.ClientIP, s.snap)
	}
}
