package rundir

import (
	"path/filepath"

	"github.com/globus-keys/globus-keys/keystore"
)

// Variable names a directory of the user's in which Make's comes first.
const Variable = "LOCALAPPDATA"

// locate uses the user's local data, as Windows has no directory for a session.
func locate(getenv func(string) string) ([]string, error) {
	dir := getenv(Variable)
	if !filepath.IsAbs(dir) {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "LOCALAPPDATA is not set to an absolute path"}
	}
	return []string{filepath.Join(dir, "globus-keys", "run")}, nil
}
