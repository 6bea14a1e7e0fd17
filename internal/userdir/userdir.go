// Package userdir says where the files of this user lie: [Data] the store and
// what belongs to it, [Config] the settings. The directories may not exist.
package userdir

import (
	"fmt"
	"path/filepath"
)

// below joins names to the directory that a variable of the environment holds.
// A relative one is an error: it would be another directory in each place.
func below(variable string, getenv func(string) string, names ...string) (string, error) {
	dir := getenv(variable)
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s is not set to an absolute path", variable)
	}
	return filepath.Join(append([]string{dir}, names...)...), nil
}
