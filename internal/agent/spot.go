package agent

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// spot is a socket in the file system. It can be lost while somebody listens: logind
// removes /run/user/1000 when its user has logged out, and another agent can be there
// when he comes back.
type spot struct {
	path string
	made fs.FileInfo // nil: it is not known which file it is
}

func spotOf(l net.Listener) spot {
	s := spot{path: l.Addr().String()}
	s.made, _ = os.Lstat(s.path)
	// Windows may not open the socket, by which it would tell one file from another.
	if now, err := os.Lstat(s.path); err != nil || !os.SameFile(s.made, now) {
		s.made = nil
	}
	return s
}

// lost reports whether nobody finds the socket any more.
func (s spot) lost() bool {
	if s.made == nil {
		return false
	}
	now, err := os.Lstat(s.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(s.made, now)
}

// remove removes the socket, and no other.
func (s spot) remove() error {
	if s.lost() {
		return nil
	}
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
