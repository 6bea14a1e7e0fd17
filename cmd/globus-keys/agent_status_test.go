package main

import (
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/agent"
)

// TestStoreWithTwoKeys, as a rekey that was killed leaves it, is one store, which is
// unlocked for as long as its newest key.
func TestStoreWithTwoKeys(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for range 20 { // what is sorted may be in any order
		stores := byStore([]agent.KeyStatus{ // as an agent tells of them: the newest first
			{Store: "bb", Place: "file:/two", KeyID: "new", Left: time.Minute},
			{Store: "aa", Place: "file:/one", KeyID: "other", Left: time.Second},
			{Store: "bb", Place: "file:/two", KeyID: "old", Left: time.Hour},
		}, now)
		if len(stores) != 2 || stores[0].StoreID != "aa" || stores[1].Until != now.Add(time.Minute).Unix() {
			t.Fatalf("%+v, want two stores, the second for a minute", stores)
		}
	}
}

// TestWhatEndsSoon is told in seconds: two times of one minute would look the same.
func TestWhatEndsSoon(t *testing.T) {
	now := time.Date(2030, 1, 2, 14, 25, 0, 0, time.UTC)
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for want, u := range map[string]unlockedFor{
		"unlocked for 20 seconds, or for 10 seconds if nobody uses it before": {Until: in(20 * time.Second), Idle: 10, IdleUntil: in(10 * time.Second)},
		"unlocked for 0 seconds": {Until: in(-time.Second)},
	} {
		if got := u.line(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := till(now.Add(time.Hour), now); got != "until 15:25" {
		t.Errorf("in an hour: %q", got)
	}
}
