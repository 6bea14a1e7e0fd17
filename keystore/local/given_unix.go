//go:build unix

package local

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/keystore"
)

// openGiven opens a file with a key. Unless a service manager keeps it, it must
// be a regular file of the user's or root's own that nobody else can read.
func openGiven(path string, managed bool) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK // a FIFO must not be waited for
	if !managed {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		if info, lerr := os.Lstat(path); lerr == nil && !managed && info.Mode()&fs.ModeSymlink != 0 {
			return nil, refused("it is a symbolic link")
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkGiven(info, managed)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkGiven(info fs.FileInfo, managed bool) error {
	uid := info.Sys().(*syscall.Stat_t).Uid
	switch mode := info.Mode().Perm(); {
	case !info.Mode().IsRegular():
		return refused("it is not a regular file")
	case uid != 0 && int(uid) != os.Geteuid():
		return refused(fmt.Sprintf("it belongs to uid %d", uid))
	case mode&0o077 != 0 && !managed:
		return refused(fmt.Sprintf("others can read it (mode %04o): chmod 600", mode))
	}
	return nil
}

// openDescriptor takes a descriptor that this process was started with. What it has
// opened itself Go closes in programs that are started, and so they are told apart: a
// variable that outlives the descriptor would have us read, and close, the lock of a
// store or somebody's connection.
func openDescriptor(n uintptr) (*os.File, error) {
	flags, err := unix.FcntlInt(n, unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("this process was not started with that descriptor open, as by %d<FILE", n)}
	}
	return os.NewFile(n, ""), nil
}

func refused(detail string) error {
	return &keystore.Error{Err: keystore.ErrInvalid, Detail: "the key file is not safe to use: " + detail}
}
