package decode

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// fixedLabels are the labels that say by themselves where their value comes from. The key
// of their entry is their name, whatever is written.
var fixedLabels = map[string]config.LabelKind{
	"remote_address":      config.RemoteAddress,
	"source_cluster":      config.SourceCluster,
	"destination_cluster": config.DestinationCluster,
}

// labelGroups reads a Mapping's labels: for each domain a list of groups, each an object
// of one name.
func (f *fields) labelGroups() []config.LabelGroup {
	domains := f.object("labels")
	if domains == nil {
		return nil
	}
	var groups []config.LabelGroup
	for i := range domains.written {
		domain := domains.written[i].name
		for _, item := range domains.objects(domain) {
			if len(item.written) != 1 {
				f.o.report(item.node, strings.TrimSuffix(item.path, "."), fmt.Sprintf("must have exactly one name, got %d", len(item.written)), config.FieldIgnored)
				continue
			}
			if labels := item.labels(item.written[0].name); len(labels) > 0 {
				groups = append(groups, config.LabelGroup{Domain: domain, Labels: labels})
			}
		}
	}
	return groups
}

// labels reads a list of labels. As in Ambassador one that is not valid does not take the
// others with it.
func (f *fields) labels(name string) []config.Label {
	e := f.value(name)
	if e == nil {
		return nil
	}
	items := f.items(e, "labels")
	labels := make([]config.Label, 0, len(items))
	for i := range items {
		if l, why := f.label(&items[i]); why == "" {
			labels = append(labels, l)
		} else {
			f.o.report(items[i].key, f.path+items[i].name, "is no label: "+why, config.FieldIgnored).Instead = "the label is left out of its group"
		}
	}
	return labels
}

// label reads one label in any of its spellings, or says what is wrong with it.
func (f *fields) label(e *entry) (l config.Label, why string) {
	if e.value.Kind == yaml.ScalarNode && !isNull(e.value) {
		text := f.o.expand(e.value.Value)
		if kind, ok := fixedLabels[text]; ok {
			return config.Label{Kind: kind, Key: text}, ""
		}
		return genericLabel("", text)
	}
	if e.value.Kind != yaml.MappingNode {
		return l, "must be text or an object, got " + shown(e.value)
	}
	s := f.o.open(e.value, f.path+e.name+".")
	for name, kind := range fixedLabels {
		if s.has(name) { // also with another key beside it, as documentation once had it
			return config.Label{Kind: kind, Key: name}, ""
		}
	}
	if len(s.written) != 1 {
		return l, fmt.Sprintf("must have exactly one kind, got %d", len(s.written))
	}
	only := &s.written[0]
	switch {
	case only.name == "generic_key" && only.value.Kind == yaml.ScalarNode:
		return genericLabel("", f.o.expand(only.value.Value))
	case only.value.Kind != yaml.MappingNode:
		return l, fmt.Sprintf("%q must be an object, got %s", only.name, shown(only.value))
	}
	return f.taggedLabel(only.name, s.object(only.name))
}

// taggedLabel reads what stands under a label's kind, or, as v2 wrote it, under the key
// of a header's entry.
func (f *fields) taggedLabel(kind string, s *fields) (l config.Label, why string) {
	key := s.text("key")
	if key == "" {
		key = s.text("v3Key")
	}
	switch {
	case kind == "generic_key":
		return genericLabel(key, s.text("value"))
	case kind == "request_headers":
		l = config.Label{Kind: config.RequestHeader, Key: key, Header: strings.ToLower(s.text("header_name"))}
	case s.has("header"):
		l = config.Label{Kind: config.RequestHeader, Key: kind, Header: strings.ToLower(s.text("header"))}
	default:
		return l, fmt.Sprintf("there is no kind %q", kind)
	}
	switch {
	case l.Key == "":
		return l, "key is required"
	case !isToken(strings.TrimPrefix(l.Header, ":")):
		return l, fmt.Sprintf("%q is no name of a header", l.Header)
	}
	return l, ""
}

func genericLabel(key, value string) (config.Label, string) {
	if key == "" {
		key = "generic_key"
	}
	if value == "" {
		return config.Label{}, "value is required"
	}
	return config.Label{Kind: config.GenericKey, Key: key, Value: value}, ""
}

// oldRateLimits reads rate_limits of Ambassador's first versions: each item is a group of
// a text and of headers.
func (f *fields) oldRateLimits() []config.LabelGroup {
	var groups []config.LabelGroup
	for _, item := range f.objects("rate_limits") {
		group := config.LabelGroup{Bare: true}
		if text := item.text("descriptor"); text != "" {
			group.Labels = append(group.Labels, config.Label{Kind: config.GenericKey, Key: "generic_key", Value: text})
		}
		for _, name := range item.list("headers") {
			group.Labels = append(group.Labels, config.Label{Kind: config.RequestHeader, Key: name, Header: strings.ToLower(name)})
		}
		item.finish(nil)
		if len(group.Labels) > 0 {
			groups = append(groups, group)
		}
	}
	if len(groups) > 0 {
		f.o.report(f.at("rate_limits"), "rate_limits", "is an old spelling of labels", config.Notice)
	}
	return groups
}

// defaultLabels reads what a Module puts before the groups of each domain.
func (f *fields) defaultLabels() []config.DefaultLabels {
	domains := f.object("default_labels")
	if domains == nil {
		return nil
	}
	var list []config.DefaultLabels
	for i := range domains.written {
		name := domains.written[i].name
		sub := domains.object(name)
		if sub == nil {
			continue
		}
		if labels := sub.labels("defaults"); len(labels) > 0 {
			list = append(list, config.DefaultLabels{Domain: name, Labels: labels})
		}
		sub.finish(nil)
	}
	return list
}
