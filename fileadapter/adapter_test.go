package fileadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestOpenReadsAndMakesNothing(t *testing.T) {
	dir := t.TempDir()
	k := newKeychain(t)
	k.open(t, filepath.Join(dir, "sub", "tokens.json"))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("Open has made %v (%v)", entries, err)
	}
	if _, err := Open("x", nil, nil); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("without Unseal: %v, want ErrInvalid", err)
	}
}

// TestReadersNeverFail: 10,000 reads beside a writer that does not pause.
func TestReadersNeverFail(t *testing.T) {
	v := newVictim(t)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writes := 0
	writing.Go(func() {
		a := v.k.open(t, v.path)
		for ctx.Err() == nil {
			if err := put("one", "1")(context.Background(), a); err != nil {
				t.Error(err)
				return
			}
			writes++
		}
	})
	reader := v.k.open(t, v.path)
	for range 10_000 {
		if got, err := read(t.Context(), reader); err != nil || !maps.Equal(got, base) {
			t.Fatalf("a reader beside a writer: %v, %v", got, err)
		}
	}
	stop()
	writing.Wait()
	if writes == 0 {
		t.Error("the writer never wrote")
	}
	t.Logf("10,000 reads beside %d writes", writes)
}

// TestRestoreBackup goes back one change, and keeps a file it cannot read.
func TestRestoreBackup(t *testing.T) {
	v := newVictim(t)
	if err := put("one", "changed")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	v.write([]byte("not a store"))
	a, err := Open(v.path, v.k.unseal, &Options{Clock: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.RestoreBackup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), a); err != nil || !maps.Equal(got, base) {
		t.Errorf("restored: %v, %v", got, err)
	}
	if kept, err := os.ReadFile(v.path + ".damaged-19700101T000000Z"); err != nil || string(kept) != "not a store" {
		t.Errorf("the damaged file was not kept: %q, %v", kept, err)
	}
}

func TestRestoreBackupRefusesAnotherKeysRecords(t *testing.T) {
	v := newVictim(t)
	if err := rekey(t.Context(), v.k.open(t, v.path), slotB); err != nil {
		t.Fatal(err)
	}
	now := v.bytes()
	// After a rekey the backup is a link to the file itself.
	if err := errors.Join(os.Remove(v.path+".bak"), os.WriteFile(v.path+".bak", v.good, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := v.k.open(t, v.path).RestoreBackup(t.Context()); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a backup from before the rekey: %v, want ErrTampered", err)
	}
	if string(v.bytes()) != string(now) {
		t.Error("the store was changed")
	}
}

// TestResetMovesEverythingAside and a new store can be made in its place.
func TestResetMovesEverythingAside(t *testing.T) {
	v := newVictim(t)
	if err := put("four", "4")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	whole := string(v.bytes())
	a := v.k.open(t, v.path)
	moved, err := a.Reset(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(filepath.Join(moved, "tokens.json")); err != nil || string(kept) != whole {
		t.Errorf("the store was not kept whole in %s (%v)", moved, err)
	}
	if _, err := v.get("one"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("after Reset: %v, want ErrNotFound", err)
	}
	if err := makeStore(t.Context(), a, base); err != nil {
		t.Errorf("making a new store: %v", err)
	}
}

// TestTwoResetsKeepTwoStores, also within the second that names them.
func TestTwoResetsKeepTwoStores(t *testing.T) {
	v := newVictim(t)
	a, err := Open(v.path, v.k.unseal, &Options{Clock: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string) // where a store was moved -> its bytes
	for range 2 {
		whole := string(v.bytes())
		moved, err := a.Reset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want[moved] = whole
		if err := makeStore(t.Context(), a, base); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != 2 {
		t.Errorf("both stores were moved to one place: %d", len(want))
	}
	for moved, whole := range want { // only now: the second must not have harmed the first
		if data, err := os.ReadFile(filepath.Join(moved, "tokens.json")); err != nil || string(data) != whole {
			t.Errorf("%s does not hold the store that was moved there (%v)", moved, err)
		}
	}
}

func TestResetWithoutAStoreIsNotFound(t *testing.T) {
	a := newKeychain(t).open(t, filepath.Join(t.TempDir(), "store", "tokens.json"))
	if moved, err := a.Reset(t.Context()); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("moved %q, %v, want ErrNotFound", moved, err)
	}
}

// TestRestoreBackupNeedsItsMetaRecord: without it the store could not be opened.
func TestRestoreBackupNeedsItsMetaRecord(t *testing.T) {
	v := newVictim(t)
	empty := fmt.Sprintf(`{"globus_keys": 1, "store": %q, "slots": [{"kind": "passphrase", "file": %q}], "records": []}`, testStore, slotB)
	if err := os.WriteFile(v.path+".bak", []byte(empty), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.k.open(t, v.path).RestoreBackup(t.Context()); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("%v, want ErrTampered", err)
	}
	if !bytes.Equal(v.bytes(), v.good) {
		t.Error("the store was changed")
	}
}

// TestNewStoreKeepsAnEarlierOnesBackup: its second update must not overwrite
// the only copy of a store that somebody has lost.
func TestNewStoreKeepsAnEarlierOnesBackup(t *testing.T) {
	v := newVictim(t)
	if err := put("four", "4")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(v.path), os.RemoveAll(v.path+".locks")); err != nil {
		t.Fatal(err)
	}
	if err := makeStore(t.Context(), v.k.open(t, v.path), base); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(v.path + ".bak.before-*")
	if err != nil || len(kept) != 1 {
		t.Errorf("kept backups: %v, %v", kept, err)
	}
}

// TestWriterDoesNotWaitForEver for one that has been stopped.
func TestWriterDoesNotWaitForEver(t *testing.T) {
	v := newVictim(t)
	a := v.k.open(t, v.path)
	p, err := a.file.Find()
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := p.LockStore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	a.file.Patience = time.Millisecond
	if err := put("one", "x")(t.Context(), a); !errors.Is(err, keystore.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("%v, want ErrBusy that names the holder", err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	v := newVictim(t)
	v.write([]byte("{}"))
	for what, call := range map[string]func(*Adapter) error{
		"View":   func(a *Adapter) error { return a.View(t.Context(), func(keystore.Reader) error { return nil }) },
		"Update": func(a *Adapter) error { return a.Update(t.Context(), func(keystore.Writer) error { return nil }) },
		"Lock": func(a *Adapter) error {
			_, err := a.LockCredential(t.Context(), tokenKey("one"))
			return err
		},
		"ViewBackup": func(a *Adapter) error {
			return a.ViewBackup(t.Context(), func(keystore.Reader) error { return nil })
		},
	} {
		if err := call(v.k.open(t, v.path)); err == nil || !strings.Contains(err.Error(), v.path) {
			t.Errorf("%s: %v does not name %s", what, err, v.path)
		}
	}
}

func FuzzStoreFile(f *testing.F) {
	f.Add([]byte(`{"globus_keys": 1, "store": "01020300000000000000000000000000", "slots": [{"kind": "passphrase", "file": "identity-a.age"}],
 "records": [{"namespace": "DEFAULT", "kind": "token", "name": "x", "age": "YQ=="}]}`))
	f.Add([]byte(`{"globus_keys": 1, "store": "01020300000000000000000000000000", "slots": [], "records": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := parse(data)
		if err != nil {
			if !errors.Is(err, keystore.ErrCorrupt) {
				t.Fatalf("refused with %v, which is not ErrCorrupt", err)
			}
			return
		}
		text, err := doc.format()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(text)
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v\n%s", err, text)
		}
		if !again.state().Equal(doc.state()) || !maps.Equal(again.records, doc.records) {
			t.Fatalf("writing has changed the content:\n%s\n%s", data, text)
		}
	})
}

// TestRekeyWhileAKeyIsWaitedFor: a writer who has got the key of a store, and then its lock,
// finds another key, and asks for that: nothing is sealed with the old one.
func TestRekeyWhileAKeyIsWaitedFor(t *testing.T) {
	k, path := newKeychain(t), filepath.Join(t.TempDir(), "store", "tokens.json")
	if err := makeStore(t.Context(), k.open(t, path), map[string]string{"one": "1"}); err != nil {
		t.Fatal(err)
	}
	asked := 0
	a, err := Open(path, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
		if asked++; asked == 1 {
			if err := rekey(ctx, k.open(t, path), slotB); err != nil {
				t.Errorf("rekey: %v", err)
			}
		}
		return k.unseal(ctx, h, meta)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	err = a.Update(t.Context(), func(w keystore.Writer) error { return putAll(w, map[string]string{"two": "2"}) })
	if err != nil || asked != 2 {
		t.Errorf("the key was asked for %d times: %v", asked, err)
	}
	want := map[string]string{"one": "1", "two": "2"}
	if got, err := read(t.Context(), k.open(t, path)); err != nil || !maps.Equal(got, want) {
		t.Errorf("the store holds %v (%v)", got, err)
	}
}
