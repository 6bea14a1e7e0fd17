package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// OpenFile opens a reparse point itself, not what it points to; Stat then
// shows that it is not a regular file. Sharing FILE_SHARE_DELETE, which os.Open
// does not, lets a writer replace the file under its readers.
func (osFS) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	h, err := windows.CreateFile(p, access(flag),
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, disposition(flag), windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return osFile{os.NewFile(uintptr(h), name)}, nil
}

func access(flag int) uint32 {
	switch {
	case flag&os.O_RDWR != 0:
		return windows.GENERIC_READ | windows.GENERIC_WRITE
	case flag&os.O_WRONLY != 0:
		return windows.GENERIC_WRITE
	}
	return windows.GENERIC_READ
}

func disposition(flag int) uint32 {
	switch {
	case flag&os.O_CREATE == 0:
		return windows.OPEN_EXISTING
	case flag&os.O_EXCL != 0:
		return windows.CREATE_NEW
	}
	return windows.OPEN_ALWAYS
}

// Virus scanners and indexers hold new files open for some milliseconds.
const (
	renameTries = 50
	renamePause = 20 * time.Millisecond
)

func (osFS) Rename(oldname, newname string) error {
	for try := 1; ; try++ {
		err := rename(oldname, newname)
		if err == nil || !transient(err) || try == renameTries {
			return err
		}
		time.Sleep(renamePause)
	}
}

// rename goes through os.Root where it can, because that alone asks for POSIX
// semantics: a file that is open gives its name away at once. os.Rename, and
// file systems without them, refuse while a reader has the file.
func rename(oldname, newname string) error {
	dir := filepath.Dir(newname)
	if filepath.Dir(oldname) != dir {
		return os.Rename(oldname, newname)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Rename(filepath.Base(oldname), filepath.Base(newname))
}

func (osFS) SyncDir(string) error { return nil }

// transient reports that another process has the file open, or is about to
// replace it: Windows says "access denied" for a name that is going away.
func transient(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// noLinks reports that the file system has no hard links, as FAT.
func noLinks(err error) bool {
	for _, e := range []syscall.Errno{windows.ERROR_INVALID_FUNCTION, windows.ERROR_NOT_SUPPORTED,
		windows.ERROR_CALL_NOT_IMPLEMENTED, windows.ERROR_TOO_MANY_LINKS, syscall.ENOTSUP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, windows.ERROR_WRITE_PROTECT)
}
