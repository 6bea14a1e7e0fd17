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
// Options.Store or GLOBUS_KEYS_STORE name another.
//
// # Where the key comes from
//
// In this order, and only from what the store's header records or the run
// names: an identity file (Options.IdentityFile, GLOBUS_KEYS_IDENTITY_FILE); a
// passphrase from a file (Options.PassphraseFile, GLOBUS_KEYS_PASSPHRASE_FILE);
// a passphrase that Options.Prompt asks for. Without any of them the error is
// keystore.ErrLocked. There is no way to store without a key.
//
// Files that are given must belong to the user or root and be closed to
// others; only below $CREDENTIALS_DIRECTORY, /run/credentials and /run/secrets
// may they be symbolic links or readable by others, as service managers and
// containers make them. "fd:N" reads from an open descriptor.
package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/fileadapter"
	"github.com/globus-keys/globus-keys/keystore"
)

// Options of Open and Find. The zero value is good.
type Options struct {
	Store     string // "file:PATH"; "" means $GLOBUS_KEYS_STORE, else the user's own
	Namespace string // "" means $GLOBUS_KEYS_NAMESPACE, else keystore.DefaultNamespace

	// IdentityFile is an age identity file that opens the store, or makes a
	// new one; "fd:N" is an open descriptor. "" means
	// $GLOBUS_KEYS_IDENTITY_FILE, which makes a new store only with
	// KeyFromEnv: a variable left over must not decide how a store is kept.
	IdentityFile string
	KeyFromEnv   bool

	// PassphraseFile holds the passphrase in its first line; "fd:N" is an
	// open descriptor. "" means $GLOBUS_KEYS_PASSPHRASE_FILE.
	PassphraseFile string

	// Prompt asks somebody for the passphrase. nil: nobody can be asked.
	Prompt Prompt

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
	New   bool   // a passphrase is being chosen: ask twice
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
	opts    Options
	path    string
	adapter *fileadapter.Adapter
	given   func() (keystore.Secret, error) // the passphrase file, read once

	mu    sync.Mutex
	found map[string]*identity.Identity // keyed by header; guarded by mu
}

// Find returns the place of the user's store. opts may be nil. It reads and
// makes nothing.
func Find(opts *Options) (*Place, error) {
	p := &Place{found: make(map[string]*identity.Identity)}
	if opts != nil {
		p.opts = *opts
	}
	p.opts.complete()
	path, err := storePath(p.opts)
	if err != nil {
		return nil, err
	}
	p.path = path
	p.given = sync.OnceValues(p.readPassphrase)
	p.adapter, err = fileadapter.Open(path, p.unseal, &fileadapter.Options{Clock: p.opts.Clock})
	return p, err
}

// complete fills in what the environment and the defaults say.
func (o *Options) complete() {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Clock == nil {
		o.Clock = time.Now
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
	return keystore.New(p.adapter, &keystore.Options{
		Namespace: p.opts.Namespace,
		Clock:     p.opts.Clock,
		Warn:      p.opts.Warn,
		Create:    p.create,
	})
}

// Adapter returns the adapter at p. It can also be a keystore.BackupAdapter and
// a keystore.ResetAdapter.
func (p *Place) Adapter() keystore.StorageAdapter { return p.adapter }

// String returns how --store names the place.
func (p *Place) String() string { return "file:" + p.adapter.Path() }

// Path returns the file or directory where the store lies.
func (p *Place) Path() string { return p.adapter.Path() }

// storePath reads a store's name: a path after "file:", or the user's own.
func storePath(o Options) (string, error) {
	spec := o.Store
	if spec == "" {
		spec = o.Getenv("GLOBUS_KEYS_STORE")
	}
	if spec == "" {
		dir, err := dataDir(o.Getenv)
		return filepath.Join(dir, "tokens.json"), err
	}
	path, ok := strings.CutPrefix(spec, "file:")
	if !ok || path == "" || strings.HasPrefix(path, "//") || strings.HasPrefix(path, "~") {
		return "", &keystore.Error{Op: "open", Store: spec, Err: keystore.ErrInvalid,
			Detail: "a store is named file:PATH; PATH is no URL, and ~ is for the shell to replace"}
	}
	return path, nil
}

func noDirectory(variable string) error {
	return &keystore.Error{Op: "find the store", Err: keystore.ErrUnavailable,
		Detail: fmt.Sprintf("%s is not set to an absolute path; name a store with --store file:PATH or GLOBUS_KEYS_STORE", variable)}
}
