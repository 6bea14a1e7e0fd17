//go:build unix && !darwin

package rundir

import (
	"fmt"
	"os"
	"path/filepath"
)

// Variable names a directory of the user's in which Make's comes first.
const Variable = "XDG_RUNTIME_DIR"

// locate returns where the directory is, or can be for another process, Make's
// first. It follows the XDG Base Directory Specification. Under sudo and su the
// variable can still name another user's directory: that is not used. Jobs of cron
// and the like have no variable, and no directory in /run while nobody is logged in.
func locate(getenv func(string) string) ([]string, error) {
	var dirs []string
	for _, dir := range []string{getenv(Variable), fmt.Sprintf("/run/user/%d", os.Geteuid())} {
		if usable(dir) {
			dirs = append(dirs, filepath.Join(dir, "globus-keys"))
		}
	}
	return append(dirs, fmt.Sprintf("/tmp/globus-keys-%d", os.Geteuid())), nil
}
