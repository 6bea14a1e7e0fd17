package atomicfile

import (
	"io/fs"
	"path/filepath"
)

// Access lists, inherited from %LOCALAPPDATA%, keep files private; the modes
// that Go shows here are made up from the read-only attribute.

func badOwner(fs.FileInfo, ...uint32) string { return "" }

func badMode(fs.FileInfo) string { return "" }

func modeDiffers(fs.FileInfo, fs.FileMode) bool { return false }

func resolve(_ FS, path string) (string, error) { return filepath.EvalSymlinks(path) }
