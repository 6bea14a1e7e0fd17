package local

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/globus-keys/globus-keys/fileadapter"
	"github.com/globus-keys/globus-keys/internal/userdir"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// locate reads the store's name and opens the adapter that it stands for.
func (p *Place) locate() (err error) {
	spec := p.opts.Store
	if spec == "" {
		spec = p.opts.Getenv("GLOBUS_KEYS_STORE")
	}
	if spec == "" {
		dir, err := dataDir(p.opts.Getenv)
		if err != nil {
			return err
		}
		return p.inFile(filepath.Join(dir, "tokens.json"))
	}
	kind, name, _ := strings.Cut(spec, ":")
	switch {
	case kind == "keychain" && name != "":
		return p.inKeychain(name)
	case kind == "file" && isPath(name):
		return p.inFile(name)
	case kind == "sqlite" && isPath(name):
		return p.inDatabase(name)
	}
	return &keystore.Error{Op: "open", Store: spec, Err: keystore.ErrInvalid,
		Detail: "a store is named file:PATH, sqlite:PATH or keychain:NAME; PATH is no URL, and ~ is for the shell to replace"}
}

func isPath(name string) bool {
	return name != "" && !strings.HasPrefix(name, "//") && !strings.HasPrefix(name, "~")
}

func (p *Place) inFile(path string) error {
	a, err := fileadapter.Open(path, p.unseal, &fileadapter.Options{Clock: p.opts.Clock})
	if err != nil {
		return err
	}
	p.adapter, p.path, p.name, p.sealed = a, a.Path(), "file:"+a.Path(), true
	return nil
}

func (p *Place) inDatabase(path string) error {
	if p.opts.SQLite == nil {
		return &keystore.Error{Op: "open", Store: "sqlite:" + path, Err: keystore.ErrUnavailable,
			Detail: "this program has no SQLite: name a store in a file, file:PATH"}
	}
	if path == ":memory:" { // which would be the name of a file
		return &keystore.Error{Op: "open", Store: "sqlite:" + path, Err: keystore.ErrInvalid,
			Detail: "a store in memory has no name: sqliteadapter.Open makes one"}
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	p.adapter, err = p.opts.SQLite(absolute, p.unseal)
	p.path, p.name, p.sealed = absolute, "sqlite:"+absolute, true
	return err
}

// inKeychain opens the store of this name. Its index and locks lie beside the
// user's own store.
func (p *Place) inKeychain(name string) error {
	key := keystore.RecordKey{Namespace: name, Kind: keystore.KindToken, Name: name}
	if err := key.Check(); err != nil {
		return &keystore.Error{Op: "open", Store: "keychain:" + name, Err: keystore.ErrInvalid,
			Detail: fmt.Sprintf("a name has 1 to %d bytes of UTF-8 without control characters", keystore.MaxName)}
	}
	dir, err := dataDir(p.opts.Getenv)
	if err != nil {
		return err
	}
	a, err := keychain.OpenAdapter(filepath.Join(dir, indexName(name)), p.keychain, &keychain.AdapterOptions{Clock: p.opts.Clock})
	if err != nil {
		return err
	}
	p.adapter, p.path, p.name = a, a.Path(), "keychain:"+name
	return nil
}

// indexName is the file name of the index of keychain:NAME, another one for
// each name on every file system: some fold case or Unicode forms, forbid a
// colon, or take 255 bytes only.
func indexName(name string) string {
	if len(name) <= 64 && name[0] != '-' && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return "keychain-" + name + ".json"
	}
	sum := sha256.Sum256([]byte(name))
	return "keychain+" + hex.EncodeToString(sum[:16]) + ".json"
}

// dataDir is where this user's stores lie.
func dataDir(getenv func(string) string) (string, error) {
	dir, err := userdir.Data(getenv)
	if err != nil {
		return "", &keystore.Error{Op: "find the store", Err: keystore.ErrUnavailable,
			Detail: err.Error() + "; name a store with --store file:PATH or GLOBUS_KEYS_STORE"}
	}
	return dir, nil
}
