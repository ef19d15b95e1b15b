package decode

import (
	"strings"

	"legate/config"
)

// filterClosed is what becomes of a Filter that cannot be understood: what its author
// believes to be a lock must not be an open door.
const filterClosed = "every request that it would decide about answers 500"

// filterKinds are the kinds of Filters, of which each has exactly one.
var filterKinds = []string{"JWT", "OAuth2", "External", "APIKey", "v3APIKey", "Plugin", "Mint"}

// decodeFilter reads a Filter. One that cannot be understood answers every request.
func decodeFilter(o *object, spec *fields) any {
	spec.fold = true
	filter := &config.Filter{Meta: o.Meta}
	var kinds []string
	for _, name := range filterKinds {
		if f := spec.object(name); f != nil {
			kinds = append(kinds, name)
			f.filterKind(name, filter)
		}
	}
	spec.finish(nil)
	switch len(kinds) {
	case 0:
		o.report(o.root, "", "must have one of "+strings.Join(filterKinds, ", "), config.ObjectDropped)
	case 1:
	default:
		o.report(spec.at(kinds[1]), kinds[1], "there is "+kinds[0]+" too, and a Filter is of one kind", config.ObjectDropped)
	}
	filter.Broken = o.brokenFilter()
	filter.Meta = o.Meta // with the positions of its fields
	return filter
}

// filterKind reads one kind of Filter.
func (f *fields) filterKind(name string, filter *config.Filter) {
	switch name {
	case "JWT":
		filter.JWT = f.jwtFilter()
	case "OAuth2":
		filter.OAuth2 = f.oauth2()
	case "External":
		filter.External = f.external(f.o)
	case "APIKey", "v3APIKey":
		filter.APIKey = f.apiKey()
	case "Plugin":
		filter.Plugin = &config.PluginFilter{Name: f.required("name")}
		f.finish(nil)
		f.o.report(f.node, name, "a Go plug-in can be loaded only by the program that it was built with", config.ObjectDropped)
	case "Mint":
		filter.Mint = f.mint()
	}
}

// brokenFilter turns what keeps o from serving into what closes what it decides about, and
// returns the first of it, "" for nothing.
func (o *object) brokenFilter() (first string) {
	for i := range o.Problems {
		p := &o.Problems[i]
		if p.Effect != config.ObjectDropped {
			continue
		}
		p.Effect, p.Instead = config.RouteClosed, filterClosed
		if first == "" {
			first = strings.TrimPrefix(p.Field+": "+p.Msg, ": ")
		}
	}
	o.dropped = false
	return first
}
