package keystore

import (
	"errors"
	"fmt"
	"strings"
)

// Every error of a store wraps one of these, or what the operating system said.
var (
	// ErrNotFound: there is no such record, or no store yet.
	ErrNotFound = errors.New("not found")
	// ErrLocked: the key is behind a passphrase or a locked keychain, and
	// nobody gave it.
	ErrLocked = errors.New("the store is locked")
	// ErrDeclined: somebody was asked for the key and said no.
	ErrDeclined = errors.New("declined")
	// ErrUnavailable: a keychain, a file system ability or a backend is not
	// there. The store is as it was.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy: another process holds the lock, and the context ended first.
	ErrBusy = errors.New("busy")
	// ErrReadOnly: the store can be read but not written.
	ErrReadOnly = errors.New("read-only")
	// ErrTampered: a record or a store is not what was written there:
	// changed, moved, forged, or sealed with another key.
	ErrTampered = errors.New("tampered with")
	// ErrNoSeal: a record can be decrypted but nothing says who wrote it.
	ErrNoSeal = errors.New("not sealed by this store")
	// ErrCorrupt: a file, record or key is not in its format. A corrupt
	// store is never taken for an empty one, and never overwritten.
	ErrCorrupt = errors.New("damaged")
	// ErrLoginRequired: the login is over; only a new one helps.
	ErrLoginRequired = errors.New("login required")
	// ErrSubjectMismatch: the namespace belongs to another account.
	ErrSubjectMismatch = errors.New("another account's login")
	// ErrTooLarge: over MaxPayload or MaxName.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: the caller gave a name or value that no store takes.
	ErrInvalid = errors.New("invalid")
)

// Error says what was being done to which record of which store. It never
// holds a payload or a secret; names and details are quoted, so that no
// control character of a file reaches a terminal.
type Error struct {
	Op     string    // "get", "put", …; "" if the caller's words say it
	Store  string    // the file or keychain concerned, "" if not known
	Key    RecordKey // zero: the store as a whole
	Detail string    // what exactly, "" if Err says it all
	Err    error     // wraps one of the sentinels; never nil
}

// Error reads like "get token "x" in namespace "DEFAULT" of FILE: damaged: why".
func (e *Error) Error() string {
	var where []string
	if e.Op != "" {
		where = append(where, e.Op)
	}
	if e.Key != (RecordKey{}) {
		where = append(where, e.Key.String())
	}
	if e.Store != "" {
		if len(where) > 0 {
			where = append(where, "of")
		}
		where = append(where, printable(e.Store))
	}
	what := e.Err.Error()
	if e.Detail != "" {
		what += ": " + e.Detail
	}
	if len(where) == 0 {
		return what
	}
	return strings.Join(where, " ") + ": " + what
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// annotate fills in what err does not say of itself, without wrapping twice.
func annotate(err error, op string, key RecordKey) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) || e != err {
		return &Error{Op: op, Key: key, Err: err}
	}
	filled := *e
	if filled.Op == "" {
		filled.Op = op
	}
	if filled.Key == (RecordKey{}) {
		filled.Key = key
	}
	return &filled
}

// unreadable reports whether err is about one record whose content is lost,
// as against a store or key that cannot be had at the moment.
func unreadable(err error) bool {
	return errors.Is(err, ErrTampered) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNoSeal)
}

// printable quotes s only if it holds what a terminal would act upon.
func printable(s string) string {
	if q := fmt.Sprintf("%q", s); q != `"`+s+`"` {
		return q
	}
	return s
}
