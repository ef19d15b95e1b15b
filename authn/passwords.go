package authn

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"legate/config"
	"legate/decision"
)

// Passwords are names with the hashes of their passwords. Checking one takes as long for a
// name that is not known as for one that is.
type passwords struct {
	hashes   map[string]hash
	stranger hash // stands in for names that are not known
	locks    *lockout
	busy     chan struct{} // hashes are computed by so many at once
}

// A hash is what is kept of a password.
type hash interface {
	// matches reports whether it is of password, in a time that does not tell how far it
	// fits.
	matches(password []byte) bool
}

var (
	errHashForm   = errors.New("is neither a bcrypt nor an argon2id hash")
	errHashWeight = errors.New("asks for more memory or time than a gateway can spend on a password")
	errNoHashes   = errors.New("holds no line of name:hash")
	errNameTwice  = errors.New("holds a name twice")
)

// maxPassword is the longest password that is looked at; bcrypt sees 72 bytes of it.
const maxPassword = 1 << 10

// readPasswords reads a Secret of htpasswd lines, whatever its entries are called.
func readPasswords(s *config.Secret, locks *lockout) (*passwords, error) {
	p := newPasswords(locks)
	for _, name := range sortedKeys(s.Data) {
		lines := bufio.NewScanner(bytes.NewReader(s.Data[name]))
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			user, text, ok := strings.Cut(line, ":")
			if !ok || user == "" {
				return nil, fmt.Errorf("%s, line %d: %w", name, n, errHashForm)
			}
			if err := p.add(user, text); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
			}
		}
		if err := lines.Err(); err != nil { // a line too long to be one, and nobody knows who is behind it
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p.whole()
}

// readClients reads a Secret whose entries are client ids, each with the hash of its
// secret.
func readClients(s *config.Secret, locks *lockout) (*passwords, error) {
	p := newPasswords(locks)
	for _, id := range sortedKeys(s.Data) {
		if err := p.add(id, strings.TrimSpace(string(s.Data[id]))); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	return p.whole()
}

func sortedKeys(m map[string][]byte) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func newPasswords(locks *lockout) *passwords {
	return &passwords{hashes: map[string]hash{}, locks: locks, busy: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

func (p *passwords) add(name, text string) error {
	if p.hashes[name] != nil {
		return errNameTwice
	}
	h, err := parseHash(text)
	if err != nil {
		return err
	}
	p.hashes[name] = h
	if p.stranger == nil {
		p.stranger = h // costs as much as the others; that nobody passes by it is seen to
	}
	return nil
}

func (p *passwords) whole() (*passwords, error) {
	if len(p.hashes) == 0 {
		return nil, errNoHashes
	}
	return p, nil
}

var (
	failPassword = refuse(decision.PasswordWrong, 0, "the name or the password is wrong")
	failLocked   = refuse(decision.TooManyFailures, 0, "too many passwords were wrong; try again later")
	failBusy     = &failure{reason: decision.TooManyFailures, message: "too many passwords are being checked; try again later", retryAfter: busyWait}
)

// check says why name and password do not hold, nil if they do, and counts failures.
func (p *passwords) check(name, password string, client netip.Addr, now time.Time) *failure {
	f := p.look(name, password, client, now)
	switch f {
	case nil:
		p.locks.passed(name)
	case failPassword:
		p.locks.failed(name, client, now)
	}
	return f
}

// look says why name and password do not hold, nil if they do. It costs a good part of a
// core's second, so nobody may make it do that for many at once.
func (p *passwords) look(name, password string, client netip.Addr, now time.Time) *failure {
	if pause := p.locks.locked(name, client, now); pause > 0 {
		f := *failLocked
		f.retryAfter = pause
		return &f
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-time.After(busyWait):
		return failBusy
	}
	h, known := p.hashes[name]
	if !known {
		h = p.stranger
	}
	if !h.matches([]byte(password)) || !known || len(password) > maxPassword {
		return failPassword
	}
	return nil
}

// busyWait is how long a password waits for its turn.
const busyWait = 2 * time.Second

// parseHash reads one hash, as htpasswd -B and argon2 write them.
func parseHash(text string) (hash, error) {
	if strings.HasPrefix(text, "$argon2id$") {
		return parseArgon2id(text)
	}
	cost, err := bcrypt.Cost([]byte(text))
	switch {
	case err != nil:
		return nil, errHashForm
	case cost > maxBcryptCost:
		return nil, errHashWeight
	}
	return bcryptHash(text), nil
}

// maxBcryptCost takes a core about two seconds.
const maxBcryptCost = 15

type bcryptHash string

func (h bcryptHash) matches(password []byte) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), password[:min(len(password), 72)]) == nil
}

// An argon2Hash is one of RFC 9106.
type argon2Hash struct {
	time, memory uint32
	threads      uint8
	salt, sum    []byte
}

// Bounds of what a hash may ask for.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonTime   = 10
)

func parseArgon2id(text string) (hash, error) {
	parts := strings.Split(text, "$") // "", argon2id, v=19, m=…,t=…,p=…, salt, sum
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errHashForm
	}
	var h argon2Hash
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil || n != 3 {
		return nil, errHashForm
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return nil, errHashForm
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return nil, errHashForm
	}
	switch {
	case h.time == 0 || h.threads == 0 || len(h.salt) < 8 || len(h.sum) < 16:
		return nil, errHashForm
	case h.memory > maxArgonMemory || h.time > maxArgonTime || len(h.sum) > sha256.Size*2:
		return nil, errHashWeight
	}
	return &h, nil
}

func (h *argon2Hash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.sum))) //nolint:gosec // because parseArgon2id bounds it
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}
