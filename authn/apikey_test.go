package authn

import (
	"strings"
	"testing"

	"legate/config"
	"legate/decision"
)

// What is let in by a key, and what is refused, is told of: a right key once, by where it
// stands, and never the key.
func TestAPIKey(t *testing.T) {
	var told []decision.Event
	deps := asking(t, nil)
	deps.Audit = func(e *decision.Event) { told = append(told, *e) }
	secret := config.Secret{Meta: config.Meta{Name: "keys", Namespace: "shop"}, Data: map[string][]byte{"alice": []byte("first-key"), "bob": []byte("second-key"), "nobody": nil}}
	o := &config.Filter{Meta: config.Meta{Kind: "Filter", Name: "k", Namespace: "shop"}, APIKey: &config.APIKeyFilter{Secrets: []config.SecretName{{Name: "keys", Namespace: "shop"}}}}
	k, problems := newAPIKey(o, func(string, string) *config.Secret { return &secret }, deps)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, row := range []struct {
		key    string
		reason decision.Reason // None: let in
		told   string          // event, decision and subject of what is told
	}{
		{"", decision.APIKeyMissing, ""},
		{"third-key", decision.APIKeyUnknown, "token_rejected deny "},
		{"first-key", decision.None, "token_accepted allow alice of Secret keys.shop"},
		{"first-key", decision.None, ""},
		{"second-key", decision.None, "token_accepted allow bob of Secret keys.shop"},
		{"first-key", decision.None, ""},
	} {
		told = nil
		c := newCall("GET", "/x")
		if row.key != "" {
			c = newCall("GET", "/x", "x-api-key", row.key)
		}
		if out := k.Filter(c); (out == Allow) != (row.reason == decision.None) || c.Reply.Reason != row.reason {
			t.Errorf("%q: %v, %v", row.key, out, c.Reply.Reason)
		}
		if got := toldText(told); got != row.told {
			t.Errorf("%q: told of %q, want %q", row.key, got, row.told)
		}
	}
}

// TestAllocsAPIKey holds a key that was shown before to no allocation.
func TestAllocsAPIKey(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	secret := config.Secret{Meta: config.Meta{Name: "keys", Namespace: "shop"}, Data: map[string][]byte{"alice": []byte("first-key")}}
	o := &config.Filter{Meta: config.Meta{Kind: "Filter", Name: "k", Namespace: "shop"}, APIKey: &config.APIKeyFilter{Secrets: []config.SecretName{{Name: "keys", Namespace: "shop"}}}}
	k, _ := newAPIKey(o, func(string, string) *config.Secret { return &secret }, asking(t, nil))
	c := newCall("GET", "/x", "x-api-key", "first-key")
	if n := testing.AllocsPerRun(100, func() {
		if k.Filter(c) != Allow {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Who asks for what a Filter that is not there should decide about is told of.
func TestInvalidFilterIsTold(t *testing.T) {
	var told []decision.Event
	deps := asking(t, nil)
	deps.Audit = func(e *decision.Event) { told = append(told, *e) }
	i, c := newInvalid("shop", "lost", deps), newCall("GET", "/x")
	if i.Filter(c) != Deny || c.Reply.Reason != decision.FilterInvalid || c.Reply.Status != 500 {
		t.Errorf("answered %v %d", c.Reply.Reason, c.Reply.Status)
	}
	if got := toldText(told); got != "auth_error deny " || told[0].By != "Filter shop/lost" || told[0].Reason != decision.FilterInvalid {
		t.Errorf("told of %q: %+v", got, told)
	}
	dry := newCall("GET", "/x")
	dry.Dry, told = true, nil
	if i.Filter(dry); len(told) > 0 {
		t.Errorf("an explanation is told of: %+v", told)
	}
}

// toldText is what the events are, whether what they tell of was allowed, and of whom.
func toldText(events []decision.Event) string {
	lines := make([]string, len(events))
	for i := range events {
		verdict := "deny"
		if events[i].Allowed {
			verdict = "allow"
		}
		lines[i] = events[i].Kind.String() + " " + verdict + " " + events[i].Subject
	}
	return strings.Join(lines, ", ")
}
