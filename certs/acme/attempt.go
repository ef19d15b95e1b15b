package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/caddyserver/certmagic"
)

// Attempts are counted in the storage, so that neither many replicas nor one that starts
// again and again ask an authority more often than it bears: Let's Encrypt lets five
// attempts an hour fail for one name.

// An attempts is what is remembered of those that failed, or are under way, since the last
// that succeeded.
type attempts struct {
	Failures int       `json:"failures"`
	Next     time.Time `json:"next"`            // not to be tried before
	Error    string    `json:"error,omitempty"` // why the last one failed; "" for one that has not come to its end
}

// backoff is how long is waited after so many failures.
func backoff(failures int) time.Duration {
	steps := [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}
	return steps[min(max(failures, 1), len(steps))-1]
}

// limitedWait is waited at least after an authority has said that it was asked too often.
const limitedWait = time.Hour

// A waitError says that it is too early to try again.
type waitError struct {
	until time.Time
	cause string
}

// Error repeats why the last attempt failed.
func (e *waitError) Error() string {
	if e.cause == "" {
		return "the last attempt did not come to its end"
	}
	return e.cause
}

func attemptsPath(s subject) string {
	safe := certmagic.StorageKeys.Safe
	return path.Join("legate", "attempts", safe(s.authority), safe(s.name)+".json")
}

func (c *Client) loadAttempts(ctx context.Context, s subject) (a attempts, err error) {
	text, err := c.opts.Storage.Load(ctx, attemptsPath(s))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, nil
	case err != nil:
		return a, fmt.Errorf("load attempts: %w", err)
	}
	if json.Unmarshal(text, &a) != nil {
		return attempts{}, nil // half written: as if there were none
	}
	return a, nil
}

func (c *Client) storeAttempts(ctx context.Context, s subject, a attempts) error {
	text, err := json.Marshal(a)
	if err == nil {
		err = c.opts.Storage.Store(ctx, attemptsPath(s), text)
	}
	if err != nil {
		return fmt.Errorf("store attempts: %w", err)
	}
	return nil
}

// early returns a *waitError where it is too early for an attempt.
func (a *attempts) early(now time.Time) error {
	// A clock that was set back does not stretch the wait.
	if now.Before(a.Next) && a.Next.Sub(now) <= max(backoff(a.Failures), limitedWait) {
		return &waitError{a.Next, a.Error}
	}
	return nil
}

// early returns a *waitError where it is too early for an attempt because the last one failed.
// One that may be under way is waited for by its lock.
func (c *Client) early(ctx context.Context, s subject) error {
	a, err := c.loadAttempts(ctx, s)
	if err != nil || a.Error == "" {
		return err
	}
	return a.early(c.opts.Now())
}

// attempt counts one as failed before it is made: what ends the process may be part of it.
// It returns a *waitError where it is too early.
func (c *Client) attempt(ctx context.Context, s subject) error {
	a, err := c.loadAttempts(ctx, s)
	if err != nil {
		return err
	}
	now := c.opts.Now()
	if err := a.early(now); err != nil {
		return err
	}
	a.Failures++
	a.Next, a.Error = now.Add(backoff(a.Failures)), ""
	return c.storeAttempts(ctx, s, a)
}

// attemptFailed says why the last attempt did.
func (c *Client) attemptFailed(ctx context.Context, s subject, cause error, limited bool) {
	a, err := c.loadAttempts(ctx, s)
	if err == nil {
		a.Error = cause.Error()
		wait := backoff(a.Failures)
		if limited {
			wait = max(wait, limitedWait)
		}
		a.Next = c.opts.Now().Add(wait)
		err = c.storeAttempts(ctx, s, a)
	}
	if err != nil {
		c.opts.Log.Warn("failed order is not remembered", "name", s.name, "error", err)
	}
}

// attemptSucceeded forgets those that failed.
func (c *Client) attemptSucceeded(ctx context.Context, s subject) {
	if err := c.opts.Storage.Delete(ctx, attemptsPath(s)); err != nil {
		c.opts.Log.Warn("failed orders are not forgotten", "name", s.name, "error", err)
	}
}

// lastAttempt returns before when no other is to be made, zero for none.
func (c *Client) lastAttempt(ctx context.Context, s subject) time.Time {
	a, err := c.loadAttempts(ctx, s)
	if err != nil {
		return time.Time{}
	}
	return a.Next
}
