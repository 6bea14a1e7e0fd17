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

	keySize     = 32
	keyIDSize   = 4
	saltSize    = 16
	fileKeySize = 16
)

// key is what the seals of one store are made with, as long as it has the same
// identity. Whoever holds it can seal and open seals but not read through the
// other stanzas.
type key struct {
	secret keystore.Secret // keySize bytes
	id     [keyIDSize]byte // no secret: tells the records of one identity from another's
}

// deriveKey is the one place where the identity's seed is used.
func deriveKey(seed [32]byte, identityType string, store keystore.StoreID) *key {
	okm := expand(seed[:], store[:], keyLabel+identityType, keySize+keyIDSize)
	return &key{
		secret: keystore.NewSecret(string(okm[:keySize])),
		id:     [keyIDSize]byte(okm[keySize:]),
	}
}

// deriveWrapKey returns the key of one seal. The place is part of it: a seal
// does not open anywhere else, even if a salt repeats.
func deriveWrapKey(k *key, place string, salt []byte) []byte {
	return expand([]byte(k.secret.Reveal()), salt, wrapKeyLabel+place, keySize)
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
