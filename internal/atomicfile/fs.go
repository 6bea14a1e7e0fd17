// Package atomicfile keeps small files so that a crash, a full disk or a power
// cut leaves the old content or the new, whole, and never neither.
//
// [Read] and [Replace] are the two halves; [Create] is for files that are
// written once. All of them refuse, by name and with [keystore.ErrTampered],
// what somebody else may have put in place of our file: a symbolic link, a
// FIFO, a device, a file of another user. Modes do not depend on the umask,
// which belongs to the whole process and is never touched.
//
// What is missing: locking. Of each path there is one writer at a time, who
// holds a lock (package lockfile); readers need none.
//
// On Windows owners and modes are not checked: files below %LOCALAPPDATA% are
// private because they inherit that directory's access list.
package atomicfile

import (
	"io"
	"io/fs"
	"os"
)

// FS is every call on a file system that durable storage makes. Tests put
// package faultfs in its place.
type FS interface {
	// OpenFile is os.OpenFile, but never follows a symbolic link in the last
	// component, never blocks on a FIFO, and is not inherited by programs
	// that are started. On Windows others may rename or remove the file while
	// it is open.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	Lstat(name string) (fs.FileInfo, error)
	Link(oldname, newname string) error
	// Rename replaces newname. On Windows it tries for up to a second while
	// another process has newname open.
	Rename(oldname, newname string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable. Windows needs and has
	// no such call: it does nothing there.
	SyncDir(name string) error
}

// File is an open file of an FS.
type File interface {
	io.ReadWriteCloser
	Stat() (fs.FileInfo, error)
	Chmod(mode fs.FileMode) error
	// Sync returns when content and size are on the disk, not only in its
	// cache. After an error the kernel may have dropped what was to be
	// written and may say nil next time: never call it again on this File.
	Sync() error
}

// OS returns the file system of the operating system. Its Files are also
// syscall.Conns.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }
func (osFS) Lstat(name string) (fs.FileInfo, error)    { return os.Lstat(name) }
func (osFS) Link(oldname, newname string) error        { return os.Link(oldname, newname) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }

// osFile is an *os.File, whose Sync asks macOS for F_FULLFSYNC since
// golang/go#26650: a plain fsync there leaves the data in the disk's cache.
type osFile struct{ *os.File }
