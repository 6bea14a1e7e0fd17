// Package spool is a keystore.Spool in the runtime directory of the user: on
// another file system than his home, as a rule, and so with room when that is
// full. It lasts until the machine is shut down.
//
//	<runtime directory>/spool/<store id>/<SHA-256 of the record's key>.json
//
// A file is {"namespace", "kind", "name", "age"}: names in clear, as in a store,
// and the sealed record in base64.
package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/pae"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// maxFile is more than a sealed record of 128 KiB in base64 takes, with names.
const maxFile = 256 << 10

// Dir is a keystore.Spool. The zero value uses the environment. Nothing is read or
// made before the first call.
type Dir struct {
	// Getenv stands for os.Getenv; nil means that.
	Getenv func(string) string
}

type file struct {
	Namespace string        `json:"namespace"`
	Kind      keystore.Kind `json:"kind"`
	Name      string        `json:"name"`
	Age       []byte        `json:"age"`
}

func (f file) key() keystore.RecordKey {
	return keystore.RecordKey{Namespace: f.Namespace, Kind: f.Kind, Name: f.Name}
}

// Save implements keystore.Spool: in one rename, and synced.
func (d Dir) Save(_ context.Context, store keystore.StoreID, k keystore.RecordKey, sealed []byte) error {
	dir, err := d.dir(store, rundir.Make, atomicfile.MkdirPrivate)
	if err != nil {
		return err
	}
	data, err := json.Marshal(file{k.Namespace, k.Kind, k.Name, sealed})
	if err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.OS(), filepath.Join(dir, name(k)), data, atomicfile.NoBackup)
}

// Load implements keystore.Spool.
func (d Dir) Load(_ context.Context, store keystore.StoreID, k keystore.RecordKey) ([]byte, error) {
	dir, err := d.find(store)
	var f file
	if err == nil {
		f, err = read(filepath.Join(dir, name(k)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, keystore.ErrNotFound
	}
	return f.Age, err
}

// Remove implements keystore.Spool.
func (d Dir) Remove(_ context.Context, store keystore.StoreID, k keystore.RecordKey) error {
	dir, err := d.find(store)
	if err == nil {
		err = atomicfile.About(dir, os.Remove(filepath.Join(dir, name(k))))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Keys implements keystore.Spool. What is not a file of the spool is passed over.
func (d Dir) Keys(_ context.Context, store keystore.StoreID) ([]keystore.RecordKey, error) {
	dir, err := d.find(store)
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, atomicfile.About(dir, err)
	}
	var keys []keystore.RecordKey
	for _, e := range entries {
		f, err := read(filepath.Join(dir, e.Name()))
		if err == nil && f.key().Check() == nil && e.Name() == name(f.key()) {
			keys = append(keys, f.key())
		}
	}
	return keys, nil
}

// find returns the directory of a store's files. It makes none, so that nothing
// is left on a machine where nothing is ever spooled: fs.ErrNotExist.
func (d Dir) find(store keystore.StoreID) (string, error) {
	return d.dir(store, rundir.Find, atomicfile.CheckDir)
}

// dir goes down to the directory of a store's files, each checked before the next.
func (d Dir) dir(store keystore.StoreID, begin func(func(string) string) (string, error), step func(atomicfile.FS, string) error) (string, error) {
	getenv := d.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	dir, err := begin(getenv)
	for _, name := range []string{"spool", store.String()} {
		if err != nil {
			return "", err
		}
		dir = filepath.Join(dir, name)
		err = step(atomicfile.OS(), dir)
	}
	return dir, err
}

func name(k keystore.RecordKey) string {
	sum := sha256.Sum256(pae.Encode("spool", k.Namespace, string(k.Kind), k.Name))
	return hex.EncodeToString(sum[:]) + ".json"
}

// read returns what Save wrote: its owner and mode are checked, and the seal tells
// the rest.
func read(path string) (f file, err error) {
	if !strings.HasSuffix(path, ".json") {
		return f, fs.ErrNotExist
	}
	data, err := atomicfile.Read(atomicfile.OS(), path, maxFile)
	if err != nil {
		return f, err
	}
	if strictjson.Check(data, "namespace", "kind", "name", "age") != nil || json.Unmarshal(data, &f) != nil {
		return f, &keystore.Error{Store: path, Err: keystore.ErrCorrupt, Detail: "it is not a file of the spool"}
	}
	return f, nil
}
