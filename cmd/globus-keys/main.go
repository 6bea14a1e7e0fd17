// Globus-keys keeps OAuth 2 logins, first of all Globus Auth's, encrypted.
//
// Run globus-keys --help.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/globus-keys/globus-keys/internal/secretmem"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

func main() { os.Exit(run()) }

// grace is how long a command may take to finish a change after it has been
// cancelled. A second signal ends it at once.
const grace = 10 * time.Second

// graceOfRenewal is the same for one whose refresh token, or code, is spent already:
// what an issuer and a disk may take together.
const graceOfRenewal = 40 * time.Second

// patience is how long somebody who has cancelled is kept waiting without a word.
const patience = time.Second

// run is main for the tests, which run it as a command.
func run() int {
	notClosed := secretmem.Protect() // before there is anything to see
	ctx := interruptContext()
	a := &app{ui: newUI(os.Stdin, os.Stdout, os.Stderr), getenv: os.Getenv}
	defer a.tty.release()
	if notClosed != nil {
		a.warn("%v", notClosed)
	}
	done := make(chan int, 1)
	go func() { done <- a.run(ctx, os.Args[1:]) }()
	select {
	case code := <-done:
		return code
	case <-ctx.Done():
		return a.finish(done)
	}
}

// interruptContext ends with ^C, SIGTERM and the end of the terminal, SIGHUP. Then
// another ^C or SIGTERM ends the process at once, but not another SIGHUP: the shell and
// the kernel each send one. nohup has it ignored, and so it stays.
//
// SIGPIPE, of a pipeline whose next command is gone, kills nobody: there may be a login
// to store. Unlike an ignored signal one that is heard is not passed on to programs
// that are started.
func interruptContext() context.Context {
	ending, unheeded := []os.Signal{os.Interrupt, syscall.SIGTERM}, []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		ending, unheeded = append(ending, syscall.SIGHUP), append(unheeded, syscall.SIGHUP)
	}
	signal.Notify(make(chan os.Signal, 1), unheeded...)
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	context.AfterFunc(ctx, stop)
	return ctx
}

// finish waits for a command that was cancelled, and says so if that takes a while.
func (a *app) finish(done <-chan int) int {
	limit, pause := time.Now().Add(graceOfRenewal), patience
	for {
		select {
		case code := <-done:
			return code
		case <-time.After(pause):
		}
		busy := a.finishing.Load() > 0
		switch {
		case busy && pause == patience:
			a.say("a login is being renewed or stored: this ends when that is done; ^C again ends it at once, and may lose the login")
		case !busy && pause == grace, time.Now().After(limit): // it reads from a pipe that nobody writes to
			return a.fail(a.root(), errCancelled)
		}
		pause = grace
	}
}

// app is one run of the command: what the global flags said and where to talk.
type app struct {
	ui
	getenv func(string) string

	store     string
	namespace string
	keyFlags
	keyFromEnv bool
	noPrompt   bool
	noAgent    bool // it was asked, and did not answer

	chosen    bool         // somebody has chosen a passphrase in this run
	finishing atomic.Int32 // things under way that must not be broken off
}

// keyFlags say where the key of a store is, and how a new one is made.
type keyFlags struct {
	key            string // a keystore.SlotKind
	identityFile   string
	passphraseFile string
	hideNames      bool
}

// testWorkFactor makes scrypt quick in tests; 0 is the strength that users get.
var testWorkFactor = 0

// testKeychain stands in for the operating system's in tests; nil is that one.
var testKeychain keychain.Backend

func (a *app) run(ctx context.Context, args []string) int {
	defer a.tty.release()
	root := a.root()
	root.SetArgs(args)
	help := &remembering{Writer: a.out}
	root.SetOut(help)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = help.err
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errCancelled
	}
	return a.fail(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "globus-keys",
		Short: "Keep OAuth 2 logins encrypted, and use them from scripts",
		Long: `globus-keys keeps OAuth 2 logins, first of all Globus Auth's, in an encrypted
store, and gives their access tokens to scripts and programs.

Exit codes: 0 ok, 1 error, 2 usage or cancelled, 3 not found, 4 login needed,
5 locked, 6 unavailable or busy, 7 integrity failure, 8 expires too soon.`,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // meant has them
		CompletionOptions:  cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if ours, ok := errors.AsType[usageError](err); ok { // without what pflag says around it
			return ours
		}
		return usageError{err}
	})
	f := root.PersistentFlags()
	f.StringVar(&a.store, "store", "", "the `store`, as file:PATH, sqlite:PATH or keychain:NAME (default $GLOBUS_KEYS_STORE, else your own)")
	f.StringVar(&a.namespace, "namespace", "", "the `namespace` of the login (default $GLOBUS_KEYS_NAMESPACE, else DEFAULT)")
	f.StringVar(&a.identityFile, "identity-file", "", "age identity `file` that opens the store, or fd:N (default $GLOBUS_KEYS_IDENTITY_FILE)")
	f.StringVar(&a.passphraseFile, "passphrase-file", "", "`file` with the passphrase in its first line, or fd:N (default $GLOBUS_KEYS_PASSPHRASE_FILE)")
	f.BoolVar(&a.keyFromEnv, "key-from-env", false, "let $GLOBUS_KEYS_IDENTITY_FILE make a new store")
	f.StringVar(&a.key, "key", "", "`where` the key of a new store goes, or is looked for: keychain or passphrase (default: keychain if there is one)")
	f.BoolVar(&a.hideNames, "hide-names", false, "a new store in a database keeps keyed hashes in the place of names")
	f.BoolVar(&a.noPrompt, "no-prompt", false, "never ask anything (also GLOBUS_KEYS_NO_PROMPT=1)")
	root.AddCommand(
		a.loginCommand(), a.logoutCommand(), a.refreshCommand(), a.whoamiCommand(), a.preflightCommand(),
		a.importCommand(), a.migrateCommand(), a.tokenCommand(), a.statusCommand(), a.showCommand(), a.removeCommand(),
		a.exportCommand(), a.verifyCommand(), a.restoreCommand(), a.resetCommand(),
		a.unlockCommand(), a.lockCommand(), a.agentCommand(), a.rekeyCommand(), a.passphraseCommand(),
		a.namespacesCommand(), a.configDataCommand(), a.credentialHelperCommand(), a.versionCommand(),
	)
	return root
}

// place finds the store that the flags name. Nothing is read yet.
func (a *app) place() (*local.Place, error) { return a.placeAt(a.store) }

// placeAt finds the store of this name with what the flags say of its key.
func (a *app) placeAt(store string) (*local.Place, error) {
	return a.placeWith(store, "--key", a.keyFlags, a.getenv)
}

// placeWith is placeAt with flags and an environment of its own. flag is what the flag
// for keyFlags.key is called.
func (a *app) placeWith(store, flag string, keys keyFlags, getenv func(string) string) (*local.Place, error) {
	kind := keystore.SlotKind(keys.key)
	if kind != "" && kind != keystore.SlotKeychain && kind != keystore.SlotPassphrase {
		return nil, usageError{fmt.Errorf("%s is keychain or passphrase, not %q", flag, keys.key)}
	}
	if keys.hideNames && !strings.HasPrefix(cmp.Or(store, a.storeName()), "sqlite:") {
		return nil, usageError{errors.New("--hide-names is for a store in a database: --store sqlite:PATH")}
	}
	opts := &local.Options{
		Store:          store,
		SQLite:         sqliteadapter.Opener(&sqliteadapter.Options{HideNames: keys.hideNames}),
		Namespace:      a.namespace,
		IdentityFile:   keys.identityFile,
		PassphraseFile: keys.passphraseFile,
		KeyFromEnv:     a.keyFromEnv,
		Key:            kind,
		NoDialog:       a.silent(),
		NoAgent:        a.noAgent,
		Notice:         func(text string) { a.say("%s", text) },
		Getenv:         getenv,
		Warn:           func(err error) { a.warn("%v", err) },
		Keychain:       testKeychain,
		WorkFactor:     testWorkFactor,
	}
	if !a.silent() {
		opts.Prompt = a.ask
	}
	return local.Find(opts)
}

// ask is the Prompt of the store.
func (a *app) ask(ctx context.Context, q local.Question) (keystore.Secret, error) {
	answer, err := a.passphrase(ctx, q)
	a.chosen = a.chosen || q.New && err == nil
	return answer, err
}

// nextUnlock says, to who has just chosen a passphrase, how to type it less often.
func (a *app) nextUnlock() {
	if a.chosen {
		a.advise("{store} unlock opens the store for hours, so that the passphrase is typed once")
	}
}

func (a *app) open() (*local.Place, *keystore.Store, error) {
	p, err := a.place()
	if err != nil {
		return nil, nil, err
	}
	return p, p.Store(), nil
}

// silent reports whether nobody is to be asked.
func (a *app) silent() bool {
	v := a.getenv("GLOBUS_KEYS_NO_PROMPT")
	return a.noPrompt || v != "" && v != "0"
}
