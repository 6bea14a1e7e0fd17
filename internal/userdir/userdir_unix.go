//go:build unix && !darwin

package userdir

// Data returns the directory of the store.
func Data(getenv func(string) string) (string, error) {
	return xdg("XDG_DATA_HOME", getenv, ".local", "share")
}

// Config returns the directory of the settings.
func Config(getenv func(string) string) (string, error) {
	return xdg("XDG_CONFIG_HOME", getenv, ".config")
}

// xdg follows the XDG Base Directory Specification: a variable that holds a
// relative path is to be ignored.
func xdg(variable string, getenv func(string) string, inHome ...string) (string, error) {
	if dir, err := below(variable, getenv, "globus-keys"); err == nil {
		return dir, nil
	}
	return below("HOME", getenv, append(inHome, "globus-keys")...)
}
