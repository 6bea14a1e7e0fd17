package sqliteadapter

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// schema holds, behind a line "-- version N" each, what makes version N of version N-1.
// What is there is never changed: stores of all versions are about.
//
//go:embed schema.sql
var schema string

// applicationID is what the header of a database of ours says: "gks1".
const applicationID = 0x676b7331

// versions returns the parts of a schema, that of version 1 first.
func versions(schema string) []string {
	var parts []string
	for i := 1; ; i++ {
		_, rest, found := strings.Cut(schema, fmt.Sprintf("-- version %d\n", i))
		if !found {
			return parts
		}
		part, _, _ := strings.Cut(rest, fmt.Sprintf("-- version %d\n", i+1))
		parts = append(parts, part)
	}
}

func (db *database) make(ctx context.Context, fill func(*transaction) error) error {
	return db.transact(ctx, func(t *transaction) error {
		t.run(fmt.Sprintf("PRAGMA application_id=%d", applicationID))
		for n, part := range versions(schema) {
			t.run(part)
			t.run(fmt.Sprintf("PRAGMA user_version=%d", n+1))
		}
		if t.err != nil {
			return t.err
		}
		return fill(t)
	})
}

// upToDate checks what the database is, and brings one of an earlier version up to date,
// under the lock of the store.
func (db *database) upToDate(ctx context.Context, lock func(context.Context) (func() error, error)) error {
	known := versions(schema)
	l, err := db.layout(ctx)
	if err != nil || l.version == len(known) {
		return errors.Join(err, l.check(len(known)))
	}
	if err := l.check(len(known)); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if l, err = db.layout(ctx); err != nil {
		return err
	}
	if err := l.check(len(known)); err != nil {
		return err
	}
	return db.transact(ctx, func(t *transaction) error {
		for n := l.version; n < len(known); n++ {
			t.run(known[n])
			t.run(fmt.Sprintf("PRAGMA user_version=%d", n+1))
		}
		return t.err
	})
}

// ErrForeign is the ErrCorrupt of a database that is another program's, as far as can be
// told.
var ErrForeign = fmt.Errorf("%w", keystore.ErrCorrupt)

var (
	errNoDatabase = fmt.Errorf("%w", keystore.ErrCorrupt) // of what does not begin as one
	errStoreFile  = fmt.Errorf("%w", keystore.ErrInvalid) // of a store that is no database
)

// layout is what a database says of itself.
type layout struct{ application, version, tables, strange int }

// layout says what the database is. It looks more than once: while it does, another
// process may bring the database up to date.
func (db *database) layout(ctx context.Context) (l layout, err error) {
	for before := l; ; before = l {
		l, err = db.look(ctx)
		if err != nil || l.strange == 0 || l == before {
			return l, err
		}
	}
}

func (db *database) look(ctx context.Context) (l layout, err error) {
	db.shape = new(int)
	err = patiently(ctx, db.patience, func() error { return explain(db.QueryRowContext(noContext, askShape).Scan(db.shape)) })
	for query, to := range map[string]*int{
		"PRAGMA application_id":              &l.application,
		"PRAGMA user_version":                &l.version,
		"SELECT count(*) FROM sqlite_schema": &l.tables,
	} {
		err = errors.Join(err, patiently(ctx, db.patience, func() error { return explain(db.QueryRowContext(noContext, query).Scan(to)) }))
	}
	if err != nil || l.application != applicationID {
		return l, err
	}
	l.strange, err = db.strange(ctx, l.version)
	return l, err
}

// check reports whether the database is one of ours, of a version that this program
// knows; of an earlier one it is to be brought up to date first.
func (l layout) check(known int) error {
	switch {
	case l == (layout{}):
		return corrupt("it is an empty database, not a globus-keys store") // nobody misses it: no ErrForeign
	case l.application != applicationID || l.version < 1:
		return &keystore.Error{Err: ErrForeign, Detail: "it is an SQLite database, but not a globus-keys store"}
	case l.version > known:
		return corrupt(fmt.Sprintf("it has format version %d; this program knows version %d", l.version, known))
	case l.strange > 0:
		return &keystore.Error{Err: keystore.ErrTampered, Detail: "it has tables, views, triggers or indexes that no store has: look who has made them"}
	}
	return nil
}

const askShape = "PRAGMA schema_version"

// errReshaped says that the schema is not the one that was looked at: of a later version
// of this program, or with something planted in it.
var errReshaped = errors.New("the tables have been changed")

// change is transact for a database that was looked at, if its schema still is the same.
func (db *database) change(ctx context.Context, fn func(*transaction) error) error {
	return db.transact(ctx, func(t *transaction) error {
		var now int
		if err := t.conn.QueryRowContext(noContext, askShape).Scan(&now); err != nil {
			return explain(err)
		}
		if db.shape != nil && now != *db.shape {
			return errReshaped
		}
		return fn(t)
	})
}

// strange counts the objects of a database of this version that are not a store's.
func (db *database) strange(ctx context.Context, version int) (n int, err error) {
	known := versions(schema)
	ours, err := madeBy(known[:max(0, min(version, len(known)))])
	if err != nil {
		return 0, err
	}
	var found []object
	err = patiently(ctx, db.patience, func() (err error) { found, err = objectsOf(db); return err })
	for _, o := range found {
		if !slices.Contains(ours, o) {
			n++
		}
	}
	return n, err
}

// listSchema lists what a database consists of, with the text that has made it. What
// ANALYZE notes is not looked at.
const listSchema = `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
	WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')`

// object is a table, an index, a view or a trigger.
type object struct{ kind, name, table, text string }

// madeBy returns the objects that these parts of a schema make. Text is compared,
// not what it says: whoever can write the file can have put triggers, computed columns,
// other orders of names, or conflict clauses into it, which change what is read from a
// table or written to it, or never end.
func madeBy(parts []string) ([]object, error) {
	db := sql.OpenDB(connector{"file::memory:", func(c connection) error {
		for _, part := range parts {
			if err := c.exec(part); err != nil {
				return err
			}
		}
		return nil
	}})
	defer db.Close()
	return objectsOf(db)
}

func objectsOf(src source) (objects []object, err error) {
	rows, err := src.QueryContext(noContext, listSchema)
	if err != nil {
		return nil, explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var o object
		if err := rows.Scan(&o.kind, &o.name, &o.table, &o.text); err != nil {
			return nil, explain(err)
		}
		objects = append(objects, o)
	}
	return objects, explain(rows.Err())
}

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}
