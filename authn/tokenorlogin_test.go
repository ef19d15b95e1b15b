package authn

import (
	"testing"

	"legate/config"
	"legate/decision"
)

// Programs come with a token, people log in, by one rule: a JWT Filter whose refusal is
// passed over and whose word is enough, then an OAuth2 Filter.
func TestTokenOrLogin(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	w := newLoginWorld(t, nil, func(_ *config.OAuth2Filter, _ *config.Arguments) {}, func(w *config.World) {
		w.Filters = append(w.Filters, config.Filter{Meta: config.Meta{Kind: "Filter", Name: "api", Namespace: "shop"}, JWT: &config.JWTFilter{JWKSURI: i.URL}})
		r := &w.FilterPolicies[0].Rules[0]
		r.Filters = append([]config.FilterUse{{Name: "api", Namespace: "shop", ContinueOnDeny: true, BreakOnAllow: true}}, r.Filters...)
	})
	for _, row := range []struct {
		name   string
		fields []string
		reason decision.Reason
		status int
	}{
		{"a token", []string{"Authorization", "Bearer " + es256(`{"sub":"batch","exp":4102444800}`)}, decision.None, 0},
		{"a token that has expired", []string{"Authorization", "Bearer " + es256(`{"sub":"batch","exp":1}`)}, decision.LoginRedirect, 302},
		{"no token", nil, decision.LoginRedirect, 302},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.browser().ask("GET", page, row.fields...)
			wantReply(t, c, row.reason, row.status)
			if row.reason == decision.None && (c.Identity == nil || c.Identity.Subject != "batch" || received(c, "authorization") != row.fields[1]) {
				t.Errorf("recognised %+v; the service gets %q", c.Identity, received(c, "authorization"))
			}
		})
	}
	b := w.browser()
	c := b.login(page, "alice")
	wantReply(t, c, decision.None, 0)
	if c.Identity.Subject != "alice" {
		t.Errorf("recognised %+v", c.Identity)
	}
}
