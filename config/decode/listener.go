package decode

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"legate/config"
)

// The layers of a stack by name, outermost first in every stack.
var protocols = map[string]config.Protocol{
	"HTTP":  config.ProtoHTTP,
	"PROXY": config.ProtoPROXY,
	"TLS":   config.ProtoTLS,
	"TCP":   config.ProtoTCP,
	"UDP":   config.ProtoUDP,
}

// The stacks that Listener.protocol is short for.
var stacks = map[string][]config.Protocol{
	"HTTP":       {config.ProtoHTTP, config.ProtoTCP},
	"HTTPS":      {config.ProtoTLS, config.ProtoHTTP, config.ProtoTCP},
	"HTTPPROXY":  {config.ProtoPROXY, config.ProtoHTTP, config.ProtoTCP},
	"HTTPSPROXY": {config.ProtoTLS, config.ProtoPROXY, config.ProtoHTTP, config.ProtoTCP},
	"TCP":        {config.ProtoTCP},
	"TLS":        {config.ProtoTLS, config.ProtoTCP},
}

func decodeListener(o *object, spec *fields) any {
	l := &config.Listener{StatsPrefix: spec.text("statsPrefix")}
	if n := spec.number("port", 1, 65535); n != nil {
		l.Port = *n
	} else if spec.value("port") == nil {
		spec.missing("port")
	}
	if n := spec.number("l7Depth", 0, math.MaxInt32); n != nil {
		l.L7Depth = *n
	}
	l.Stack = listenerStack(o, spec)
	switch spec.oneOf("securityModel", "XFP", "SECURE", "INSECURE") {
	case "SECURE":
		l.Security = config.Secure
	case "INSECURE":
		l.Security = config.Insecure
	case "":
		if spec.text("securityModel") == "" {
			spec.missing("securityModel")
		}
	}
	hostBinding(o, spec, l)
	l.Internal = internalAddresses(spec)
	spec.finish(listenerUnserved)
	l.Meta = o.Meta
	return l
}

// listenerStack reads protocolStack, or else protocol.
func listenerStack(o *object, spec *fields) []config.Protocol {
	short := spec.text("protocol")
	if spec.value("protocolStack") == nil {
		stack, ok := stacks[short]
		switch {
		case short == "":
			spec.missing("protocol")
		case !ok:
			spec.wrong(spec.find("protocol"), "one of HTTP, HTTPS, HTTPPROXY, HTTPSPROXY, TCP, TLS")
		}
		return slices.Clone(stack)
	}
	if short != "" {
		o.report(spec.at("protocol"), "protocol", "protocolStack is given too, and counts", config.FieldIgnored)
	}
	var stack []config.Protocol
	for _, name := range spec.list("protocolStack") {
		p, ok := protocols[name]
		if !ok {
			o.report(spec.at("protocolStack"), "protocolStack",
				fmt.Sprintf("must be a list of HTTP, PROXY, TLS, TCP, UDP, got %q", name), config.ObjectDropped)
		}
		stack = append(stack, p)
	}
	checkStack(o, spec, stack)
	return stack
}

func checkStack(o *object, spec *fields, stack []config.Protocol) {
	if len(stack) == 0 {
		o.report(spec.at("protocolStack"), "protocolStack", "must not be empty", config.ObjectDropped)
		return
	}
	last := stack[len(stack)-1]
	if last != config.ProtoTCP && last != config.ProtoUDP {
		o.report(spec.at("protocolStack"), "protocolStack", "must end with TCP or UDP", config.ObjectDropped)
	}
	if last == config.ProtoUDP && !slices.Contains(stack, config.ProtoHTTP) {
		o.report(spec.at("protocolStack"), "protocolStack", "UDP carries nothing but HTTP", config.ObjectDropped)
	}
}

// hostBinding reads which Hosts l serves.
func hostBinding(o *object, spec *fields, l *config.Listener) {
	binding := spec.object("hostBinding")
	if binding == nil {
		if spec.value("hostBinding") == nil {
			spec.missing("hostBinding")
		}
		return
	}
	namespace, selector := binding.object("namespace"), binding.object("selector")
	if namespace == nil && selector == nil {
		o.report(spec.at("hostBinding"), "hostBinding", "must have a namespace or a selector", config.ObjectDropped)
	}
	if namespace != nil {
		from := namespace.oneOf("from", "SELF", "ALL", "SELECTOR")
		l.FromAll = from == "ALL"
		if from == "SELECTOR" {
			p := o.report(namespace.at("from"), namespace.path+"from", "SELECTOR is not supported, by Ambassador neither", config.FieldIgnored)
			p.Instead = "it is read as SELF"
		}
		namespace.finish(nil)
	}
	if selector != nil {
		if l.Selector = selector.texts("matchLabels"); l.Selector == nil {
			selector.missing("matchLabels")
		}
		selector.finish(selectorUnserved)
	}
	binding.finish(nil)
}

// internalAddresses reads whose requests are internal; nil if nothing is said. A range
// that cannot be understood is nobody's: to trust too few is the safe side.
func internalAddresses(spec *fields) []netip.Prefix {
	f := spec.object("internal_address_config")
	if f == nil {
		return nil
	}
	f.soft = true
	internal := []netip.Prefix{}
	for _, sub := range f.objects("cidr_ranges") {
		if p, ok := sub.addressRange(); ok {
			internal = append(internal, p)
		}
	}
	f.finish(internalUnserved)
	return internal
}

// addressRange reads a range in Envoy's form.
func (f *fields) addressRange() (netip.Prefix, bool) {
	defer f.finish(nil)
	address, length := f.text("address_prefix"), f.number("prefix_len", 0, 128)
	addr, err := netip.ParseAddr(address)
	if length == nil || err != nil {
		f.o.report(f.node, strings.TrimSuffix(f.path, "."), "must have an address_prefix and a prefix_len", config.FieldIgnored)
		return netip.Prefix{}, false
	}
	p, err := addr.WithZone("").Prefix(*length)
	if err != nil || addr.Is4In6() {
		f.wrong(f.find("prefix_len"), fmt.Sprintf("at most %d", addr.Unmap().BitLen()))
		return netip.Prefix{}, false
	}
	return p, true
}
