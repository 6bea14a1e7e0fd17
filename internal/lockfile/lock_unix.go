//go:build unix

package lockfile

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

func flock(f atomicfile.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	err := control(f, func(fd int) error { return unix.Flock(fd, how) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

func funlock(f atomicfile.File) error {
	return control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}

func links(f atomicfile.File) (uint64, error) {
	var stat unix.Stat_t
	err := control(f, func(fd int) error { return unix.Fstat(fd, &stat) })
	return uint64(stat.Nlink), err
}

// control calls fn with the descriptor, again if a signal came between.
func control(f atomicfile.File, fn func(fd int) error) error {
	conn, err := f.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for failed = fn(int(fd)); failed == unix.EINTR; failed = fn(int(fd)) {
		}
	})
	return errors.Join(err, failed)
}

// noLocks: NFS without its lock daemon says ENOLCK, Lustre mounted without
// "flock" says ENOSYS, FUSE and others the rest.
func noLocks(err error) bool {
	for _, e := range []error{unix.ENOLCK, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
