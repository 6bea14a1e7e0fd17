//go:build unix && !darwin

package secretservice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Address returns where the session's bus listens: what of
// DBUS_SESSION_BUS_ADDRESS can be used, or else the socket "bus" in
// XDG_RUNTIME_DIR. ErrNoBus: there is none.
//
// Only sockets of this machine are used. "autolaunch:" and "unixexec:" start
// programs: libraries that follow them leave a dbus-daemon behind at every call
// (https://github.com/cli/cli/issues/7582). "disabled:" says that none is wanted.
func Address(getenv func(string) string) (string, error) {
	if list := getenv("DBUS_SESSION_BUS_ADDRESS"); list != "" {
		return usable(list)
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

// usable keeps the addresses of the list that endpoint takes.
func usable(list string) (string, error) {
	var good, why []string
	for address := range strings.SplitSeq(list, ";") {
		if _, err := endpoint(address); err != nil {
			why = append(why, err.Error())
		} else {
			good = append(good, address)
		}
	}
	if len(good) == 0 {
		return "", fmt.Errorf("%w: DBUS_SESSION_BUS_ADDRESS: %s", ErrNoBus, strings.Join(why, ", "))
	}
	return strings.Join(good, ";"), nil
}

// endpoint returns the name of the socket, as package net writes it, that one
// address names.
func endpoint(address string) (string, error) {
	transport, rest, _ := strings.Cut(address, ":")
	if transport != "unix" {
		return "", fmt.Errorf("%q is not a unix: address", address)
	}
	values := make(map[string]string)
	for pair := range strings.SplitSeq(rest, ",") {
		key, escaped, _ := strings.Cut(pair, "=")
		value, err := dbus.UnescapeBusAddressValue(escaped)
		if _, twice := values[key]; err != nil || twice || strings.ContainsRune(value, 0) {
			return "", fmt.Errorf("%q is not an address", address)
		}
		values[key] = value
	}
	path, abstract := values["path"], values["abstract"]
	switch {
	case filepath.IsAbs(path) && abstract == "":
		return path, nil
	case abstract != "" && path == "":
		return "@" + abstract, nil
	}
	return "", fmt.Errorf("%q names no socket by path or abstract name", address)
}
