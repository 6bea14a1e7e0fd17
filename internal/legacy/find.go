package legacy

import (
	"runtime"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
)

// Find returns where a program keeps its logins; "globus-cli" is known. Whether
// the file exists is for Read to see. getenv looks up an environment variable,
// as os.Getenv; home is the user's home directory. ErrInvalid for a program
// that is not known, ErrUnavailable without a home directory.
func Find(program string, getenv func(string) string, home string) (string, error) {
	return find(runtime.GOOS, program, getenv, home)
}

func find(goos, program string, getenv func(string) string, home string) (string, error) {
	if program != "globus-cli" {
		return "", foreignf("no place is known where %q keeps its logins", program)
	}
	if goos != "windows" {
		return below("/", home, ".globus", "cli", "storage.db")
	}
	for _, name := range []string{"LOCALAPPDATA", "APPDATA"} {
		if dir := getenv(name); dir != "" {
			return below(`\`, dir, "globus", "cli", "storage.db")
		}
	}
	return below(`\`, home, "AppData", "Local", "globus", "cli", "storage.db")
}

func below(separator, dir string, names ...string) (string, error) {
	if dir == "" {
		return "", &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the home directory is not known"}
	}
	return strings.TrimRight(dir, separator) + separator + strings.Join(names, separator), nil
}
