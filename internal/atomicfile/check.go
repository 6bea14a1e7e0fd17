package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/globus-keys/globus-keys/keystore"
)

const (
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
)

// Open opens the file at path if it is a regular file of the effective user.
// Anything else is refused by name with ErrTampered, whether opening it has
// failed or not. The FileInfo is that of the open file. An error of opening it
// for writing wraps ErrReadOnly if the system does not let us write.
func Open(fsys FS, path string, flag int, perm fs.FileMode) (File, fs.FileInfo, error) {
	f, err := fsys.OpenFile(path, flag, perm)
	if err != nil {
		return nil, nil, whyNot(fsys, path, flag, err)
	}
	info, err := f.Stat()
	if err == nil {
		err = checkFile(path, info)
	}
	if err != nil {
		f.Close()
		return nil, nil, About(path, err)
	}
	return f, info, nil
}

// whyNot looks for a better word than ELOOP, EISDIR or EACCES for a file that
// does not open.
func whyNot(fsys FS, path string, flag int, err error) error {
	if info, statErr := fsys.Lstat(path); statErr == nil {
		if refused := checkFile(path, info); refused != nil {
			return refused
		}
	}
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		return aboutWriting(path, err)
	}
	return About(path, err)
}

// CheckFile reports an error unless there is a file at path whose content we believe: the
// effective user's, which others cannot write. It is for files that something else opens
// by their names, in a directory that CheckDir takes. fs.ErrNotExist for nothing.
func CheckFile(fsys FS, path string) (fs.FileInfo, error) {
	info, err := fsys.Lstat(path)
	if err != nil {
		return nil, About(path, err)
	}
	return info, checkContent(path, info)
}

// CheckOneName refuses a file with a second name, for what is kept beside a file by its
// name: locks, or changes that are not in it yet.
func CheckOneName(path string, info fs.FileInfo) error {
	n, err := names(path, info)
	if err != nil {
		return About(path, err)
	}
	if n <= 1 {
		return nil
	}
	return Refuse(path, fmt.Sprintf("has %d names (hard links), and whoever writes by one does not see the locks of the others: "+
		"stop the programs that use it, and remove all names but one", n))
}

// CheckSocket reports an error unless there is a socket of the effective user's at
// path: ErrTampered for anything else, fs.ErrNotExist for nothing.
func CheckSocket(fsys FS, path string) error {
	info, err := fsys.Lstat(path)
	if err != nil {
		return About(path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return Refuse(path, "is "+kind(info.Mode())+", not a socket: look who put it there, then remove it")
	}
	if bad := badOwner(info); bad != "" {
		return Refuse(path, bad+": look who put it there, then remove it")
	}
	return nil
}

// checkFile takes files of the effective user and of others that are given.
func checkFile(path string, info fs.FileInfo, others ...uint32) error {
	if !info.Mode().IsRegular() {
		return Refuse(path, "is "+kind(info.Mode())+", not a file: "+instead(info.Mode()))
	}
	if bad := badOwner(info, others...); bad != "" {
		return Refuse(path, bad+": remove it, or give it to the right user with chown")
	}
	return nil
}

// instead says what to do about what is no file. A directory or a device has rather been
// named by mistake than put there.
func instead(mode fs.FileMode) string {
	if mode.IsDir() || mode&fs.ModeDevice != 0 {
		return "name a file instead"
	}
	return "look who put it there, then remove it"
}

// checkContent is checkFile for a file whose content we believe.
func checkContent(path string, info fs.FileInfo, others ...uint32) error {
	if err := checkFile(path, info, others...); err != nil {
		return err
	}
	if bad := badMode(info); bad != "" {
		return Refuse(path, bad+": look at its content, then chmod 600")
	}
	return nil
}

// checkTrusted is checkContent for an open file that may be root's as well.
func checkTrusted(path string, f File) error {
	info, err := f.Stat()
	if err != nil {
		return About(path, err)
	}
	return checkContent(path, info, 0)
}

// checkPlace refuses the name of something that is the effective user's or root's, if
// somebody else can have given it that name: if its directory is another's, or others
// can write it. A sticky one is let pass, where others cannot move what is ours:
// /nix/store is one.
func checkPlace(fsys FS, path string) error {
	info, err := fsys.Lstat(filepath.Dir(path))
	if err != nil {
		return About(path, err)
	}
	bad := badOwner(info, 0)
	if bad == "" && info.Mode()&fs.ModeSticky == 0 {
		bad = badMode(info)
	}
	if bad != "" {
		return Refuse(path, "is in a directory that "+bad+": look who put it there, then chmod go-w the directory, or use one of your own")
	}
	return nil
}

// CheckDir refuses a directory in which others than the effective user and root
// could put or replace files. A link is refused too: resolve the directory's
// name with filepath.EvalSymlinks first.
func CheckDir(fsys FS, dir string) error { return checkDir(fsys, dir, 0) }

// CheckOwnDir is CheckDir that refuses root's too, unless root asks.
func CheckOwnDir(fsys FS, dir string) error { return checkDir(fsys, dir) }

func checkDir(fsys FS, dir string, others ...uint32) error {
	info, err := fsys.Lstat(dir)
	if err != nil {
		return About(dir, err)
	}
	if !info.IsDir() {
		return Refuse(dir, "is "+kind(info.Mode())+", not a directory")
	}
	if bad := badOwner(info, others...); bad != "" {
		return Refuse(dir, bad+": use a directory of your own")
	}
	if bad := badMode(info); bad != "" {
		return Refuse(dir, bad+": chmod go-w, or use a directory of its own")
	}
	return nil
}

// MkdirPrivate makes dir and its missing parents with mode 0700, durably, and
// then checks dir as CheckDir does. What exists keeps its mode.
func MkdirPrivate(fsys FS, dir string) error {
	if err := mkdirAll(fsys, filepath.Clean(dir)); err != nil {
		return aboutWriting(dir, err)
	}
	return CheckDir(fsys, dir)
}

func mkdirAll(fsys FS, dir string) error {
	_, err := fsys.Lstat(dir)
	parent := filepath.Dir(dir)
	if !errors.Is(err, fs.ErrNotExist) || parent == dir {
		return err
	}
	if err := mkdirAll(fsys, parent); err != nil {
		return err
	}
	// Another process may have been quicker.
	if err := fsys.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := setDirMode(fsys, dir); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}

// setDirMode undoes what a umask like 0277 took from the user.
func setDirMode(fsys FS, dir string) error {
	info, err := fsys.Lstat(dir)
	if err != nil || !modeDiffers(info, dirMode) {
		return err
	}
	d, err := fsys.OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Chmod(dirMode)
}

// SetMode gives an open file the mode, if it has another.
func SetMode(f File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || !modeDiffers(info, mode) {
		return err
	}
	return f.Chmod(mode)
}

// Refuse returns the error for something that must not be at path.
func Refuse(path, reason string) error {
	return &keystore.Error{Store: path, Err: keystore.ErrTampered, Detail: reason}
}

// About makes err an error that names path. nil stays nil.
func About(path string, err error) error {
	if own := (*keystore.Error)(nil); err == nil || errors.As(err, &own) {
		return err
	}
	if e, ok := err.(*fs.PathError); ok && e.Path == path {
		err = fmt.Errorf("%s: %w", e.Op, e.Err) // the path is said already
	}
	return &keystore.Error{Store: path, Err: err}
}

// aboutWriting is About for an error of what changes path: it wraps ErrReadOnly
// if the system does not let us write.
func aboutWriting(path string, err error) error {
	err = About(path, err)
	own, ok := err.(*keystore.Error)
	if !ok || !readOnly(err) {
		return err
	}
	denied := *own
	denied.Err = fmt.Errorf("%w: %w", keystore.ErrReadOnly, own.Err)
	return &denied
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode.IsRegular():
		return "a file"
	}
	return "something unknown"
}
