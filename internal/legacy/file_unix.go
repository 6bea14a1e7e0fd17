//go:build unix

package legacy

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openFlags are added when a file is opened for reading.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOCTTY

// links returns how many names the file at path has.
func links(_ string, info fs.FileInfo) (uint64, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("the system does not say how many names the file has")
	}
	return uint64(stat.Nlink), nil
}

// syncDir makes the removal of a file of dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
