package decode

import (
	"cmp"
	"strconv"
	"strings"

	"legate/config"
)

// traceDrivers are the words of driver.
var traceDrivers = []string{config.Zipkin: "zipkin", config.OpenTelemetry: "opentelemetry", config.Datadog: "datadog"}

// driverLightstep is the driver that Ambassador has not had since 3.4.
const driverLightstep = "lightstep"

// lightstepOnly are fields that only Lightstep's driver had.
var lightstepOnly = map[string]fate{"access_token_file": "was for the driver lightstep, which Ambassador has not had since 3.4"}

func decodeTracingService(o *object, spec *fields) any {
	t := &config.TracingService{
		Service:   spec.required("service"),
		Sampling:  config.TraceSampling{Client: 100, Random: 100, Overall: 100},
		StatsName: cmp.Or(spec.text("stats_name"), spec.text("v3StatsName")),
	}
	switch e := spec.value("driver"); {
	case e == nil:
		spec.missing("driver")
	case strings.EqualFold(spec.text("driver"), driverLightstep):
		o.report(e.key, "driver", "lightstep was removed in Ambassador 3.4: its collectors take driver opentelemetry", config.ObjectDropped)
	default:
		t.Driver = config.TraceDriver(spec.word("driver", traceDrivers)) //nolint:gosec // an index
	}
	if c := spec.object("config"); c != nil {
		c.traceConfig(t)
		c.finish(lightstepOnly)
	}
	if s := spec.object("sampling"); s != nil {
		for name, percent := range map[string]*int{"client": &t.Sampling.Client, "random": &t.Sampling.Random, "overall": &t.Sampling.Overall} {
			if n := s.number(name, 0, 100); n != nil {
				*percent = *n
			}
		}
		s.finish(nil)
	}
	spec.traceTags(t)
	spec.finish(nil)
	t.Meta = o.Meta
	return t
}

// traceConfig reads what a driver is told.
func (f *fields) traceConfig(t *config.TracingService) {
	if t.Endpoint = f.text("collector_endpoint"); t.Endpoint != "" && t.Endpoint[0] != '/' {
		f.wrong(f.find("collector_endpoint"), `a path that begins with "/"`)
	}
	t.Hostname = f.text("collector_hostname")
	t.ServiceName = f.text("service_name")
	t.Protobuf = f.oneOf("collector_endpoint_version", "HTTP_JSON", "HTTP_PROTO") == "HTTP_PROTO"
	t.ShortIDs = !orTrue(f.flag("trace_id_128bit"))
	f.flag("shared_span_context") // Ambassador's Envoy makes spans of the client's side, which share nothing
	for _, mode := range f.list("propagation_modes") {
		switch strings.ToUpper(mode) {
		case "B3":
			t.Propagation = append(t.Propagation, config.B3)
		case "TRACE_CONTEXT":
			t.Propagation = append(t.Propagation, config.W3CTrace)
		default:
			f.o.report(f.at("propagation_modes"), f.path+"propagation_modes", strconv.Quote(mode)+" was for the driver lightstep; here B3 and TRACE_CONTEXT mean something", config.FieldIgnored)
		}
	}
}

// traceTags reads custom_tags, or where there are none tag_headers, which came before.
func (f *fields) traceTags(t *config.TracingService) {
	own := f.has("custom_tags")
	for _, name := range []string{"custom_tags", "v3CustomTags"} {
		for _, each := range f.objects(name) {
			if tag, ok := each.traceTag(); ok {
				t.Tags = append(t.Tags, tag)
			}
		}
	}
	headers := f.list("tag_headers")
	if len(headers) > 0 && own {
		f.o.report(f.at("tag_headers"), f.path+"tag_headers", "custom_tags are given too, and count", config.FieldIgnored)
		return
	}
	for _, name := range headers {
		if !isToken(strings.ToLower(name)) {
			f.wrong(f.find("tag_headers"), "a list of header names")
			return
		}
		t.Tags = append(t.Tags, config.TraceTag{Name: name, Header: strings.ToLower(name)})
	}
}

// traceTag reads one tag, and whether it can have a value.
func (f *fields) traceTag() (config.TraceTag, bool) {
	tag := config.TraceTag{Name: f.required("tag")}
	literal, environment, header := f.object("literal"), f.object("environment"), f.object("request_header")
	switch {
	case literal != nil:
		tag.Value = literal.text("value")
		literal.finish(nil)
	case environment != nil:
		tag.Value = environment.text("default_value")
		if value, ok := f.o.lookup(environment.required("name")); ok {
			tag.Value = value
		}
		environment.finish(nil)
	case header != nil:
		tag.Header, tag.Value = strings.ToLower(header.required("name")), header.text("default_value")
		if tag.Header != "" && !isToken(tag.Header) {
			header.wrong(header.find("name"), "a header name")
		}
		header.finish(nil)
	default:
		f.o.report(f.node, strings.TrimSuffix(f.path, "."), "needs one of literal, environment and request_header", config.ObjectDropped)
	}
	f.finish(nil)
	return tag, tag.Header != "" || tag.Value != ""
}

// lookup returns a variable of the environment.
func (o *object) lookup(name string) (string, bool) {
	if o.opts.Lookup == nil {
		return "", false
	}
	return o.opts.Lookup(name)
}
