//go:build unix

package sqliteadapter

import "os"

// closeToOthers makes a file of ours, in a directory of ours, ours alone.
func closeToOthers(path string) error { return os.Chmod(path, 0o600) }
