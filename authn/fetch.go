package authn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"legate/config"
)

const (
	fetchTime    = 10 * time.Second // of one attempt
	maxRedirects = 3
)

var (
	errDowngrade = errors.New("redirected from https to http")
	errRedirects = fmt.Errorf("redirected more than %d times", maxRedirects)
)

// client returns a client for who is asked by p: key sets, identity providers.
func (d *Deps) client(p config.FetchPolicy) *http.Client {
	renegotiation := tls.RenegotiateNever
	switch p.RenegotiateTLS {
	case "onceAsClient":
		renegotiation = tls.RenegotiateOnceAsClient
	case "freelyAsClient":
		renegotiation = tls.RenegotiateFreelyAsClient
	}
	return &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: d.Dial,
			TLSClientConfig: &tls.Config{
				MinVersion:         tls.VersionTLS12,
				InsecureSkipVerify: p.InsecureTLS, //nolint:gosec // insecureTLS asks for it
				Renegotiation:      renegotiation,
			},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return errRedirects
			case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
				return errDowngrade
			}
			return nil
		},
	}
}

// plainError returns err without the address that the library puts before it, which may
// hold a password.
func plainError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// shownURI returns uri without what may be secret in it.
func shownURI(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "an unreadable address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// mayBeStale tells caches on the way that r may be answered with what is no longer fresh,
// as long as p says.
func mayBeStale(r *http.Request, p config.FetchPolicy) {
	if p.MaxStale > 0 {
		r.Header.Set("Cache-Control", "max-stale="+strconv.FormatInt(int64(p.MaxStale/time.Second), 10))
	}
}

// lifetime is how long an answer is fresh (RFC 9111 §4.2): as its headers say, but not
// less than five minutes. maxStale outlasts what they forbid.
func lifetime(h http.Header, now time.Time, maxStale time.Duration) time.Duration {
	fresh, said := time.Duration(0), false
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return min(max(minFresh, maxStale), maxFresh)
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				fresh, said = time.Duration(seconds)*time.Second, true
			}
		}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil && said {
		fresh -= time.Duration(age) * time.Second
	}
	if expires, err := http.ParseTime(h.Get("Expires")); err == nil && !said {
		fresh = expires.Sub(now)
	}
	return min(max(minFresh, fresh), maxFresh)
}
