//go:build unix

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	// os.OpenFile adds O_CLOEXEC.
	f, err := os.OpenFile(name, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// SyncDir takes it that a file system which cannot sync a directory at all
// keeps names by other means (CIFS, some of FUSE); restic does the same.
func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	err = osFile{d}.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// transient reports an error that is gone when the file is opened again: on
// NFS a file that was replaced while we read it.
func transient(err error) bool { return errors.Is(err, syscall.ESTALE) }

// noLinks reports that this file system, or its rules, have no hard links.
// Linux says EPERM for FAT, and for links to files one does not own.
func noLinks(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP,
		syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV, syscall.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
