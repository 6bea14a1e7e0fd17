package atomicfile

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sync falls back to fsync where the file system does not know F_FULLFSYNC, as
// network file systems do not; SQLite does the same (full_fsync in os_unix.c).
// These errors come before anything is written, so calling again is safe.
func (f osFile) Sync() error {
	err := f.File.Sync()
	if !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, syscall.ENOTTY) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = unix.Fsync(int(fd)) })
	return errors.Join(err, failed)
}
