package seal

import (
	"context"
	"errors"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/keystore"
)

func blind(t *testing.T, s *Sealer, k keystore.RecordKey) [32]byte {
	t.Helper()
	tag, err := s.Blind(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func TestTagsTellPlacesAndKeysApart(t *testing.T) {
	own, far, _ := held(t)
	other := newSealer(t, newID(t, identity.New), testStore)
	seen := make(map[[32]byte]keystore.RecordKey)
	for _, k := range []keystore.RecordKey{
		{Namespace: "a", Kind: keystore.KindToken, Name: "b"},
		{Namespace: "b", Kind: keystore.KindToken, Name: "a"},
		{Namespace: "ab", Kind: keystore.KindToken, Name: "b"},
		{Namespace: "a", Kind: keystore.KindConfig, Name: "b"},
	} {
		tag := blind(t, own, k)
		if tag != blind(t, own, k) || tag != blind(t, far, k) {
			t.Errorf("%v has another tag each time, or by who holds the key", k)
		}
		for _, tag := range [][32]byte{tag, blind(t, other, k)} {
			if was, twice := seen[tag]; twice {
				t.Errorf("%v has the tag of %v", k, was)
			}
			seen[tag] = k
		}
	}
}

// The answer of a refresh that is under way is stored after the store was locked, also
// where names are hidden.
func TestReservedTagsOutliveTheKey(t *testing.T) {
	_, far, r := held(t)
	ctx, err := far.Reserve(context.Background(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	want, err := far.Blind(ctx, testKey)
	if err != nil {
		t.Fatal(err)
	}
	r.locked = true
	if tag, err := far.Blind(ctx, testKey); err != nil || tag != want {
		t.Errorf("in the reservation: %x, %v, want %x", tag, err, want)
	}
	if _, err := far.Blind(context.Background(), testKey); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("outside of it: %v, want ErrLocked", err)
	}
}
