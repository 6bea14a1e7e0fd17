package lockfile

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

// place returns the one byte that is locked. Locks of Windows are mandatory: a
// byte far beyond the content leaves the note readable.
func place() *windows.Overlapped {
	return &windows.Overlapped{OffsetHigh: 1 << 30}
}

func flock(f atomicfile.File, wait bool) error {
	var flags uint32 = windows.LOCKFILE_EXCLUSIVE_LOCK
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err := control(f, func(h windows.Handle) error {
		return windows.LockFileEx(h, flags, 0, 1, 0, place())
	})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errHeld
	}
	return err
}

func funlock(f atomicfile.File) error {
	return control(f, func(h windows.Handle) error {
		return windows.UnlockFileEx(h, 0, 1, 0, place())
	})
}

func links(f atomicfile.File) (uint64, error) {
	var info windows.ByHandleFileInformation
	err := control(f, func(h windows.Handle) error {
		return windows.GetFileInformationByHandle(h, &info)
	})
	return uint64(info.NumberOfLinks), err
}

func control(f atomicfile.File, fn func(windows.Handle) error) error {
	conn, err := f.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(h uintptr) { failed = fn(windows.Handle(h)) })
	return errors.Join(err, failed)
}

func noLocks(err error) bool {
	for _, e := range []error{windows.ERROR_NOT_SUPPORTED, windows.ERROR_INVALID_FUNCTION, windows.ERROR_CALL_NOT_IMPLEMENTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
