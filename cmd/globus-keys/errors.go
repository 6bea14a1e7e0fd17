package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

var errCancelled = errors.New("cancelled")

// usageError is about the words of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// hinted is an error whose remedy the command knows better than the table.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// foreign is an error about a file that is not the store's: nothing is wrong
// with the store, and no exit code or hint of its own fits.
type foreign struct{ error }

// outcomes maps errors to exit codes and hints; the first match counts. In a
// hint, {} stands for the command line so far: globus-keys, the store, and what opens
// it; {store} is the same without what opens it.
var outcomes = []struct {
	is   error
	code int
	hint string
}{
	{errCancelled, 2, ""},
	{keystore.ErrLoginRequired, 4, "{} login logs in again"},
	{errTooSoon, 8, ""},
	{sqliteadapter.ErrForeign, 7, "name another store; globus-keys import takes over the logins of a database of the Globus SDK"},
	{sqliteadapter.ErrNamesInClear, 2, "leave --hide-names out, or carry it over into another store: {} migrate --to sqlite:PATH --hide-names"},
	{keychain.ErrKeyLost, 7, "bring the keychain's own file back from a backup, or open the store with its passphrase if it has one: {} --key passphrase verify; the holder of a recovery recipient reads the records with age; last resort: {} reset moves the store aside"},
	{keystore.ErrTampered, 7, "{} verify checks every record; {} restore --backup goes back to the state before the last change"},
	{keystore.ErrNoSeal, 7, "{} verify checks every record; {} restore --backup goes back to the state before the last change"},
	{keystore.ErrCorrupt, 7, "{} restore --backup goes back to the state before the last change; last resort: {} reset moves the store aside"},
	{keystore.ErrSubjectMismatch, 1, "keep the two apart: say --namespace NAME; or log out of the old one first"},
	{keystore.ErrDeclined, 2, ""},
	{errNoneChosen, 2, ""},
	{local.ErrPassphrase, 5, "check the passphrase; if it is forgotten: the holder of a recovery recipient reads the records with age, or {store} reset moves the store aside, and a new login begins another"},
	{local.ErrNoIdentity, 5, "name the file with the identity of this store: --identity-file FILE; with unlock it is named once for hours"},
	{keystore.ErrLocked, 5, "{store} unlock, in a terminal, opens it for hours; or name a file that holds the passphrase: --passphrase-file FILE"},
	{agent.ErrFull, 6, "globus-keys agent status names the stores that are unlocked; globus-keys --store STORE lock locks one of them, globus-keys lock --all all"},
	{keystore.ErrBusy, 6, "another process is at work on the store; try again"},
	{context.DeadlineExceeded, 6, "try again"},
	{keystore.ErrReadOnly, 6, "make the directory of the store writable, or name another store with --store file:PATH"},
	{local.ErrNoFile, 6, "check what names it: an option, or $GLOBUS_KEYS_PASSPHRASE_FILE or $GLOBUS_KEYS_IDENTITY_FILE"},
	{keystore.ErrUnavailable, 6, ""},
	{fs.ErrPermission, 6, "run it as the user whose file that is, with HOME as that user's (sudo can leave another's), or name another store with --store file:PATH"},
	{syscall.ENOSPC, 6, "make room on the disk of the store, and try again"},
	{keystore.ErrTooLarge, 1, ""},
	{keystore.ErrInvalid, 2, ""},
	{keystore.ErrNotFound, 3, "{} status shows what is stored"},
	{fs.ErrNotExist, 3, ""},
	{fs.ErrExist, 1, "name a file that does not exist yet"},
}

// fail tells err and its remedy, and returns the exit code.
func (a *app) fail(cmd *cobra.Command, err error) int {
	a.complain(err)
	code, hint := a.outcomeOf(cmd, err)
	if hint != "" {
		a.advise(hint)
	}
	return code
}

// outcomeOf returns the exit code of a command that ends with err, and what to do
// then, in the words of advise.
func (a *app) outcomeOf(cmd *cobra.Command, err error) (code int, hint string) {
	code, hint = a.outcome(err)
	var usage usageError
	if errors.As(err, &usage) || isUsage(err) {
		code, hint = 2, cmp.Or(meant(cmd, err), cmd.CommandPath()+" --help")
	}
	if strings.Contains(hint, "restore --backup") && !a.hasBackup() {
		hint = withoutBackup(err)
	}
	var problem *keychain.Problem
	if errors.As(err, &problem) {
		hint = a.keychainHint(problem, err)
	}
	if about, _ := errors.AsType[*keystore.Error](err); about != nil && about.Op == local.MakeOp && errors.Is(err, keystore.ErrLocked) && problem == nil {
		hint = passphraseHint // there is no store yet to unlock
	}
	if said := a.agentHint(err); said != "" {
		hint = said
	}
	var h hinted
	if errors.As(err, &h) {
		hint = h.hint
	}
	var record *keystore.Error
	if errors.Is(err, keystore.ErrTampered) && errors.As(err, &record) && record.Key == (keystore.RecordKey{}) {
		hint = "" // about a file or directory: the error says what to do with it
	}
	return code, hint
}

// advise tells a hint in which {} and {store} stand for the command line so far.
func (a *app) advise(hint string) { a.hint("%s", a.spelled(hint)) }

func (a *app) spelled(hint string) string {
	return strings.NewReplacer("{}", a.self(), "{store}", a.selfFor([2]string{"--store", a.store})).Replace(hint)
}

// complain tells err, one line for each that errors.Join has put together.
func (a *app) complain(err error) {
	for _, e := range apart(err) {
		a.talk("error: ", "%v", e)
	}
}

// apart returns what errors.Join has put together. A line break inside of an error is
// not one of its.
func apart(err error) []error {
	if h, ok := err.(hinted); ok {
		return apart(h.error)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, apart(e)...)
	}
	return all
}

func (a *app) outcome(err error) (code int, hint string) {
	for _, o := range outcomes {
		if errors.Is(err, o.is) {
			return o.code, o.hint
		}
	}
	return 1, ""
}

// withoutBackup is the hint about damage where the store keeps no backup.
func withoutBackup(err error) string {
	about, _ := errors.AsType[*keystore.Error](err)
	if about != nil && about.Key == (keystore.RecordKey{}) && errors.Is(err, keystore.ErrCorrupt) {
		return "bring back a copy of the store, with what lies beside it, if there is one; or {} reset moves the store aside, and a new login or import begins another"
	}
	return "{} verify checks every record; import --overwrite or a new login replaces a damaged one, {} remove removes it; last resort: {} reset moves the store aside"
}

func integrity(err error) bool {
	return errors.Is(err, keystore.ErrTampered) || errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrNoSeal)
}

// keychainHint says what the user can do about his keychain.
func (a *app) keychainHint(p *keychain.Problem, err error) string {
	var about *keystore.Error
	isNew := errors.As(err, &about) && about.Op == local.MakeOp
	switch {
	case p.Advice != "":
		return p.Advice
	case p.State == keychain.Locked:
		return keychain.Open(nil).Traits().Unlock + "; then try again"
	case p.State == keychain.Declined:
		return "try again, and answer the dialog of the keychain"
	case p.State == keychain.Unreachable:
		return "log out and in again, or restart the keychain's service; without the keychain a new store is made with --key passphrase"
	case strings.HasPrefix(a.storeName(), "keychain:"):
		return "run it in a session that has a keychain, or name a store in a file: --store file:PATH"
	case isNew:
		return "--key passphrase makes a store that needs no keychain"
	}
	return "run it in the desktop session whose keychain has the key; {} passphrase set, run there, gives the store a passphrase too"
}

// isUsage recognises the errors that cobra makes of arguments, which have no
// type of their own.
func isUsage(err error) bool {
	for _, start := range []string{"unknown command", "accepts ", "invalid argument ", "requires at least", "required flag", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

// meant are the commands whose name is like the unknown one, "" if there are none. Cobra
// would say so in several lines.
func meant(cmd *cobra.Command, err error) string {
	var typed string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q", &typed); n != 1 || typed == "" {
		return ""
	}
	cmd.SuggestionsMinimumDistance = 2
	names := cmd.SuggestionsFor(typed)
	for i, name := range names {
		names[i] = cmd.CommandPath() + " " + name
	}
	return strings.Join(names, ", or ")
}

func (a *app) storeName() string { return cmp.Or(a.store, a.getenv("GLOBUS_KEYS_STORE")) }

// hasBackup reports whether the store keeps its last state: those in files do.
func (a *app) hasBackup() bool {
	kind, _, found := strings.Cut(a.storeName(), ":")
	return !found || kind == "file"
}

// self is how to call the program again for the same store, with the same key.
func (a *app) self() string {
	return a.selfFor([2]string{"--store", a.store}, [2]string{"--key", a.key},
		[2]string{"--identity-file", a.identityFile}, [2]string{"--passphrase-file", a.passphraseFile})
}

// selfFor is the same with some of the flags: names and values.
func (a *app) selfFor(flags ...[2]string) string {
	line := "globus-keys"
	for _, flag := range flags {
		if flag[1] != "" {
			line += " " + flag[0] + " " + shellQuoted(flag[1])
		}
	}
	return line
}

// shellQuoted returns s as one word of a POSIX shell.
func shellQuoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
