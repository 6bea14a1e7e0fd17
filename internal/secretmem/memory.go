// Package secretmem keeps a secret in memory that reaches no disk, and a process
// closed to other programs of its user.
//
//	err := secretmem.Protect()    // first of all, in main
//	m, err := secretmem.New(32)   // for a key that stays
//	copy(m.Bytes(), key)
//	defer m.Close()
//
// What each platform has:
//
//	             Linux            macOS, other Unix   Windows
//	no core      not dumpable,    core limit          Go's runtime keeps crashes
//	             core limit                           from Error Reporting
//	closed to    not dumpable     -                   -
//	debuggers
//	not swapped  mlock            mlock               VirtualLock
//	not dumped   MADV_DONTDUMP    -                   -
//
// A hibernating machine writes all of its memory to the disk, locked or not. None
// of this holds against root, or against who runs code in the process.
package secretmem

import (
	"fmt"
	"os"
	"unsafe"
)

// Memory is some bytes outside of the garbage collector's heap, in pages of their
// own that are never swapped and, on Linux, in no core file: nothing makes copies of
// them behind their owner's back. The methods must not be called at the same
// time as Close.
type Memory struct {
	// A pointer, because fmt prints of it the address only, and of a slice the
	// content.
	pages        *byte
	size, mapped int
}

// New returns size bytes, all zero. They take whole pages, of which the user may
// have locked only so many at once (`ulimit -l`, often 8 MB; 64 KB in old
// containers): then it is an error, and so is a size under 1.
func New(size int) (*Memory, error) {
	if size < 1 {
		return nil, fmt.Errorf("locked memory of %d bytes was asked for", size)
	}
	page := os.Getpagesize()
	mapped := (size + page - 1) / page * page
	pages, err := allocate(mapped)
	if err != nil {
		return nil, fmt.Errorf("allocate locked memory: %w", err)
	}
	if err := lock(pages); err != nil {
		release(pages)
		return nil, fmt.Errorf("lock memory, so that no key is swapped to a disk (ulimit -l says how much may be): %w", err)
	}
	return &Memory{pages: unsafe.SliceData(pages), size: size, mapped: mapped}, nil
}

// Bytes returns the memory itself, nil after Close. A slice of it must not be used
// after Close: the program would crash.
func (m *Memory) Bytes() []byte {
	if m.pages == nil {
		return nil
	}
	return unsafe.Slice(m.pages, m.mapped)[:m.size:m.size]
}

// Close clears the memory and gives it back. Closing again does nothing.
func (m *Memory) Close() error {
	if m.pages == nil {
		return nil
	}
	pages := unsafe.Slice(m.pages, m.mapped)
	clear(pages)
	m.pages = nil
	if err := release(pages); err != nil {
		return fmt.Errorf("give back locked memory: %w", err)
	}
	return nil
}
