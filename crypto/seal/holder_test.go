package seal

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/keystore"
)

// remote is a Holder that can lose the key, as an agent can.
type remote struct {
	inHand
	locked bool
}

var errGone = &keystore.Error{Err: keystore.ErrLocked, Detail: "the key is gone"}

func (r *remote) WrapKey(ctx context.Context, k keystore.RecordKey, salt Salt) (keystore.Secret, error) {
	if r.locked {
		return keystore.Secret{}, errGone
	}
	return r.inHand.WrapKey(ctx, k, salt)
}

func (r *remote) Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]Fresh, error) {
	if r.locked {
		return nil, errGone
	}
	return r.inHand.Fresh(ctx, k, n)
}

// held returns two Sealers of one store: by its identity, and by a Holder.
func held(t *testing.T) (own, far *Sealer, r *remote) {
	t.Helper()
	id := newID(t, identity.New)
	own = newSealer(t, id, testStore)
	payload, err := FormatMeta(Meta{})
	if err != nil {
		t.Fatal(err)
	}
	r = &remote{inHand: inHand{KeyOf(id, testStore)}}
	far, err = LoadHeld(context.Background(), r, r.Public, sealed(t, own, keystore.MetaKey, payload))
	if err != nil {
		t.Fatal(err)
	}
	return own, far, r
}

func TestHeldKeySealsAndOpensAsTheIdentityDoes(t *testing.T) {
	own, far, r := held(t)
	for _, c := range []struct{ seals, opens *Sealer }{{own, far}, {far, own}} {
		record := sealed(t, c.seals, testKey, testData)
		if got, err := c.opens.Open(context.Background(), testKey, record); err != nil || string(got) != string(testData) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := c.opens.Open(context.Background(), keystore.MetaKey, record); !errors.Is(err, keystore.ErrTampered) {
			t.Errorf("in another place: %v", err)
		}
	}
	r.locked = true
	_, sealErr := far.Seal(context.Background(), testKey, testData)
	_, openErr := far.Open(context.Background(), testKey, sealed(t, own, testKey, testData))
	for _, err := range []error{sealErr, openErr} {
		if !errors.Is(err, keystore.ErrLocked) || errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), testKey.Name) {
			t.Errorf("without the key: %v, want ErrLocked that names the record", err)
		}
	}
}

func TestHeldKeyThatIsAnothers(t *testing.T) {
	own, _, r := held(t)
	payload, _ := FormatMeta(Meta{})
	meta := sealed(t, own, keystore.MetaKey, payload)
	other := KeyOf(newID(t, identity.New), testStore)
	if _, err := LoadHeld(context.Background(), inHand{other}, other.Public, meta); !errors.Is(err, ErrOtherKey) {
		t.Errorf("another key: %v, want ErrOtherKey", err)
	}
	forged := other.Public
	forged.ID = r.ID
	if _, err := LoadHeld(context.Background(), inHand{other}, forged, meta); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("another key with this one's id: %v, want ErrTampered", err)
	}
	for _, recipient := range []string{"", "age1plugin1xyz", "ssh-ed25519 AAAA"} {
		bad := r.Public
		bad.Recipient = recipient
		if _, err := LoadHeld(context.Background(), r, bad, meta); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("recipient %q: %v, want ErrInvalid", recipient, err)
		}
	}
}

// TestReservationOutlivesTheKey for the records that it is for, and for those alone
// who have it.
func TestReservationOutlivesTheKey(t *testing.T) {
	own, far, r := held(t)
	other := keystore.RecordKey{Namespace: testKey.Namespace, Kind: testKey.Kind, Name: "other"}
	before, unread, others := sealed(t, own, testKey, testData), sealed(t, own, testKey, testData), sealed(t, own, other, testData)
	ctx, err := far.Reserve(context.Background(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := far.Open(ctx, testKey, before); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Open(ctx, other, others); err != nil {
		t.Fatal(err)
	}
	r.locked = true
	if got, err := far.Open(ctx, testKey, before); err != nil || string(got) != string(testData) {
		t.Errorf("what was opened before: %q, %v", got, err)
	}
	salts := make(map[string]bool)
	for range reserve {
		record, err := far.Seal(ctx, testKey, testData)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := own.Open(context.Background(), testKey, record); err != nil {
			t.Error(err)
		}
		if _, err := far.Open(ctx, testKey, record); err != nil {
			t.Errorf("what was sealed in it: %v", err)
		}
		salts[parseAge(t, record).stanzas[0].Args[1]] = true
	}
	if len(salts) != reserve {
		t.Errorf("%d seals have %d salts", reserve, len(salts))
	}
	for what, fails := range map[string]func() error{
		"used up":             func() error { _, err := far.Seal(ctx, testKey, testData); return err },
		"without it":          func() error { _, err := far.Open(context.Background(), testKey, before); return err },
		"not opened before":   func() error { _, err := far.Open(ctx, testKey, unread); return err },
		"of another record":   func() error { _, err := far.Seal(ctx, other, testData); return err },
		"another opened once": func() error { _, err := far.Open(ctx, other, others); return err },
		"reserved again":      func() error { _, err := far.Reserve(ctx, testKey); return err },
	} {
		if err := fails(); !errors.Is(err, keystore.ErrLocked) {
			t.Errorf("%s: %v, want ErrLocked", what, err)
		}
	}
	if same, err := own.Reserve(context.Background(), testKey); err != nil || same != context.Background() {
		t.Errorf("a key in hand needs no reservation: %v, %v", same, err)
	}
	if !Reserved(ctx, testStore) || Reserved(context.Background(), testStore) || Reserved(ctx, keystore.StoreID{9}) {
		t.Error("Reserved does not tell a reservation from none, or from another store's")
	}
}

func TestKeyIDAndSaltAreReadStrictly(t *testing.T) {
	id, salt := KeyID{1, 2, 3, 4}, NewSalt()
	if got, err := ParseKeyID(id.String()); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseSalt(salt.String()); err != nil || got != salt {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "AQID", "AQIDBAU", "AQIDB\n", "AQIDBA\n", "AQIDBB", "AQIDBA==", strings.Repeat("A", 21), strings.Repeat("A", 23)} {
		_, idErr := ParseKeyID(s)
		_, saltErr := ParseSalt(s)
		if !errors.Is(idErr, keystore.ErrInvalid) || !errors.Is(saltErr, keystore.ErrInvalid) {
			t.Errorf("%q: %v, %v", s, idErr, saltErr)
		}
	}
}
