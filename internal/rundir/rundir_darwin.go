package rundir

import (
	"fmt"
	"os"
	"path/filepath"
)

// Variable names a directory of the user's in which Make's comes first.
const Variable = "TMPDIR"

// locate returns where the directory is, or can be for another process, Make's
// first. It uses $TMPDIR, which macOS makes for each user, and not every job has.
func locate(getenv func(string) string) ([]string, error) {
	var dirs []string
	if dir := getenv(Variable); usable(filepath.Clean(dir)) {
		dirs = append(dirs, filepath.Join(dir, "globus-keys"))
	}
	return append(dirs, fmt.Sprintf("/tmp/globus-keys-%d", os.Geteuid())), nil
}
