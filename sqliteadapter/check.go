package sqliteadapter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/globus-keys/globus-keys/keystore"
)

// Check implements keystore.CheckingAdapter: it has SQLite look at every page, and finds
// rows that can be no records, by their names or, where those are hidden, their labels.
func (a *Adapter) Check(ctx context.Context) error {
	return a.View(ctx, func(reading keystore.Reader) error {
		r := reading.(*reader)
		if r.src == nil {
			return nil
		}
		err := r.integrity()
		for _, kind := range keystore.Kinds() {
			err = errors.Join(err, r.strangers(kind))
		}
		return err
	})
}

func (r *reader) integrity() error {
	var bad error
	err := r.each("PRAGMA integrity_check(20)", nil, func(rows *sql.Rows) error {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if line != "ok" {
			bad = errors.Join(bad, r.a.file.Refuse(keystore.ErrCorrupt, "SQLite says: "+line))
		}
		return nil
	})
	return errors.Join(r.a.file.About(err), bad)
}

// strangers finds rows that Keys passes over.
func (r *reader) strangers(kind keystore.Kind) error {
	total, err := r.Count(kind)
	if err != nil {
		return err
	}
	var bad []error
	if r.hides(kind) {
		if _, bad, err = r.openLabels(kind); err != nil {
			return r.a.file.About(err)
		}
	}
	for _, err := range r.Keys(kind) {
		if err != nil {
			return err
		}
		total--
	}
	if total > len(bad) {
		bad = append(bad, fmt.Errorf("%d rows of kind %s have names that no record can have: %w", total-len(bad), kind, keystore.ErrTampered))
	}
	return r.a.file.About(errors.Join(bad...))
}

func damaged(err error) bool {
	return errors.Is(err, keystore.ErrTampered) || errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrNoSeal)
}
