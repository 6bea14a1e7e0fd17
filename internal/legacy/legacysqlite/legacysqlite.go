//go:build cgo

package legacysqlite

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

// maxRows is the most bytes that all rows may have: some 50,000 logins. A
// damaged database can have more rows than it has bytes.
const (
	maxRows = 64 << 20
	rowCost = 64 // bytes that a row counts for beside its text
)

// Read returns what the database at path holds, with what is in its -wal. It is
// a [legacy.SQLiteReader]. It waits up to 5 s for others that write, and writes
// nothing itself; SQLite may leave an empty -wal and its -shm beside a database
// in WAL mode.
//
// Errors: ErrCorrupt, ErrInvalid for a database of something else, ErrTooLarge,
// ErrBusy, and ErrUnavailable if SQLite would have to write and cannot.
func Read(ctx context.Context, path string) (*legacy.Database, error) {
	again, stop := patient(ctx)
	defer stop()
	c, err := open(ctx, path, reading(), again)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.database(ctx)
}

// Delete removes the database at path and the files that SQLite keeps beside
// it, unless check refuses what the database holds. It is a
// [legacy.SQLiteDeleter]. Nobody else can use the database from before check is
// called until it is removed; where that cannot be had within 5 s the error is
// ErrBusy. A connection that another program keeps open without using it is seen
// in WAL mode only. On Windows SQLite must let go of a file before it can be
// removed: what is written in that instant is seen by its size and time.
func Delete(ctx context.Context, path string, check func(*legacy.Database) error) error {
	again, stop := patient(ctx)
	defer stop()
	return removeIf(ctx, path, check, again)
}

func removeIf(ctx context.Context, path string, check func(*legacy.Database) error, again func() bool) error {
	c, err := open(ctx, path, excluding(), again)
	if err != nil {
		return err
	}
	defer c.close()
	d, err := c.database(ctx)
	if err != nil {
		return err
	}
	if err := check(d); err != nil {
		return err
	}
	if !removesOpenFiles {
		return c.closeAndRemove(path)
	}
	return remove(path)
}

func (c *connection) closeAndRemove(path string) error {
	before, err := os.Lstat(path)
	if err != nil {
		return err
	}
	c.close()
	after, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !untouched(before, after) {
		return &keystore.Error{Err: keystore.ErrBusy, Detail: "another program has just written to it"}
	}
	return remove(path)
}

func untouched(before, after fs.FileInfo) bool {
	return os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}

func remove(path string) error {
	return legacy.RemoveFiles(path, path+"-wal", path+"-shm", path+"-journal")
}

// The SDK's tables, and the rows of the one that describes the others.
const (
	tokenTable    = "token_storage"
	configTable   = "config_storage"
	internalTable = "sdk_storage_adapter_internal"
	schemaRow     = "globus-sdk.database_schema_version"
)

func (c *connection) database(ctx context.Context) (*legacy.Database, error) {
	r := reader{c: c, ctx: ctx, left: maxRows}
	d := &legacy.Database{}
	var err error
	if d.Schema, d.Foreign, err = r.layout(); err != nil {
		return nil, err
	}
	if d.Tokens, err = r.rows("SELECT +namespace, +resource_server, +token_data_json FROM "+tokenTable, keystore.KindToken); err != nil {
		return nil, err
	}
	if d.Schema == "1" {
		d.Configs, err = r.rows("SELECT +namespace, +config_name, +config_data_json FROM "+configTable, keystore.KindConfig)
	}
	return d, err
}

// reader reads tables, all within one limit.
type reader struct {
	c    *connection
	ctx  context.Context
	left int // bytes of rows that may still come
}

// layout recognises a database by its tables, and returns its schema and the
// tables that are not the SDK's. A view in a table's place is no table: what it
// shows is computed.
func (r *reader) layout() (schema string, foreign []string, err error) {
	encoding, err := r.texts("PRAGMA encoding")
	if err != nil {
		return "", nil, err
	}
	if len(encoding) != 1 || encoding[0][0] != "UTF-8" {
		return "", nil, corrupt("its texts are not in UTF-8")
	}
	tables, err := r.texts("SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
	if err != nil {
		return "", nil, err
	}
	has := make(map[string]bool)
	for _, t := range tables {
		switch name := t[0]; {
		case name != tokenTable && name != configTable && name != internalTable:
			foreign = append(foreign, name)
		case t[1] != "table":
			return "", nil, corrupt(fmt.Sprintf("%s is a %s, not a table", name, t[1]))
		default:
			has[name] = true
		}
	}
	slices.Sort(foreign)
	if !has[tokenTable] || !has[internalTable] {
		return "", nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: "it is an SQLite database, but not one of tokens; " +
			"expected one of the Globus SDK, globus-cli or globus-compute"}
	}
	schema, err = r.schema(has[configTable])
	return schema, foreign, err
}

func (r *reader) schema(hasConfigs bool) (string, error) {
	rows, err := r.texts("SELECT +value FROM " + internalTable + " WHERE attribute = '" + schemaRow + "'")
	if err != nil {
		return "", err
	}
	if len(rows) != 1 {
		return "", corrupt("it does not say which version of the Globus SDK's schema it has")
	}
	switch schema := rows[0][0]; {
	case schema != "1" && schema != "2":
		return "", &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf(
			"it has schema %q, which a later version of the Globus SDK may have written; 1 and 2 are known", schema)}
	case schema == "1" && !hasConfigs:
		return "", corrupt("it has schema 1, but no table " + configTable)
	case schema == "2" && hasConfigs:
		return "", corrupt("it has schema 2, which has no table " + configTable)
	default:
		return schema, nil
	}
}

// rows reads a table of three columns. The plus signs of the query strip the
// columns of their declared types, by which the driver would convert values.
func (r *reader) rows(query string, kind keystore.Kind) ([]legacy.Row, error) {
	var rows []legacy.Row
	err := r.each(query, func(values []any) error {
		var text [3]string
		for i, v := range values {
			var err error
			if text[i], err = asText(v); err != nil {
				key := keystore.RecordKey{Namespace: text[0], Kind: kind, Name: text[1]}
				return keystore.Annotate(err, keystore.Error{Key: key})
			}
		}
		rows = append(rows, legacy.Row{Namespace: text[0], Name: text[1], JSON: keystore.NewSecret(text[2])})
		return nil
	})
	return rows, err
}

// texts reads a short table of texts.
func (r *reader) texts(query string) ([][]string, error) {
	var rows [][]string
	err := r.each(query, func(values []any) error {
		var row []string
		for _, v := range values {
			s, err := asText(v)
			if err != nil {
				return err
			}
			row = append(row, s)
		}
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// each calls fn with every row of a query, in the order in which they lie in
// the database: sorting a damaged one might never end.
func (r *reader) each(query string, fn func([]any) error) error {
	rows, err := r.c.QueryContext(r.ctx, query)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return explain(err)
	}
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return explain(err)
		}
		if err := r.spend(values); err != nil {
			return err
		}
		if err := fn(values); err != nil {
			return err
		}
	}
	return explain(rows.Err())
}

func (r *reader) spend(values []any) error {
	r.left -= rowCost
	for _, v := range values {
		s, _ := v.(string)
		r.left -= len(s)
	}
	if r.left < 0 {
		return &keystore.Error{Err: keystore.ErrTooLarge, Detail: fmt.Sprintf("its rows have more than %d bytes", maxRows)}
	}
	return nil
}

func asText(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", corrupt("a column holds something else than text")
	}
	if !utf8.ValidString(s) {
		return "", corrupt("a column is not valid UTF-8")
	}
	return s, nil
}

func corrupt(detail string) error { return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail} }
