package decode

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"legate/config"
)

// decodeRateLimit reads a RateLimit. One of its limits that cannot be understood does not
// take the others with it.
func decodeRateLimit(o *object, spec *fields) any {
	spec.fold = true
	r := &config.RateLimit{Domain: spec.required("domain")}
	if spec.value("limits") == nil {
		spec.missing("limits")
	}
	for i, item := range spec.objects("limits") {
		before := len(o.Problems)
		item.soft = true
		limit := item.limit(fmt.Sprintf("%s-%d", o.Meta.FullName(), i))
		limit.Index = i
		wrong := false
		for j := before; j < len(o.Problems); j++ {
			if p := &o.Problems[j]; p.Effect == config.FieldIgnored && !p.Unknown {
				p.Effect, p.Instead, wrong = config.ObjectDropped, "this limit counts nothing, the others do", true
			}
		}
		if !wrong {
			r.Limits = append(r.Limits, limit)
		}
	}
	spec.finish(nil)
	r.Meta = o.Meta
	return r
}

// units are those of a limit, in seconds.
var units = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// limit reads one item of limits.
func (f *fields) limit(name string) config.Limit {
	l := config.Limit{
		Name:           cmp.Or(f.text("name"), name),
		InjectRequest:  f.headerTemplates("injectRequestHeaders"),
		InjectResponse: f.headerTemplates("injectResponseHeaders"),
	}
	if action := f.value("action"); action != nil {
		text, _ := f.scalar(action)
		switch strings.ToLower(text) {
		case "", "enforce":
		case "logonly":
			l.LogOnly = true
		default:
			f.wrong(action, "Enforce or LogOnly")
		}
	}
	l.Pattern = f.pattern()
	if n := f.number("rate", 0, math.MaxInt32); n != nil {
		l.Rate = int64(*n)
	} else if f.value("rate") == nil {
		f.missing("rate")
	}
	if unit := f.value("unit"); unit == nil {
		f.missing("unit")
	} else {
		text, _ := f.scalar(unit)
		if l.Unit = units[strings.ToLower(text)]; l.Unit == 0 {
			f.wrong(unit, "one of second, minute, hour, day")
		}
	}
	if n := f.number("burstFactor", 0, math.MaxInt16); n != nil {
		l.Burst = *n
	}
	l.Error = f.limitResponse()
	f.finish(nil)
	return l
}

// pattern reads a list of objects, whose fields are alternatives.
func (f *fields) pattern() [][]config.LabelMatch {
	var pattern [][]config.LabelMatch
	for _, item := range f.objects("pattern") {
		var any []config.LabelMatch
		for i := range item.written {
			e := &item.written[i]
			if isNull(e.value) {
				any = append(any, config.LabelMatch{Key: e.name})
			} else if value, ok := item.scalar(e); ok {
				any = append(any, config.LabelMatch{Key: e.name, Value: value})
			}
		}
		if len(any) == 0 {
			f.o.report(item.node, strings.TrimSuffix(item.path, "."), "names no label", config.FieldIgnored)
		}
		pattern = append(pattern, any)
	}
	return pattern
}

// limitResponse reads what a refused request gets. There is no default for what is left
// out.
func (f *fields) limitResponse() config.ErrorResponse {
	sub := f.object("errorResponse")
	if sub == nil {
		return config.ErrorResponse{}
	}
	r := config.ErrorResponse{
		Realm:   sub.text("realm"), // says nothing here: limits challenge nobody
		Headers: sub.headerTemplates("headers"),
		Body:    sub.text("bodyTemplate"),
	}
	if contentType := sub.text("contentType"); contentType != "" {
		r.Headers = append(r.Headers, config.HeaderTemplate{Name: "Content-Type", Value: contentType})
	}
	sub.finish(nil)
	return r
}

// headerTemplates reads a list of names and templates, nil if missing: an empty one says
// something too.
func (f *fields) headerTemplates(name string) []config.HeaderTemplate {
	if f.value(name) == nil {
		return nil
	}
	list := []config.HeaderTemplate{}
	for _, item := range f.objects(name) {
		h := config.HeaderTemplate{Name: item.text("name"), Value: item.text("value")}
		if h.Name == "" {
			item.missing("name")
		}
		item.finish(nil)
		list = append(list, h)
	}
	return list
}
