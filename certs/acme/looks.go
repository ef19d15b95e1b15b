package acme

import (
	"sync"

	"github.com/mholt/acmez/v3/acme"
)

// Looks are those for challenges in the storage: one at a time for a name. Whoever asks meanwhile
// shares the next one, so that nobody gets an answer that is older than the question. The zero
// value is ready.
type looks struct {
	mu          sync.Mutex
	begun, next map[string]*look
}

// A look answers all who asked before it began.
type look struct {
	ended chan struct{}
	found *acme.Challenge // once it has ended
}

// look returns what find finds for name, once it was called after look was.
func (l *looks) look(name string, find func() *acme.Challenge) *acme.Challenge {
	l.mu.Lock()
	if shared := l.next[name]; shared != nil {
		l.mu.Unlock()
		<-shared.ended
		return shared.found
	}
	if l.next == nil {
		l.begun, l.next = map[string]*look{}, map[string]*look{}
	}
	own, before := &look{ended: make(chan struct{})}, l.begun[name]
	l.next[name] = own
	l.mu.Unlock()
	if before != nil {
		<-before.ended
	}
	l.mu.Lock()
	delete(l.next, name)
	l.begun[name] = own
	l.mu.Unlock()
	defer l.end(name, own)
	own.found = find()
	return own.found
}

// end lets those go who share o.
func (l *looks) end(name string, o *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.begun, name)
	close(o.ended)
}
