package main

import "testing"

func TestAskedAt(t *testing.T) {
	for addr, want := range map[string]string{
		":8877":          "localhost:8877",
		"0.0.0.0:8877":   "localhost:8877",
		"[::]:8877":      "localhost:8877",
		"127.0.0.1:8877": "127.0.0.1:8877",
		"[::1]:1":        "[::1]:1",
		"gate.test:8877": "gate.test:8877",
		"no address":     "no address",
	} {
		if got := askedAt(addr); got != want {
			t.Errorf("%s is asked at %s, want %s", addr, got, want)
		}
	}
}
