package authn

import (
	"bytes"
	"strings"
)

// Endpoints are the paths that the gateway answers itself, whatever Mappings there are.
// nil has none. They are not changed once requests are served.
type Endpoints struct {
	exact    map[string]site
	prefixes []prefixSite
}

// A site is an Endpoint, and the object that asks for it.
type site struct {
	endpoint Endpoint
	by       string
}

type prefixSite struct {
	site
	prefix []byte
}

// Add puts e at path, or at every path below it where path ends in "/*". It reports false
// and changes nothing where another one answers there already. by is the object that asks
// for it, as records show it.
func (s *Endpoints) Add(path string, e Endpoint, by string) bool {
	if _, taken := s.Find([]byte(strings.TrimSuffix(path, "*"))); taken != "" {
		return false
	}
	if prefix, below := strings.CutSuffix(path, "*"); below {
		s.prefixes = append(s.prefixes, prefixSite{site{e, by}, []byte(prefix)})
		return true
	}
	if s.exact == nil {
		s.exact = map[string]site{}
	}
	s.exact[path] = site{e, by}
	return true
}

// Find returns who answers at a normalised path and on whose behalf, nil for nobody.
// Budget: 0 allocs.
func (s *Endpoints) Find(path []byte) (e Endpoint, by string) {
	if s == nil {
		return nil, ""
	}
	if found, ok := s.exact[string(path)]; ok {
		return found.endpoint, found.by
	}
	for i := range s.prefixes {
		if bytes.HasPrefix(path, s.prefixes[i].prefix) {
			return s.prefixes[i].endpoint, s.prefixes[i].by
		}
	}
	return nil, ""
}

// All returns the paths that are answered, those that end in "/*" with all below them.
func (s *Endpoints) All() []string {
	if s == nil {
		return nil
	}
	paths := make([]string, 0, len(s.exact)+len(s.prefixes))
	for p := range s.exact {
		paths = append(paths, p)
	}
	for i := range s.prefixes {
		paths = append(paths, string(s.prefixes[i].prefix)+"*")
	}
	return paths
}
