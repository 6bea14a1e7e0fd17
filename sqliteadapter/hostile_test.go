package sqliteadapter

import (
	"context"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestTurnedNamesAreRefused: a store whose row says that names are kept in the other way
// is not taken for an empty one.
func TestTurnedNamesAreRefused(t *testing.T) {
	for mode, says := range map[string]string{"WAL": "hashed", "hidden": "clear"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			by("UPDATE store SET names = '"+says+"'")(t, s)
			s.mode = "WAL" // whose option asks for nothing
			a := s.open(t)
			_, err := read(t.Context(), a)
			fails(t, "a list", err, keystore.ErrTampered, s.path)
			_, err = get(t.Context(), a, "one")
			fails(t, "a read", err, keystore.ErrTampered, s.path)
			fails(t, "a put", put(t.Context(), a, "new", "x"), keystore.ErrTampered, s.path)
		})
	}
}

// TestWriterAsksForNoKey: in an Update, under the store's lock, names are listed with the
// key that it has begun with, whatever calls beside it have asked for meanwhile.
func TestWriterAsksForNoKey(t *testing.T) {
	s := newSite(t, "hidden")
	s.made(t)
	asked := 0
	a := s.openWith(t, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
		asked++
		return s.keys.Unseal(ctx, h, meta)
	})
	ok(t, "Update", a.Update(t.Context(), func(w keystore.Writer) error {
		a.keys.Forget() // a View that still reads what was there before a rekey asks for that key
		listed := 0
		for _, err := range w.Keys(keystore.KindToken) {
			ok(t, "Keys", err)
			listed++
		}
		if listed != len(base) || asked != 1 {
			t.Errorf("%d names were listed, and the key was asked for %d times", listed, asked)
		}
		return nil
	}))
}

// TestNamesOutOfOrderAreRefused: an index that is not in the order that its table says
// would show some names twice, and others never, and could be read for ever.
func TestNamesOutOfOrderAreRefused(t *testing.T) {
	for _, mode := range []string{"WAL", "hidden"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			a := s.open(t)
			ok(t, "create", makeStore(t.Context(), a, map[string]string{"a": "1", "B": "2", "c": "3"}))
			ok(t, "Close", a.Close())
			by("PRAGMA writable_schema = ON; CREATE TEMP TABLE was AS SELECT sql FROM sqlite_schema WHERE name = 'records';"+
				"ALTER TABLE records RENAME TO r; CREATE TABLE records (kind TEXT, namespace TEXT, name TEXT, label BLOB, age BLOB, UNIQUE (kind, namespace, name DESC));"+
				"INSERT INTO records SELECT * FROM r; DROP TABLE r;"+
				"UPDATE sqlite_schema SET sql = (SELECT sql FROM was) WHERE name = 'records'")(t, s)
			b := s.open(t)
			_, err := read(t.Context(), b)
			fails(t, "a list", err, keystore.ErrCorrupt, s.path)
		})
	}
}

// TestTablesChangedWhileOpen: an Update looks at them anew. What is planted is refused,
// and what changes nothing, such as VACUUM, is passed over.
func TestTablesChangedWhileOpen(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		by("VACUUM")(t, s)
		ok(t, "put", put(t.Context(), a, "one", "x"))
		holds(t, a, with("one", "x"), "after VACUUM")
		by("CREATE TRIGGER evil BEFORE UPDATE ON records BEGIN SELECT RAISE(IGNORE); END")(t, s)
		fails(t, "a put that is ignored", put(t.Context(), a, "one", "y"), keystore.ErrTampered, s.path)
		by("DROP TRIGGER evil; PRAGMA user_version = 99")(t, s)
		fails(t, "a put into a later version", put(t.Context(), a, "one", "y"), keystore.ErrCorrupt, s.path)
		by("PRAGMA user_version = 1")(t, s)
		holds(t, s.open(t), with("one", "x"), "afterwards")
	})
}

// TestSwappedLabels: the names of two hidden records that have changed their places are
// nobody's: neither is listed, both are named by Check, and what was put is got.
func TestSwappedLabels(t *testing.T) {
	s := newSite(t, "hidden")
	a := s.made(t)
	execute(t, s.plain(t), "CREATE TEMP TABLE was AS SELECT name, label FROM records WHERE kind = 'token' ORDER BY name LIMIT 2",
		"UPDATE records SET label = (SELECT label FROM was WHERE was.name <> records.name) WHERE name IN (SELECT name FROM was)")
	if listed, err := read(t.Context(), a); err != nil || len(listed) != 1 {
		t.Errorf("listed are %v (%v)", listed, err)
	}
	if err := a.Check(t.Context()); !damaged(err) || strings.Count(err.Error(), "the label of token") != 2 {
		t.Errorf("Check says %v", err)
	}
	for name, want := range base {
		if got, err := get(t.Context(), a, name); err != nil || got != want {
			t.Errorf("%s is %q (%v)", name, got, err)
		}
	}
}
