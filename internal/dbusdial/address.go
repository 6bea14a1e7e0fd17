//go:build unix && !darwin

// Package dbusdial is what is done alike to reach any D-Bus bus: addresses that
// start no program, and an introduction that ends with its context.
package dbusdial

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Usable keeps the addresses of a list, separated by semicolons, that Endpoint
// takes. The error says why it takes none.
//
// Only sockets of this machine are used. "autolaunch:" and "unixexec:" start
// programs: libraries that follow them leave a dbus-daemon behind at every call
// (https://github.com/cli/cli/issues/7582). "disabled:" says that none is wanted.
func Usable(list string) (string, error) {
	var good, why []string
	for address := range strings.SplitSeq(list, ";") {
		if _, err := Endpoint(address); err != nil {
			why = append(why, err.Error())
		} else {
			good = append(good, address)
		}
	}
	if len(good) == 0 {
		return "", errors.New(strings.Join(why, ", "))
	}
	return strings.Join(good, ";"), nil
}

// Endpoint returns the name of the socket, as package net writes it, that one
// address names.
func Endpoint(address string) (string, error) {
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
