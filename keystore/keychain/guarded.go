package keychain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// library is what a keychain library offers: calls that end when they like, if
// they do, and may panic.
type library interface {
	Set(service, user, value string) error
	Get(service, user string) (string, error)
	Delete(service, user string) error
}

// platform is what differs between the credential stores behind libraries.
type platform struct {
	Traits
	library library
	probe   func() error      // asks nobody, changes nothing; nil or a missing item means ready
	missing error             // what library says of an item that is not there
	explain func(error) error // puts other errors of library and probe into the words of Backend
	silence string            // advice when there is no answer
}

// guarded is a Backend over a library. What it adds: a deadline, the caller's
// context, recovery from panics, and one call at a time.
type guarded struct {
	platform
	turn chan struct{} // holds one value while a call runs
}

// oneCall is the turn of all guarded backends. It belongs to the process and not
// to a Backend because what it protects does: overlapping calls of the Windows
// Credential Manager report success and lose data, reads included
// (oven-sh/bun#42263), whichever Backend makes them. It is a channel because
// nobody can stop waiting for a mutex.
var oneCall = make(chan struct{}, 1)

func newGuarded(p platform) *guarded { return &guarded{p, oneCall} }

func (g *guarded) Traits() Traits { return g.platform.Traits }

// Close has nothing to end: the libraries keep no connection.
func (g *guarded) Close() error { return nil }

func (g *guarded) Probe(ctx context.Context) (State, error) {
	err := g.call(ctx, probeTime, func(context.Context) error { return g.probe() })
	var problem *Problem
	switch {
	case err == nil, errors.Is(err, keystore.ErrNotFound):
		return Ready, nil
	case errors.As(err, &problem):
		return problem.State, err
	}
	return Unknown, err
}

func (g *guarded) Get(ctx context.Context, account string) (keystore.Secret, error) {
	if err := checkAccount(account); err != nil {
		return keystore.Secret{}, err
	}
	var value string
	err := g.call(ctx, silentTime, func(context.Context) (err error) {
		value, err = g.library.Get(Service, account)
		return err
	})
	if err != nil {
		return keystore.Secret{}, err // value may still be written to
	}
	return keystore.NewSecret(value), nil
}

// Create of a call that was abandoned may still take effect, at any time. That
// leaves litter and no more: the account is used by nobody else, and what is
// never overwritten cannot be overwritten late.
func (g *guarded) Create(ctx context.Context, account string, value keystore.Secret) error {
	if err := CheckItem(account, value); err != nil {
		return err
	}
	return g.call(ctx, silentTime, func(ctx context.Context) error {
		if _, err := g.library.Get(Service, account); err == nil {
			return &keystore.Error{Err: keystore.ErrInvalid, Detail: "the item exists already"}
		} else if !g.isMissing(err) {
			return err
		}
		if ctx.Err() != nil {
			return errAbandoned // do not begin to write
		}
		return g.library.Set(Service, account, value.Reveal())
	})
}

func (g *guarded) Delete(ctx context.Context, account string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	err := g.call(ctx, silentTime, func(context.Context) error { return g.library.Delete(Service, account) })
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	return err
}

// call runs fn when its turn comes, and returns what the caller is to be told
// within limit, waiting included. fn is given the context that says whether
// anybody still waits for it.
func (g *guarded) call(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := g.takeTurn(ctx, waiting); err != nil {
		return err
	}
	done := make(chan error, 1) // with room, so that an abandoned call can end
	go func() { done <- g.run(waiting, fn) }()
	select {
	case err := <-done:
		if err != errAbandoned {
			return err
		}
	case <-waiting.Done():
	}
	return g.noAnswer(ctx, fmt.Sprintf("has not answered within %v", limit))
}

// errAbandoned is of a call that has seen that nobody waits for it any more.
var errAbandoned = errors.New("abandoned")

func (g *guarded) takeTurn(ctx, waiting context.Context) error {
	if ctx.Err() != nil { // select would choose by chance
		return &keystore.Error{Err: keystore.Ended(ctx)}
	}
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-waiting.Done():
		return g.noAnswer(ctx, "cannot be asked: an earlier call has not come back")
	}
}

// run gives the turn back when fn has really ended, and not when its caller has
// lost patience.
func (g *guarded) run(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() { <-g.turn }()
	defer func() {
		if recover() != nil { // what it says is not for others: it may hold the value
			err = g.problem(Unreachable, "has failed: its library panicked")
		}
	}()
	return g.translate(fn(ctx))
}

func (g *guarded) isMissing(err error) bool {
	return errors.Is(g.translate(err), keystore.ErrNotFound)
}

// translate puts an error of the library into the words of Backend; our own stay
// as they are.
func (g *guarded) translate(err error) error {
	var ours *keystore.Error
	switch {
	case err == nil, err == errAbandoned, errors.As(err, &ours):
		return err
	case errors.Is(err, g.missing):
		return noItem()
	}
	return g.explain(err)
}

func (g *guarded) noAnswer(ctx context.Context, what string) error {
	if ctx.Err() != nil {
		return &keystore.Error{Err: keystore.Ended(ctx)}
	}
	p := g.problem(Unreachable, what)
	p.Advice = g.silence
	return p
}

func (g *guarded) problem(state State, what string) *Problem {
	return &Problem{State: state, Detail: "the " + g.Name + " " + what}
}

func noItem() error { return &keystore.Error{Err: keystore.ErrNotFound} }

// The errors of the libraries are translated here and not beside their
// platform, so that their tests run everywhere.

const securityName = "macOS Keychain"

// Exit statuses of macOS's security: the low bytes of the results of its
// Security framework.
const (
	securityNotFound  = 44  // errSecItemNotFound, -25300
	securityNobody    = 36  // errSecInteractionNotAllowed, -25308
	securityAuth      = 51  // errSecAuthFailed, -25293
	securityCancelled = 128 // userCanceledErr, -128
)

// explainSecurity is for go-keyring on macOS. Of an item that is not there it
// knows only the English message; the exit status says it in every language.
func explainSecurity(err error) error {
	problem := func(state State, what string) error {
		return &Problem{State: state, Detail: "the " + securityName + " " + what}
	}
	switch status := exitStatus(err); status {
	case securityNotFound:
		return noItem()
	case securityNobody:
		return problem(Locked, "would have to ask, and there is nobody it can ask (security: exit status 36)")
	case securityAuth:
		return problem(Locked, "was not given the right password (security: exit status 51)")
	case securityCancelled:
		return problem(Declined, "asked, and the dialog was cancelled")
	case noStatus:
	default:
		return problem(Unreachable, fmt.Sprintf("has failed (security: exit status %d)", status))
	}
	var encoding base64.CorruptInputError
	if errors.As(err, &encoding) {
		return corrupt("the item's encoding is broken")
	}
	return problem(Unreachable, "cannot be asked: security "+why(err))
}

const noStatus = -2 // -1 is that of a program ended by a signal

// exitStatus returns that of a program that has failed, as exec.ExitError has it.
func exitStatus(err error) int {
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return noStatus
}

const credentialManagerName = "Windows Credential Manager"

// Errors of advapi32. x/sys/windows has them for Windows only.
const (
	winNotFound       syscall.Errno = 1168 // ERROR_NOT_FOUND
	winNoLogonSession syscall.Errno = 1312 // ERROR_NO_SUCH_LOGON_SESSION
	winBadStub        syscall.Errno = 1783 // RPC_X_BAD_STUB_DATA: more than 2,560 bytes
)

// explainErrno is for go-keyring on Windows. Its Delete reads first; who deletes
// in between leaves it with an error number.
func explainErrno(err error) error {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return &Problem{State: Unreachable, Detail: "the " + credentialManagerName + " cannot be asked: " + why(err)}
	}
	switch number {
	case winNotFound:
		return noItem()
	case winNoLogonSession:
		return noLogonSession()
	case winBadStub:
		return &keystore.Error{Err: keystore.ErrTooLarge, Detail: "the " + credentialManagerName + " does not take an item of this size"}
	}
	return &Problem{State: Unreachable, Detail: fmt.Sprintf("the %s has failed: error %d, %v", credentialManagerName, int(number), number)}
}

func noLogonSession() error {
	return &Problem{State: Locked, Detail: "the " + credentialManagerName + " keeps nothing for this logon session"}
}

// why returns the text of an error that is about a file, such as a program that
// is not there, and of others only the type: they may quote what was stored.
func why(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Error()
	}
	return fmt.Sprintf("failed with a %T", err)
}
