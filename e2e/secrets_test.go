package e2e

import (
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Secrets are what clients of a program proved who they are with, and what they were
// given for it. No log of the program may say them.
type secrets struct {
	mu   sync.Mutex
	seen map[string]bool
}

// Of one program no more are kept than can be looked for in all that it wrote; tokens are
// known by their form anyway.
const (
	mostSecrets    = 300
	shortestSecret = 12 // what is shorter may be a word of something else
)

// token is the form of a JSON Web Token, and scheme that of what Authorization says.
var (
	token  = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.`)
	scheme = regexp.MustCompile(`(?i)\b(bearer|basic) [A-Za-z0-9+/=._~-]{12,}`)
)

// note keeps what the fields of a message prove.
func (s *secrets) note(lines []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "authorization", "proxy-authorization":
			_, value, _ = strings.Cut(strings.TrimSpace(value), " ")
			s.keep(value)
		case "cookie", "set-cookie":
			for pair := range strings.SplitSeq(value, ";") {
				_, value, _ := strings.Cut(pair, "=")
				s.keep(value)
			}
		case "x-api-key", "x-ambassador-password", "x-ambassador-client-secret":
			s.keep(value)
		}
	}
}

func (s *secrets) keep(value string) {
	if value = strings.TrimSpace(value); len(value) < shortestSecret || token.MatchString(value) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if len(s.seen) < mostSecrets {
		s.seen[value] = true
	}
}

// unsaid fails the test for each line that says a secret, or something that has the form
// of one.
func (s *secrets) unsaid(t testing.TB, lines []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines {
		if m := token.FindString(line) + scheme.FindString(line); m != "" {
			t.Errorf("a log says %.20s…: %s", m, line)
			continue
		}
		for secret := range s.seen {
			if strings.Contains(line, secret) {
				t.Errorf("a log says %.20s…: %s", secret, line)
			}
		}
	}
}
