package legacy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/globus-keys/globus-keys/keystore"
)

// Delete removes the file that was read, if path still names that file itself,
// not a link to it, under no other name, and with what was read. A database is
// locked against every other program meanwhile, with sqlite, and the files that
// SQLite keeps beside it go too; it must hold nothing that was not read. When a
// condition does not hold nothing is removed.
//
// Nothing can lock a text file that its program does not lock: what that
// program writes in the instant between the last comparison and the removal is
// lost. Removal frees blocks of the disk and does not overwrite them.
//
// Errors name the file: ErrBusy if it is in use or has changed, ErrInvalid if
// it has another name, ErrUnavailable without sqlite, or what the system says.
func (f *File) Delete(ctx context.Context, sqlite SQLiteDeleter) error {
	err := f.remove(ctx, sqlite)
	return keystore.Annotate(err, keystore.Error{Op: "delete", Store: f.Path})
}

func (f *File) remove(ctx context.Context, sqlite SQLiteDeleter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.inPlace(); err != nil {
		return err
	}
	if !f.seen.database {
		return f.removeText()
	}
	switch {
	case sqlite == nil:
		return &keystore.Error{Err: keystore.ErrUnavailable, Detail: "this program was built without SQLite"}
	case len(f.seen.foreign) > 0:
		return foreignf("it has other tables, which were not read: %q", f.seen.foreign)
	}
	return sqlite(ctx, f.Path, f.sameRows)
}

func (f *File) removeText() error {
	now, err := load(f.Path)
	if err != nil {
		return err
	}
	same := now.info.Size() == f.seen.info.Size() && now.info.ModTime().Equal(f.seen.info.ModTime()) &&
		sha256.Sum256(now.text) == f.seen.sum
	if !same {
		return changed()
	}
	if err := f.inPlace(); err != nil {
		return err
	}
	return RemoveFiles(f.Path)
}

// sameRows is the check of a database that is locked.
func (f *File) sameRows(now *Database) error {
	if err := f.inPlace(); err != nil {
		return err
	}
	if now.sum() != f.seen.sum || len(now.Foreign) > 0 {
		return changed()
	}
	return nil
}

// inPlace checks that path is the only name of the file that was read.
func (f *File) inPlace() error {
	info, err := os.Lstat(f.Path)
	if err != nil {
		return cause(err)
	}
	if err := checkRegular(info); err != nil {
		return err
	}
	if !os.SameFile(info, f.seen.info) {
		return &keystore.Error{Err: keystore.ErrBusy, Detail: "it is another file than the one that was read"}
	}
	n, err := links(f.Path, info)
	if err != nil {
		return cause(err)
	}
	if n != 1 {
		return foreignf("it has %d names (hard links), and would remain under the others", n)
	}
	return nil
}

func changed() error {
	return &keystore.Error{Err: keystore.ErrBusy, Detail: "it has changed since it was read"}
}

// RemoveFiles removes the file at path, then those of beside that exist, which
// lie in the same directory, durably.
func RemoveFiles(path string, beside ...string) error {
	if err := os.Remove(path); err != nil {
		return cause(err)
	}
	for _, name := range beside {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it is gone, but %s is still there: %w", filepath.Base(name), cause(err))
		}
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("it is gone, but may come back after a power cut: %w", cause(err))
	}
	return nil
}
