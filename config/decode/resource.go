package decode

import (
	"crypto/sha256"
	"maps"
	"slices"

	"legate/config"
)

// Resource decodes one object that did not come from a file but from an API server, as
// JSON: with what is written in its annotations, which has no positions either. Its
// Digest is that of the text.
func Resource(opts Options, text []byte) []*config.Object {
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	sum := sha256.Sum256(text)
	r := reading{opts: opts, chunk: chunk{text: text, line: 1}, digest: config.Digest(sum[:len(config.Digest{})]), unplaced: true}
	return r.objects()
}

// A Kind is one of Ambassador's kinds that mean something to a gateway, be it only that it
// is told that they are not served.
type Kind struct {
	Group, Name string
	Versions    []string // that Ambassador has, the one to read first
	Protector   bool     // closes routes where it cannot be understood
}

// Kinds returns Ambassador's kinds, by group and name.
func Kinds() []Kind {
	var kinds []Kind
	for _, name := range slices.Sorted(maps.Keys(gatewayKinds)) {
		kinds = append(kinds, Kind{Group: gatewayGroup, Name: name, Versions: []string{"v1alpha1"}, Protector: gatewayKinds[name].protector})
	}
	for _, name := range slices.Sorted(maps.Keys(ambassadorKinds)) {
		k := ambassadorKinds[name]
		versions := slices.Clone(k.versions)
		if versions == nil {
			versions = slices.Clone(coreVersions)
		}
		versions = slices.DeleteFunc(versions, func(v string) bool { return slices.Contains(k.early, v) })
		slices.Reverse(versions)
		kinds = append(kinds, Kind{Group: ambassadorGroup, Name: name, Versions: versions, Protector: k.protector})
	}
	return kinds
}
