//go:build cgo

package legacysqlite

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/internal/sqliteuri"
)

const (
	cliFixture     = "../testdata/globus-cli-3.42.0/storage.db"
	schema1Fixture = "../testdata/globus-sdk-4.9.0/sqliteadapter-schema1.db"
	schema2Fixture = "../testdata/globus-sdk-4.9.0/sqlitetokenstorage-schema2.db"

	canary = "AgCanaryMustNotBeQuoted"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dir is a new directory. Its name has nothing of the test's, which might be
// taken for what an error says.
func dir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// clone copies a fixture to a new place of that name.
func clone(t testing.TB, fixture, name string) string {
	t.Helper()
	path := filepath.Join(dir(t), name)
	from, err := os.Open(fixture)
	check(t, err)
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	check(t, err)
	defer to.Close()
	_, err = io.Copy(to, from)
	check(t, err)
	return path
}

// user is another program that has the database open: one connection.
type user struct {
	db *sql.DB
	*sql.Conn
}

// Close ends the connection, which a pool would keep.
func (p user) Close() error { return errors.Join(p.Conn.Close(), p.db.Close()) }

func program(t testing.TB, path string, statements ...string) user {
	t.Helper()
	uri, err := sqliteuri.File(path, "mode=rwc&_busy_timeout=0")
	check(t, err)
	db, err := sql.Open("sqlite3", uri)
	check(t, err)
	conn, err := db.Conn(context.Background())
	check(t, err)
	p := user{db, conn}
	t.Cleanup(func() { p.Close() })
	for _, s := range statements {
		_, err := conn.ExecContext(context.Background(), s)
		check(t, err)
	}
	return p
}

// edited is a clone on which another program has run statements.
func edited(t testing.TB, fixture string, statements ...string) string {
	t.Helper()
	path := clone(t, fixture, "storage.db")
	check(t, program(t, path, statements...).Close())
	return path
}

const insert = `INSERT INTO token_storage VALUES('DEFAULT', 'new', '{"access_token": "` + canary + `"}')`

func mustRead(t testing.TB, path string) *legacy.File {
	t.Helper()
	f, err := legacy.Read(context.Background(), path, Read)
	check(t, err)
	return f
}

// refused checks what an error says, and what no error may say.
func refused(t *testing.T, err, is error, says ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Errorf("%v is not of the kind %q", err, is)
	}
	if err == nil {
		return
	}
	for _, word := range says {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %s", err, word)
		}
	}
	if strings.Contains(err.Error(), canary) || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%q quotes what it must not", err)
	}
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}
