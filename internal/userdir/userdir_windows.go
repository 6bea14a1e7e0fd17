package userdir

// Data returns the directory of the store.
func Data(getenv func(string) string) (string, error) {
	return below("LOCALAPPDATA", getenv, "globus-keys")
}

// Config returns the directory of the settings, the same.
func Config(getenv func(string) string) (string, error) { return Data(getenv) }
