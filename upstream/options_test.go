package upstream

import "testing"

func TestParseOverride(t *testing.T) {
	for _, row := range []struct {
		text string
		want Override
		bad  bool
	}{
		{text: "foo=127.0.0.1", want: Override{Name: "foo", Addr: "127.0.0.1"}},
		{text: "Foo.Team:80=127.0.0.1:9000", want: Override{Name: "foo.team", Port: 80, Addr: "127.0.0.1", To: 9000}},
		{text: "*=127.0.0.1:9000", want: Override{Name: "*", Addr: "127.0.0.1", To: 9000}},
		{text: "*:443=localhost", want: Override{Name: "*", Port: 443, Addr: "localhost"}},
		{text: "foo=::1", want: Override{Name: "foo", Addr: "::1"}},
		{text: "foo=[::1]:9000", want: Override{Name: "foo", Addr: "::1", To: 9000}},
		{text: "foo", bad: true},
		{text: "=127.0.0.1", bad: true},
		{text: "foo=", bad: true},
		{text: "foo=*", bad: true},
		{text: "foo:x=127.0.0.1", bad: true},
		{text: "foo=127.0.0.1:70000", bad: true},
		{text: "*foo=127.0.0.1", bad: true},
	} {
		got, err := ParseOverride(row.text)
		if got != row.want || (err != nil) != row.bad {
			t.Errorf("%q: got %+v, %v, want %+v, error %v", row.text, got, err, row.want, row.bad)
		}
	}
}

func TestOverride(t *testing.T) {
	opts := Options{Namespace: "ambassador"}
	for _, text := range []string{
		"*=10.0.0.1", "*:8080=10.0.0.2", "quote=10.0.0.3:1", "quote:8080=10.0.0.4:2", "orders.shop=10.0.0.5", "api.ext.com=10.0.0.6",
	} {
		o, err := ParseOverride(text)
		if err != nil {
			t.Fatal(err)
		}
		opts.Resolve = append(opts.Resolve, o)
	}
	for _, row := range []struct {
		host string
		port uint16
		want string
		to   uint16
	}{
		{"other", 80, "10.0.0.1", 80},
		{"other", 8080, "10.0.0.2", 8080},
		{"1.2.3.4", 80, "10.0.0.1", 80},
		{"quote", 80, "10.0.0.3", 1},
		{"quote.ambassador", 80, "10.0.0.3", 1},
		{"quote.ambassador.svc.cluster.local", 8080, "10.0.0.4", 2},
		{"quote.shop", 80, "10.0.0.1", 80},
		{"orders.shop.svc", 80, "10.0.0.5", 80},
		{"orders.shop.svc.cluster.local.", 80, "10.0.0.5", 80},
		{"orders", 80, "10.0.0.1", 80},
		{"api.ext.com", 443, "10.0.0.6", 443},
	} {
		host, port, ok := opts.override(row.host, row.port)
		if !ok || host != row.want || port != row.to {
			t.Errorf("%s:%d: got %s:%d %v, want %s:%d", row.host, row.port, host, port, ok, row.want, row.to)
		}
	}
	none := Options{}
	if host, port, ok := none.override("foo", 80); ok || host != "foo" || port != 80 {
		t.Errorf("without overrides: got %s:%d %v", host, port, ok)
	}
}

func TestServer(t *testing.T) {
	for dns, want := range map[string]string{
		"": "", "10.0.0.10": "10.0.0.10:53", "127.0.0.1:5353": "127.0.0.1:5353", "::1": "[::1]:53", "[::1]:54": "[::1]:54",
		"dns.example.com": "!", "10.0.0.10:x": "!",
	} {
		opts := Options{DNS: dns}
		got, err := opts.server()
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q (%v), want %q", dns, got, err, want)
		}
	}
}
