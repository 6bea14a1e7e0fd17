package fileadapter

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
	"github.com/globus-keys/globus-keys/keystore"
)

// plans are the ways in which the n-th operation on the file system goes wrong.
var plans = map[string]faultfs.Plan{
	"EIO":           {Err: syscall.EIO},
	"ENOSPC, torn":  {Err: syscall.ENOSPC, Torn: true},
	"crash":         {Crash: true},
	"crash in torn": {Crash: true, Torn: true},
}

// TestEveryFault walks n = 1, 2, 3, … to the end of every operation: the store
// is before or after, and after if there was no error.
func TestEveryFault(t *testing.T) {
	k := newKeychain(t)
	for name, op := range operations {
		for planName, plan := range plans {
			t.Run(name+" "+planName, func(t *testing.T) {
				from := prepared(t, k, op)
				n := 1
				for ; ; n++ {
					plan.Op = n
					dir := copyTree(t, from)
					fsys := faultfs.New(atomicfile.OS(), plan)
					a := k.open(t, filepath.Join(dir, "tokens.json"))
					a.file.FS = fsys
					err := op.run(t.Context(), a)
					checkAfter(t, k, op, dir, err == nil, name+" "+planName)
					if fsys.Ops() < n {
						break
					}
				}
				if n < 20 {
					t.Errorf("the walk ended after %d operations", n)
				}
			})
		}
	}
}

// TestDurablePutSyncsTwice: the file and its directory, at 10 records.
func TestDurablePutSyncsTwice(t *testing.T) {
	k := newKeychain(t)
	path := filepath.Join(t.TempDir(), "store", "tokens.json")
	ten := make(map[string]string)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		ten[name] = name
	}
	if err := makeStore(t.Context(), k.open(t, path), ten); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(context.Context, *Adapter) error{
		"update": put("a", "again"),
		"put":    put("k", "new"),
		"delete": func(ctx context.Context, a *Adapter) error {
			return a.Update(ctx, func(w keystore.Writer) error { return w.Delete(tokenKey("b")) })
		},
	} {
		fsys := faultfs.New(atomicfile.OS(), faultfs.Plan{})
		a := k.open(t, path)
		a.file.FS = fsys
		if err := change(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if fsys.Syncs() != 2 {
			t.Errorf("%s: %d syncs, want 2 (file, directory)", name, fsys.Syncs())
		}
	}
}

// TestUpdateWithoutChangeWritesNothing, not even its directory entry.
func TestUpdateWithoutChangeWritesNothing(t *testing.T) {
	v := newVictim(t)
	before, err := os.Stat(v.path)
	if err != nil {
		t.Fatal(err)
	}
	a := v.k.open(t, v.path)
	if err := a.Update(t.Context(), func(w keystore.Writer) error { _, err := w.Get(tokenKey("one")); return err }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(v.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
}

// TestRemovedRecordsLeaveTheBackup: what is removed must not stay readable
// beside the store.
func TestRemovedRecordsLeaveTheBackup(t *testing.T) {
	v := newVictim(t)
	a := v.k.open(t, v.path)
	if err := put("four", "4")(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := operations["delete"].run(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	err := a.ViewBackup(t.Context(), func(r keystore.Reader) error {
		got = make(map[string]string)
		for key, err := range r.Keys(keystore.KindToken) {
			if err != nil {
				return err
			}
			got[key.Name] = ""
		}
		return nil
	})
	want := map[string]string{"one": "", "three": "", "four": ""}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("the backup holds %v (%v), want %v", got, err, want)
	}
}
