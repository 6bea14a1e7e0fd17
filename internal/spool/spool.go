// Package spool is a keystore.Spool in the runtime directory of the user: on
// another file system than his home, as a rule, and so with room when that is
// full. It lasts until the machine is shut down.
//
//	<runtime directory>/spool/<store id>/<SHA-256 of the record's key>.json
//
// A job that runs while the user is not logged in has another runtime directory
// than his session: what either saves is found by both.
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
	"slices"
	"strings"
	"time"

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
	dir, err := rundir.Make(d.getenv())
	if err == nil {
		dir, err = below(dir, store, atomicfile.MkdirPrivate)
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(file{k.Namespace, k.Kind, k.Name, sealed})
	if err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.OS(), filepath.Join(dir, name(k)), data, atomicfile.NoBackup)
}

// Load implements keystore.Spool. Of several places the one that was written last
// has it: what processes with other environments have left is older.
func (d Dir) Load(_ context.Context, store keystore.StoreID, k keystore.RecordKey) ([]byte, error) {
	dirs, err := d.find(store)
	if err != nil {
		return nil, err
	}
	path := latest(dirs, name(k))
	if path == "" {
		return nil, keystore.ErrNotFound
	}
	f, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, keystore.ErrNotFound
	}
	return f.Age, err
}

// latest returns the path of the file that was written last, "" if there is none.
func latest(dirs []string, name string) (path string) {
	var written time.Time
	for _, dir := range dirs {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && (path == "" || info.ModTime().After(written)) {
			path, written = filepath.Join(dir, name), info.ModTime()
		}
	}
	return path
}

// Remove implements keystore.Spool.
func (d Dir) Remove(_ context.Context, store keystore.StoreID, k keystore.RecordKey) error {
	dirs, err := d.find(store)
	for _, dir := range dirs {
		removed := atomicfile.About(dir, os.Remove(filepath.Join(dir, name(k))))
		if removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return err
}

// Keys implements keystore.Spool. What is not a file of the spool is passed over.
func (d Dir) Keys(_ context.Context, store keystore.StoreID) ([]keystore.RecordKey, error) {
	dirs, err := d.find(store)
	var keys []keystore.RecordKey
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, atomicfile.About(dir, err)
		}
		for _, e := range entries {
			f, err := read(filepath.Join(dir, e.Name()))
			k := f.key()
			if err == nil && k.Check() == nil && e.Name() == name(k) && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys, err
}

// find returns the directories of a store's files that there are. It makes none, so
// that nothing is left on a machine where nothing is ever spooled.
func (d Dir) find(store keystore.StoreID) ([]string, error) {
	all, err := rundir.Find(d.getenv())
	var dirs []string
	for _, dir := range all {
		dir, err := below(dir, store, atomicfile.CheckDir)
		switch {
		case err == nil:
			dirs = append(dirs, dir)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return dirs, err
}

// below goes from a runtime directory down to the directory of a store's files, each
// checked before the next.
func below(dir string, store keystore.StoreID, step func(atomicfile.FS, string) error) (string, error) {
	for _, name := range []string{"spool", store.String()} {
		dir = filepath.Join(dir, name)
		if err := step(atomicfile.OS(), dir); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (d Dir) getenv() func(string) string {
	if d.Getenv == nil {
		return os.Getenv
	}
	return d.Getenv
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
