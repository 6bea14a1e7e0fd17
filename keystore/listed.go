package keystore

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
)

// Namespaces returns the names of the namespaces that hold records of one of
// kinds, sorted; no kind means KindToken. It works while the store is locked,
// unless that hides names.
func (s *Store) Namespaces(ctx context.Context, kinds ...Kind) ([]string, error) {
	if len(kinds) == 0 {
		kinds = []Kind{KindToken}
	}
	var found []string
	for _, kind := range kinds {
		var names []string
		err := s.adapter.View(ctx, func(r Reader) (err error) {
			names, err = namespacesOf(r, kind)
			return err
		})
		if err != nil {
			return nil, annotate(err, "list", RecordKey{})
		}
		found = append(found, names...)
	}
	return slices.Compact(slices.Sorted(slices.Values(found))), nil
}

// namespacesOf returns those that hold a record of kind.
func namespacesOf(r Reader, kind Kind) (names []string, err error) {
	if lister, ok := r.(NamespaceReader); ok {
		return lister.Namespaces(kind)
	}
	for key, err := range r.Keys(kind) {
		if err != nil {
			return nil, err
		}
		if len(names) == 0 || names[len(names)-1] != key.Namespace {
			names = append(names, key.Namespace)
		}
	}
	return names, nil
}

func (s *Store) keys(ctx context.Context, kind Kind, namespaces ...string) ([]RecordKey, error) {
	var keys []RecordKey
	err := s.adapter.View(ctx, func(r Reader) error {
		keys = nil
		for key, err := range r.Keys(kind, namespaces...) {
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	return keys, annotate(err, "list", RecordKey{})
}

// Unlisted reports ErrTampered if r holds more records of a kind than the listed ones
// that Keys has yielded: what damages a name, or what tells a hidden one, makes a record
// vanish from lists. It is for those who would lose what they do not see.
func Unlisted(r Reader, kind Kind, listed int) error {
	c, ok := r.(Counter)
	if !ok {
		return nil
	}
	n, err := c.Count(kind)
	if err != nil || n <= listed {
		return err
	}
	return &Error{Err: ErrTampered, Detail: fmt.Sprintf("%d records of kind %s cannot be listed, since their names are damaged; verify tells more", n-listed, kind)}
}

// keysAtOnce is how many keys are in memory at a time. For each so many those before them
// are listed anew: no adapter can begin in the middle of all namespaces.
const keysAtOnce = 10_000

// batches yields the keys of one kind, n at a time, with no View open in the loop. A
// record that is added meanwhile may be missed, one that is removed may be among them.
func (s *Store) batches(ctx context.Context, kind Kind, n int) iter.Seq2[[]RecordKey, error] {
	return func(yield func([]RecordKey, error) bool) {
		var last RecordKey
		for more := true; more; {
			keys, err := s.after(ctx, kind, last)
			if err != nil {
				yield(nil, err)
				return
			}
			for batch := range slices.Chunk(keys, n) {
				if !yield(batch, nil) {
					return
				}
				last = batch[len(batch)-1]
			}
			more = len(keys) == keysAtOnce
		}
	}
}

func (s *Store) after(ctx context.Context, kind Kind, last RecordKey) (keys []RecordKey, err error) {
	err = s.adapter.View(ctx, func(r Reader) error {
		keys = keys[:0]
		for key, err := range r.Keys(kind) {
			if err != nil {
				return err
			}
			if cmp.Or(cmp.Compare(key.Namespace, last.Namespace), cmp.Compare(key.Name, last.Name)) <= 0 {
				continue
			}
			if keys = append(keys, key); len(keys) == keysAtOnce {
				return nil
			}
		}
		return nil
	})
	return keys, annotate(err, "list", RecordKey{})
}
