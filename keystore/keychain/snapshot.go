package keychain

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// reader is a snapshot: the index as it was, and the items that it names, which
// never change.
type reader struct {
	ctx   context.Context
	a     *Adapter
	idx   *index
	again func() (*index, error) // reads the index anew; nil under the store's lock

	stale bool // an item is gone because its record has others now: no more can be read
}

func (r *reader) Header() keystore.Header { return r.idx.visible() }

func (r *reader) Get(k keystore.RecordKey) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	g, ok := r.idx.records[k]
	if !ok {
		return nil, r.a.about(keystore.ErrNotFound, k)
	}
	if r.stale {
		return nil, r.a.about(errStale, k)
	}
	payload, err := r.a.read(r.ctx, r.idx.header.StoreID, k, g)
	if errors.Is(err, errGone) {
		err = r.gone(k, g)
	}
	return payload, r.a.about(err, k)
}

// errStale ends a call of fn that is to be made again, if it asks for more.
var errStale = &keystore.Error{Err: keystore.ErrBusy, Detail: "the record has changed while it was read"}

// gone says why an item of k is not there: because k has changed since this
// snapshot, or because it is lost.
func (r *reader) gone(k keystore.RecordKey, g generation) error {
	if r.again != nil {
		now, err := r.again()
		if err != nil {
			return err
		}
		if now.header.StoreID != r.idx.header.StoreID || now.records[k] != g {
			r.stale = true
			return errStale
		}
	}
	return corrupt("the " + r.a.backend.Traits().Name + " has lost it, or cannot read its own file")
}

func (r *reader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		for _, k := range sortedKeys(r.idx.records) {
			if k.Kind != kind || len(namespaces) > 0 && !slices.Contains(namespaces, k.Namespace) {
				continue
			}
			if !yield(k, nil) {
				return
			}
		}
	}
}

// writer is a reader whose index is the Update's own, to change. Its new records
// are named there, and their items not made yet.
type writer struct {
	reader
	base *index // as it was found
	made map[keystore.RecordKey]record
}

func newWriter(ctx context.Context, a *Adapter, base *index) *writer {
	idx := base.clone()
	if !base.made {
		idx.header = keystore.Header{}
	}
	return &writer{reader: reader{ctx: ctx, a: a, idx: idx}, base: base, made: make(map[keystore.RecordKey]record)}
}

func (w *writer) Get(k keystore.RecordKey) ([]byte, error) {
	if r, ok := w.made[k]; ok {
		return bytes.Clone(r.payload), nil
	}
	return w.reader.Get(k)
}

func (w *writer) Put(k keystore.RecordKey, payload []byte) error {
	g, r, err := newRecord(w.idx.header.StoreID, k, payload)
	if err == nil && !w.idx.made {
		err = &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	if err != nil {
		return w.a.about(err, k)
	}
	w.idx.records[k], w.made[k] = g, r
	return nil
}

func (w *writer) Delete(k keystore.RecordKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if _, ok := w.idx.records[k]; !ok {
		return w.a.about(keystore.ErrNotFound, k)
	}
	delete(w.idx.records, k)
	delete(w.made, k)
	return nil
}

// SetHeader only notes the header: the keychain seals, and no key of ours. The
// id is in the name of every item, so that it cannot become another.
func (w *writer) SetHeader(h keystore.Header) error {
	if err := h.Check(); err != nil {
		return w.a.file.About(err)
	}
	if w.idx.made && h.StoreID != w.idx.header.StoreID {
		return w.a.file.Refuse(keystore.ErrInvalid, "the store has another id")
	}
	w.idx.header = keystore.Header{StoreID: h.StoreID, Slots: slices.Clone(h.Slots)}
	w.idx.made = true
	return nil
}

// changed reports whether there is anything to write. Without a new record all
// that can have happened to records is that there are fewer.
func (w *writer) changed() bool {
	return w.idx.made != w.base.made || !slices.Equal(w.idx.header.Slots, w.base.header.Slots) ||
		len(w.made) > 0 || len(w.idx.records) != len(w.base.records)
}

// announced is base with the items that are about to be made.
func (w *writer) announced(base *index, now time.Time) *index {
	idx := base.clone()
	if !idx.made {
		idx.header = keystore.Header{StoreID: w.idx.header.StoreID}
	}
	for _, k := range sortedKeys(w.made) {
		idx.pending = append(idx.pending, litter{idx.header.StoreID, w.idx.records[k], now.Unix()})
	}
	return idx
}

// result is the index after the Update: of base it has what is yet to be swept.
func (w *writer) result(base *index, now time.Time) *index {
	idx := w.idx.clone()
	idx.pending, idx.retired = slices.Clone(base.pending), slices.Clone(base.retired)
	for _, k := range sortedKeys(base.records) {
		if was := base.records[k]; idx.records[k] != was {
			idx.retired = append(idx.retired, litter{idx.header.StoreID, was, now.Unix()})
		}
	}
	return idx
}
