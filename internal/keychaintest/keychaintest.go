// Package keychaintest is a keychain for tests: a directory with a file for each
// item, shared by all processes that open it, and a hook at every call at which
// a test can fail, stop or kill. It shows what stands above a keychain; what
// keychains do is shown on real ones.
package keychaintest

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// Backend is a keychain.Backend over a directory.
type Backend struct {
	Dir string

	// Before is called before each call does its work, with its name (probe,
	// get, create, delete) and number from 1. An error is returned in place
	// of the work. nil: nothing happens.
	Before func(call string, n int) error

	// After is called after the work of a call, whose error stands if After
	// returns nil.
	After func(call string, n int) error

	mu    sync.Mutex
	calls int // guarded by mu
}

var _ keychain.Backend = (*Backend)(nil)

// New returns a keychain whose items are in dir.
func New(dir string) *Backend { return &Backend{Dir: dir} }

// Calls returns how many calls there were.
func (b *Backend) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// do is one call.
func (b *Backend) do(ctx context.Context, name string, work func() error) error {
	b.mu.Lock()
	b.calls++
	n := b.calls
	b.mu.Unlock()
	if err := keystore.Ended(ctx); err != nil {
		return err
	}
	if b.Before != nil {
		if err := b.Before(name, n); err != nil {
			return err
		}
	}
	err := work()
	if b.After != nil {
		err = errors.Join(err, b.After(name, n))
	}
	return err
}

func (b *Backend) file(account string) string {
	return filepath.Join(b.Dir, hex.EncodeToString([]byte(account)))
}

// Probe implements keychain.Backend.
func (b *Backend) Probe(ctx context.Context) (keychain.State, error) {
	err := b.do(ctx, "probe", func() error { return nil })
	if err == nil {
		return keychain.Ready, nil
	}
	var p *keychain.Problem
	if errors.As(err, &p) {
		return p.State, err
	}
	return keychain.Unreachable, err
}

// Get implements keychain.Backend.
func (b *Backend) Get(ctx context.Context, account string) (value keystore.Secret, err error) {
	err = b.do(ctx, "get", func() error {
		data, err := os.ReadFile(b.file(account))
		if errors.Is(err, fs.ErrNotExist) {
			return &keystore.Error{Err: keystore.ErrNotFound}
		}
		value = keystore.NewSecret(string(data))
		return err
	})
	return value, err
}

// Create implements keychain.Backend. The item appears whole.
func (b *Backend) Create(ctx context.Context, account string, value keystore.Secret) error {
	if err := keychain.CheckItem(account, value); err != nil {
		return err
	}
	return b.do(ctx, "create", func() error {
		f, err := os.CreateTemp(b.Dir, ".new-*")
		if err != nil {
			return err
		}
		_, err = f.WriteString(value.Reveal())
		return errors.Join(err, f.Close(), os.Link(f.Name(), b.file(account)), os.Remove(f.Name()))
	})
}

// Delete implements keychain.Backend.
func (b *Backend) Delete(ctx context.Context, account string) error {
	return b.do(ctx, "delete", func() error {
		if err := os.Remove(b.file(account)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Traits implements keychain.Backend.
func (b *Backend) Traits() keychain.Traits {
	return keychain.Traits{Name: "test keychain", Unlock: "unlock the test keychain"}
}

// Close implements keychain.Backend.
func (b *Backend) Close() error { return nil }

// Accounts returns the accounts of all items, sorted.
func (b *Backend) Accounts() ([]string, error) {
	entries, err := os.ReadDir(b.Dir)
	var accounts []string
	for _, e := range entries {
		if account, err := hex.DecodeString(e.Name()); err == nil {
			accounts = append(accounts, string(account))
		}
	}
	slices.Sort(accounts)
	return accounts, err
}

// Set makes the value of an item another one, as an attacker or a keychain that
// loses data would.
func (b *Backend) Set(account, value string) error {
	return os.WriteFile(b.file(account), []byte(value), 0o600)
}
