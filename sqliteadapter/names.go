package sqliteadapter

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/globus-keys/globus-keys/keystore"
)

// place is where a record stands in the table of its kind: by its names, or by the tag
// that stands for them.
type place struct{ namespace, name string }

// hides reports whether the names of records of this kind are hashed.
func (r *reader) hides(kind keystore.Kind) bool { return r.hashed && kind != keystore.KindMeta }

func (r *reader) placeOf(sealer keystore.Sealer, k keystore.RecordKey) (place, error) {
	if !r.hides(k.Kind) {
		return place{k.Namespace, k.Name}, nil
	}
	b, ok := sealer.(keystore.Blinder)
	if !ok {
		return place{}, &keystore.Error{Err: keystore.ErrInvalid, Detail: "its Sealer cannot hide names"}
	}
	tag, err := b.Blind(r.ctx, k)
	return place{name: hex.EncodeToString(tag[:])}, err
}

// mixedNames asks for records that have their names in the other way than the store
// says: hidden ones have labels and no namespace.
const mixedNames = `SELECT CASE names WHEN 'hashed'
	THEN EXISTS (SELECT 1 FROM records WHERE kind IN ('account', 'config', 'pending', 'token') AND namespace > '')
	ELSE EXISTS (SELECT 1 FROM records WHERE kind IN ('account', 'config', 'pending', 'token') AND namespace = '' AND label IS NOT NULL)
	END FROM store`

// checkNames refuses a store that says the opposite of how it keeps names: nothing would
// be found in it, and the next login would tell its names.
func (r *reader) checkNames() error {
	var mixed bool
	err := r.ask(mixedNames, nil, &mixed)
	if err == nil && mixed {
		err = &keystore.Error{Err: keystore.ErrTampered, Detail: "it does not keep names as it says that it does: look who has changed it"}
	}
	return err
}

// labelKey is the place that the label of a tag is sealed for: it opens beside no other.
func labelKey(kind keystore.Kind, tag string) keystore.RecordKey {
	return keystore.RecordKey{Kind: keystore.KindMeta, Name: "label " + string(kind) + " " + tag}
}

// label is the payload of a sealed label.
type label struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// sealLabel returns the names of k for who lists them.
func (r *reader) sealLabel(sealer keystore.Sealer, k keystore.RecordKey, at place) ([]byte, error) {
	if !r.hides(k.Kind) {
		return nil, nil
	}
	payload, err := json.Marshal(label{k.Namespace, k.Name})
	if err != nil {
		return nil, err
	}
	return sealer.Seal(r.ctx, labelKey(k.Kind, at.name), payload)
}

// openLabel returns the key whose tag stands in a row.
func (r *reader) openLabel(sealer keystore.Sealer, kind keystore.Kind, tag string, sealed []byte) (keystore.RecordKey, error) {
	payload, err := sealer.Open(r.ctx, labelKey(kind, tag), sealed)
	if err != nil {
		return keystore.RecordKey{}, err
	}
	var l label
	if err := json.Unmarshal(payload, &l); err != nil {
		return keystore.RecordKey{}, corrupt("a label is not one")
	}
	k := keystore.RecordKey{Namespace: l.Namespace, Kind: kind, Name: l.Name}
	at, err := r.placeOf(sealer, k)
	if err == nil && at.name != tag {
		err = &keystore.Error{Key: k, Err: keystore.ErrTampered, Detail: "its label stands beside another record"}
	}
	return k, err
}

const selectLabel = `SELECT (SELECT label FROM records WHERE kind = ? AND namespace = '' AND name = ?)`

// labelled reports whether a record has a label that opens. That takes less time than to
// seal another one. A label that cannot be looked at, since who holds the key has lost
// it, is left: what a refresh has reserved is enough to store its answer, and no more.
func (r *reader) labelled(sealer keystore.Sealer, kind keystore.Kind, at place) (bool, error) {
	var sealed []byte
	err := r.ask(selectLabel, []any{string(kind), at.name}, &sealed)
	switch {
	case damaged(err):
		return false, nil
	case err != nil || sealed == nil:
		return false, err
	}
	_, err = r.openLabel(sealer, kind, at.name, sealed)
	return !damaged(err), keystore.Ended(r.ctx)
}

const selectLabels = `SELECT s.changes, r.name, r.label FROM store s LEFT JOIN (SELECT name, label FROM records
	WHERE kind = ?1 AND namespace = '' AND name > ?2 ORDER BY name LIMIT ?3) r`

// hiddenKeys yields the keys of a kind, which are all opened before the first is yielded.
// What does not open is no record: Check tells.
func (r *reader) hiddenKeys(kind keystore.Kind, namespaces []string, yield func(keystore.RecordKey, error) bool) {
	keys, _, err := r.openLabels(kind)
	if err != nil {
		yield(keystore.RecordKey{}, r.a.file.About(err))
		return
	}
	for _, k := range keys {
		wanted := len(namespaces) == 0 || slices.Contains(namespaces, k.Namespace)
		if wanted && k.Check() == nil && !yield(k, nil) {
			return
		}
	}
}

// openLabels returns the keys of a kind, sorted, and what is wrong with the rest.
func (r *reader) openLabels(kind keystore.Kind) (keys []keystore.RecordKey, bad []error, err error) {
	sealer, err := r.sealer()
	if err != nil {
		return nil, nil, err
	}
	for after, more := "", true; more; {
		tags, labels, err := r.labels(kind, after)
		if err != nil {
			return nil, nil, err
		}
		for i, tag := range tags {
			k, err := r.openLabel(sealer, kind, tag, labels[i])
			switch {
			case err == nil:
				keys = append(keys, k)
			case damaged(err):
				bad = append(bad, fmt.Errorf("the label of %s %s: %w", kind, tag, err))
			default:
				return nil, nil, err
			}
			after = tag
		}
		more = len(tags) == pageSize
	}
	slices.SortFunc(keys, compareKeys)
	return keys, bad, nil
}

func (r *reader) labels(kind keystore.Kind, after string) (tags []string, labels [][]byte, err error) {
	err = patiently(r.ctx, r.a.opts.patience, func() error {
		tags, labels = nil, nil
		last := after
		return r.each(selectLabels, []any{string(kind), after, pageSize}, func(rows *sql.Rows) error {
			var changes int64
			var tag sql.NullString
			var l []byte
			if err := rows.Scan(&changes, &tag, &l); err != nil {
				return err
			}
			if err := r.unchanged(changes); err != nil || !tag.Valid {
				return err
			}
			if tag.String <= last {
				return errOrder
			}
			tags, labels, last = append(tags, tag.String), append(labels, l), tag.String
			return nil
		})
	})
	return tags, labels, err
}
