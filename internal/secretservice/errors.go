//go:build unix && !darwin

package secretservice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// What can go wrong. An error of this package wraps one of these, or is what a
// context said. The texts are about the Secret Service, which the caller names.
var (
	ErrNoBus        = errors.New("this session has no D-Bus bus")
	ErrUnreachable  = errors.New("the session's D-Bus bus cannot be reached")
	ErrNoService    = errors.New("no program of this session provides it")
	ErrStart        = errors.New("it could not be started")
	ErrNoCollection = errors.New("it has no default keyring")
	ErrVolatile     = errors.New("its default keyring is the one that is lost at logout")
	ErrLocked       = errors.New("it is locked")
	ErrDismissed    = errors.New("its dialog was dismissed")
	ErrVanished     = errors.New("it ended while its dialog was open")
	ErrNoItem       = errors.New("it does not have the item any more")
	ErrPlain        = errors.New("it offers no encrypted session, and a secret must not cross the bus in clear")
	ErrBadSecret    = errors.New("the value cannot be decrypted")
	ErrMalformed    = errors.New("it gave an answer that is not of its protocol")
	ErrRefused      = errors.New("it answered with an error")

	// ErrGone: the connection or the service ended under the call, which may
	// or may not have had its effect.
	ErrGone = errors.New("the connection to it ended")
)

// Names of D-Bus errors.
const (
	noOwner    = "org.freedesktop.DBus.Error.NameHasNoOwner"
	noProvider = "org.freedesktop.DBus.Error.ServiceUnknown"
)

// meanings says what the errors mean that are told from all others.
var meanings = map[string]error{
	noOwner:                                     ErrGone,
	noProvider:                                  ErrGone,
	"org.freedesktop.DBus.Error.NoReply":        ErrGone,
	"org.freedesktop.DBus.Error.NoServer":       ErrGone,
	"org.freedesktop.DBus.Error.Disconnected":   ErrGone,
	"org.freedesktop.Secret.Error.NoSession":    ErrGone,
	"org.freedesktop.Secret.Error.IsLocked":     ErrLocked,
	"org.freedesktop.Secret.Error.NoSuchObject": ErrNoItem,
	"org.freedesktop.DBus.Error.UnknownObject":  ErrNoItem,
}

// fault says what err, the end of a call, means.
func fault(ctx context.Context, err error) error {
	var reply dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reply):
		meaning, ok := meanings[reply.Name]
		if !ok {
			meaning = ErrRefused
		}
		return fmt.Errorf("%w (%s)", meaning, quote(reply))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w (%v)", ErrGone, err)
}

// errorName returns the name of the error reply, "" if err is none.
func errorName(err error) string {
	var reply dbus.Error
	errors.As(err, &reply)
	return reply.Name
}

// quote shows what another program said: short, and without what a terminal
// would act upon.
func quote(reply dbus.Error) string {
	text := reply.Error()
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return strings.Trim(fmt.Sprintf("%q", reply.Name), `"`) + ": " + fmt.Sprintf("%q", text)
}
