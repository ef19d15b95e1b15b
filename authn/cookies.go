package authn

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"legate/wire"
)

const (
	chunkSize = 3800 // of a cookie's value: browsers take 4096 bytes with name and attributes
	maxChunks = 5    // more than that no service's limits on headers would bear
)

// cookies calls each for every cookie that c's client sent (RFC 6265 §5.4). Budget: 0
// allocs.
func (c *Call) cookies(each func(name, value []byte)) {
	for i := range c.Head.Len() {
		f, _, line := c.Head.Line(i)
		if f != wire.FieldCookie {
			continue
		}
		cookiePairs(line, func(pair []byte, name int) {
			if name >= 0 {
				each(pair[:name], pair[name+1:])
			}
		})
	}
}

// cookiePairs calls each for every part of a Cookie, and says how long its name is, -1 for
// one that has none. Budget: 0 allocs.
func cookiePairs(line []byte, each func(pair []byte, name int)) {
	for len(line) > 0 {
		var pair []byte
		pair, line, _ = bytes.Cut(line, []byte{';'})
		if pair = bytes.Trim(pair, " \t"); len(pair) > 0 {
			each(pair, bytes.IndexByte(pair, '='))
		}
	}
}

// cookie returns the value of the cookie called name. Where several have that name, as when
// a page of another subdomain sets one, nobody knows which is meant: several is true then.
func (c *Call) cookie(name string) (value string, several bool) {
	found := false
	c.cookies(func(n, v []byte) {
		if string(n) != name {
			return
		}
		if found && value != string(v) {
			several = true
		}
		found, value = true, string(v)
	})
	return value, several
}

// A cookieJar writes the cookies of one Filter for one origin.
type cookieJar struct {
	domain   string // "" for the host alone
	secure   bool
	sameSite string        // "" for nothing said
	keep     time.Duration // 0 for as long as the browser runs
}

// line returns a Set-Cookie.
func (j *cookieJar) line(name, value string, scripts bool, keep time.Duration) wire.Add {
	var b strings.Builder
	b.WriteString(name + "=" + value + "; Path=/")
	if j.domain != "" {
		b.WriteString("; Domain=" + j.domain)
	}
	switch {
	case keep < 0:
		b.WriteString("; Max-Age=0")
	case keep > 0:
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(keep/time.Second), 10))
	}
	if !scripts {
		b.WriteString("; HttpOnly")
	}
	if j.secure {
		b.WriteString("; Secure")
	}
	if same := map[string]string{"lax": "Lax", "strict": "Strict", "none": "None"}[j.sameSite]; same != "" {
		b.WriteString("; SameSite=" + same)
	}
	return wire.Add{ID: wire.FieldSetCookie, Value: []byte(b.String())}
}

// chunkName is what the nth part of a cookie that is too long for one is called.
func chunkName(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "." + strconv.Itoa(n)
}

var errSessionTooLarge = fmt.Errorf("the tokens of the provider take more than %d cookies", maxChunks)

// chunks cuts a value into the cookies that carry it. The last one is shorter than the
// others, and empty if need be: so nobody takes for the value's what a longer one has left.
func chunks(value string) ([]string, error) {
	if len(value) >= chunkSize*maxChunks {
		return nil, errSessionTooLarge
	}
	var list []string
	for len(value) >= chunkSize {
		list = append(list, value[:chunkSize])
		value = value[chunkSize:]
	}
	return append(list, value), nil
}

// joined returns the value that chunks made cookies of. several says that there are two of
// one name.
func (c *Call) joined(name string) (value string, several bool) {
	first, several := c.cookie(name)
	if len(first) < chunkSize || several {
		return first, several
	}
	var b strings.Builder
	b.WriteString(first)
	for n := 1; n < maxChunks; n++ {
		part, more := c.cookie(chunkName(name, n))
		if more {
			return "", true
		}
		if b.WriteString(part); len(part) < chunkSize {
			break
		}
	}
	return b.String(), false
}

// withoutOwn takes the gateway's own cookies away from the service. Others stay as they are
// by now, whoever made them so. Budget: 0 allocs.
func (l *login) withoutOwn(c *Call) {
	var spare []byte
	m := c.Memory
	if m == nil {
		m = &spare
	}
	before := len(*m)
	all := *m
	c.lines(func(f wire.Field, _, line []byte) {
		if f != wire.FieldCookie {
			return
		}
		cookiePairs(line, func(pair []byte, name int) {
			if name >= 0 && l.ownCookie(pair[:name]) {
				return
			}
			if len(all) > before {
				all = append(all, "; "...)
			}
			all = append(all, pair...)
		})
	})
	*m = all
	if len(all) == before {
		c.Edits.Remove(wire.FieldCookie, nil)
		return
	}
	c.Edits.Set(wire.FieldCookie, all[before:len(all):len(all)])
}
