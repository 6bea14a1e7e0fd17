package atomicfile

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// Access lists, inherited from %LOCALAPPDATA%, keep files private; the modes
// that Go shows here are made up from the read-only attribute.

func badOwner(fs.FileInfo, ...uint32) string { return "" }

func badMode(fs.FileInfo) string { return "" }

// names returns how many names (hard links) a file has, which the FileInfo of a name
// does not say. Without any access it opens what others have open.
func names(path string, _ fs.FileInfo) (uint64, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	h, err := windows.CreateFile(p, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return 0, err
	}
	defer windows.CloseHandle(h)
	var info windows.ByHandleFileInformation
	err = windows.GetFileInformationByHandle(h, &info)
	return uint64(info.NumberOfLinks), err
}

func modeDiffers(fs.FileInfo, fs.FileMode) bool { return false }

func resolve(_ FS, path string) (string, error) { return filepath.EvalSymlinks(path) }
