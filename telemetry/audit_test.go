package telemetry

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"legate/decision"
)

func TestAuditLines(t *testing.T) {
	at := time.Date(2026, 11, 24, 4, 5, 6, 78_912_345, time.FixedZone("", 3600))
	rows := []struct {
		name  string
		event decision.Event
		want  string
	}{
		{"a token that was minted", decision.Event{
			Kind: decision.TokenMinted, Allowed: true, Time: at, Duration: 150 * time.Microsecond, By: "Filter ambassador/jwt-auth",
			Subject: "alice", Issuer: "https://id.example.com", JTI: "a1", MintedJTI: "b2", KeyID: "k3", RequestID: "r4",
			Client: netip.MustParseAddr("203.0.113.9"), Host: "shop.example.com", Path: "/orders",
		}, `{"time":"2026-11-24T03:05:06.078Z","log":"audit","event":"token_minted","decision":"allow","by":"Filter ambassador/jwt-auth","request_id":"r4",` +
			`"sub":"alice","iss":"https://id.example.com","jti":"a1","minted_jti":"b2","kid":"k3","client_ip":"203.0.113.9","host":"shop.example.com","path":"/orders","duration_ms":0.150}` + "\n"},
		{"a refusal, without the query that its path came with", decision.Event{
			Kind: decision.TokenRejected, Reason: decision.PolicyInvalid, Time: at, Status: 503, Path: "/a?access_token=secret",
		}, `{"time":"2026-11-24T03:05:06.078Z","log":"audit","event":"token_rejected","decision":"deny","reason":"policy_invalid","path":"/a","status":503}` + "\n"},
		{"what a client calls itself cannot end the line", decision.Event{Kind: decision.LoginFailed, Time: at, Subject: "a\"\n{"},
			`{"time":"2026-11-24T03:05:06.078Z","log":"audit","event":"login_failure","decision":"deny","sub":"a\"\u000a{"}` + "\n"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var out bytes.Buffer
			log := NewAuditLog(&out, AccessLogOptions{})
			log.Audit(&r.event)
			if err := log.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != r.want {
				t.Errorf("got  %s\nwant %s", got, r.want)
			}
		})
	}
}
