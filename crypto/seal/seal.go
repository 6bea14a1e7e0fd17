// Package seal turns the payload of a record into a standard age file, and
// back, so that three things hold:
//
//   - stock `age -d -i` recovers the payload with the store's identity, for ever;
//   - only who has that identity can have written it: age alone proves who can
//     read a file, not who wrote it;
//   - it opens only in the store, namespace, kind and name it was written for.
//
// The age file has a stanza for each recipient, as every age file, and one of
// ours, the seal: the file key and the digest of the content, encrypted with a
// key that is derived from the identity and the place. Reading uses the seal
// and nothing else. docs/format.md has the bytes.
//
// A [Sealer] is made for one store and one identity:
//
//	sealer, err := seal.Load(id, store, metaRecord) // a store that exists
//	sealer, err := seal.New(id, store, recovery)    // one that is being made
//	sealer, err := seal.LoadHeld(ctx, agent, public, metaRecord) // a Holder has the key
//
// What no seal can tell is an older record of the same place under the same
// identity from the current one. A rekey ends that; see SECURITY.md.
package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	// MaxRecord is the size of a sealed record in bytes; a larger one is not
	// looked at.
	MaxRecord = 128 << 10

	// MaxRecovery is how many recovery recipients a store may have: so many
	// post-quantum stanzas of 1.7 KB beside the largest payload stay within
	// MaxRecord.
	MaxRecovery = 16
)

// Sealer seals and opens the records of one store. It implements
// keystore.Reserver, never changes and may be used by several goroutines.
type Sealer struct {
	public     Public
	holder     Holder
	labels     []string        // what age.Encrypt must find on all recipients alike
	recipients []age.Recipient // own, then recovery
	meta       Meta            // as Load has read it
}

var _ keystore.Reserver = (*Sealer)(nil)

// New returns the Sealer of a store. Records are readable by the holders of
// recovery too, who cannot write them. ErrInvalid: a zero store, more than
// MaxRecovery recipients, or one that is not native of the identity's type,
// which would undo a post-quantum identity or hand the file key to a plugin.
func New(id *identity.Identity, store keystore.StoreID, recovery []age.Recipient) (*Sealer, error) {
	key, err := keyOf(id, store)
	if err != nil {
		return nil, err
	}
	return heldBy(inHand{key}, key.Public, id.Recipient(), recovery)
}

func keyOf(id *identity.Identity, store keystore.StoreID) (Key, error) {
	if id == nil || store == (keystore.StoreID{}) {
		return Key{}, &keystore.Error{Err: keystore.ErrInvalid, Detail: "a seal needs an identity and a store"}
	}
	return KeyOf(id, store), nil
}

func heldBy(h Holder, public Public, own age.Recipient, recovery []age.Recipient) (*Sealer, error) {
	if err := checkRecovery(nativeType(own), recovery); err != nil {
		return nil, err
	}
	s := &Sealer{public: public, holder: h, recipients: append([]age.Recipient{own}, recovery...)}
	if nativeType(own) == identity.PostQuantum {
		s.labels = []string{postQuantumLabel}
	}
	return s, nil
}

// Load returns the Sealer of a store that exists. meta is its sealed record of
// keystore.MetaKey, which says who the recovery recipients are; nobody else is
// believed. ErrTampered if it is missing; otherwise the errors of Open.
func Load(id *identity.Identity, store keystore.StoreID, meta []byte) (*Sealer, error) {
	key, err := keyOf(id, store)
	if err != nil {
		return nil, err
	}
	return load(context.Background(), inHand{key}, key.Public, id.Recipient(), meta)
}

// LoadHeld is Load with a key that somebody else holds. What he says of the key is
// believed as far as it opens meta; ErrOtherKey says that it is another one.
func LoadHeld(ctx context.Context, h Holder, public Public, meta []byte) (*Sealer, error) {
	own, err := ParseRecovery(public.Recipient)
	if err != nil {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "the holder of the key names no native age recipient"}
	}
	return load(ctx, h, public, own, meta)
}

func load(ctx context.Context, h Holder, public Public, own age.Recipient, meta []byte) (*Sealer, error) {
	if len(meta) == 0 {
		return nil, &keystore.Error{Key: keystore.MetaKey, Err: keystore.ErrTampered, Detail: "the store has lost its meta record"}
	}
	s, err := heldBy(h, public, own, nil)
	if err != nil {
		return nil, err
	}
	payload, err := s.Open(ctx, keystore.MetaKey, meta)
	if err != nil {
		return nil, err
	}
	m, err := ParseMeta(payload)
	if err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Key: keystore.MetaKey})
	}
	recovery, err := m.recovery()
	if err != nil {
		return nil, err
	}
	s, err = heldBy(h, public, own, recovery)
	if err != nil {
		return nil, err
	}
	s.meta = m
	return s, nil
}

// Meta returns the content of the meta record that Load was given; of a Sealer
// that New has made it is zero.
func (s *Sealer) Meta() Meta { return s.meta }

// Seal returns payload as an age file for the place k. payload is one JSON
// value in UTF-8 of at most keystore.MaxPayload bytes and comes back byte for
// byte. Errors: ErrInvalid and ErrTooLarge; ErrLocked if who holds the key does not
// have it any more; ctx's cause if it has ended.
func (s *Sealer) Seal(ctx context.Context, k keystore.RecordKey, payload []byte) ([]byte, error) {
	if err := keystore.Ended(ctx); err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Key: k})
	}
	if err := envelope.Check(k, payload); err != nil {
		return nil, err
	}
	var sealed []byte
	var err error
	erase.Do(func() { sealed, err = s.encrypt(ctx, k, envelope.Pack(s.public.Store, k, payload)) })
	if err != nil {
		return nil, keystore.Annotate(fmt.Errorf("seal: %w", err), keystore.Error{Key: k})
	}
	return sealed, nil
}

func (s *Sealer) encrypt(ctx context.Context, k keystore.RecordKey, plaintext []byte) ([]byte, error) {
	seal := &recipient{
		keyID:  s.public.ID,
		fresh:  func() (Fresh, error) { return s.takeFresh(ctx, k) },
		digest: sha256.Sum256(plaintext),
		labels: s.labels,
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, append([]age.Recipient{seal}, s.recipients...)...)
	if seal.err != nil {
		return nil, seal.err
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plaintext); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

// Open returns the payload that was sealed for the place k. The caller may keep
// and change it. Errors, each a *keystore.Error that names k and says what is
// wrong:
//
//   - ErrCorrupt: larger than MaxRecord, or not an age file in binary form;
//   - ErrNoSeal: an age file without a seal;
//   - ErrTampered: everything else. Changed, moved, forged, of another store, or
//     sealed with another identity;
//   - ErrLocked: who holds the key does not have it any more;
//   - ctx's cause, if it has ended.
func (s *Sealer) Open(ctx context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	err := keystore.Ended(ctx)
	var payload []byte
	if err == nil {
		erase.Do(func() { payload, err = s.open(ctx, k, sealed) })
	}
	return payload, keystore.Annotate(err, keystore.Error{Key: k})
}

func (s *Sealer) open(ctx context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	plaintext, err := s.decrypt(ctx, k, sealed)
	if err != nil {
		return nil, err
	}
	return envelope.Unpack(s.public.Store, k, plaintext)
}

// decrypt gives age the seal alone: beside a native identity, age would ask
// that first, and a record would open in every place.
func (s *Sealer) decrypt(ctx context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	if len(sealed) > MaxRecord {
		return nil, &keystore.Error{Err: keystore.ErrCorrupt,
			Detail: fmt.Sprintf("it has %d bytes, the limit is %d", len(sealed), MaxRecord)}
	}
	o := &opener{keyID: s.public.ID, wrapKey: func(salt Salt) (keystore.Secret, error) { return s.wrapKey(ctx, k, salt) }}
	r, err := age.Decrypt(bytes.NewReader(sealed), o)
	switch {
	case !o.asked:
		return nil, &keystore.Error{Err: keystore.ErrCorrupt, Detail: "it is not an age file"}
	case o.err != nil:
		return nil, o.err
	case err != nil:
		return nil, tampered("its header is changed, or it is cut short")
	}
	plaintext, err := readAll(r, len(sealed))
	if err != nil {
		return nil, tampered("its content is changed or cut short")
	}
	if sha256.Sum256(plaintext) != o.digest {
		return nil, tampered("its content is not what was sealed: another recipient has rewritten it")
	}
	return plaintext, nil
}

// readAll is io.ReadAll in one buffer, for at most size bytes.
func readAll(r io.Reader, size int) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// Verify opens a record in both ways that must work, by its seal and by
// age.Decrypt with native, the store's identity (AgeIdentity of package
// identity) or that of a recovery recipient, and compares the contents. Open
// does not see damage to the stanzas of recipients that one of them has done;
// Verify does. Errors are those of Open.
func (s *Sealer) Verify(ctx context.Context, k keystore.RecordKey, sealed []byte, native age.Identity) error {
	err := keystore.Ended(ctx)
	if err == nil {
		erase.Do(func() { err = s.verify(ctx, k, sealed, native) })
	}
	return keystore.Annotate(err, keystore.Error{Key: k})
}

func (s *Sealer) verify(ctx context.Context, k keystore.RecordKey, sealed []byte, native age.Identity) error {
	plaintext, err := s.decrypt(ctx, k, sealed)
	if err != nil {
		return err
	}
	if _, err := envelope.Unpack(s.public.Store, k, plaintext); err != nil {
		return err
	}
	return compareNative(plaintext, sealed, native)
}

func compareNative(plaintext, sealed []byte, native age.Identity) error {
	r, err := age.Decrypt(bytes.NewReader(sealed), native)
	if err != nil {
		return tampered("its seal is right, but the identity alone cannot recover it")
	}
	recovered, err := readAll(r, len(sealed))
	if err != nil || !bytes.Equal(recovered, plaintext) {
		return tampered("the identity alone recovers something else than the seal")
	}
	return nil
}

// ErrOtherKey is the ErrTampered of a record that another identity has sealed,
// so that who was given the wrong identity can be told so.
var ErrOtherKey = fmt.Errorf("%w", keystore.ErrTampered)

func tampered(detail string) error {
	return &keystore.Error{Err: keystore.ErrTampered, Detail: detail}
}
