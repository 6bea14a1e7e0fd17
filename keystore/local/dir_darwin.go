package local

import "path/filepath"

func dataDir(getenv func(string) string) (string, error) {
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", noDirectory("HOME")
	}
	return filepath.Join(home, "Library", "Application Support", "globus-keys"), nil
}
