//go:build cgo

package legacysqlite

import (
	"context"
	"database/sql"
	_ "embed"

	"github.com/mattn/go-sqlite3"

	"github.com/globus-keys/globus-keys/internal/legacy"
)

var (
	//go:embed tokens.sql
	tokensSQL string
	//go:embed configs.sql
	configsSQL string
)

// Encode returns the bytes of a database file with the rows of d, in the schema that
// d names. It is a [legacy.SQLiteEncoder]. The database is made in memory: SQLite
// writes no file, and so no journal and no half of one.
func Encode(ctx context.Context, d *legacy.Database) ([]byte, error) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return nil, explain(err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx) // each has a database of its own
	if err != nil {
		return nil, explain(err)
	}
	defer conn.Close()
	if err := fill(ctx, conn, d); err != nil {
		return nil, explain(err)
	}
	var file []byte
	err = conn.Raw(func(driver any) error {
		file, err = driver.(*sqlite3.SQLiteConn).Serialize("main")
		return err
	})
	return file, explain(err)
}

func fill(ctx context.Context, conn *sql.Conn, d *legacy.Database) error {
	schema := tokensSQL
	if d.Schema == "1" {
		schema += configsSQL
	}
	if _, err := conn.ExecContext(ctx, schema); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil) // one for all rows, or each would be its own
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, row := range d.Internal() {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+internalTable+" VALUES (?, ?)", row[0], row[1]); err != nil {
			return err
		}
	}
	if err := insertRows(ctx, tx, tokenTable, d.Tokens); err != nil {
		return err
	}
	if err := insertRows(ctx, tx, configTable, d.Configs); err != nil {
		return err
	}
	return tx.Commit()
}

func insertRows(ctx context.Context, tx *sql.Tx, table string, rows []legacy.Row) error {
	for _, r := range rows {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+table+" VALUES (?, ?, ?)", r.Namespace, r.Name, r.JSON.Reveal())
		if err != nil {
			return err
		}
	}
	return nil
}
