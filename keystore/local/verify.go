package local

import (
	"context"
	"errors"
	"iter"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// Verify checks every record of the store: by its seal, and by age with the
// store's identity; in the keychain, by reading it. It yields each record with nil or
// what is wrong with it, from one snapshot, when all have been checked. A zero key comes
// with an error of the whole store, and ends the sequence.
func (p *Place) Verify(ctx context.Context) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		var found []verdict
		err := p.adapter.View(ctx, func(r keystore.Reader) error {
			found = nil // the snapshot before was disturbed, and so was what it showed
			return p.verify(ctx, r, func(key keystore.RecordKey, err error) bool {
				found = append(found, verdict{key, err})
				return true
			})
		})
		for _, v := range found {
			if !yield(v.key, v.err) {
				return
			}
		}
		if err != nil {
			yield(keystore.RecordKey{}, err)
		}
	}
}

// verdict is what is wrong with a record, or nil.
type verdict struct {
	key keystore.RecordKey
	err error
}

func (p *Place) verify(ctx context.Context, r keystore.Reader, yield func(keystore.RecordKey, error) bool) error {
	h := r.Header()
	sealed, ok := r.(keystore.SealedReader)
	switch {
	case h.IsZero():
		return &keystore.Error{Op: "verify", Store: p.Path(), Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	case !ok:
		return verifyByReading(r, yield)
	}
	id, err := p.keyItself(ctx, h)
	if err != nil {
		return keystore.Annotate(err, keystore.Error{Op: "verify", Store: p.Path()})
	}
	meta, err := sealed.Sealed(keystore.MetaKey)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return err
	}
	sealer, err := seal.Load(id, h.StoreID, meta)
	if err != nil {
		return keystore.Annotate(err, keystore.Error{Op: "verify", Store: p.Path()})
	}
	for _, kind := range keystore.Kinds() {
		for key, err := range r.Keys(kind) {
			if err != nil {
				return err
			}
			data, err := sealed.Sealed(key)
			if err == nil {
				err = sealer.Verify(ctx, key, data, id.AgeIdentity())
			}
			if !yield(key, err) {
				return nil
			}
		}
	}
	return nil
}

func verifyByReading(r keystore.Reader, yield func(keystore.RecordKey, error) bool) error {
	for _, kind := range keystore.Kinds() {
		for key, err := range r.Keys(kind) {
			if err != nil {
				return err
			}
			if _, err := r.Get(key); !yield(key, err) {
				return nil
			}
		}
	}
	return nil
}
