package sqliteadapter

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
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

// ErrForeign is the ErrCorrupt of a database that is another program's, as far as can be
// told.
var ErrForeign = fmt.Errorf("%w", keystore.ErrCorrupt)

// layout is what a database says of itself.
type layout struct{ application, version, tables, strange int }

// listSchema lists what a database consists of, with the text that has made it. What
// ANALYZE notes is not looked at.
const listSchema = `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
	WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')`

// object is a table, an index, a view or a trigger.
type object struct{ kind, name, table, text string }

// madeBy returns the objects that the first versions of a schema make. Text is compared,
// not what it says: whoever can write the file can have put triggers, computed columns,
// other orders of names, or conflict clauses into it, which change what is read from a
// table or written to it, or never end.
func madeBy(ctx context.Context, versions []string) (objects []object, err error) {
	db := sql.OpenDB(connector{"file::memory:", func(c connection) error {
		for _, part := range versions {
			if err := c.exec(part); err != nil {
				return err
			}
		}
		return nil
	}})
	defer db.Close()
	return objectsOf(ctx, db)
}

func objectsOf(ctx context.Context, src source) (objects []object, err error) {
	rows, err := src.QueryContext(ctx, listSchema)
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

// check reports whether the database is one of ours, of a version that this program
// knows; of an earlier one it is to be brought up to date first.
func (l layout) check(known int) error {
	switch {
	case l == (layout{}):
		return &keystore.Error{Err: ErrForeign, Detail: "it is an empty database, not a globus-keys store"}
	case l.application != applicationID || l.version < 1:
		return &keystore.Error{Err: ErrForeign, Detail: "it is an SQLite database, but not a globus-keys store"}
	case l.version > known:
		return corrupt(fmt.Sprintf("it has format version %d; this program knows version %d", l.version, known))
	case l.strange > 0:
		return &keystore.Error{Err: keystore.ErrTampered, Detail: "it has tables, views, triggers or indexes that no store has: look who has made them"}
	}
	return nil
}

// unquoted hides what database/sql quotes: a value that it could not convert.
func unquoted(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "sql: Scan error") {
		return corrupt("a value is not of its type")
	}
	return err
}

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}
