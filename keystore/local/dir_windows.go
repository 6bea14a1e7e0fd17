package local

import "path/filepath"

func dataDir(getenv func(string) string) (string, error) {
	dir := getenv("LOCALAPPDATA")
	if !filepath.IsAbs(dir) {
		return "", noDirectory("LOCALAPPDATA")
	}
	return filepath.Join(dir, "globus-keys"), nil
}
