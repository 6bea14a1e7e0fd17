package keystore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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
// holds a payload or a secret, and its text has no character that a terminal
// would act upon, whatever a file or the operating system put into it.
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
		where = append(where, e.Store)
	}
	what := e.Err.Error()
	if e.Detail != "" {
		what += ": " + e.Detail
	}
	if len(where) > 0 {
		what = strings.Join(where, " ") + ": " + what
	}
	return visible(what)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Annotate returns err with what about says and err does not say of itself yet:
// an *Error in err's place is filled in, another error is wrapped. An error that
// names a store but no record is about that store, and gets no key. nil stays nil.
func Annotate(err error, about Error) error {
	if err == nil {
		return nil
	}
	e, ok := err.(*Error)
	if !ok {
		about.Err = err
		return &about
	}
	filled := *e
	if filled.Op == "" {
		filled.Op = about.Op
	}
	if filled.Store == "" {
		filled.Store = about.Store
	}
	if filled.Key == (RecordKey{}) && e.Store == "" {
		filled.Key = about.Key
	}
	return &filled
}

func annotate(err error, op string, key RecordKey) error {
	return Annotate(err, Error{Op: op, Key: key})
}

// Ended returns nil as long as ctx lasts. Then it returns an error that wraps
// what ctx.Err says and, if its owner gave another one, the cause.
func Ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// unreadable reports whether err is about one record whose content is lost,
// as against a store or key that cannot be had at the moment.
func unreadable(err error) bool {
	return errors.Is(err, ErrTampered) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNoSeal)
}

// visible writes as an escape what a terminal would act upon or not show.
func visible(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[size:]
	}
	return b.String()
}
