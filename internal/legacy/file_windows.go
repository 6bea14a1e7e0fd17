package legacy

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlags are added when a file is opened for reading.
const openFlags = 0

// links returns how many names the file at path has.
func links(path string, _ fs.FileInfo) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var info syscall.ByHandleFileInformation
	if err := syscall.GetFileInformationByHandle(syscall.Handle(f.Fd()), &info); err != nil {
		return 0, err
	}
	return uint64(info.NumberOfLinks), nil
}

// syncDir does nothing: NTFS logs the removal of a file, and Windows cannot
// flush a directory.
func syncDir(string) error { return nil }
