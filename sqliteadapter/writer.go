package sqliteadapter

import (
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/internal/sealers"
	"github.com/globus-keys/globus-keys/keystore"
)

// writer is a reader with changes that are yet to be made.
type writer struct {
	reader
	now keystore.Sealer // of the key now; differs from the reader's after SetHeader
	set keystore.Header // by SetHeader

	edits   map[keystore.RecordKey]*change
	rekeyed bool // SetHeader was called
	retires bool // something is gone that must not stay in the -wal
}

// change is what becomes of one record.
type change struct {
	at, was place // was differs if the key has changed and names are hashed
	label   []byte
	sealed  []byte          // nil: the record is deleted
	by      keystore.Sealer // who has sealed it
}

func newWriter(r *reader, sealer keystore.Sealer) *writer {
	w := &writer{reader: *r, now: sealer, edits: make(map[keystore.RecordKey]*change)}
	w.held = sealer
	if r.src == nil {
		w.hashed = r.a.opts.HideNames
	}
	return w
}

func (w *writer) changed() bool { return w.rekeyed || len(w.edits) > 0 }

// header is the store's after the Update.
func (w *writer) header() keystore.Header {
	if w.rekeyed {
		return w.set
	}
	return w.state.Header
}

func (w *writer) Header() keystore.Header {
	h := w.header()
	h.Slots = slices.Clone(h.Slots)
	return h
}

// next is what the choice of a Sealer depends on after the Update.
func (w *writer) next() sealers.State {
	s := sealers.State{Header: w.header(), Meta: w.state.Meta}
	if c := w.edits[keystore.MetaKey]; c != nil {
		s.Meta = string(c.sealed)
	}
	return s
}

func (w *writer) Get(k keystore.RecordKey) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	c := w.edits[k]
	switch {
	case c != nil && c.sealed != nil:
		payload, err := c.by.Open(w.ctx, k, c.sealed)
		return payload, w.about(err, k)
	case c != nil || w.src == nil:
		return nil, w.about(keystore.ErrNotFound, k)
	}
	return w.get(w.held, k)
}

// Sealed implements keystore.SealedReader.
func (w *writer) Sealed(k keystore.RecordKey) ([]byte, error) {
	if c := w.edits[k]; c != nil && c.sealed != nil {
		return slices.Clone(c.sealed), nil
	}
	if w.edits[k] != nil || w.src == nil {
		return nil, w.about(keystore.ErrNotFound, k)
	}
	sealed, err := w.stored(w.held, k)
	return sealed, w.about(err, k)
}

func (w *writer) Put(k keystore.RecordKey, payload []byte) error {
	if err := k.Check(); err != nil {
		return w.about(err, k)
	}
	if err := keystore.CheckPayload(k, payload); err != nil {
		return w.about(err, k)
	}
	c, err := w.put(k, payload)
	if err != nil {
		return w.about(err, k)
	}
	w.edits[k] = c
	return nil
}

func (w *writer) put(k keystore.RecordKey, payload []byte) (*change, error) {
	if !json.Valid(payload) {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "the payload is not one JSON value"}
	}
	if w.now == nil {
		return nil, &keystore.Error{Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	c, err := w.newChange(k)
	if err != nil {
		return nil, err
	}
	if c.sealed, err = w.now.Seal(w.ctx, k, payload); err != nil {
		return nil, err
	}
	c.by = w.now
	return c, w.putLabel(k, c)
}

// putLabel seals the names of a record that has none under this key yet, or none that open.
func (w *writer) putLabel(k keystore.RecordKey, c *change) (err error) {
	if !w.hides(k.Kind) {
		return nil
	}
	if !w.rekeyed && w.src != nil {
		if good, err := w.labelled(w.held, k.Kind, c.at); good || err != nil {
			return err
		}
	}
	c.label, err = w.sealLabel(w.now, k, c.at)
	return err
}

func (w *writer) newChange(k keystore.RecordKey) (c *change, err error) {
	c = &change{}
	if c.at, err = w.placeOf(w.now, k); err != nil {
		return nil, err
	}
	c.was = c.at
	if w.rekeyed && w.held != nil {
		c.was, err = w.placeOf(w.held, k)
	}
	return c, err
}

func (w *writer) Delete(k keystore.RecordKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if _, err := w.Sealed(k); err != nil {
		return err
	}
	c, err := w.newChange(k)
	if err != nil {
		return w.about(err, k)
	}
	w.edits[k], w.retires = c, true
	return nil
}

// SetHeader asks Unseal under the store's lock: its caller has the new key in its hands,
// so that nothing is waited for.
func (w *writer) SetHeader(h keystore.Header) error {
	if err := h.Check(); err != nil {
		return w.a.file.About(err)
	}
	sealer, err := w.a.keys.New(w.ctx, h)
	if err != nil {
		return w.a.file.About(err)
	}
	w.set = keystore.Header{StoreID: h.StoreID, Slots: slices.Clone(h.Slots)}
	w.now, w.rekeyed, w.retires = sealer, true, true
	return nil
}

// Keys yields what is stored, and what this Update has changed of it by now.
func (w *writer) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		changed := maps.Clone(w.edits)
		added := slices.SortedFunc(maps.Keys(changed), compareKeys)
		added = slices.DeleteFunc(added, func(k keystore.RecordKey) bool {
			return k.Kind != kind || changed[k].sealed == nil || len(namespaces) > 0 && !slices.Contains(namespaces, k.Namespace)
		})
		for k, err := range w.reader.Keys(kind, namespaces...) {
			if err != nil {
				yield(k, err)
				return
			}
			for len(added) > 0 && compareKeys(added[0], k) < 0 {
				if !yield(added[0], nil) {
					return
				}
				added = added[1:]
			}
			if changed[k] == nil && !yield(k, nil) {
				return
			}
		}
		for _, k := range added {
			if !yield(k, nil) {
				return
			}
		}
	}
}

// Namespaces implements keystore.NamespaceReader.
func (w *writer) Namespaces(kind keystore.Kind) ([]string, error) { return namespacesOf(w.Keys(kind)) }

// KeysAfter implements keystore.PagedReader.
func (w *writer) KeysAfter(kind keystore.Kind, namespace, name string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		for k, err := range w.Keys(kind, namespace) {
			if (err != nil || k.Name > name) && !yield(k, err) {
				return
			}
		}
	}
}

const (
	insertStore = `INSERT INTO store (one, id, slots, names, changes) VALUES (1, ?, ?, ?, 1)`
	updateStore = `UPDATE store SET id = ?, slots = ?, changes = changes + 1 WHERE changes = ?`
	putRecord   = `INSERT INTO records (kind, namespace, name, label, age) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, namespace, name) DO UPDATE SET age = excluded.age, label = coalesce(excluded.label, label)`
	deleteRecord = `DELETE FROM records WHERE kind = ? AND namespace = ? AND name = ?`
)

// errChanged says that somebody has written who does not take the store's lock.
var errChanged = errors.New("changed without the lock")

// apply makes the changes in a transaction.
func (w *writer) apply(t *transaction) error {
	h := w.header()
	if w.src == nil {
		t.run(insertStore, h.StoreID.String(), formatSlots(h), map[bool]string{false: "clear", true: "hashed"}[w.hashed])
	} else if t.change(updateStore, h.StoreID.String(), formatSlots(h), w.changes) != 1 && t.err == nil {
		return errChanged
	}
	for _, k := range slices.SortedFunc(maps.Keys(w.edits), compareKeys) {
		c := w.edits[k]
		if c.sealed == nil || c.was != c.at {
			t.run(deleteRecord, string(k.Kind), c.was.namespace, c.was.name)
		}
		if c.sealed != nil {
			t.run(putRecord, string(k.Kind), c.at.namespace, c.at.name, c.label, c.sealed)
		}
	}
	return t.err
}
