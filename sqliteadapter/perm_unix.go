//go:build unix

package sqliteadapter

import (
	"io/fs"
	"os"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

// closeToOthers makes a file of ours, in a directory of ours, ours alone.
func closeToOthers(path string) error { return os.Chmod(path, 0o600) }

// oneName reports whether an open database has no other name now.
func oneName(path string, info fs.FileInfo) bool { return atomicfile.CheckOneName(path, info) == nil }
