package sqliteadapter

import (
	"cmp"
	"database/sql"
	"iter"
	"slices"

	"github.com/globus-keys/globus-keys/keystore"
)

func (r *reader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		switch {
		case r.src == nil:
		case r.hides(kind):
			r.hiddenKeys(kind, namespaces, yield)
		case len(namespaces) == 0:
			r.listed(kind, allNames, "", "", yield)
		default:
			for _, ns := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
				if !r.listed(kind, namesOf, ns, "", yield) {
					return
				}
			}
		}
	}
}

// KeysAfter implements keystore.PagedReader.
func (r *reader) KeysAfter(kind keystore.Kind, namespace, name string) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		switch {
		case r.src == nil:
		case r.hides(kind):
			r.hiddenKeys(kind, []string{namespace}, func(k keystore.RecordKey, err error) bool {
				return err == nil && k.Name <= name || yield(k, err)
			})
		default:
			r.listed(kind, namesOf, namespace, name, yield)
		}
	}
}

// Names are listed by pages, each of which is a statement of its own: a loop body may
// take as long as it wants.
const (
	pageSize = 256

	allNames = `SELECT s.changes, r.namespace, r.name FROM store s LEFT JOIN (SELECT namespace, name FROM records
		WHERE kind = ?1 AND (namespace, name) > (?2, ?3) ORDER BY namespace, name LIMIT ?4) r`
	namesOf = `SELECT s.changes, r.namespace, r.name FROM store s LEFT JOIN (SELECT namespace, name FROM records
		WHERE kind = ?1 AND namespace = ?2 AND name > ?3 ORDER BY name LIMIT ?4) r`
)

// errOrder says that names do not come in the order of their index: they could come for
// ever.
var errOrder = corrupt("its names are out of order")

// listed yields the keys that query finds behind namespace and name, and reports whether
// the loop goes on. What has a name that no record can have is no record: Check tells.
func (r *reader) listed(kind keystore.Kind, query, namespace, name string, yield func(keystore.RecordKey, error) bool) bool {
	for {
		page, err := r.page(kind, query, namespace, name)
		if err != nil {
			yield(keystore.RecordKey{}, r.a.file.About(err))
			return false
		}
		for _, k := range page {
			if k.Check() == nil && !yield(k, nil) {
				return false
			}
		}
		if len(page) < pageSize {
			return true
		}
		last := page[len(page)-1]
		namespace, name = last.Namespace, last.Name
	}
}

func (r *reader) page(kind keystore.Kind, query, namespace, name string) (keys []keystore.RecordKey, err error) {
	err = patiently(r.ctx, r.a.opts.patience, func() error {
		keys = keys[:0]
		last := keystore.RecordKey{Namespace: namespace, Name: name}
		return r.each(query, []any{string(kind), namespace, name, pageSize}, func(rows *sql.Rows) error {
			var changes int64
			var ns, n sql.NullString
			if err := rows.Scan(&changes, &ns, &n); err != nil {
				return err
			}
			if err := r.unchanged(changes); err != nil || !n.Valid {
				return err
			}
			k := keystore.RecordKey{Namespace: ns.String, Kind: kind, Name: n.String}
			if compareKeys(k, last) <= 0 {
				return errOrder
			}
			keys, last = append(keys, k), k
			return nil
		})
	})
	return keys, err
}

func compareKeys(a, b keystore.RecordKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

const nextNamespace = `SELECT (SELECT changes FROM store),
	(SELECT min(namespace) FROM records WHERE kind = ? AND namespace > ?)`

// Namespaces implements keystore.NamespaceReader: it skips from one to the next.
func (r *reader) Namespaces(kind keystore.Kind) ([]string, error) {
	if r.src == nil {
		return nil, nil
	}
	if r.hides(kind) {
		return namespacesOf(r.Keys(kind))
	}
	var found []string
	for last := ""; ; {
		var changes int64
		var next sql.NullString
		if err := r.ask(nextNamespace, []any{string(kind), last}, &changes, &next); err != nil {
			return nil, r.a.file.About(err)
		}
		if err := r.unchanged(changes); err != nil || !next.Valid {
			return found, r.a.file.About(err)
		}
		if next.String <= last {
			return nil, r.a.file.About(errOrder)
		}
		last = next.String
		if (keystore.RecordKey{Namespace: last, Kind: kind, Name: "any"}).Check() == nil {
			found = append(found, last)
		}
	}
}

// namespacesOf are those of keys, which are sorted.
func namespacesOf(keys iter.Seq2[keystore.RecordKey, error]) (found []string, err error) {
	for k, err := range keys {
		if err != nil {
			return nil, err
		}
		if len(found) == 0 || found[len(found)-1] != k.Namespace {
			found = append(found, k.Namespace)
		}
	}
	return found, nil
}
