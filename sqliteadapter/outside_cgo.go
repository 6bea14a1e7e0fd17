//go:build cgo

package sqliteadapter

import (
	"context"
	"database/sql/driver"

	"github.com/mattn/go-sqlite3"

	"github.com/globus-keys/globus-keys/internal/erase"
)

// outside is a connection that may be used inside of erase.Do, as the driver's may not.
type outside struct{ *sqlite3.SQLiteConn }

func open(uri string) (c outside, err error) {
	erase.Outside(func() {
		var conn driver.Conn
		if conn, err = (&sqlite3.SQLiteDriver{}).Open(uri); err == nil {
			c.SQLiteConn = conn.(*sqlite3.SQLiteConn)
			c.SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, maxValue)
		}
	})
	return c, err
}

func (c outside) Close() (err error) {
	erase.Outside(func() { err = c.SQLiteConn.Close() })
	return err
}

func (c outside) ExecContext(ctx context.Context, statement string, args []driver.NamedValue) (result driver.Result, err error) {
	erase.Outside(func() { result, err = c.SQLiteConn.ExecContext(ctx, statement, args) })
	return result, err
}

func (c outside) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	erase.Outside(func() { rows, err = c.SQLiteConn.QueryContext(ctx, query, args) })
	if err != nil {
		return nil, err
	}
	return outsideRows{rows}, nil
}

func (c outside) Serialize(schema string) (data []byte, err error) {
	erase.Outside(func() { data, err = c.SQLiteConn.Serialize(schema) })
	return data, err
}

func (c outside) Deserialize(data []byte, schema string) (err error) {
	erase.Outside(func() { err = c.SQLiteConn.Deserialize(data, schema) })
	return err
}

type outsideRows struct{ driver.Rows }

func (r outsideRows) Columns() (names []string) {
	erase.Outside(func() { names = r.Rows.Columns() })
	return names
}

func (r outsideRows) Next(to []driver.Value) (err error) {
	erase.Outside(func() { err = r.Rows.Next(to) })
	return err
}

func (r outsideRows) Close() (err error) {
	erase.Outside(func() { err = r.Rows.Close() })
	return err
}
