package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Merge makes one World of what the sources hold, in the order of the sources.
// Objects that do not belong to this gateway are left out. Where an object is
// defined twice the later definition counts; of several Modules "ambassador" the
// first by name counts, whatever their namespaces. Neither is silent.
func Merge(opts Options, sets ...[]*Object) World {
	return new(merger).merge(opts, sets)
}

// A merger remembers in which order the objects stood that it merged last.
type merger struct{ read, sorted []*Object }

// merge is Merge.
func (m *merger) merge(opts Options, sets [][]*Object) World {
	var w World
	kept := make([]*Object, 0, len(m.read))
	for _, set := range sets {
		for _, o := range set {
			if !opts.selects(o) {
				continue
			}
			w.Problems = append(w.Problems, o.Problems...)
			if o.Value != nil {
				kept = append(kept, o)
			}
		}
	}
	kept = w.unique(m.sort(kept))
	kept, contexts, notices := tlsModules(kept)
	kept, w.Problems = append(kept, contexts...), append(w.Problems, notices...)
	if rest, follow, notices := ingresses(kept); len(rest) < len(kept) {
		w.Problems = append(w.Problems, notices...)
		kept = w.unique(new(merger).sort(append(rest, follow...)))
	}
	w.reserve(kept)
	for _, o := range kept {
		w.add(o.Value)
	}
	w.Sort()
	w.oneModule()
	w.oneTracing()
	w.distinctLogs()
	w.internal()
	SortProblems(w.Problems)
	return w
}

// sort returns objects by what they define. Of several that define the same and come from
// places of the same key, the one that was read later comes later.
func (m *merger) sort(objects []*Object) []*Object {
	from, gone, ok := Trace(m.read, objects)
	before := m.read
	m.read = objects
	if !ok || len(before) == 0 {
		m.sorted = slices.Clone(objects)
		slices.SortStableFunc(m.sorted, comparePlaces)
		return m.sorted
	}
	left := make(map[*Object]bool, len(gone))
	for _, i := range gone {
		left[before[i]] = true
	}
	var come []*Object
	for i, was := range from {
		if was < 0 {
			come = append(come, objects[i])
		}
	}
	slices.SortStableFunc(come, comparePlaces)
	m.sorted = Splice(m.sorted, func(o *Object) bool { return len(left) > 0 && left[o] }, come, func(a, b *Object) int {
		if c := comparePlaces(a, b); c != 0 {
			return c
		}
		return cmp.Compare(slices.Index(objects, a), slices.Index(objects, b))
	})
	return m.sorted
}

func comparePlaces(a, b *Object) int {
	if c := compareObjects(a, b); c != 0 {
		return c
	}
	return compareKeys(&a.Meta, &b.Meta)
}

// unique leaves out of sorted objects those that a later one of the same name replaces.
func (w *World) unique(objects []*Object) []*Object {
	kept := make([]*Object, 0, len(objects))
	for i, o := range objects {
		if i+1 < len(objects) && sameName(o, objects[i+1]) {
			w.Problems = append(w.Problems, redefined(o, objects[i+1]))
			continue
		}
		kept = append(kept, o)
	}
	return kept
}

// compareObjects orders by what is defined: kind, name and namespace. A Guard that a
// field of some object implies bears that object's name.
func compareObjects(a, b *Object) int {
	if c := strings.Compare(a.Meta.Kind, b.Meta.Kind); c != 0 { // one after the other: this is asked often
		return c
	}
	if c := strings.Compare(a.Meta.Name, b.Meta.Name); c != 0 {
		return c
	}
	if c := strings.Compare(a.Meta.Namespace, b.Meta.Namespace); c != 0 {
		return c
	}
	return cmp.Compare(guards(a), guards(b))
}

// sameName reports whether a and b define the same thing. What is too broken to
// have a name is nobody's double.
func sameName(a, b *Object) bool { return a.Meta.Name != "" && compareObjects(a, b) == 0 }

func guards(o *Object) int {
	if _, ok := o.Value.(*Guard); ok {
		return 1
	}
	return 0
}

// redefined is the Problem of an object that a later definition replaces. The same
// text twice does no harm.
func redefined(o, later *Object) Problem {
	p := Problem{Ref: o.Meta.Ref(), Msg: "is defined again", Effect: ObjectDropped, Instead: "the later definition replaces this one"}
	if later.Meta.File != "" {
		p.Msg += fmt.Sprintf(" at %s:%d", later.Meta.File, later.Meta.Line)
	}
	if within := later.Meta.Parent.At(0); within != "" {
		p.Msg += ", " + within
	}
	if o.Digest == later.Digest && o.Digest != (Digest{}) {
		p.Msg += " in the same words"
		p.Effect, p.Instead = Notice, "one of them would do"
	}
	return p
}

// reserve makes room for kept, so that adding thousands of objects copies none twice.
func (w *World) reserve(kept []*Object) {
	n := 0
	for _, o := range kept {
		if _, ok := o.Value.(*Mapping); ok {
			n++
		}
	}
	w.Mappings = make([]*Mapping, 0, n)
}

func (w *World) add(value any) {
	switch v := value.(type) {
	case *Mapping:
		w.Mappings = append(w.Mappings, v)
	case *TCPMapping:
		w.TCPMappings = append(w.TCPMappings, *v)
	case *Host:
		w.Hosts = append(w.Hosts, *v)
	case *Listener:
		w.Listeners = append(w.Listeners, *v)
	case *TLSContext:
		w.TLSContexts = append(w.TLSContexts, *v)
	case *Module:
		w.Modules = append(w.Modules, *v)
	case *Secret:
		w.Secrets = append(w.Secrets, *v)
	case *Service:
		w.Services = append(w.Services, *v)
	case *Endpoints:
		w.Endpoints = append(w.Endpoints, *v)
	case *EndpointSlice:
		w.EndpointSlices = append(w.EndpointSlices, *v)
	case *Resolver:
		w.Resolvers = append(w.Resolvers, *v)
	case *Guard:
		w.Guards = append(w.Guards, *v)
	case *Filter:
		w.Filters = append(w.Filters, *v)
	case *FilterPolicy:
		w.FilterPolicies = append(w.FilterPolicies, *v)
	case *AuthService:
		w.AuthServices = append(w.AuthServices, *v)
	case *RateLimit:
		w.RateLimits = append(w.RateLimits, *v)
	case *RateLimitService:
		w.RateLimitServices = append(w.RateLimitServices, *v)
	case *LogService:
		w.LogServices = append(w.LogServices, *v)
	case *TracingService:
		w.Tracing = append(w.Tracing, *v)
	default:
		panic(fmt.Sprintf("BUG: a source yields a %T", value))
	}
}

// oneModule keeps the first Module, the only one that Ambassador looks at.
func (w *World) oneModule() {
	if len(w.Modules) < 2 {
		return
	}
	first := w.Modules[0].Ref()
	for i := range w.Modules[1:] {
		p := w.Modules[i+1].Problem("", fmt.Sprintf("only one Module ambassador counts, and %s comes first", first), Notice)
		p.Instead = "it is ignored"
		w.Problems = append(w.Problems, p)
	}
	w.Modules = w.Modules[:1:1]
}

// oneTracing leaves no TracingService where there are several: Ambassador does not
// choose.
func (w *World) oneTracing() {
	if len(w.Tracing) < 2 {
		return
	}
	for i := range w.Tracing {
		other := w.Tracing[0].Ref()
		if i == 0 {
			other = w.Tracing[1].Ref()
		}
		p := w.Tracing[i].Problem("", fmt.Sprintf("only one TracingService may be there, and there is %s too", other), ObjectDropped)
		p.Instead = "nothing is traced"
		w.Problems = append(w.Problems, p)
	}
	w.Tracing = nil
}

// distinctLogs keeps the first LogService of each name, which is the name of its log.
func (w *World) distinctLogs() {
	kept := w.LogServices[:0:0]
	for i := range w.LogServices {
		l := &w.LogServices[i]
		if n := len(kept); n > 0 && kept[n-1].Name == l.Name { // they are sorted
			first := kept[n-1].Ref()
			w.Problems = append(w.Problems, l.Problem("metadata.name", fmt.Sprintf("is the name of a log that %s has", first), ObjectDropped))
			continue
		}
		kept = append(kept, *l)
	}
	w.LogServices = kept
}
