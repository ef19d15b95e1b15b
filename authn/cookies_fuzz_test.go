package authn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/wire"
)

// always are random bytes that are none.
type always struct{}

func (always) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i)
	}
	return len(b), nil
}

// FuzzCookie has browsers send any bytes as cookies: none of it is a session but what was
// sealed for this Filter and this browser, whole and unchanged; nothing is too much; and
// the service never gets to see what is the gateway's own.
func FuzzCookie(f *testing.F) {
	d := testDeps(f, new(time.Time))
	d.Random = always{} // every process of the fuzzer seals alike
	seal, _, err := newSealer("web.shop", strings.Repeat("s", 40), nil, nil, d)
	if err != nil {
		f.Fatal(err)
	}
	l := &login{
		by: "Filter shop/web", realm: "web.shop", f: &config.OAuth2Filter{}, parts: &loginParts{ended: NewRevocations(nil)}, seal: seal, deps: d,
		origins: newOrigins([]config.ProtectedOrigin{{Origin: "https://shop.example.com"}}), sessionName: shopSession, xsrfName: "ambassador_xsrf.web.shop",
	}
	l.keeper = cookieKeeper{l}
	secret := strings.Repeat("b", 64)
	s := &session{ID: "id", XSRF: "x", Access: "token", Refresh: strings.Repeat("long and all but the same ", 10), Subject: "alice", Used: midday.Unix()}
	for i := range 900 { // so long, and so hard to compress, that it takes several cookies
		s.Refresh += fmt.Sprintf("%x", i*i*7919)
	}
	value, err := l.keeper.value(s, secret)
	if err != nil {
		f.Fatal(err)
	}
	parts, err := chunks(value)
	if err != nil || len(parts) < 2 {
		f.Fatalf("%d parts, %v", len(parts), err)
	}
	var whole []string
	for i, p := range parts {
		whole = append(whole, chunkName(shopSession, i)+"="+p)
	}
	browser := "__Host-legate_browser.web.shop=" + secret
	good := strings.Join(append(whole, browser), "; ")
	short := *s
	short.Refresh = ""
	one, err := l.keeper.value(&short, secret)
	if err != nil {
		f.Fatal(err)
	}
	alone := shopSession + "=" + one + "; " + browser
	sealed := []string{value, one}
	for _, seed := range []string{
		good, alone, "", "=", ";", "a=b", shopSession + "=", shopSession, alone + "; " + alone, strings.ToUpper(alone), whole[0], whole[1], strings.Join(whole, ";"),
		whole[1] + "; " + whole[0] + "; " + browser, strings.ReplaceAll(good, ".1=", ".2="), alone + "; " + shopSession + ".1=x", shopSession + "=\x00\xff; " + browser, strings.Repeat("; ", 100),
	} {
		f.Add(seed, "")
		f.Add(seed, shopSession+".1=AAAA")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		if strings.ContainsAny(first+second, "\r\n\x00") {
			t.Skip("no line has them")
		}
		head := &wire.Head{}
		head.BuildRequest("GET", "shop.example.com", "/", "Cookie", first, "Cookie", second)
		c := &Call{Head: head, Edits: &wire.Edits{}, Secure: true, Now: midday, Memory: &[]byte{}}
		got, several, err := l.opened(c, &l.origins[0])
		if err != nil {
			t.Fatal(err)
		}
		if got != nil {
			joined, twice := c.joined(shopSession)
			if several || twice || joined != sealed[0] && joined != sealed[1] || got.Subject != "alice" {
				t.Errorf("%q is a session of %q", joined, got.Subject)
			}
			if b, twice := c.cookie("__Host-legate_browser.web.shop"); b != secret || twice {
				t.Errorf("the browser %q has a session", b)
			}
		}
		l.withoutOwn(c)
		var left string
		for _, a := range c.Edits.Adds() {
			if a.ID == wire.FieldCookie {
				left = string(a.Value)
			}
		}
		passed := &wire.Head{}
		passed.BuildRequest("GET", "shop.example.com", "/", "Cookie", left)
		(&Call{Head: passed}).cookies(func(name, _ []byte) {
			if l.ownCookie(name) {
				t.Errorf("the service gets %q", name)
			}
		})
	})
}
