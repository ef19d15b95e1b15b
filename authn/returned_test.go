package authn

import (
	"net/http"
	"testing"

	"legate/wire"
)

// Whom a service speaks of is whom its own token is of, and nobody whom the token is of that
// it was shown, whoever put that into the request.
func TestReturnedTokens(t *testing.T) {
	theirs, before := unsignedWith("none"), es256(`{"sub":"somebody","exp":4102444800}`)
	for _, row := range []struct {
		name    string
		answer  http.HandlerFunc // nil: 200, and nothing else
		spec    string
		shown   string // what somebody before made of Authorization
		subject string // recognised; "filter" is whom an earlier filter did
	}{
		{"its own token in the place of none", header(200, "", "authorization", "Bearer "+theirs), "proto: http", "", "alice"},
		{"its own token in the place of a filter's", header(200, "", "authorization", "Bearer "+theirs), "proto: http", "Bearer " + before, "alice"},
		{"none of its own", nil, "proto: http", "Bearer " + before, "filter"},
		{"the one that it was shown", header(200, "", "authorization", "Bearer "+before), "proto: http", "Bearer " + before, "filter"},
		{"it cannot be asked, and that lets pass", header(503, ""), "failure_mode_allow: true", "Bearer " + before, "filter"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := startJudge(t, row.answer)
			f, _ := authServices(t, asking(t, map[string]string{"auth": j.addr}), authService("a", "auth_service: auth", row.spec))
			c := newCall("GET", "/x", "x-token", before)
			c.Identity = &Identity{Subject: "filter"}
			if row.shown != "" {
				c.Edits.Set(wire.FieldAuthorization, []byte(row.shown))
			}
			if f.Filter(c) != Allow || c.Identity.Subject != row.subject {
				t.Errorf("recognised %q (%s), want %q", c.Identity.Subject, said(c), row.subject)
			}
		})
	}
}
