package authn

import (
	"time"
)

// A keeper keeps sessions from one request to the next: in the browsers' own cookies, or
// where all gateways find them.
type keeper interface {
	// open returns the session that the value of a cookie is of, if it was given to the
	// browser with that secret; nil for none.
	open(c *Call, value, browser string) (*session, error)

	// add has s kept, which begins.
	add(c *Call, s *session) error

	// value returns what the browser with that secret is given to keep of s.
	value(s *session, browser string) (string, error)

	// renew has s, which was used, live on.
	renew(c *Call, s *session) error

	// refresh returns s with the tokens that ask has got for it, or somebody else before.
	// It does not look at a request: who asked may have gone.
	refresh(s *session, ask func(*session) (*session, error)) (*session, error)

	// end forgets s.
	end(c *Call, s *session) error

	// handed returns what a ticket says of s, and taken the session of a ticket that said
	// it; nil for none.
	handed(s *session) *session
	taken(c *Call, handed *session) (*session, error)

	// remembers is how long what a session proves may be believed without opening it again.
	remembers() time.Duration
}

// A cookieKeeper has every browser keep its session, sealed.
type cookieKeeper struct{ l *login }

func (k cookieKeeper) open(c *Call, value, browser string) (*session, error) {
	s := &session{}
	if k.l.seal.open(purposeCookie, value, s) != nil || !same(hashed(browser), s.Browser) {
		return nil, nil //nolint:nilnil // because there is none, and that is no error
	}
	if c.Now.Unix()-s.Used >= int64(k.l.idle(s)/time.Second) {
		return nil, nil //nolint:nilnil // as above
	}
	s.due = time.Unix(s.Used, 0).Add(k.l.renews(s))
	return s, nil
}

func (k cookieKeeper) add(*Call, *session) error { return nil }

func (k cookieKeeper) value(s *session, browser string) (string, error) {
	s.Browser = hashed(browser)
	return k.l.seal.seal(purposeCookie, s)
}

func (k cookieKeeper) renew(c *Call, s *session) error {
	s.Used = c.Now.Unix()
	return nil
}

func (k cookieKeeper) refresh(s *session, ask func(*session) (*session, error)) (*session, error) {
	return ask(s)
}

func (k cookieKeeper) end(*Call, *session) error { return nil }

func (k cookieKeeper) handed(s *session) *session { return s }

func (k cookieKeeper) taken(_ *Call, handed *session) (*session, error) { return handed, nil }

func (k cookieKeeper) remembers() time.Duration { return longIdle }
