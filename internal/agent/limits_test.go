//go:build unix

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
)

// numbered is a key of its own store.
func numbered(n int) seal.Key {
	key := fakeKey(byte(n))
	key.Store = keystore.StoreID{0xff, byte(n)}
	return key
}

// fakeKey is a key of testStore.
func fakeKey(n byte) seal.Key {
	return seal.Key{
		Public: seal.Public{Store: testStore, ID: seal.KeyID{n}, Recipient: x25519},
		Secret: keystore.NewSecret(strings.Repeat(string(rune('a'+n%26)), seal.KeySize)),
	}
}

const x25519 = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"

// TestStatusOfAsManyKeysAsFit, with names of which JSON makes the most.
func TestStatusOfAsManyKeysAsFit(t *testing.T) {
	ctx := context.Background()
	c := start(t, nil)
	terms := agent.Terms{TTL: agent.MaxTTL, Idle: agent.MaxTTL}
	n := 0
	for ; ; n++ {
		err := c.Unlock(ctx, numbered(n), strings.Repeat(`\`, 5000), terms)
		if errors.Is(err, agent.ErrFull) {
			break
		}
		if err != nil {
			t.Fatalf("key %d: %v", n, err)
		}
	}
	st, err := c.Status(ctx)
	if err != nil || len(st.Keys) != n || n < 32 {
		t.Errorf("%d of %d keys, %v", len(st.Keys), n, err)
	}
	// One that is there is replaced, also when there is no room for another.
	if err := c.Unlock(ctx, numbered(0), "again", terms); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestManyKeysOfOneStore, whose post-quantum recipients are 2 KB long: a rekey that
// is killed leaves one. The newest are there, and come first.
func TestManyKeysOfOneStore(t *testing.T) {
	ctx := context.Background()
	c := start(t, nil)
	id, err := identity.NewPostQuantum()
	if err != nil {
		t.Fatal(err)
	}
	for n := range byte(20) {
		key := fakeKey(n)
		key.Recipient = id.RecipientString()
		if err := c.Unlock(ctx, key, "", hour); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := c.Keys(ctx, testStore)
	if err != nil || len(keys) < 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, k := range keys {
		if want := (seal.KeyID{byte(19 - i)}); k.ID != want {
			t.Errorf("key %d is %v, want %v", i, k.ID, want)
		}
	}
}

// TestPlaceIsForPeople: it is cut from the front, and says nothing to a terminal.
func TestPlaceIsForPeople(t *testing.T) {
	ctx := context.Background()
	c := start(t, nil)
	for place, want := range map[string]string{
		"file:/home/u/tokens.json":                            "file:/home/u/tokens.json",
		"file:/home/\x1b[31mu\n\xff":                          "file:/home/?[31mu??",
		"file:/" + strings.Repeat("ä", 1000) + "/tokens.json": "..." + strings.Repeat("ä", 72) + "/tokens.json",
	} {
		if err := c.Unlock(ctx, fakeKey(1), place, hour); err != nil {
			t.Errorf("%.20q: %v", place, err)
			continue
		}
		if st, err := c.Status(ctx); err != nil || len(st.Keys) != 1 || st.Keys[0].Place != want {
			t.Errorf("%.20q became %v, %v", place, fmt.Sprintf("%q", st.Keys), err)
		}
	}
}
