package sqliteadapter

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestDamagedRowCostsOnlyItself: all others are listed and got, it is named or passed
// over, Check finds it, and it can be replaced.
func TestDamagedRowCostsOnlyItself(t *testing.T) {
	for what, c := range map[string]struct {
		change string
		listed bool // still, under its name
	}{
		"not an age file":       {"UPDATE records SET age = x'00' WHERE name = 'two'", true},
		"an empty one":          {"UPDATE records SET age = x'' WHERE name = 'two'", true},
		"one that is too long":  {"UPDATE records SET age = zeroblob(50000000) WHERE name = 'two'", true},
		"another record's":      {"UPDATE records SET age = (SELECT age FROM records WHERE name = 'one') WHERE name = 'two'", true},
		"a name that is none":   {"UPDATE records SET name = 'a' || char(10) WHERE name = 'two'", false},
		"a name of bytes":       {"UPDATE records SET name = CAST(x'ff' AS TEXT) WHERE name = 'two'", false},
		"no namespace":          {"UPDATE records SET namespace = '' WHERE name = 'two'", false},
		"a name that is longer": {"UPDATE records SET name = printf('%.*c', 100000, 'x') WHERE name = 'two'", false},
		"a kind that is none":   {"UPDATE records SET kind = 'evil' WHERE name = 'two'", false},
	} {
		for _, mode := range []string{"WAL", "hidden"} {
			if mode == "hidden" && (!c.listed || strings.Contains(c.change, "'one'")) {
				continue
			}
			t.Run(mode+" "+what, func(t *testing.T) {
				s := newSite(t, mode)
				a := s.made(t)
				execute(t, s.plain(t), s.aimed(t, a, c.change))
				names := ""
				ok(t, "View", a.View(t.Context(), func(r keystore.Reader) error {
					for k, err := range r.Keys(keystore.KindToken) {
						ok(t, "Keys", err)
						names += k.Name + " "
					}
					return nil
				}))
				if want := map[bool]string{true: "one three two ", false: "one three "}[c.listed]; names != want {
					t.Errorf("listed are %q, want %q", names, want)
				}
				for _, name := range []string{"one", "three"} {
					if got, err := get(t.Context(), a, name); err != nil || got != base[name] {
						t.Errorf("%s is %q (%v)", name, got, err)
					}
				}
				got, err := get(t.Context(), a, "two")
				if err == nil || c.listed && !damaged(err) || strings.Contains(got, "2") {
					t.Errorf("two is %q (%v)", got, err)
				}
				if err := a.Check(t.Context()); !c.listed && !damaged(err) {
					t.Errorf("Check says %v", err)
				}
				ok(t, "replace", put(t.Context(), a, "two", "new"))
				if got, err := get(t.Context(), a, "two"); err != nil || got != "new" {
					t.Errorf("replaced it is %q (%v)", got, err)
				}
			})
		}
	}
}

// TestPutMendsADamagedLabel: a record that was not listed is listed again. A label that is
// good stays, and costs one Open; a new record costs none.
func TestPutMendsADamagedLabel(t *testing.T) {
	s := newSite(t, "hidden")
	a := s.made(t)
	for what, label := range map[string]string{
		"no age file": "x'00'", "an empty one": "x''", "none": "NULL", "too long a one": "zeroblob(50000000)",
		"another record's": "(SELECT label FROM records WHERE kind = 'token' AND name <> 'two')",
	} {
		execute(t, s.plain(t), s.aimed(t, a, "UPDATE records SET label = "+label+" WHERE name = 'two'"))
		if err := a.Check(t.Context()); !damaged(err) {
			t.Errorf("%s: Check says %v", what, err)
		}
		ok(t, "put", put(t.Context(), a, "two", "2"))
		holds(t, a, base, "after a put over "+what)
		ok(t, "Check", a.Check(t.Context()))
	}

	opened := 0
	b := s.openWith(t, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
		sealer, err := s.keys.Unseal(ctx, h, meta)
		return countingSealer{sealer.(keystore.Blinder), &opened}, err
	})
	for name, want := range map[string]int{"two": 1, "new": 0} {
		opened = 0
		if ok(t, "put", put(t.Context(), b, name, "2")); opened != want {
			t.Errorf("a put of %s has opened %d labels, want %d", name, opened, want)
		}
	}
}

type countingSealer struct {
	keystore.Blinder
	opened *int
}

func (s countingSealer) Open(ctx context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	*s.opened++
	return s.Blinder.Open(ctx, k, sealed)
}

// aimed is a statement about the record that has the name two, where names are hidden.
func (s site) aimed(t *testing.T, a *Adapter, statement string) string {
	t.Helper()
	if s.mode != "hidden" {
		return statement
	}
	g, end, err := a.enter(t.Context())
	ok(t, "enter", err)
	defer end()
	db, err := g.database(t.Context())
	ok(t, "database", err)
	defer db.leave()
	r, err := a.read(t.Context(), db)
	ok(t, "read", err)
	sealer, err := r.sealer()
	ok(t, "sealer", err)
	at, err := r.placeOf(sealer, tokenKey("two"))
	ok(t, "place", err)
	return strings.ReplaceAll(statement, "'two'", "'"+at.name+"'")
}

// TestEveryPageDamaged flips a byte here and there on every page: each record has its
// value or a named error, Check finds what makes one missing, and nothing is written by
// who reads.
func TestEveryPageDamaged(t *testing.T) {
	s := newSite(t, "TRUNCATE")
	long := map[string]string{"one": strings.Repeat("1", 9000), "two": "2", "three": strings.Repeat("3", 3000)}
	a := s.open(t)
	ok(t, "create", makeStore(t.Context(), a, long))
	ok(t, "Close", a.Close())
	good := s.bytes(t)
	missing, refused := 0, 0
	for i := 16; i < len(good); i += 127 { // a prime: all parts of pages
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		s.replace(t, bad)
		a := s.open(t)
		for name, want := range long {
			got, err := get(t.Context(), a, name)
			switch {
			case errors.Is(err, keystore.ErrNotFound):
				if missing++; !damaged(a.Check(t.Context())) {
					t.Fatalf("byte %d: %q is not found, and Check says nothing", i, name)
				}
			case damaged(err), errors.Is(err, keystore.ErrReadOnly):
				refused++
			case err != nil || got != want:
				t.Fatalf("byte %d: %q is %.20q (%v)", i, name, got, err)
			}
		}
		ok(t, "Close", a.Close())
		if !bytes.Equal(s.bytes(t), bad) {
			t.Fatalf("byte %d: reading has changed the database", i)
		}
	}
	t.Logf("%d refused, %d missing", refused, missing)
	if refused == 0 {
		t.Error("no damage was found")
	}
}

// TestEveryTruncationIsRefused, at each page and between. The last page alone may be cut
// without a record being lost.
func TestEveryTruncationIsRefused(t *testing.T) {
	s := newSite(t, "TRUNCATE")
	ok(t, "Close", s.made(t).Close())
	good := s.bytes(t)
	for n := len(good) - 1; n >= 0; n -= 1021 {
		s.replace(t, good[:n])
		_, err := read(t.Context(), s.open(t))
		if n > len(good)-4096 && (err == nil || damaged(err)) {
			continue
		}
		if !errors.Is(err, keystore.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", n, err)
		}
		if err := join(t.Context(), s.open(t), "x"); !errors.Is(err, keystore.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: writing: %v, want ErrCorrupt", n, err)
		}
		if !bytes.Equal(s.bytes(t), good[:n]) {
			t.Fatalf("cut to %d bytes: it was changed", n)
		}
	}
}

// TestGarbageBesideADatabase is not taken for what belongs to it.
func TestGarbageBesideADatabase(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		for _, suffix := range sidecars {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			garbage := make([]byte, 70000)
			rand.Read(garbage)
			ok(t, "write", os.WriteFile(s.path+suffix, garbage, 0o600))
			a := s.open(t)
			holds(t, a, base, "beside a garbage "+suffix)
			ok(t, "put", put(t.Context(), a, "two", "x"))
			holds(t, s.open(t), with("two", "x"), "afterwards")
		}
	})
}

// TestLogOfAnotherDatabaseIsNotBelieved: what SQLite kept beside a database that is gone,
// whole and in order, is not read into the one that is made in its place.
func TestLogOfAnotherDatabaseIsNotBelieved(t *testing.T) {
	was := newSite(t, "WAL")
	a := was.made(t)
	ok(t, "put", put(t.Context(), a, "two", "of another store")) // in the -wal, as long as it is open
	log, err := os.ReadFile(was.path + "-wal")
	ok(t, "read", err)
	if len(log) == 0 {
		t.Fatal("there is no -wal")
	}
	s := newSite(t, "WAL")
	ok(t, "write", os.WriteFile(s.path+"-wal", log, 0o600))
	holds(t, s.made(t), base, "beside the -wal of another")
	holds(t, s.open(t), base, "afterwards")
}

// TestCheckEndsWithItsContext in the middle of a statement, which a huge database makes
// last: here each row takes a millisecond, and the first one ends the context.
func TestCheckEndsWithItsContext(t *testing.T) {
	const rows = 500
	for what, check := range map[string]func(*reader) error{"check": (*reader).check, "strangeKinds": (*reader).strangeKinds} {
		ctx, cancel := context.WithCancel(t.Context())
		looked, begun := 0, false
		look := func() bool {
			if begun {
				looked++
				cancel()
				time.Sleep(time.Millisecond)
			}
			return true
		}
		src := sql.OpenDB(connector{"file::memory:", func(c connection) error {
			return c.Conn.(interface{ RegisterFunc(string, any, bool) error }).RegisterFunc("look", look, false)
		}})
		defer src.Close()
		src.SetMaxOpenConns(1)
		_, err := src.Exec(`CREATE TABLE numbers (n, CHECK (look()));
			CREATE VIEW records AS SELECT n AS kind FROM numbers WHERE look();
			INSERT INTO numbers WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT ?) SELECT n FROM r`, rows)
		ok(t, "make", err)
		begun = true
		err = check(&reader{ctx: ctx, a: newSite(t, "WAL").open(t), src: src, slow: what == "strangeKinds"})
		if !errors.Is(err, context.Canceled) || looked == 0 || looked == rows {
			t.Errorf("%s has looked at %d of %d rows: %v", what, looked, rows, err)
		}
	}
}
