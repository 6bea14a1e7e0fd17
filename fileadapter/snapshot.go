package fileadapter

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"

	"github.com/globus-keys/globus-keys/keystore"
)

// Reopen asks Unseal anew, for one whose Sealer has lost the key. If that fails, what
// has been begun with the Sealer before can still be finished with it.
func (a *Adapter) Reopen(ctx context.Context) error {
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	doc, err := a.load(p)
	if err != nil {
		return err
	}
	return a.file.About(a.keys.Reopen(ctx, doc.state()))
}

// sealer returns the Sealer for doc, nil if there is no store.
func (a *Adapter) sealer(ctx context.Context, doc *document) (keystore.Sealer, error) {
	sealer, err := a.keys.Sealer(ctx, doc.state())
	return sealer, a.file.About(err)
}

// reader is a snapshot of one file.
type reader struct {
	ctx    context.Context
	a      *Adapter
	doc    *document
	strays []keystore.RecordKey // records that do not open in their place
	known  bool                 // strays has been found out
}

func (r *reader) Header() keystore.Header {
	h := r.doc.header
	h.Slots = slices.Clone(h.Slots)
	return h
}

func (r *reader) Get(k keystore.RecordKey) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	if r.doc.header.IsZero() {
		return nil, r.about(keystore.ErrNotFound, k)
	}
	sealer, err := r.a.sealer(r.ctx, r.doc)
	if err != nil {
		return nil, r.about(err, k)
	}
	return r.get(sealer, k)
}

func (r *reader) get(sealer keystore.Sealer, k keystore.RecordKey) ([]byte, error) {
	sealed, ok, err := r.doc.sealed(k)
	if err == nil && !ok {
		err = r.absent(sealer, k)
	}
	if err != nil {
		return nil, r.about(err, k)
	}
	payload, err := sealer.Open(r.ctx, k, sealed)
	return payload, r.about(err, k)
}

// absent says why there is no record k: because somebody has put it under
// another name, or because there is none.
func (r *reader) absent(sealer keystore.Sealer, k keystore.RecordKey) error {
	if err := r.findStrays(sealer); err != nil {
		return err
	}
	for _, stray := range r.strays {
		sealed, _, err := r.doc.sealed(stray)
		if err != nil {
			continue
		}
		if _, err := sealer.Open(r.ctx, k, sealed); err == nil {
			return &keystore.Error{Key: k, Err: keystore.ErrTampered, Detail: "the record stands in the place of " + stray.String()}
		}
	}
	return keystore.ErrNotFound
}

func (r *reader) findStrays(sealer keystore.Sealer) error {
	if r.known {
		return nil
	}
	for _, key := range r.doc.sortedKeys() {
		sealed, _, err := r.doc.sealed(key)
		if err == nil {
			_, err = sealer.Open(r.ctx, key, sealed)
		}
		switch {
		case err == nil:
		case errors.Is(err, keystore.ErrTampered), errors.Is(err, keystore.ErrCorrupt), errors.Is(err, keystore.ErrNoSeal):
			r.strays = append(r.strays, key)
		default:
			return err
		}
	}
	r.known = true
	return nil
}

func (r *reader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		for _, key := range r.doc.sortedKeys() {
			if key.Kind != kind || len(namespaces) > 0 && !slices.Contains(namespaces, key.Namespace) {
				continue
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Sealed implements keystore.SealedReader.
func (r *reader) Sealed(k keystore.RecordKey) ([]byte, error) {
	sealed, ok, err := r.doc.sealed(k)
	if err == nil && !ok {
		err = keystore.ErrNotFound
	}
	return sealed, r.about(err, k)
}

func (r *reader) about(err error, k keystore.RecordKey) error {
	return keystore.Annotate(err, keystore.Error{Store: r.a.file.Path, Key: k})
}

// writer is a reader whose document is the Update's own, to change.
type writer struct {
	reader
	found  keystore.Sealer                        // of the key that was found; nil if there was no store
	sealer keystore.Sealer                        // of the key now; differs after SetHeader
	by     map[keystore.RecordKey]keystore.Sealer // of what this Update has written

	changed bool // there is something to write
	created bool // there was no store before
	rekeyed bool // SetHeader was called
	retired bool // something is gone that the backup must not keep
}

func (w *writer) Get(k keystore.RecordKey) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	sealer := w.by[k]
	if sealer == nil {
		sealer = w.found
	}
	if sealer == nil {
		return nil, w.about(keystore.ErrNotFound, k)
	}
	return w.get(sealer, k)
}

func (w *writer) Put(k keystore.RecordKey, payload []byte) error {
	if err := w.put(k, payload); err != nil {
		return w.about(err, k)
	}
	w.changed, w.by[k] = true, w.sealer
	return nil
}

func (w *writer) put(k keystore.RecordKey, payload []byte) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := keystore.CheckPayload(k, payload); err != nil {
		return err
	}
	if !json.Valid(payload) {
		return &keystore.Error{Err: keystore.ErrInvalid, Detail: "the payload is not one JSON value"}
	}
	if w.sealer == nil {
		return &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	sealed, err := w.sealer.Seal(w.ctx, k, payload)
	if err != nil {
		return err
	}
	w.doc.set(k, sealed)
	return nil
}

func (w *writer) Delete(k keystore.RecordKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if _, ok := w.doc.records[k]; !ok {
		return w.about(keystore.ErrNotFound, k)
	}
	delete(w.doc.records, k)
	delete(w.by, k)
	w.changed, w.retired = true, true
	return nil
}

// SetHeader asks Unseal under the store's lock: its caller has the new key in
// its hands, so that nothing is waited for.
func (w *writer) SetHeader(h keystore.Header) error {
	if err := h.Check(); err != nil {
		return w.a.file.About(err)
	}
	sealer, err := w.a.keys.New(w.ctx, h)
	if err != nil {
		return w.a.file.About(err)
	}
	w.created = w.created || w.doc.header.IsZero()
	w.sealer, w.rekeyed = sealer, true
	w.doc.header = keystore.Header{StoreID: h.StoreID, Slots: slices.Clone(h.Slots)}
	w.changed, w.retired = true, true
	return nil
}
