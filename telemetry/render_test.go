package telemetry

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"legate/decision"
)

// served is a request that went well.
func served() *Entry {
	rec := &decision.Record{Ended: decision.Proxy, Status: 200, By: "Mapping shop/orders"}
	return &Entry{
		Start:        time.Date(2026, 11, 24, 4, 5, 6, 78_912_345, time.FixedZone("", 3600)),
		Duration:     12*time.Millisecond + 345*time.Microsecond + 900,
		UpstreamTime: 9*time.Millisecond + 5*time.Microsecond,
		Method:       []byte("GET"),
		Host:         []byte("shop.example.com"),
		Path:         []byte("/orders/17?token=secret"),
		RequestID:    []byte("3f1c2a90-7a33-4a5b-9f6f-2f8f6c1b7c11"),
		TraceID:      []byte("4bf92f3577b34da6a3ce929d0e0e4736"),
		UserAgent:    []byte("curl/8.5"),
		XFF:          []byte("203.0.113.9"),
		Major:        1, Minor: 1,
		Record:     rec,
		Route:      "shop/orders",
		Upstream:   "orders.shop:8080",
		Endpoint:   "10.1.2.3:8080",
		TLS:        "TLSv1.3",
		Sub:        "alice",
		BytesIn:    17,
		BytesOut:   4242,
		ClientIP:   netip.MustParseAddr("::ffff:203.0.113.9"),
		Generation: 12,
		Retries:    1,
	}
}

func refused() *Entry {
	rec := &decision.Record{}
	rec.End(decision.Match, decision.NoRoute, "Host shop/web", errors.New("secret detail"))
	return &Entry{
		Start:  time.Date(2026, 11, 24, 4, 5, 6, 0, time.UTC),
		Method: []byte("GET"), Path: []byte("/"), Major: 2, Record: rec, Generation: 3,
	}
}

func render(e *Entry, f Format) string {
	var l line
	if f == JSON {
		l.json(e)
	} else {
		l.text(e)
	}
	return string(l.buf)
}

func TestLines(t *testing.T) {
	tests := []struct {
		name   string
		entry  *Entry
		format Format
		want   string
	}{
		{"served", served(), JSON, `{"time":"2026-11-24T03:05:06.078Z","request_id":"3f1c2a90-7a33-4a5b-9f6f-2f8f6c1b7c11",` +
			`"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","method":"GET","host":"shop.example.com","path":"/orders/17",` +
			`"protocol":"HTTP/1.1","status":200,"stage":"proxy","by":"Mapping shop/orders","route":"shop/orders",` +
			`"upstream":"orders.shop:8080","endpoint":"10.1.2.3:8080","duration_ms":12.345,"upstream_ms":9.005,` +
			`"bytes_in":17,"bytes_out":4242,"client_ip":"203.0.113.9","sub":"alice","generation":12,"retries":1,"tls":"TLSv1.3"}`},
		{"refused", refused(), JSON, `{"time":"2026-11-24T04:05:06.000Z","method":"GET","path":"/","protocol":"HTTP/2","status":404,` +
			`"reason":"no_route","stage":"match","by":"Host shop/web","duration_ms":0.000,"bytes_in":0,"bytes_out":0,"generation":3}`},
		{"served as text", served(), Text, `ACCESS [2026-11-24T03:05:06.078Z] "GET /orders/17 HTTP/1.1" 200 - 17 4242 12 9 ` +
			`"203.0.113.9" "curl/8.5" "3f1c2a90-7a33-4a5b-9f6f-2f8f6c1b7c11" "shop.example.com" "10.1.2.3:8080"`},
		{"refused as text", refused(), Text, `ACCESS [2026-11-24T04:05:06.000Z] "GET / HTTP/2" 404 NR 0 0 0 - "-" "-" "-" "-" "-"`},
		{"empty", &Entry{Start: time.Unix(0, 0)}, Text, `ACCESS [1970-01-01T00:00:00.000Z] "- - -" 0 - 0 0 0 - "-" "-" "-" "-" "-"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := render(test.entry, test.format); got != test.want+"\n" {
				t.Errorf("got  %swant %s", got, test.want)
			}
		})
	}
}

func TestTheSecondIsNotKeptTooLong(t *testing.T) {
	var l line
	for _, at := range []string{"1970-01-01T00:00:00.001Z", "2026-11-24T04:05:06.999Z", "2026-11-24T04:05:07.000Z", "2026-11-24T04:05:06.001Z"} {
		start, _ := time.Parse(time.RFC3339, at)
		l.json(&Entry{Start: start})
		if !strings.HasPrefix(string(l.buf), `{"time":"`+at+`"`) {
			t.Errorf("got %s, want time %s", l.buf, at)
		}
	}
}

func TestNoZoneIsWritten(t *testing.T) {
	got := render(&Entry{ClientIP: netip.MustParseAddr(`fe80::1%","sub":"root`)}, JSON)
	if !strings.Contains(got, `"client_ip":"fe80::1",`) || strings.Contains(got, "root") {
		t.Errorf("got %s, want the address alone", got)
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"/", "\x00\n\"\\", "ä€😀", "\xff\xc3", "\u2028", "\xed\xa0\x80", "/a?b#c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e := &Entry{Host: in, Path: in, UserAgent: in, Sub: string(in)}
		got := render(e, JSON)
		if strings.Count(got, "\n") != 1 || !utf8.ValidString(got) {
			t.Fatalf("not one line of UTF-8: %q", got)
		}
		var fields struct{ Host, Path, Sub string }
		if err := json.Unmarshal([]byte(got), &fields); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		want := toUTF8(in)
		if fields.Host != want || fields.Sub != want {
			t.Errorf("got host %q and sub %q, want %q", fields.Host, fields.Sub, want)
		}
		if strings.ContainsAny(fields.Path, "?#") {
			t.Errorf("path %q holds a query", fields.Path)
		}
		text := render(e, Text)
		if strings.Count(text, "\n") != 1 || !utf8.ValidString(text) {
			t.Errorf("not one line of UTF-8: %q", text)
		}
	})
}

// toUTF8 replaces each byte that is not UTF-8, as json does.
func toUTF8(in []byte) string {
	var out strings.Builder
	for len(in) > 0 {
		r, size := utf8.DecodeRune(in)
		out.WriteRune(r)
		in = in[size:]
	}
	return out.String()
}

func BenchmarkRender(b *testing.B) {
	var l line
	e := served()
	for b.Loop() {
		l.json(e)
	}
}
