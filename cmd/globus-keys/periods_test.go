package main

import (
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"8h": 8 * time.Hour, "30d": 30 * day, "1d12h30m": 36*time.Hour + 30*time.Minute, "0": 0, "0d": 0, "1s": time.Second,
		"": -1, "d": -1, "30": -1, "x": -1, "-1d": -1, "1.5d": -1, "1d1d": -1, "1d-25h": -1, "31d": -1, "999ms": -1,
		"65535d2562047h": -1, "99999d": -1,
	} {
		got := time.Duration(-1)
		p := period{to: &got, flag: "ttl", such: "8h", min: time.Second, max: 30 * day, zero: true}
		if err := p.Set(text); got != want || (err == nil) != (want >= 0) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestDefaultPeriods(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "", 8 * time.Hour: "8h", time.Minute: "1m", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 90 * time.Minute: "1h30m"} {
		if got := (period{to: &d}).String(); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
