//go:build unix

package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/globus-keys/globus-keys/keystore"
)

// badOwner says what is wrong with the owner of a file, "" if it is the
// effective user or one of the others that are given.
func badOwner(info fs.FileInfo, others ...uint32) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "has an owner that cannot be told"
	}
	for _, uid := range append(others, uint32(os.Geteuid())) {
		if stat.Uid == uid {
			return ""
		}
	}
	return fmt.Sprintf("belongs to uid %d, not to uid %d", stat.Uid, os.Geteuid())
}

// badMode says that group or others may write, "" if they may not. The sticky
// bit is no excuse: with it others cannot remove our files, but plant theirs.
func badMode(info fs.FileInfo) string {
	if info.Mode().Perm()&0o022 == 0 {
		return ""
	}
	return fmt.Sprintf("can be written by others (mode %04o)", info.Mode().Perm())
}

// names returns how many names (hard links) a file has.
func names(_ string, info fs.FileInfo) (uint64, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("the number of its names cannot be told: %w", keystore.ErrUnavailable)
	}
	return uint64(stat.Nlink), nil
}

func modeDiffers(info fs.FileInfo, want fs.FileMode) bool { return info.Mode().Perm() != want }
