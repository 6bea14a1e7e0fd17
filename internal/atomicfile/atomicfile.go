package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// Backup says what becomes of the previous content. The backup of PATH is
// PATH.bak.
type Backup int

const (
	// NoBackup leaves the backup, if there is one, as it is.
	NoBackup Backup = iota
	// KeepPrevious makes the previous content the backup.
	KeepPrevious
	// ReplaceBackup makes the new content the backup as well: of the content
	// before, and of the backup before, no name is left.
	ReplaceBackup
)

const (
	readTries = 5
	readPause = 10 * time.Millisecond
)

// Read returns the content of the file at path. It needs no lock: it sees what
// one Replace wrote, whole.
//
// The file must be a regular file of the effective user that others cannot
// write, else it is refused with ErrTampered. It may have a second name: its
// backup is one. Other errors: fs.ErrNotExist; ErrTooLarge over max bytes.
func Read(fsys FS, path string, max int64) ([]byte, error) {
	for try := 1; ; try++ {
		data, err := read(fsys, path, max)
		if err == nil || !transient(err) || try == readTries {
			return data, err
		}
		time.Sleep(readPause)
	}
}

func read(fsys FS, path string, max int64) ([]byte, error) {
	f, info, err := Open(fsys, path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkContent(path, info); err != nil {
		return nil, err
	}
	return limited(f, path, max)
}

// ReadTrusted returns the content of a file that we do what it says, such as
// settings that name programs: only the effective user and root may have
// written it, and have put it there.
//
// path and the directories above it may be symbolic links, as those who manage
// settings and systems make them, 40 at most; then what they lead to must be a
// regular file. Each link must be the effective user's or root's, and so must be the
// name that it has: it lies in a directory of theirs that nobody else can write, or
// that is sticky. The same holds for the file that a link leads to.
//
// Anything else is refused by name with ErrTampered. Other errors are as of Read.
func ReadTrusted(fsys FS, path string, max int64) ([]byte, error) {
	dir, err := resolve(fsys, filepath.Dir(path))
	if err != nil {
		return nil, About(path, err)
	}
	if err := CheckDir(fsys, dir); err != nil {
		return nil, err
	}
	target, err := resolve(fsys, path)
	if err != nil {
		return nil, whyNowhere(fsys, path, err)
	}
	if err := checkPlace(fsys, target); err != nil {
		return nil, err
	}
	f, err := fsys.OpenFile(target, os.O_RDONLY, 0)
	if err != nil {
		if info, statErr := fsys.Lstat(target); statErr == nil && !info.Mode().IsRegular() {
			err = checkFile(path, info)
		}
		return nil, About(path, err)
	}
	defer f.Close()
	if err := checkTrusted(path, f); err != nil {
		return nil, err
	}
	return limited(f, path, max)
}

// whyNowhere tells a link that leads nowhere from a file that is not there.
func whyNowhere(fsys FS, path string, err error) error {
	if _, missing := fsys.Lstat(path); missing == nil && errors.Is(err, fs.ErrNotExist) {
		return Refuse(path, "is a symbolic link that leads nowhere")
	}
	return About(path, err)
}

func limited(f File, path string, max int64) ([]byte, error) {
	// Sizes lie, in /proc and on some network file systems: read to the end.
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, About(path, err)
	}
	if int64(len(data)) > max {
		return nil, &keystore.Error{Store: path, Err: keystore.ErrTooLarge,
			Detail: fmt.Sprintf("the file has more than %d bytes", max)}
	}
	return data, nil
}

// Create writes a file, with mode 0600, that is never to be written again. It is
// durable when Create returns nil. If there is something at path, the error is
// fs.ErrExist and it stays. After another error there is no file at path; a
// process that is killed may leave a part of it.
func Create(fsys FS, path string, data []byte) error {
	if err := writeNew(fsys, path, data); err != nil {
		return aboutWriting(path, err)
	}
	err := fsys.SyncDir(filepath.Dir(path))
	if err != nil {
		fsys.Remove(path)
	}
	return aboutWriting(path, err)
}

// Replace makes data the content of path, with mode 0600, whether or not there
// is a file yet. The caller holds a lock: no two may replace one path at a time.
//
// It takes effect at one rename: at any time path has the old content or the
// new. It is durable when Replace returns nil, after two syncs: the file's and
// the directory's (a third where the backup must be copied, because the file
// system has no hard links).
//
// After an error before the rename, path has the old content, and no new name
// is left. With KeepPrevious the backup may already be the old content, with
// ReplaceBackup it may be gone. After an error of what follows the rename, path
// has the new content, but a power cut may still bring the old one back. The
// error names path; it wraps ErrReadOnly if the system does not let us write,
// ErrTampered if at path is something that Read refuses.
func Replace(fsys FS, path string, data []byte, b Backup) error {
	return aboutWriting(path, replace(fsys, path, data, b))
}

func replace(fsys FS, path string, data []byte, b Backup) error {
	previous, err := present(fsys, path)
	if err != nil {
		return err
	}
	next := hidden(path, ".tmp")
	err = anew(fsys, next, func() error { return writeNew(fsys, next, data) })
	if err != nil {
		return err
	}
	err = beforeRename(fsys, path, previous, b)
	if err == nil {
		err = fsys.Rename(next, path)
	}
	if err != nil {
		fsys.Remove(next)
		return err
	}
	if b == ReplaceBackup {
		err = backUp(fsys, path)
	}
	return errors.Join(err, fsys.SyncDir(filepath.Dir(path)))
}

// present returns what is at path, nil if nothing is, and an error if it is
// nothing that we may replace.
func present(fsys FS, path string) (fs.FileInfo, error) {
	info, err := fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return info, checkContent(path, info)
}

func beforeRename(fsys FS, path string, previous fs.FileInfo, b Backup) error {
	switch {
	case b == KeepPrevious && previous != nil:
		return keep(fsys, path, previous)
	case b == ReplaceBackup:
		// A killed process may have left the old content here, too.
		return errors.Join(removeAny(fsys, path+".bak"), removeAny(fsys, hidden(path, ".bak.tmp")))
	}
	return nil
}

// keep makes previous, the file at path, its backup, unless it is already:
// rename(2) of one name of a file over another of its names does nothing, and
// would leave the first behind.
func keep(fsys FS, path string, previous fs.FileInfo) error {
	backup, err := fsys.Lstat(path + ".bak")
	if err == nil && os.SameFile(previous, backup) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return backUp(fsys, path)
}

// backUp makes what is at path the content of path.bak, in one rename.
func backUp(fsys FS, path string) error {
	temp := hidden(path, ".bak.tmp")
	err := anew(fsys, temp, func() error { return fsys.Link(path, temp) })
	if noLinks(err) {
		err = anew(fsys, temp, func() error { return copyFile(fsys, path, temp) })
	}
	if err != nil {
		return err
	}
	if err = fsys.Rename(temp, path+".bak"); err != nil {
		fsys.Remove(temp)
	}
	return err
}

func copyFile(fsys FS, from, to string) error {
	data, err := Read(fsys, from, math.MaxInt64-1)
	if err != nil {
		return err
	}
	return writeNew(fsys, to, data)
}

// anew calls create, and once more if name is taken: then it is what a killed
// writer left, as nobody else writes now.
func anew(fsys FS, name string, create func() error) error {
	err := create()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := fsys.Remove(name); err != nil {
		return err
	}
	return create()
}

// writeNew writes and syncs a file that must not exist. After an error it does
// not exist, unless that was fs.ErrExist.
func writeNew(fsys FS, name string, data []byte) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	err = fill(f, data)
	if closeErr := f.Close(); err == nil {
		err = closeErr // some file systems report a full disk only here
	}
	if err != nil {
		fsys.Remove(name)
	}
	return err
}

func fill(f File, data []byte) error {
	if err := SetMode(f, fileMode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func removeAny(fsys FS, name string) error {
	err := fsys.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hidden returns a name beside path that only its writer uses.
func hidden(path, suffix string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+suffix)
}
