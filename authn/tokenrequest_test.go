package authn

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"legate/config"
)

// When an access token lapses, and for how long a session lives by it that is not refreshed.
func TestExpiryOfAccessTokens(t *testing.T) {
	says := func(exp string) string { return es256(`{"sub":"alice","exp":` + exp + `}`) }
	in := func(d time.Duration) string { return fmt.Sprint(midday.Add(d).Unix()) }
	const never = -1
	for _, row := range []struct {
		name    string
		granted granted
		want    time.Duration // from now on
	}{
		{"what the provider says", granted{ExpiresIn: "300", Access: "x"}, 5 * time.Minute},
		{"before what stands in it", granted{ExpiresIn: "300", Access: says(in(time.Hour))}, 5 * time.Minute},
		{"what stands in it", granted{Access: says(in(time.Hour))}, time.Hour},
		{"it has lapsed", granted{Access: says(in(-time.Hour))}, -time.Hour},
		{"nobody says", granted{Access: "x"}, never},
		{"it says none", granted{Access: es256(`{"sub":"alice"}`)}, never},
		{"the year 9999", granted{Access: says("253402300799")}, maxExpiry},
		{"milliseconds, as from somebody who does not know better", granted{Access: says("4102444800000")}, maxExpiry},
		{"more than there are seconds", granted{ExpiresIn: "1e300", Access: "x"}, maxExpiry},
		{"more than there are numbers", granted{ExpiresIn: "1e999", Access: "x"}, maxExpiry},
		{"nothing", granted{ExpiresIn: "0", Access: "x"}, never},
	} {
		got := row.granted.expires(midday)
		if row.want == never {
			if !got.IsZero() {
				t.Errorf("%s: %v", row.name, got)
			}
			continue
		}
		if got.Sub(midday) != row.want {
			t.Errorf("%s: after %v, want %v", row.name, got.Sub(midday), row.want)
		}
		l := &login{f: &config.OAuth2Filter{}}
		if idle, want := l.idle(&session{Used: midday.Unix(), Expires: seconds(got)}), max(time.Second, row.want); idle != want {
			t.Errorf("%s: the session lives %v, want %v", row.name, idle, want)
		}
	}
}

// How long a token lasts is a number, or, with providers such as Azure's older ones, a text
// that holds one.
func TestExpiresIn(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{"access_token":"x","expires_in":3600}`: time.Hour, `{"access_token":"x","expires_in":"3600"}`: time.Hour, `{"access_token":"x","expires_in":90.5}`: 90 * time.Second,
	} {
		var g granted
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := g.expires(midday).Sub(midday); got != want {
			t.Errorf("%s: after %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{`{"expires_in":true}`, `{"expires_in":"soon"}`, `{"expires_in":[1]}`} {
		if err := json.Unmarshal([]byte(text), new(granted)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
