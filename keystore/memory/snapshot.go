package memory

import (
	"bytes"
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/keystore"
)

// reader is a snapshot: a state that nobody changes while fn looks at it,
// unless fn is an Update's and does so itself.
type reader struct{ *state }

func (r *reader) Header() keystore.Header { return cloneHeader(r.header) }

func (r *reader) Get(k keystore.RecordKey) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	payload, ok := r.records[k]
	if !ok {
		return nil, &keystore.Error{Key: k, Err: keystore.ErrNotFound}
	}
	return bytes.Clone(payload), nil
}

// Keys yields the keys that were there when the loop began.
func (r *reader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	wanted := func(k keystore.RecordKey) bool {
		return k.Kind == kind && (len(namespaces) == 0 || slices.Contains(namespaces, k.Namespace))
	}
	return func(yield func(keystore.RecordKey, error) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(r.records), compareKeys) {
			if wanted(k) && !yield(k, nil) {
				return
			}
		}
	}
}

// writer is a reader whose state is an Update's own copy.
type writer struct{ reader }

func (w *writer) Put(k keystore.RecordKey, payload []byte) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := keystore.CheckPayload(k, payload); err != nil {
		return err
	}
	if !json.Valid(payload) {
		return &keystore.Error{Key: k, Err: keystore.ErrInvalid, Detail: "the payload is not one JSON value"}
	}
	w.records[k] = bytes.Clone(payload)
	return nil
}

func (w *writer) Delete(k keystore.RecordKey) error {
	if err := k.Check(); err != nil {
		return err
	}
	if _, ok := w.records[k]; !ok {
		return &keystore.Error{Key: k, Err: keystore.ErrNotFound}
	}
	delete(w.records, k)
	return nil
}

func (w *writer) SetHeader(h keystore.Header) error {
	if err := h.Check(); err != nil {
		return err
	}
	w.header = cloneHeader(h)
	return nil
}

func cloneHeader(h keystore.Header) keystore.Header {
	return keystore.Header{StoreID: h.StoreID, Slots: slices.Clone(h.Slots)}
}

func compareKeys(a, b keystore.RecordKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
}
