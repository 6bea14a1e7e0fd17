// Package local is the front door for programs: it finds the store of this
// user on this machine, and its key.
//
//	store, err := local.Open(ctx, nil)
//
// opens the store that `globus-keys` uses too. Nothing is read, asked or made
// before it is needed; the store is made when the first login is stored.
//
// # Where the store lies
//
// In the file adapter's tokens.json, below $XDG_DATA_HOME/globus-keys on Linux
// and other Unixes (default ~/.local/share), ~/Library/Application
// Support/globus-keys on macOS and %LOCALAPPDATA%\globus-keys on Windows;
// Options.Store or GLOBUS_KEYS_STORE name another. "sqlite:PATH" is a database for
// many logins, for programs that say so in Options.SQLite. "keychain:NAME" is a store
// whose records are items of the OS keychain themselves; only an index without
// secrets lies there in a file.
//
// # Where the key comes from
//
// A new store's key goes into the OS keychain (package keychain); where there is
// none, or the run names a passphrase file, it goes into a file beside the store,
// behind a passphrase. A store that exists keeps to what its header records. It is
// opened, in this order and only by what the header records or the run names, with:
//
//   - an identity file (Options.IdentityFile, GLOBUS_KEYS_IDENTITY_FILE), or the
//     passphrase in Options.PassphraseFile;
//   - the agent, if somebody has unlocked the store (Place.Unlock);
//   - a passphrase from the file that GLOBUS_KEYS_PASSPHRASE_FILE names;
//   - the keychain;
//   - a passphrase that Options.Prompt asks for.
//
// What the run names comes first, so that a keychain which does not answer is never
// waited for. A keychain that fails, or that nobody opens, is an error that says what
// to do, and never a reason to make another key. There is no way to store without a
// key.
//
// The agent is a process of the user that holds the keys of unlocked stores; without
// one a few directories are looked at, and nothing is connected. It is asked for the
// key of a store that has a passphrase, or is opened by an identity file: what lies in
// the keychain alone is the keychain's to unlock. It never has the identity: Rekey and
// Verify need that, and ask for it while the store is unlocked too. An agent that does
// not answer, or answers nonsense, is told of by Options.Notice, and the other ways are
// gone; if there is none it is the error, ErrUnavailable.
//
// A process that has opened a store by the agent stays open through locks and rekeys:
// while the store is locked its calls fail with ErrLocked at once, and work again when
// it is unlocked, by the same agent or another. If it has another way to the key it
// goes that one meanwhile, as a process that starts then: so Options.Prompt is called
// by the first call that finds the store locked, with no lock held, once for all that
// wait. What is not asked for is what a refresh that is under way needs: that has been
// reserved. A process that has found the key by another way has it until it closes the
// store: locking reaches the agent alone.
//
// Files that are given must belong to the user or root and be closed to
// others; only below $CREDENTIALS_DIRECTORY, /run/credentials and /run/secrets
// may they be symbolic links or readable by others, as service managers and
// containers make them. "fd:N" reads from a descriptor that the process was started
// with, and closes it: of a passphrase its first line, and nothing behind it. On Unix
// others are refused, and terminals everywhere.
//
// # What stays in memory
//
// In programs that are built with GOEXPERIMENT=runtimesecret, for linux/amd64 and
// linux/arm64, the copies of keys, passphrases and tokens that are made on the way
// are erased by the garbage collector, and so is the rest when the store is closed
// and the program has let go of its tokens. The runtime collects every two minutes
// at least; who does not want to wait calls runtime.GC twice. Close does not: it
// would cost a large program much, and tokens are often in use yet. Not erased is
// what the program copies, what net/http has in its buffers, and what PutConfig has
// encoded, not always. Other builds erase nothing.
package local

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// Options of Open and Find. The zero value is good.
type Options struct {
	Store     string // "file:PATH", "sqlite:PATH" or "keychain:NAME"; "" means $GLOBUS_KEYS_STORE, else the user's own
	Namespace string // "" means $GLOBUS_KEYS_NAMESPACE, else keystore.DefaultNamespace

	// IdentityFile is an age identity file that opens the store, or makes a
	// new one; "fd:N" is a descriptor that was handed over. "" means
	// $GLOBUS_KEYS_IDENTITY_FILE, which makes a new store only with
	// KeyFromEnv: a variable left over must not decide how a store is kept.
	IdentityFile string
	KeyFromEnv   bool

	// PassphraseFile holds the passphrase in its first line; "fd:N" is a
	// descriptor that was handed over. "" means $GLOBUS_KEYS_PASSPHRASE_FILE.
	PassphraseFile string

	// Key says where the key of a new store goes, and which slots of a store
	// that exists are tried. "": a passphrase if PassphraseFile gives one,
	// else the keychain if this session has one, else a passphrase; for a
	// store that exists, all that it has.
	Key keystore.SlotKind

	// Prompt asks somebody for the passphrase, again if the agent has lost the key
	// since. nil: nobody can be asked.
	Prompt Prompt

	// NoDialog: the keychain shows no dialog, as if nobody were there. Without
	// a display it shows none either.
	NoDialog bool

	// NoAgent: the agent is not asked for the key. Unlock, Lock and Rekey talk to it
	// all the same.
	NoAgent bool

	// SQLite opens the adapter of "sqlite:PATH": sqliteadapter.Opener(nil). nil: such a
	// store is ErrUnavailable. It is not linked in here, since it needs cgo.
	SQLite func(path string, unseal keystore.Unseal) (keystore.StorageAdapter, error)

	// Keychain is where keys are kept; nil means the operating system's. It is
	// closed with the store.
	Keychain keychain.Backend

	Notice     func(string)        // told what a user should know while he waits; nil: nobody is
	Warn       func(error)         // as keystore.Options.Warn
	Clock      func() time.Time    // nil means time.Now
	Getenv     func(string) string // nil means os.Getenv
	WorkFactor int                 // of scrypt, for tests; 0 means as good as the machine allows
}

// Prompt asks for a passphrase. It returns an error that wraps
// keystore.ErrDeclined if somebody says no, and keystore.ErrLocked if nobody
// can be asked after all.
type Prompt func(ctx context.Context, q Question) (keystore.Secret, error)

// Question says which passphrase is wanted.
type Question struct {
	Store string // for people
	New   bool   // a passphrase of MinPassphrase characters or more is being chosen: ask twice
	Wrong bool   // the last answer did not open the store
}

// Open returns the user's store. opts may be nil. It reads and makes nothing;
// an error is about opts or the environment.
func Open(_ context.Context, opts *Options) (*keystore.Store, error) {
	p, err := Find(opts)
	if err != nil {
		return nil, err
	}
	return p.Store(), nil
}

// Place is where a store lies and how its key is found, for tools that manage
// stores. Safe for concurrent use.
type Place struct {
	opts     Options
	name     string // as --store has it
	path     string
	sealed   bool // records are sealed; else the keychain guards them
	adapter  keystore.StorageAdapter
	keychain keychain.Backend
	agent    *agent.Client // connects when it is needed

	asking chan struct{} // holds one token; its holder finds the key anew

	namedPassphrase bool // by Options, not by a variable that may be left over

	mu         sync.Mutex
	given      func() (keystore.Secret, error) // the passphrase file, read once; guarded by mu
	found      map[string]*identity.Identity   // of the last header, by its name; guarded by mu
	passphrase keystore.Secret                 // that opened a slot last; guarded by mu
	retired    []seal.Retired                  // of the store as it was last opened; guarded by mu
	madeAt     string                          // where its key was made, likewise; guarded by mu
	complaint  string                          // of the agent, that was made last; guarded by mu
}

// Find returns the place of the user's store. opts may be nil. It reads and
// makes nothing.
func Find(opts *Options) (*Place, error) {
	p := &Place{found: make(map[string]*identity.Identity), asking: make(chan struct{}, 1)}
	p.asking <- struct{}{}
	if opts != nil {
		p.opts = *opts
	}
	p.namedPassphrase = p.opts.PassphraseFile != ""
	p.opts.complete()
	p.agent = agent.Open(p.opts.Getenv)
	p.given = sync.OnceValues(p.readPassphrase)
	p.keychain = p.opts.Keychain
	if p.keychain == nil {
		p.keychain = keychain.Open(&keychain.Options{NoPrompt: p.opts.NoDialog, Notice: p.opts.Notice, Getenv: p.opts.Getenv})
	}
	if err := p.locate(); err != nil {
		return nil, err
	}
	return p, nil
}

// complete fills in what the environment and the defaults say.
func (o *Options) complete() {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Namespace == "" {
		o.Namespace = o.Getenv("GLOBUS_KEYS_NAMESPACE")
	}
	if o.PassphraseFile == "" {
		o.PassphraseFile = o.Getenv("GLOBUS_KEYS_PASSPHRASE_FILE")
	}
}

// Store returns the store at p. It is made when the first record is written.
func (p *Place) Store() *keystore.Store {
	return keystore.New(tended{p.adapter, p}, p.rules())
}

func (p *Place) rules() *keystore.Options {
	return &keystore.Options{
		Namespace: p.opts.Namespace,
		Clock:     p.opts.Clock,
		Warn:      p.opts.Warn,
		Create:    p.create,
		Spool:     spool.Dir{Getenv: p.opts.Getenv},
	}
}

// Adapter returns the adapter at p. It can also be a keystore.BackupAdapter and
// a keystore.ResetAdapter.
func (p *Place) Adapter() keystore.StorageAdapter { return p.adapter }

// Keychain returns what keeps the keys of this place.
func (p *Place) Keychain() keychain.Backend { return p.keychain }

// Sealed reports whether the store seals its records, and so has a key, which
// a store in the keychain has not.
func (p *Place) Sealed() bool { return p.sealed }

// String returns how --store names the place.
func (p *Place) String() string { return p.name }

// Path returns the file where the store lies; of a store in the keychain, its
// index.
func (p *Place) Path() string { return p.path }

// tended is the adapter as a Store uses it. It tidies up after a rekey, opens the
// store anew when the agent has lost the key, and closes the keychain and the agent's
// client.
type tended struct {
	keystore.StorageAdapter
	p *Place
}

func (t tended) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return t.retry(ctx, func() error { return t.StorageAdapter.View(ctx, fn) })
}

func (t tended) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	err := t.retry(ctx, func() error { return t.StorageAdapter.Update(ctx, fn) })
	if err == nil {
		t.p.tidy(ctx)
	}
	return err
}

// Sealer implements keystore.SealingAdapter where the adapter does.
func (t tended) Sealer(ctx context.Context) (keystore.StoreID, keystore.Sealer, error) {
	if a, ok := t.StorageAdapter.(keystore.SealingAdapter); ok {
		return a.Sealer(ctx)
	}
	return keystore.StoreID{}, nil, errors.ErrUnsupported
}

func (t tended) Close() error {
	err := errors.Join(t.StorageAdapter.Close(), t.p.keychain.Close(), t.p.agent.Close())
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.found, t.p.passphrase, t.p.given = nil, keystore.Secret{}, t.p.readPassphrase
	return err
}
