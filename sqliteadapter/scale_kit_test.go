package sqliteadapter

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
)

// spread are the records of a large store that can be read, evenly among the others.
const spread = 16

// payload is a login's, of the size of one at Globus.
func payload(k keystore.RecordKey) []byte {
	return fmt.Appendf(nil, `{"token": {"resource_server": %q, "access_token": "%0900d"}}`, k.Name, 7)
}

// numbered is the name of the nth of many records, in their order.
func numbered(n int) string { return fmt.Sprintf("rs%07d.example", n) }

// readable returns the keys of a store of so many records that can be read.
func readable(records int) (keys []keystore.RecordKey) {
	for n := range min(records, spread) {
		keys = append(keys, tokenKey(numbered(n*(records/min(records, spread)))))
	}
	return keys
}

// newStore makes a store with the records put into it.
func newStore(t testing.TB, path string, keys ...keystore.RecordKey) *Adapter {
	t.Helper()
	a := openStore(t, path)
	if err := found(t, a, keys...); err != nil {
		t.Fatal(err)
	}
	return a
}

func found(t testing.TB, a *Adapter, keys ...keystore.RecordKey) error {
	return a.Update(t.Context(), func(w keystore.Writer) error {
		if err := w.SetHeader(keystore.Header{StoreID: keystore.StoreID{1}, Slots: []keystore.Slot{{Kind: keystore.SlotPassphrase, Name: "key"}}}); err != nil {
			return err
		}
		if err := w.Put(keystore.MetaKey, meta(t)); err != nil {
			return err
		}
		return putLogins(w, keys)
	})
}

func putLogins(w keystore.Writer, keys []keystore.RecordKey) error {
	for _, k := range keys {
		if err := w.Put(k, payload(k)); err != nil {
			return err
		}
	}
	return nil
}

func openStore(t testing.TB, path string) *Adapter {
	t.Helper()
	a, err := Open(path, adaptertest.KeyFiles(filepath.Dir(path)).Unseal, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// newLarge makes a store of so many records. They are copies of one, which is quick and
// opens in no other place, but those that readable names.
func newLarge(t testing.TB, path string, records int) *Adapter {
	t.Helper()
	keys := readable(records)
	a := newStore(t, path, keys...)
	fillUp(t, a, records, keys[0])
	return a
}

func fillUp(t testing.TB, a *Adapter, records int, of keystore.RecordKey) {
	t.Helper()
	ctx := context.Background()
	g, end, err := a.enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	db, err := g.database(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const copies = `WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1)
		INSERT OR IGNORE INTO records SELECT 'token', ?2, printf('rs%07d.example', n), NULL,
		(SELECT age FROM records WHERE kind = 'token' AND namespace = ?2 AND name = ?3) FROM number`
	err = db.transact(ctx, func(t *transaction) error { return t.run(copies, records, of.Namespace, of.Name) })
	if err != nil {
		t.Fatal(err)
	}
	db.checkpoint()
}

func getRecord(ctx context.Context, a *Adapter, k keystore.RecordKey) error {
	return a.View(ctx, func(r keystore.Reader) error {
		_, err := r.Get(k)
		return err
	})
}
