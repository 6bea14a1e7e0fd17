package rundir

import (
	"fmt"
	"os"
	"path/filepath"
)

// locate uses $TMPDIR, which macOS makes for each user.
func locate(getenv func(string) string) (string, error) {
	if dir := getenv("TMPDIR"); usable(filepath.Clean(dir)) {
		return filepath.Join(dir, "globus-keys"), nil
	}
	return fmt.Sprintf("/tmp/globus-keys-%d", os.Geteuid()), nil
}
