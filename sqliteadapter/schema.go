package sqliteadapter

import (
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

// countStrange counts what could do other things than a table with what is read from it
// and written to it.
const countStrange = `SELECT count(*) FROM sqlite_schema WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'`

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
		return &keystore.Error{Err: keystore.ErrTampered, Detail: "it has views, triggers or virtual tables, and no store has: look who has made them"}
	}
	return nil
}

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}
