package agent

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestKeyHasOneEncoding(t *testing.T) {
	text := encodeSecret(keystore.NewSecret(string(bytes.Repeat([]byte{0xfb}, seal.KeySize))))
	if _, err := decodeSecret(text); err != nil {
		t.Errorf("canonical: %v", err)
	}
	for _, bad := range []string{"", text[1:], text + "=", text + "A", text[:10] + "\n" + text[10:], text + "\r", text[:42] + "9"} {
		if _, err := decodeSecret(bad); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSuccessorKeepsTheTermsOfTheNewest key of its store.
func TestSuccessorKeepsTheTermsOfTheNewest(t *testing.T) {
	var now Instant
	for range 20 { // the keys are in a map
		r, err := newRing(func() Instant { return now })
		if err != nil {
			t.Fatal(err)
		}
		store := keystore.StoreID{1}
		secret := make([]byte, seal.KeySize)
		for i, ttl := range []time.Duration{time.Hour, time.Minute, 30 * time.Minute} {
			if err := r.add(keyName{store, seal.KeyID{byte(i)}}, secret, heldKey{}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		next := keyName{store, seal.KeyID{9}}
		if err := r.succeed(next, secret, ""); err != nil {
			t.Fatal(err)
		}
		if left := r.held[next].ends.left(now); left != 30*time.Minute {
			t.Fatalf("it has %v left, want 30m", left)
		}
		r.close()
	}
}

// TestClockOfTheMachine: a time that Go compares by the monotonic clock would stand
// still while the machine sleeps.
func TestClockOfTheMachine(t *testing.T) {
	clock := SystemClock()
	first := clock()
	if first.Wall != first.Wall.Round(0) || time.Since(first.Wall) > time.Minute {
		t.Errorf("the wall's clock says %v", first.Wall)
	}
	next := clock()
	for next.Steady == first.Steady { // it moves in steps, on Windows of milliseconds
		next = clock()
	}
	if next.Steady < first.Steady {
		t.Errorf("the other went from %v to %v", first.Steady, next.Steady)
	}
}
