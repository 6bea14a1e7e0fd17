//go:build cgo

package legacysqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
)

// TestDatabaseIsMadeAsItWasRead: with the same tables, as SQLite itself says, and rows.
func TestDatabaseIsMadeAsItWasRead(t *testing.T) {
	for _, fixture := range []string{cliFixture, schema1Fixture, schema2Fixture} {
		f := mustRead(t, clone(t, fixture, "storage.db"))
		was, err := Read(context.Background(), fixture)
		check(t, err)
		format, ok := legacy.FindFormat("globus-sdk-sqlite", was.Schema)
		if !ok {
			t.Fatalf("schema %q", was.Schema)
		}
		data, left, err := format.Encode(context.Background(), f.Contents, Encode)
		check(t, err)
		path := filepath.Join(dir(t), "new.db")
		check(t, os.WriteFile(path, data, 0o600))
		again := mustRead(t, path)
		if again.Format != f.Format || len(left) != 0 {
			t.Errorf("%s became %s, and %v is left out", f.Format, again.Format, left)
		}
		sameAsDump(t, again, dump(t, fixture))
		for _, table := range []string{tokenTable, configTable, internalTable} {
			if got, want := columns(t, path, table), columns(t, fixture, table); got != want {
				t.Errorf("%s of %s is\n%s\nwant\n%s", table, fixture, got, want)
			}
		}
		if found := one(t, path, "PRAGMA integrity_check") + one(t, path, "PRAGMA journal_mode"); found != "okdelete" {
			t.Error(found)
		}
		if n := names(t, filepath.Dir(path)); len(n) != 1 {
			t.Errorf("%q", n)
		}
	}
}

func columns(t *testing.T, path, table string) string {
	t.Helper()
	return one(t, path, `SELECT coalesce(group_concat(name || ' ' || type || ' ' || "notnull" || ' ' || pk, ', '), '') FROM pragma_table_info('`+table+`')`)
}

// one is what a query answers.
func one(t *testing.T, path, query string) (answer string) {
	t.Helper()
	check(t, program(t, path).QueryRowContext(context.Background(), query).Scan(&answer))
	return answer
}

func TestMakingADatabaseEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if data, err := Encode(ctx, &legacy.Database{Schema: "2"}); !errors.Is(err, context.Canceled) || data != nil {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
