package secretmem

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Protect closes this process: it leaves no core file, and other programs of its
// user can neither read its memory nor attach a debugger. Programs that it starts
// are not closed, but leave no core files unless they raise their limit, which they
// may. On macOS it only sets that limit, on Windows it does nothing.
func Protect() error {
	// What the kernel writes no core of, it gives to no core_pattern program either;
	// those do not heed the limit.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the process to other programs: %w", err)
	}
	return noCore()
}

// leaveOut keeps pages out of core files.
func leaveOut(pages []byte) error { return unix.Madvise(pages, unix.MADV_DONTDUMP) }
