package sqliteadapter

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

// TestKilledTransactionShowsNothing: not in the database nor in any file beside it, while
// an Update is half done, when it was killed, and when the next one has come.
func TestKilledTransactionShowsNothing(t *testing.T) {
	for _, mode := range []string{"WAL", "TRUNCATE", "hidden"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			a := s.made(t)
			canary := "canary-" + rand.Text()
			s.hides(t, canary, "before")
			for _, when := range []string{"half", "put"} {
				p := s.start(t)
				p.tell(when + " two " + canary)
				p.says()
				s.hides(t, canary, "after "+when)
				p.kill()
				s.hides(t, canary, "after a kill")
			}
			if got, err := get(t.Context(), a, "two"); err != nil || got != canary {
				t.Errorf("two is %q (%v)", got, err)
			}
			ok(t, "remove", remove(t.Context(), a, "two"))
			execute(t, s.plain(t), "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode")
			s.hides(t, canary, "after remove and a checkpoint")
		})
	}
}

func (s site) hides(t *testing.T, canary, when string) {
	t.Helper()
	for _, found := range keystoretest.FindCanary(filepath.Dir(s.path), canary) {
		t.Errorf("%s: %s", when, found)
	}
}

// TestDeletedRecordsAreOverwritten: when Delete has returned, what a record was sealed to
// is in no file any more, nor in those of a rekey what was sealed with the key before.
// Names that are hidden are not seen.
func TestDeletedRecordsAreOverwritten(t *testing.T) {
	for _, mode := range []string{"WAL", "TRUNCATE", "hidden"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			a := s.made(t)
			other := s.open(t) // has it open, and reads nothing
			holds(t, other, base, "at first")
			two, three := s.sealed(t, a, "two"), s.sealed(t, a, "three")
			if !s.has(t, two) || !s.has(t, three) {
				t.Fatal("what is stored is not found in any file")
			}
			ok(t, "remove", remove(t.Context(), a, "two"))
			if s.has(t, two) {
				t.Error("after Delete its sealed record is found")
			}
			ok(t, "rekey", rekey(t.Context(), a, slotB))
			if s.has(t, three) {
				t.Error("after a rekey what was sealed with the old key is found")
			}
			holds(t, other, with("two", ""), "at last")
		})
	}
}

// sealed returns a part of a record as it is stored, which no other has.
func (s site) sealed(t *testing.T, a *Adapter, name string) (part []byte) {
	t.Helper()
	ok(t, "View", a.View(t.Context(), func(r keystore.Reader) error {
		sealed, err := r.(keystore.SealedReader).Sealed(tokenKey(name))
		if err == nil {
			part = sealed[len(sealed)-24:]
		}
		return err
	}))
	return part
}

// has reports whether a file of the store has these bytes.
func (s site) has(t *testing.T, part []byte) (found bool) {
	t.Helper()
	for _, suffix := range append(sidecars, "") {
		data, err := os.ReadFile(s.path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		found = found || bytes.Contains(data, part)
	}
	return found
}

// TestHiddenNamesAreHidden: in no file is a name, but in those of a store that has them in
// clear.
func TestHiddenNamesAreHidden(t *testing.T) {
	canary := "canary-" + rand.Text()
	for mode, hidden := range map[string]bool{"WAL": false, "hidden": true} {
		s := newSite(t, mode)
		a := s.made(t)
		err := a.Update(t.Context(), func(w keystore.Writer) error {
			payload, err := json.Marshal("x")
			return errors.Join(err, w.Put(tokenKey(canary), payload),
				w.Put(keystore.RecordKey{Namespace: canary, Kind: keystore.KindConfig, Name: canary}, payload))
		})
		ok(t, "put", err)
		if found := keystoretest.FindCanary(filepath.Dir(s.path), canary); (len(found) == 0) != hidden {
			t.Errorf("%s: %q", mode, found)
		}
		ok(t, "remove", remove(t.Context(), a, canary))
		if hidden {
			s.hides(t, canary, "after remove")
		}
	}
}
