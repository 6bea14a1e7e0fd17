// Package faultfs is a file system whose n-th operation fails, for tests. A test
// that walks n from 1 until nothing fails any more has tried every place at
// which a disk can fail, or a process can die:
//
//	for n := 1; ; n++ {
//		f := faultfs.New(atomicfile.OS(), faultfs.Plan{Op: n, Crash: true})
//		err := store(f)
//		… what is on the disk now must be the old or the new, whole …
//		if f.Ops() < n {
//			break
//		}
//	}
package faultfs

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

// Plan says what fails. The zero Plan lets everything pass.
type Plan struct {
	Op    int   // the operation that fails, counted from 1; 0: none
	Err   error // what it says; nil: EIO
	Torn  bool  // if it is a Write, half of the data is written first
	Crash bool  // all operations after it fail too: the process is dead
}

// FS counts and fails operations on its inner file system. Each call of a method
// of atomicfile.FS and of atomicfile.File is one operation. An operation that
// fails has no effect, but that Close always closes: descriptors do not leak.
// It may be used by several goroutines.
type FS struct {
	inner atomicfile.FS
	plan  Plan

	mu    sync.Mutex
	trace []string // one line for each operation
	syncs int
}

// New returns a file system that behaves like inner but for what plan says.
func New(inner atomicfile.FS, plan Plan) *FS {
	if plan.Err == nil {
		plan.Err = syscall.EIO
	}
	return &FS{inner: inner, plan: plan}
}

// Ops returns how many operations were asked for, including those that failed.
func (f *FS) Ops() int { return len(f.Trace()) }

// Syncs returns how many times a file or a directory was synced.
func (f *FS) Syncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncs
}

// Trace returns the operations so far, like "rename /a/.x.tmp /a/x".
func (f *FS) Trace() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

// step counts one operation and returns the error it must fail with, if any.
func (f *FS) step(op string, names ...string) error {
	return f.failure(f.count(op, names...), op, names[0])
}

// count returns the number of the operation that begins now.
func (f *FS) count(op string, names ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = append(f.trace, op+" "+strings.Join(names, " "))
	return len(f.trace)
}

func (f *FS) failure(n int, op, name string) error {
	if f.plan.Op == 0 || n < f.plan.Op || n > f.plan.Op && !f.plan.Crash {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: f.plan.Err}
}

func (f *FS) synced(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.syncs++
	}
	return err
}

func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (atomicfile.File, error) {
	if err := f.step("open", name); err != nil {
		return nil, err
	}
	inner, err := f.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, inner: inner, name: name}, nil
}

func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	if err := f.step("mkdir", name); err != nil {
		return err
	}
	return f.inner.Mkdir(name, perm)
}

func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	if err := f.step("lstat", name); err != nil {
		return nil, err
	}
	return f.inner.Lstat(name)
}

func (f *FS) Link(oldname, newname string) error {
	if err := f.step("link", oldname, newname); err != nil {
		return err
	}
	return f.inner.Link(oldname, newname)
}

func (f *FS) Rename(oldname, newname string) error {
	if err := f.step("rename", oldname, newname); err != nil {
		return err
	}
	return f.inner.Rename(oldname, newname)
}

func (f *FS) Remove(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

func (f *FS) SyncDir(name string) error {
	if err := f.step("syncdir", name); err != nil {
		return err
	}
	return f.synced(f.inner.SyncDir(name))
}

type file struct {
	fs    *FS
	inner atomicfile.File
	name  string
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.fs.step("read", f.name); err != nil {
		return 0, err
	}
	return f.inner.Read(p)
}

func (f *file) Write(p []byte) (int, error) {
	n := f.fs.count("write", f.name)
	err := f.fs.failure(n, "write", f.name)
	if err == nil {
		return f.inner.Write(p)
	}
	if !f.fs.plan.Torn || n != f.fs.plan.Op {
		return 0, err
	}
	written, tornErr := f.inner.Write(p[:len(p)/2])
	return written, errors.Join(err, tornErr)
}

func (f *file) Close() error {
	err := f.fs.step("close", f.name)
	if closeErr := f.inner.Close(); err == nil {
		return closeErr
	}
	return err
}

func (f *file) Stat() (fs.FileInfo, error) {
	if err := f.fs.step("stat", f.name); err != nil {
		return nil, err
	}
	return f.inner.Stat()
}

func (f *file) Chmod(mode fs.FileMode) error {
	if err := f.fs.step("chmod", f.name); err != nil {
		return err
	}
	return f.inner.Chmod(mode)
}

func (f *file) Sync() error {
	if err := f.fs.step("sync", f.name); err != nil {
		return err
	}
	return f.fs.synced(f.inner.Sync())
}
