package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nameless writes and syncs a file that has no name, and then links it to path. If
// the process dies before, the kernel has the file back.
func (osFS) nameless(path string, data []byte) error {
	f, err := os.OpenFile(filepath.Dir(path), os.O_WRONLY|unix.O_TMPFILE, fileMode)
	for _, e := range []error{unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL} { // which kernels and file systems say who have none
		if errors.Is(err, e) {
			return errors.ErrUnsupported
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fill(osFile{f}, data); err != nil {
		return err
	}
	// open(2), O_TMPFILE: the way that needs no privilege.
	itself := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err = unix.Linkat(unix.AT_FDCWD, itself, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, fs.ErrNotExist) { // no /proc
		return errors.ErrUnsupported
	}
	return err
}
