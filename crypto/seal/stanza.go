package seal

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/globus-keys/globus-keys/keystore"
)

// The seal is a stanza of the age header:
//
//	-> github.com/globus-keys/globus-keys/seal1 KEYID SALT
//	BODY
//
//	KEYID   4 bytes,  6 characters
//	SALT   16 bytes, 22 characters, random
//	BODY   64 bytes: ChaCha20-Poly1305(wrap key, zero nonce, file key (16) || SHA-256(plaintext) (32))
//
// in canonical base64 without padding. The digest is there because every other
// recipient of the file learns the file key too, and could write another
// payload under the same header.
const (
	stanzaType = "github.com/globus-keys/globus-keys/seal1"
	bodySize   = fileKeySize + sha256.Size + chacha20poly1305.Overhead

	// postQuantumLabel is what age's post-quantum recipients ask of all others
	// in the same file. The seal's key may claim it if the seed it comes from
	// is not an X25519 scalar, which a quantum computer finds.
	postQuantumLabel = "postquantum"
)

var base64Raw = base64.RawStdEncoding.Strict()

// recipient is the age.Recipient that adds the seal to one record: it is made
// when the plaintext is known. It keeps its own error, as an opener does.
type recipient struct {
	keyID  KeyID
	fresh  func() (Fresh, error)
	err    error // why there is no seal
	digest [sha256.Size]byte
	labels []string
}

// WrapWithLabels implements age.RecipientWithLabels.
func (r *recipient) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	stanzas, err := r.Wrap(fileKey)
	return stanzas, slices.Clone(r.labels), err // age sorts what it gets
}

// Wrap implements age.Recipient.
func (r *recipient) Wrap(fileKey []byte) (stanzas []*age.Stanza, err error) {
	stanzas, r.err = r.wrap(fileKey)
	return stanzas, r.err
}

func (r *recipient) wrap(fileKey []byte) ([]*age.Stanza, error) {
	fresh, err := r.fresh()
	if err != nil {
		return nil, err
	}
	aead, err := aeadOf(fresh.Key)
	if err != nil {
		return nil, err
	}
	secret := slices.Concat(fileKey, r.digest[:])
	return []*age.Stanza{{
		Type: stanzaType,
		Args: []string{r.keyID.String(), fresh.Salt.String()},
		Body: aead.Seal(nil, zeroNonce(), secret, nil),
	}}, nil
}

// opener is the age.Identity of one Open. It keeps what it found, so that the
// meaning of an error does not depend on how age wraps it.
type opener struct {
	keyID   KeyID
	wrapKey func(Salt) (keystore.Secret, error)
	asked   bool              // age could read the header
	err     error             // why there is no file key
	digest  [sha256.Size]byte // of the plaintext, if err is nil
}

// Unwrap implements age.Identity. No error of it is or wraps
// age.ErrIncorrectIdentity, which would mean "ask the next identity".
func (o *opener) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	o.asked = true
	var fileKey []byte
	fileKey, o.err = o.unwrap(stanzas)
	return fileKey, o.err
}

func (o *opener) unwrap(stanzas []*age.Stanza) ([]byte, error) {
	seal, err := findSeal(stanzas)
	if err != nil {
		return nil, err
	}
	if seal.Args[0] != o.keyID.String() {
		return nil, &keystore.Error{Err: ErrOtherKey, Detail: "it is sealed with another key"}
	}
	salt, err := ParseSalt(seal.Args[1])
	if err != nil {
		return nil, tampered("its seal has a malformed salt")
	}
	// Before decryption: a longer body could be made to open under many keys.
	if len(seal.Body) != bodySize {
		return nil, tampered("its seal has a body of the wrong length")
	}
	key, err := o.wrapKey(salt)
	if err != nil {
		return nil, err
	}
	aead, err := aeadOf(key)
	if err != nil {
		return nil, err
	}
	secret, err := aead.Open(nil, zeroNonce(), seal.Body, nil)
	if err != nil {
		return nil, tampered("its seal does not open here: changed, or moved from another place")
	}
	copy(o.digest[:], secret[fileKeySize:])
	return secret[:fileKeySize:fileKeySize], nil
}

// findSeal returns the one seal, with its two arguments. Other stanzas that
// this program does not know are none of its business: rage adds some at random.
func findSeal(stanzas []*age.Stanza) (*age.Stanza, error) {
	var seal *age.Stanza
	for _, s := range stanzas {
		if s.Type != stanzaType {
			continue
		}
		if seal != nil {
			return nil, tampered("it has two seals")
		}
		seal = s
	}
	if seal == nil {
		return nil, &keystore.Error{Err: keystore.ErrNoSeal, Detail: "anybody who knows the store's recipient can have written it"}
	}
	if len(seal.Args) != 2 {
		return nil, tampered("its seal has the wrong number of arguments")
	}
	return seal, nil
}

// aeadOf refuses a key of another size, as an agent may give one.
func aeadOf(key keystore.Secret) (cipher.AEAD, error) {
	return chacha20poly1305.New([]byte(key.Reveal()))
}

// zeroNonce is right because a wrap key is used once: its salt is random.
func zeroNonce() []byte { return make([]byte, chacha20poly1305.NonceSize) }
