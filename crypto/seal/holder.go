package seal

import (
	"context"
	"crypto/rand"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

// KeySize is the size in bytes of the key of a store's seals, and of that of one seal.
const KeySize = 32

// KeyID tells the seals of one identity from another's. It is no secret.
type KeyID [4]byte

// String returns the 6 characters that stand in a seal.
func (id KeyID) String() string { return base64Raw.EncodeToString(id[:]) }

// ParseKeyID reads what String writes, and nothing else: ErrInvalid.
func ParseKeyID(s string) (id KeyID, err error) {
	if !decodeExactly(id[:], s) {
		return KeyID{}, &keystore.Error{Err: keystore.ErrInvalid, Detail: "a key id is 4 bytes in base64"}
	}
	return id, nil
}

// Salt is what makes the key of each seal another one. It is no secret.
type Salt [saltSize]byte

// String returns the 22 characters that stand in a seal.
func (s Salt) String() string { return base64Raw.EncodeToString(s[:]) }

// ParseSalt reads what String writes, and nothing else: ErrInvalid.
func ParseSalt(s string) (salt Salt, err error) {
	if !decodeExactly(salt[:], s) {
		return Salt{}, &keystore.Error{Err: keystore.ErrInvalid, Detail: "a salt is 16 bytes in base64"}
	}
	return salt, nil
}

// decodeExactly fills b with what s is the one encoding of: the decoder passes over
// line breaks.
func decodeExactly(b []byte, s string) bool {
	got, err := base64Raw.DecodeString(s)
	return err == nil && copy(b, got) == len(got) && len(got) == len(b) && base64Raw.EncodeToString(b) == s
}

// NewSalt returns a random salt.
func NewSalt() (salt Salt) {
	rand.Read(salt[:]) // never fails
	return salt
}

// Public is what is known of the key of a store's seals without having it.
type Public struct {
	Store     keystore.StoreID
	ID        KeyID
	Recipient string // of the identity that it comes from: to whom records are encrypted too
}

// Key is the key of a store's seals, as long as the store has the same identity.
// Whoever has it can make and open seals, and so read and write records; he cannot
// read through the other stanzas, and learns nothing of the identity.
type Key struct {
	Public
	Secret keystore.Secret // KeySize bytes
}

// KeyOf returns the key of the store whose identity is id.
func KeyOf(id *identity.Identity, store keystore.StoreID) Key {
	k := Key{Public: Public{Store: store, Recipient: id.RecipientString()}}
	erase.Do(func() { k.Secret, k.ID = deriveKey(id.Seed(), id.Type(), store) })
	return k
}

// Fresh is what one new seal is made with.
type Fresh struct {
	Salt Salt
	Key  keystore.Secret // of this seal; KeySize bytes
}

// Holder has the key of a store's seals and gives out those of single seals: an
// agent, which does not give the key itself. Safe for concurrent use. ErrLocked: it
// does not have the key, or no more.
type Holder interface {
	// WrapKey returns the key of the seal at k that has this salt.
	WrapKey(ctx context.Context, k keystore.RecordKey, salt Salt) (keystore.Secret, error)

	// Fresh returns what n new seals at k are made with, each of them once: two
	// contents under one key would show each other.
	Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]Fresh, error)
}

// inHand is the Holder of a key that this process has.
type inHand struct{ Key }

func (h inHand) WrapKey(_ context.Context, k keystore.RecordKey, salt Salt) (keystore.Secret, error) {
	return WrapKey([]byte(h.Secret.Reveal()), h.Store, k, salt), nil
}

func (h inHand) Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]Fresh, error) {
	all := make([]Fresh, n)
	for i := range all {
		all[i].Salt = NewSalt()
		all[i].Key, _ = h.WrapKey(ctx, k, all[i].Salt)
	}
	return all, nil
}
