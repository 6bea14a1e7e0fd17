// Package settings reads what a user has set once for all runs: config.toml,
// which docs/config.md describes.
//
// The file may name programs to run. So it is believed only if nobody but the
// user and root can have written it or put it there, and a key that is not known
// is an error: a hook must not be left out because of a letter.
package settings

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/hook"
	"github.com/globus-keys/globus-keys/internal/userdir"
	"github.com/globus-keys/globus-keys/keystore"
)

// maxFile is how long the file may be, in bytes.
const maxFile = 64 << 10

// Settings are what the file says. The zero Settings say nothing.
type Settings struct {
	ClientID string   // the OAuth client that logs in; "": none is set
	Issuer   string   // URL of who issues logins, not checked yet; "": Globus Auth
	Scopes   []string // what a first login asks for if nothing is said

	// Sessions is how long a login lasts, by resource server or by an alias of
	// it: what a policy of the service demands, and nobody can be asked for.
	Sessions map[string]time.Duration

	OnRefresh       hook.Command // zero: none
	OnLoginRequired hook.Command // zero: none; it is shown no tokens
}

// Load reads the file that GLOBUS_KEYS_CONFIG names, which must be there, or the
// user's own, which need not: a missing file, and one that cannot be looked for
// because no home directory is set, are the zero Settings. os.DevNull may be
// named for a file that says nothing.
//
// Errors name the file, the line where there is one, and the key, and quote no
// value. They wrap keystore.ErrTampered if others may have written the file,
// keystore.ErrTooLarge over 64 KiB, keystore.ErrInvalid for what it says.
func Load(getenv func(string) string) (*Settings, error) {
	path, named, err := find(getenv)
	if err != nil {
		return nil, err
	}
	if path == "" || path == os.DevNull {
		return new(Settings), nil
	}
	data, err := atomicfile.ReadTrusted(atomicfile.OS(), path, maxFile)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return new(Settings), nil
	}
	var s *Settings
	if err == nil {
		s, err = parse(data)
	}
	return s, keystore.Annotate(err, keystore.Error{Op: "read the settings", Store: path})
}

// find returns where the file lies, "" for nowhere, and whether it was named.
func find(getenv func(string) string) (path string, named bool, err error) {
	if name := getenv("GLOBUS_KEYS_CONFIG"); name == os.DevNull {
		return name, true, nil
	} else if name != "" {
		path, err = filepath.Abs(name)
		return path, true, err
	}
	dir, err := userdir.Config(getenv)
	if err != nil {
		return "", false, nil
	}
	return filepath.Join(dir, "config.toml"), false, nil
}
