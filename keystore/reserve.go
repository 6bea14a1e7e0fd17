package keystore

import (
	"context"
	"errors"
)

// Reserver is a Sealer whose key somebody else holds, an agent, who can lose it at any
// moment: when the store is locked. What Refresh and Logout have begun is finished
// with what they have reserved before they ask the issuer.
type Reserver interface {
	Sealer
	// Reserve returns a context in which the records of keys can be sealed, more
	// often than a refresh tries to store its answer, and opened if they were
	// sealed in it, or opened before, whatever becomes of the key. Other records
	// need the key in it as ever. Where the key cannot be lost it returns ctx.
	Reserve(ctx context.Context, keys ...RecordKey) (context.Context, error)
}

// reserve returns a context in which records that may be there can be read as they
// are now, and written, although the store is locked meanwhile. ErrLocked: it is.
func (s *Store) reserve(ctx context.Context, sealer Sealer, keys ...RecordKey) (context.Context, error) {
	reserver, ok := sealer.(Reserver)
	if !ok {
		return ctx, nil
	}
	ctx, err := reserver.Reserve(ctx, keys...)
	if err != nil {
		return nil, err
	}
	return ctx, s.adapter.View(ctx, func(r Reader) error {
		for _, k := range keys {
			_, err := r.Get(k)
			if err != nil && !errors.Is(err, ErrNotFound) && !unreadable(err) {
				return err
			}
		}
		return nil
	})
}

// announced is a Writer to which the announcement has said what is missing. An adapter
// may open all records to tell that one is not there under another name, or to list names
// that it hides, and so needs a key that may be gone by now.
type announced struct{ Writer }

func (w announced) Get(k RecordKey) ([]byte, error) {
	if k.Kind != KindAccount {
		return w.Writer.Get(k)
	}
	there, err := w.there(k)
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, ErrNotFound
	}
	return w.Writer.Get(k)
}

// there reports whether k has a record, without a key but what is reserved.
func (w announced) there(k RecordKey) (bool, error) {
	sealed, ok := w.Writer.(SealedReader)
	if !ok {
		return has(w.Writer, k.Kind, k.Namespace)
	}
	_, err := sealed.Sealed(k)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// has reports whether a namespace has a record of this kind.
func has(r Reader, kind Kind, namespace string) (bool, error) {
	for _, err := range r.Keys(kind, namespace) {
		return err == nil, err
	}
	return false, nil
}
