package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A chromium is a browser with a person at it.
type chromium struct {
	t   testing.TB
	ctx context.Context
}

// browse starts a headless Chromium that finds hosts on loopback and trusts cert.
func browse(t testing.TB, cert certificate, hosts ...string) *chromium {
	t.Helper()
	key := sha256.Sum256(cert.pair.Leaf.RawSubjectPublicKeyInfo)
	rules := "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
	for _, h := range hosts {
		rules = "MAP " + h + " 127.0.0.1, " + rules
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(outside(t, "chromium")), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", rules), chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])))
	ctx, cancel := context.WithTimeout(t.Context(), patience(2*time.Minute))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return &chromium{t, ctx}
}

// failed ends the test and says what the person sees.
func (b *chromium) failed(what string, err error) {
	b.t.Helper()
	at, _ := chromedp.Run(b.ctx, chromedp.Location())
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	b.t.Fatalf("%s: %v\nat %s:\n%s", what, err, at, text)
}

// do does what a person does.
func (b *chromium) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.failed(what, err)
	}
}

func (b *chromium) open(address string) {
	b.t.Helper()
	b.do("go to "+address, chromedp.Navigate(address))
}

// signIn fills in the form of the identity provider.
func (b *chromium) signIn(user string) {
	b.t.Helper()
	b.do("log in as "+user, chromedp.WaitVisible(chromedp.CSS("#username")), chromedp.SendKeys(chromedp.CSS("#username"), user),
		chromedp.SendKeys(chromedp.CSS("#password"), theirPassword), chromedp.Click(chromedp.CSS("button[type=submit]")))
}

// text returns what is written in an element, once it is there.
func (b *chromium) text(selector string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		b.failed("read "+selector, err)
	}
	return strings.TrimSpace(text)
}

// at returns the address in the browser's bar.
func (b *chromium) at() string {
	b.t.Helper()
	address, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		b.failed("look where it is", err)
	}
	return address
}

// run has the page that is open run a script, and returns what its promise comes to.
func (b *chromium) run(script string) string {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.failed("run a script", err)
	}
	return result
}

// cookies returns what the browser keeps for the page that is open.
func (b *chromium) cookies() []*network.Cookie {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
	})
	if err != nil {
		b.failed("look at the cookies", err)
	}
	return got.Cookies
}

func clickOn(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}
func visible(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(selector))
}
