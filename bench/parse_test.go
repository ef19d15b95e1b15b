package main

import (
	"math"
	"os"
	"regexp"
	"testing"
	"time"
)

const h2loadSummary = `
finished in 2.00s, %RATE% req/s, 950.00KB/s
requests: 12800 total, 12864 started, 12800 done, %OK% succeeded, %BAD% failed, 0 errored, 0 timeout
status codes: %OK% 2xx, 0 3xx, 0 4xx, %BAD% 5xx
traffic: 1.86MB (1945600) total, 1.32MB (1382400) headers (space savings 0.00%), 62.50KB (64000) data
`

func summary(rate, ok, bad string) []byte {
	s := regexp.MustCompile(`%RATE%`).ReplaceAllString(h2loadSummary, rate)
	s = regexp.MustCompile(`%OK%`).ReplaceAllString(s, ok)
	return []byte(regexp.MustCompile(`%BAD%`).ReplaceAllString(s, bad))
}

func TestParseH2load(t *testing.T) {
	got, err := parseH2load(summary("6400.50", "12800", "0"))
	if want := (loadResult{Requests: 12800, PerSec: 6400.5}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for name, out := range map[string][]byte{
		"failures":   summary("6400", "12799", "1"),
		"nothing":    nil,
		"no request": []byte("finished in 1s, 0 req/s\nrequests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 0 2xx"),
		"redirects":  []byte("finished in 1s, 5 req/s\nrequests: 5 total, 5 started, 5 done, 5 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 0 2xx, 5 3xx"),
	} {
		if got, err := parseH2load(out); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	line := "17 (a) b (c)) S 4 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 12 0 0"
	got, err := parseStat([]byte(line))
	if want := (stat{pid: 17, parent: 4, cpu: 3 * time.Second}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "17 S 4", "17 (a) S 4", "x (a) S 4 17 17 0 -1 1 1 0 0 0 2 5 0"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func TestParseRollup(t *testing.T) {
	text := "5580c-7ffc ---p 00000000 00:00 0    [rollup]\nRss:    5000 kB\nPss:    900 kB\nPss_Anon:   700 kB\nAnonymous:   1000 kB\n"
	got, err := parseRollup([]byte(text))
	if err != nil || got["Rss"] != 5000 || got["Pss_Anon"] != 700 || got["Anonymous"] != 1000 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := parseRollup([]byte("Rss: 12 kB\n")); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

// This process and its descendants cost something and hold something.
func TestUsageOfThisProcess(t *testing.T) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if got, err := memory(os.Getpid()); err != nil || got < 1<<20 {
		t.Errorf("memory %v, %v; want more than 1 MiB", got, err)
	}
}

func TestStatistics(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for name, got := range map[string]float64{
		"median":          median(values) - 3,
		"median of even":  median(values[:4]) - 3,
		"p50":             percentile(values, 50) - 3,
		"p99":             percentile(values, 99) - 5,
		"p1":              percentile(values, 1) - 1,
		"ratio":           pairedRatio([]float64{1, 2, 30}, []float64{2, 4, 10}) - 0.5,
		"ratio, one is 0": pairedRatio([]float64{1, 2}, []float64{0, 1}) - 2,
	} {
		if got != 0 {
			t.Errorf("%s: off by %v", name, got)
		}
	}
	if values[0] != 5 {
		t.Error("the values were reordered")
	}
	for name, got := range map[string]float64{"median": median(nil), "percentile": percentile(nil, 50), "ratio": pairedRatio(nil, nil)} {
		if !math.IsNaN(got) {
			t.Errorf("%s of nothing: %v, want NaN", name, got)
		}
	}
}

func TestWants(t *testing.T) {
	for only, want := range map[string]bool{"": true, "h1-": true, "/nginx$": true, "^tls": false, "/legate": false} {
		o := &options{}
		if only != "" {
			o.only = regexp.MustCompile(only)
		}
		if got := o.wants("h1-get-300", "nginx"); got != want {
			t.Errorf("-only %q: %t, want %t", only, got, want)
		}
	}
}

func TestCPUModel(t *testing.T) {
	if got := cpuModel([]byte("processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n")); got != "AMD EPYC" {
		t.Errorf("got %q", got)
	}
}
