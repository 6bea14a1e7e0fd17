// Package keychain keeps small secrets in the credential store of the operating
// system: macOS Keychain, Windows Credential Manager, or the Secret Service of
// a Linux desktop (gnome-keyring, KWallet, KeePassXC).
//
// Three things are built on each other here:
//
//   - [Backend], the credential store of a platform behind five methods that
//     always answer: [Open];
//   - the item that holds the key of a store: [CreateKey], [LoadKey];
//   - [Adapter], a keystore.StorageAdapter whose records are such items.
//
// Items are written once. A change makes a new item under a random name, reads
// it back, and only then is the new name written where the old one stood. So a
// write that was lost, came late or was cut short leaves litter and nothing
// else, whatever the keychain had promised. docs/keychains.md says what was
// tried with which keychain.
package keychain

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

const (
	// Service is the service name of all our items; with the account it is
	// how other programs find them: secret-tool lookup service globus-keys
	// username ACCOUNT.
	Service = "globus-keys"

	// MaxItem is the size of an item in bytes: Windows takes 2,560, the
	// command line of macOS's security some 2,900, and it is one limit for
	// all, so that what works on one platform works on the others.
	MaxItem = 2400

	probeTime  = 2 * time.Second // a probe as a whole
	silentTime = 3 * time.Second // a call that waits for nobody
)

// Backend is the credential store of one platform. Nothing is opened before
// the first call. Every method ends by itself: within 2 seconds for Probe and 3
// for the others, unless a person is being asked, which lasts as long as ctx,
// two minutes at most. Safe for concurrent use.
//
// Errors: what the credential store cannot do at the moment is a *[Problem];
// everything else is a *keystore.Error. None holds a value.
type Backend interface {
	// Probe finds out the state. It asks nobody and changes nothing. The
	// error says why the state is not Ready, and is nil if it is.
	Probe(ctx context.Context) (State, error)

	// Get returns the value of an item. ErrNotFound: there is none, in a
	// credential store that is open. ErrTampered: there are several that
	// differ.
	Get(ctx context.Context, account string) (keystore.Secret, error)

	// Create makes an item under an account that was never used before.
	// When it returns nil the item outlives the credential store's process;
	// when it does not, the item may exist all the same. ErrInvalid for what
	// [CheckItem] refuses.
	Create(ctx context.Context, account string, value keystore.Secret) error

	// Delete removes an item; one that is not there is no error.
	Delete(ctx context.Context, account string) error

	// Traits say what the backend is. They do not change.
	Traits() Traits

	// Close ends the connection, if there is one. A later call opens another.
	Close() error
}

// Traits are what users are told about a backend.
type Traits struct {
	Name   string // "Secret Service"
	Unlock string // what a user does to unlock it, as a sentence without an end
}

// State is what a probe finds.
type State int

// The states. A new store takes another key place only where the keychain is
// Absent or Unsupported: everything else may be different in a minute, and where
// a key lies must not depend on chance.
const (
	Unknown     State = iota
	Ready             // open and writable
	Absent            // there is none in this session: no bus, no service, no collection
	Locked            // there is one, and it must be unlocked
	Declined          // somebody was asked and said no
	Unreachable       // it does not answer, or could not be started
	Unsupported       // this platform, or this build, has none
)

func (s State) String() string {
	names := []string{"unknown", "ready", "absent", "locked", "declined", "unreachable", "unsupported"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return names[s]
}

// Problem is why a backend did not do what it was asked to. It wraps ErrLocked,
// ErrDeclined or ErrUnavailable, as its state says.
type Problem struct {
	State  State
	Detail string // names the backend and what is wrong, as a sentence without an end
	Advice string // what the user can do, "" if nothing but what the state says
}

func (p *Problem) Error() string { return p.Unwrap().Error() + ": " + p.Detail }

// Unwrap returns the sentinel of the state.
func (p *Problem) Unwrap() error {
	switch p.State {
	case Locked:
		return keystore.ErrLocked
	case Declined:
		return keystore.ErrDeclined
	}
	return keystore.ErrUnavailable
}

// Options of Open. The zero value is right for a program that runs on a desktop.
type Options struct {
	// NoPrompt: nobody is there who could answer a dialog of the keychain; a
	// locked one is ErrLocked at once. Without a display none is shown
	// either.
	NoPrompt bool

	// Notice is told once, before a dialog is waited for, what the user has
	// to answer. nil: nobody is told.
	Notice func(string)

	// Getenv looks up the session's environment; nil means os.Getenv.
	Getenv func(string) string
}

// Open returns the credential store of this platform. opts may be nil. It opens
// and asks nothing. A person who has declined a dialog, or not answered it, is not
// asked again by the same Backend: a program that wants to try again opens another.
func Open(opts *Options) Backend {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	return open(o)
}

// Silently returns a context in which a Backend of Open asks nobody: what is
// locked is ErrLocked. It is for calls that nobody waits for, or that are made
// under a lock.
func Silently(ctx context.Context) context.Context { return context.WithValue(ctx, silently{}, true) }

type silently struct{}

// CheckItem reports ErrInvalid or ErrTooLarge for an item that not every
// platform keeps: accounts have 1 to 200 characters of a-z, 0-9 and /_.-; values
// 1 to MaxItem bytes of printable ASCII. (A line break in one item destroys a
// whole gnome-keyring file that has no password.)
func CheckItem(account string, value keystore.Secret) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	v := value.Reveal()
	if len(v) > MaxItem {
		return &keystore.Error{Err: keystore.ErrTooLarge,
			Detail: fmt.Sprintf("a keychain item of %d bytes, the limit is %d", len(v), MaxItem)}
	}
	if v == "" || !printable(v) {
		return &keystore.Error{Err: keystore.ErrInvalid, Detail: "a keychain item is one line of printable ASCII"}
	}
	return nil
}

// checkAccount: Windows folds case and joins service and account with a colon,
// macOS's security reads lines.
func checkAccount(account string) error {
	if account == "" || len(account) > 200 || strings.Trim(account, "abcdefghijklmnopqrstuvwxyz0123456789/_.-") != "" {
		return &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("%q is not an account of a keychain item", account)}
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
