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
		if r := reading.(*reader); r.src != nil {
			return r.check()
		}
		return nil
	})
}

func (r *reader) check() error {
	r.slow = true
	err := errors.Join(r.integrity(), r.strangeKinds())
	for _, kind := range keystore.Kinds() {
		err = errors.Join(err, r.strangers(kind))
	}
	if ended := keystore.Ended(r.ctx); ended != nil {
		return r.a.file.About(ended) // once, not for each part
	}
	return err
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

func (r *reader) strangeKinds() error {
	var n int
	const query = `SELECT count(*) FROM records WHERE kind NOT IN (?, ?, ?, ?, ?)`
	var kinds []any
	for _, kind := range keystore.Kinds() {
		kinds = append(kinds, string(kind))
	}
	if err := r.ask(query, kinds, &n); err != nil || n == 0 {
		return r.a.file.About(err)
	}
	return r.a.file.Refuse(keystore.ErrTampered, fmt.Sprintf("%d rows are of kinds that no record can have", n))
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
	for i := range bad {
		bad[i] = r.a.file.About(bad[i])
	}
	return errors.Join(bad...)
}

func damaged(err error) bool {
	return errors.Is(err, keystore.ErrTampered) || errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrNoSeal)
}
