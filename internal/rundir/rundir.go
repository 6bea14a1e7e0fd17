// Package rundir finds the directory for what belongs to this user on this
// host until it is shut down: sockets, and what waits to be stored.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Make returns the directory, which is there afterwards: the user's own, closed to
// others. getenv is os.Getenv or stands for it. What somebody else may have put in
// its place is refused with keystore.ErrTampered.
func Make(getenv func(string) string) (string, error) {
	dirs, err := places(getenv)
	if err != nil {
		return "", err
	}
	return dirs[0], atomicfile.MkdirPrivate(atomicfile.OS(), dirs[0])
}

// MakeWithin is Make for what must have a name of at most so many bytes, as a socket
// must: the first place whose name is that short is taken. Find finds it.
func MakeWithin(getenv func(string) string, bytes int) (string, error) {
	dirs, err := places(getenv)
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		if len(dir) <= bytes {
			return dir, atomicfile.MkdirPrivate(atomicfile.OS(), dir)
		}
	}
	return "", &keystore.Error{Store: dirs[0], Err: keystore.ErrUnavailable,
		Detail: fmt.Sprintf("the name of the runtime directory has more than %d bytes", bytes)}
}

// Find returns the directories that there are, and makes none: Make's, and those
// that Make has made for processes of the user with another environment, such as a
// job that ran while he was not logged in. Make's is refused as Make does; of the
// others, what is not the user's own is passed over.
func Find(getenv func(string) string) ([]string, error) {
	dirs, err := places(getenv)
	if err != nil {
		return nil, err
	}
	var found []string
	for i, dir := range dirs {
		err := atomicfile.CheckDir(atomicfile.OS(), dir)
		switch {
		case err == nil:
			found = append(found, dir)
		case i == 0 && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return found, nil
}

// FirstOnly is set by programs of tests, before anything else: what the environment
// names is the only place then, and the tester's own agent is none of theirs.
var FirstOnly = false

// Places returns where the directory is, or can be: Make's first. It looks whether those
// above it are the user's.
func Places(getenv func(string) string) ([]string, error) { return places(getenv) }

func places(getenv func(string) string) ([]string, error) {
	dirs, err := locate(getenv)
	if FirstOnly && len(dirs) > 1 {
		dirs = dirs[:1]
	}
	return dirs, err
}

// usable reports whether dir is an absolute path to a directory of the user's own.
// Root's, as su leaves it in the environment, is another user's.
func usable(dir string) bool {
	return filepath.IsAbs(dir) && atomicfile.CheckOwnDir(atomicfile.OS(), dir) == nil
}
