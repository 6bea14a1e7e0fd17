package sqliteadapter

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// later is what two versions to come may make of the schema.
const later = `
-- version 2
ALTER TABLE store ADD COLUMN more TEXT NOT NULL DEFAULT 'none';
-- version 3
CREATE TABLE other (n INTEGER PRIMARY KEY) STRICT;
INSERT INTO other VALUES (7);
`

// withLater has this process be of a program that knows those versions, until the test ends.
func withLater(t *testing.T) {
	was := schema
	t.Cleanup(func() { schema = was })
	schema += later
}

// TestStoreOfAnEarlierVersionIsBroughtUpToDate by whoever opens it first of many at once:
// once, and with all that it holds. A program that knows the earlier one only refuses it
// then.
func TestStoreOfAnEarlierVersionIsBroughtUpToDate(t *testing.T) {
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			t.Run("later", func(t *testing.T) {
				withLater(t)
				want := maps.Clone(base)
				var wg sync.WaitGroup
				for i := range 8 {
					a := s.open(t)
					wg.Go(func() {
						if err := put(t.Context(), a, fmt.Sprint(i), "x"); err != nil {
							t.Errorf("put: %v", err)
						}
					})
					want[fmt.Sprint(i)] = "x"
				}
				wg.Wait()
				s.is(t, 3, 7)
				a := s.open(t)
				holds(t, a, want, "brought up to date")
				ok(t, "Check", a.Check(t.Context()))
				fresh := newSite(t, mode)
				ok(t, "Close", fresh.made(t).Close())
				fresh.is(t, 3, 7)
			})
			_, err := get(t.Context(), s.open(t), "one")
			fails(t, "a program of the earlier version", err, keystore.ErrCorrupt, s.path)
		})
	}
}

// is checks the version of the database, and that what makes it was done once.
func (s site) is(t *testing.T, version, sum int) {
	t.Helper()
	c := s.plain(t)
	var v, n int
	ok(t, "version", c.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&v))
	ok(t, "version", c.QueryRowContext(t.Context(), "SELECT sum(n) FROM other, store WHERE more = 'none'").Scan(&n))
	if v != version || n != sum {
		t.Errorf("the database is of version %d, and holds %d", v, n)
	}
}

// TestUpgradeThatFails leaves a store of the earlier version, which goes on being one.
func TestUpgradeThatFails(t *testing.T) {
	s := newSite(t, "WAL")
	ok(t, "Close", s.made(t).Close())
	t.Run("later", func(t *testing.T) {
		withLater(t)
		schema += "-- version 4\nINSERT INTO other VALUES (7);\n" // as there is
		_, err := get(t.Context(), s.open(t), "one")
		fails(t, "an upgrade that fails", err, keystore.ErrCorrupt, s.path)
	})
	holds(t, s.open(t), base, "afterwards")
}
