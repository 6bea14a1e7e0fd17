// Package rundir finds the directory for what belongs to this user on this
// host until it is shut down: sockets, and what waits to be stored.
package rundir

import (
	"path/filepath"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
)

// Make returns the directory, which is there afterwards: the user's own, closed to
// others. getenv is os.Getenv or stands for it. What somebody else may have put in
// its place is refused with keystore.ErrTampered.
func Make(getenv func(string) string) (string, error) {
	dir, err := locate(getenv)
	if err != nil {
		return "", err
	}
	return dir, atomicfile.MkdirPrivate(atomicfile.OS(), dir)
}

// Find is Make that makes nothing: fs.ErrNotExist if the directory is not there.
func Find(getenv func(string) string) (string, error) {
	dir, err := locate(getenv)
	if err != nil {
		return "", err
	}
	return dir, atomicfile.CheckDir(atomicfile.OS(), dir)
}

// usable reports whether dir is an absolute path to a directory of the user's own.
// Root's, as su leaves it in the environment, is another user's.
func usable(dir string) bool {
	return filepath.IsAbs(dir) && atomicfile.CheckOwnDir(atomicfile.OS(), dir) == nil
}
