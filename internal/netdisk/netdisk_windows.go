package netdisk

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

func find(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	root := filepath.VolumeName(full) + `\`
	if strings.HasPrefix(root, `\\`) && !strings.HasPrefix(root, `\\?\`) && !strings.HasPrefix(root, `\\.\`) {
		return "SMB", nil
	}
	name, err := windows.UTF16PtrFromString(root)
	if err != nil {
		return "", err
	}
	if windows.GetDriveType(name) == windows.DRIVE_REMOTE {
		return "a network drive", nil
	}
	return "", nil
}
