//go:build unix

package secretmem

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCore lowers the limit that counts and leaves the one that bounds it, so that
// programs which are started from here can have core files if they want.
func noCore() error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	if err == nil {
		limit.Cur = 0
		err = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	if err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	return nil
}
