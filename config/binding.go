package config

// Binds reports whether Listener l serves Host h: the Host's namespace and labels
// fit the Listener's hostBinding.
func (l *Listener) Binds(h *Host) bool {
	if !l.FromAll && h.Namespace != l.Namespace {
		return false
	}
	return Selects(l.Selector, h.Labels)
}

// Selects reports whether every label of selector is among labels. An empty
// selector selects everything.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Carries reports whether Listener l is where the connections of m come in.
func (l *Listener) Carries(m *TCPMapping) bool { return l.Port == m.Port && l.Address == m.Address }
