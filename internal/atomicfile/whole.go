package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/globus-keys/globus-keys/keystore"
)

// CreateWhole is Create for a file that nobody may find half written: a process
// that is killed leaves nothing at path, or all of it.
//
// Linux has files without a name (O_TMPFILE), which get one when they are whole:
// there nothing is left elsewhere either. On other systems, and on file systems
// that have none (NFS), a killed process may leave .NAME.RANDOM.tmp beside path,
// with mode 0600. ErrUnavailable for a file system that has no hard links either.
func CreateWhole(fsys FS, path string, data []byte) error {
	switch _, err := fsys.Lstat(path); { // before anything lies on the disk
	case err == nil:
		return About(path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return About(path, err)
	}
	err := writeNameless(fsys, path, data)
	if errors.Is(err, errors.ErrUnsupported) {
		err = writeBeside(fsys, path, data)
	}
	if err != nil {
		return aboutWriting(path, err)
	}
	err = fsys.SyncDir(filepath.Dir(path))
	if err != nil {
		fsys.Remove(path)
	}
	return aboutWriting(path, err)
}

// writeNameless makes the file where fsys can give a name to one that has none;
// else it does nothing, and its error wraps errors.ErrUnsupported.
func writeNameless(fsys FS, path string, data []byte) error {
	can, ok := fsys.(interface{ nameless(string, []byte) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return can.nameless(path, data)
}

// writeBeside writes the file under a name that nobody else has, and gives it its
// own by a link, which replaces nothing.
func writeBeside(fsys FS, path string, data []byte) error {
	temp := hidden(path, "."+rand.Text()+".tmp")
	if err := writeNew(fsys, temp, data); err != nil {
		return err
	}
	err := fsys.Link(temp, path)
	if noLinks(err) {
		err = &keystore.Error{Store: path, Err: keystore.ErrUnavailable,
			Detail: "the file system has no hard links, and without them who is interrupted could leave half a file"}
	}
	if left := fsys.Remove(temp); left != nil {
		if err == nil {
			fsys.Remove(path)
		}
		err = errors.Join(err, fmt.Errorf("%s is left, remove it: %w", temp, left))
	}
	return err
}
