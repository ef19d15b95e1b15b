package decode

import (
	"cmp"
	"math"
	"strings"
	"time"

	"legate/config"
)

// Envoy's defaults of an access log service.
const (
	defaultFlush      = time.Second
	defaultFlushBytes = 16 << 10
)

func decodeLogService(o *object, spec *fields) any {
	l := &config.LogService{
		Service:       spec.required("service"),
		FlushInterval: defaultFlush,
		FlushBytes:    defaultFlushBytes,
		StatsName:     cmp.Or(spec.text("stats_name"), spec.text("v3StatsName")),
	}
	switch driver := spec.oneOf("driver", "http", "tcp"); {
	case driver == "tcp":
		l.TCP = true
	case spec.value("driver") == nil:
		spec.missing("driver")
	}
	if n := spec.number("flush_interval_time", 0, math.MaxInt32); n != nil {
		l.FlushInterval = time.Duration(*n) * time.Second
	}
	if n := spec.number("flush_interval_byte_size", 0, math.MaxInt32); n != nil {
		l.FlushBytes = *n
	}
	spec.protocolVersion()
	spec.take("grpc") // it is spoken whatever this says: there is no other way to talk to a log service
	if driver := spec.object("driver_config"); driver != nil {
		l.Headers = driver.loggedHeaders()
		if l.TCP && len(l.Headers) > 0 {
			o.report(driver.at("additional_log_headers"), driver.path+"additional_log_headers", "connections of TCPMappings have no headers: driver is tcp", config.ObjectDropped)
		}
		driver.finish(nil)
	}
	spec.finish(nil)
	l.Meta = o.Meta
	return l
}

// protocolVersion insists on version 3 of Envoy's API, as Ambassador 3 does: one that is
// not said is 2.
func (f *fields) protocolVersion() {
	e := f.value("protocol_version")
	if spare := f.value("v3ProtocolVersion"); e == nil {
		e = spare
	}
	if e == nil {
		f.o.report(f.node, f.path+"protocol_version", `must be "v3": nothing stands for "v2", which Ambassador 3 does not speak`, config.ObjectDropped)
		return
	}
	if version, ok := f.scalar(e); ok && version != "v3" {
		f.wrong(e, `"v3"`)
	}
}

// loggedHeaders reads additional_log_headers.
func (f *fields) loggedHeaders() (headers []config.LoggedHeader) {
	for _, each := range f.objects("additional_log_headers") {
		h := config.LoggedHeader{
			Name:     strings.ToLower(each.required("header_name")),
			Request:  orTrue(each.flag("during_request")),
			Response: orTrue(each.flag("during_response")),
			Trailer:  orTrue(each.flag("during_trailer")),
		}
		each.finish(nil)
		if h.Name != "" && !isToken(h.Name) {
			each.wrong(each.find("header_name"), "a header name")
			continue
		}
		headers = append(headers, h)
	}
	return headers
}
