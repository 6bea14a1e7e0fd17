//go:build unix && !darwin

package secretservice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/dbusdial"
)

// Address returns where the session's bus listens: what of
// DBUS_SESSION_BUS_ADDRESS can be used, or else the socket "bus" in
// XDG_RUNTIME_DIR. ErrNoBus: there is none.
//
// Only sockets of this machine are used: see dbusdial.Usable.
func Address(getenv func(string) string) (string, error) {
	if list := getenv("DBUS_SESSION_BUS_ADDRESS"); list != "" {
		addresses, err := dbusdial.Usable(list)
		if err != nil {
			return "", fmt.Errorf("%w: DBUS_SESSION_BUS_ADDRESS: %w", ErrNoBus, err)
		}
		return addresses, nil
	}
	dir := getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%w: DBUS_SESSION_BUS_ADDRESS is not set", ErrNoBus)
	}
	path := filepath.Join(dir, "bus")
	info, err := os.Stat(path)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = errors.New("it is not a socket")
	}
	if err != nil {
		return "", fmt.Errorf("%w: DBUS_SESSION_BUS_ADDRESS is not set, and %q: %w", ErrNoBus, path, err)
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(path), nil
}
