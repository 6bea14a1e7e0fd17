package legacy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func TestUnchangedFileIsDeleted(t *testing.T) {
	path := write(t, "f", sdk1(""))
	f := mustRead(t, path)
	// Whose it is to become is the importer's business, and no change.
	f.Contents[0].Namespace = "other"
	if err := f.Delete(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	refused(t, f.Delete(context.Background(), nil), fs.ErrNotExist, path)
}

func TestFileThatIsNotWhatWasReadStays(t *testing.T) {
	before := sdk1("")
	for what, change := range map[string]struct {
		do   func(t *testing.T, path string)
		is   error
		says string
	}{
		"another content of the same size and time": {func(t *testing.T, path string) {
			info := must(os.Stat(path))(t)
			write(t, path, before[:len(before)-5]+`9.9"}`)
			check(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, keystore.ErrBusy, "changed"},
		"the same content at another time": {func(t *testing.T, path string) {
			info := must(os.Stat(path))(t)
			check(t, os.Chtimes(path, info.ModTime(), info.ModTime().Add(1e9)))
		}, keystore.ErrBusy, "changed"},
		"a longer content": {func(t *testing.T, path string) { write(t, path, before+" ") }, keystore.ErrBusy, "changed"},
		"another file": {func(t *testing.T, path string) {
			check(t, os.Rename(path, path+".old"))
			write(t, path, before)
		}, keystore.ErrBusy, "another file"},
		"a second name": {func(t *testing.T, path string) { check(t, os.Link(path, path+".link")) }, keystore.ErrInvalid, "2 names"},
		"a link": {func(t *testing.T, path string) {
			check(t, os.Rename(path, path+".old"))
			check(t, os.Symlink(path+".old", path))
		}, keystore.ErrInvalid, "symbolic link"},
		"a directory": {func(t *testing.T, path string) {
			check(t, os.Rename(path, path+".old"))
			check(t, os.Mkdir(path, 0o700))
		}, keystore.ErrInvalid, "a directory"},
	} {
		t.Run(what, func(t *testing.T) {
			path := write(t, "f", before)
			f := mustRead(t, path)
			change.do(t, path)
			entries := must(os.ReadDir(filepath.Dir(path)))(t)
			refused(t, f.Delete(context.Background(), nil), change.is, path, change.says)
			if after := must(os.ReadDir(filepath.Dir(path)))(t); len(after) != len(entries) {
				t.Errorf("%d files are left of %d", len(after), len(entries))
			}
		})
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
