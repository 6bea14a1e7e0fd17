//go:build unix && !darwin

package local

import "path/filepath"

// dataDir follows the XDG Base Directory Specification: a relative
// XDG_DATA_HOME is to be ignored.
func dataDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "globus-keys"), nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", noDirectory("HOME")
	}
	return filepath.Join(home, ".local", "share", "globus-keys"), nil
}
