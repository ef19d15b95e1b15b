package decode

import (
	"net/netip"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// ipRules reads one of the Module's lists of addresses. An entry that cannot be
// understood is skipped, as in Ambassador; a list of which nothing is left, which
// Ambassador drops, guards everything: whoever wrote it wanted a lock.
func (f *fields) ipRules(name string) (rules []config.IPRule, unusable bool) {
	e := f.value(name)
	if e == nil {
		return nil, false
	}
	items := f.items(e, "objects like {peer: 10.0.0.0/8} or {remote: 203.0.113.7}")
	for i := range items {
		if rule, ok := f.ipRule(&items[i]); ok {
			rules = append(rules, rule)
		}
	}
	return rules, len(rules) == 0 && (items == nil || len(items) > 0)
}

// ipRule reads one entry: an object of one field, which says whose address it is about.
func (f *fields) ipRule(item *entry) (rule config.IPRule, ok bool) {
	if resolve(item.value).Kind == yaml.MappingNode {
		sub := f.o.open(item.value, f.path+item.name+".")
		for _, whose := range []string{"peer", "remote"} {
			text := sub.text(whose)
			if text == "" {
				continue
			}
			if len(sub.written) != 1 {
				break
			}
			prefix, err := parsePrefix(text)
			if err != nil {
				break
			}
			return config.IPRule{Peer: whose == "peer", Prefix: prefix}, true
		}
	}
	f.o.report(item.key, f.path+item.name, `must be an object like {peer: 10.0.0.0/8} or {remote: 203.0.113.7}`, config.FieldIgnored).Instead = "the entry is skipped"
	return rule, false
}

// parsePrefix reads an address, or a network in which bits of a host may be set.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return p, err //nolint:wrapcheck // because nobody shows it
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return p.Masked(), nil
}
