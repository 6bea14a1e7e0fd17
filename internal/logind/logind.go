// Package logind tells when what is unlocked must be locked, because the machine
// goes to sleep or its user has locked his session. It asks systemd-logind, or what
// else has its name on the system bus:
// https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html
package logind

import "errors"

// ErrNothing: there is nothing on this machine that could tell.
var ErrNothing = errors.New("nothing tells when the machine goes to sleep")
