//go:build unix && !darwin

package rundir

import (
	"fmt"
	"os"
	"path/filepath"
)

// locate follows the XDG Base Directory Specification. Under sudo and su the
// variable can still name another user's directory: that is not used. Jobs of cron
// and the like have no variable, and need the same directory as all others.
func locate(getenv func(string) string) (string, error) {
	for _, dir := range []string{getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Geteuid())} {
		if usable(dir) {
			return filepath.Join(dir, "globus-keys"), nil
		}
	}
	return fmt.Sprintf("/tmp/globus-keys-%d", os.Geteuid()), nil
}
