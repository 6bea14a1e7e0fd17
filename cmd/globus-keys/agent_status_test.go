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
