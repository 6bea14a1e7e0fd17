// Package adaptertest is what the tests of several adapters, and of what stands on
// them, do in one way: keys in files, a rekey, all records, the modes of files.
package adaptertest

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// Rekey is one Update that rewrites every record under the key of h.
func Rekey(ctx context.Context, a keystore.StorageAdapter, h keystore.Header) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		if err := w.SetHeader(h); err != nil {
			return err
		}
		return each(w, w.Put)
	})
}

// Records returns the payloads of all records, of all kinds.
func Records(ctx context.Context, a keystore.StorageAdapter) (map[keystore.RecordKey]string, error) {
	all := make(map[keystore.RecordKey]string)
	err := a.View(ctx, func(r keystore.Reader) error {
		clear(all)
		return each(r, func(k keystore.RecordKey, payload []byte) error {
			all[k] = string(payload)
			return nil
		})
	})
	return all, err
}

func each(r keystore.Reader, do func(keystore.RecordKey, []byte) error) error {
	for _, kind := range keystore.Kinds() {
		for k, err := range r.Keys(kind) {
			if err != nil {
				return err
			}
			payload, err := r.Get(k)
			if err != nil {
				return err
			}
			if err := do(k, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckModes checks that below root, and at it, directories are 0700 and files 0600,
// and that there is a file.
func CheckModes(t testing.TB, root string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files: %v", files, err)
	}
}
