package seal

import (
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/globus-keys/globus-keys/internal/pae"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	keyLabel     = "globus-keys/v1/seal-key\x00" // + identity type
	wrapKeyLabel = "globus-keys/v1/seal\x00"     // + place
	nameLabel    = "globus-keys/v1/name"

	saltSize    = 16
	fileKeySize = 16
)

// deriveKey is the one place where the identity's seed is used.
func deriveKey(seed [32]byte, identityType string, store keystore.StoreID) (secret keystore.Secret, id KeyID) {
	okm := expand(seed[:], store[:], keyLabel+identityType, KeySize+len(id))
	return keystore.NewSecret(string(okm[:KeySize])), KeyID(okm[KeySize:])
}

// WrapKey returns the key of one seal: what body of that seal is encrypted with.
// secret is the key of the store's seals, KeySize bytes, which are only read. The
// place is part of what is derived: a seal does not open anywhere else, even if a
// salt repeats.
func WrapKey(secret []byte, store keystore.StoreID, k keystore.RecordKey, salt Salt) keystore.Secret {
	return keystore.NewSecret(string(expand(secret, salt[:], wrapKeyLabel+placeOf(store, k), KeySize)))
}

// placeOf encodes where a record belongs. The last part is the version.
func placeOf(store keystore.StoreID, k keystore.RecordKey) string {
	return string(pae.Encode("record", string(store[:]), k.Namespace, string(k.Kind), k.Name, "1"))
}

// expand is HKDF-SHA-256. Its only errors are sizes that no caller here has.
func expand(secret, salt []byte, info string, size int) []byte {
	okm, err := hkdf.Key(sha256.New, secret, salt, info, size)
	if err != nil {
		panic("seal: HKDF: " + err.Error())
	}
	return okm
}
