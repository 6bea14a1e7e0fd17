package keystoretest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/lockfile"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// toy is the least that passes the whole suite: a file per store, sealed with
// a key made from the header, and locks for processes. Each Update works on a
// memory.Adapter that holds what the file holds.
type toy struct {
	dir    string
	bends  toyBends
	header *keystore.Header // the first one seen, for keyOnce
	closed chan struct{}
	calls  chan struct{} // one token for each call that may be under way
}

// toyBends are promises that the toy may break.
type toyBends struct {
	inPlain     bool // stores payloads as they are
	noLock      bool // takes no lock among processes
	sticky      bool // locks by making a file, which outlives the process
	keyOnce     bool // asks for the key once
	forgetful   bool // begins anew when it is opened
	writesFirst bool // writes before fn has ended
	sealsBare   bool // seals elsewhere without the place
}

func toyOpen(bends toyBends) Open {
	return func(dir string) (keystore.StorageAdapter, error) {
		if bends.forgetful {
			dir = filepath.Join(dir, rand.Text())
			if err := os.Mkdir(dir, 0o700); err != nil {
				return nil, err
			}
		}
		return &toy{dir: dir, bends: bends, closed: make(chan struct{}), calls: make(chan struct{}, 1000)}, nil
	}
}

func TestToy(t *testing.T) {
	Run(t, toyOpen(toyBends{}), &Options{Persistent: true, Processes: true, Seals: true})
}

func bentToys() []bent {
	bend := func(name, check string, bends toyBends) bent {
		return bent{name, check, toyOpen(bends), Options{Persistent: true, Processes: true, Seals: true}}
	}
	return []bent{
		bend("begins anew", "what was stored is there after reopening", toyBends{forgetful: true}),
		bend("loses updates of processes", "no update of several processes is lost", toyBends{noLock: true}),
		bend("does not lock processes", "LockCredential excludes processes", toyBends{noLock: true}),
		bend("locks beyond death", "LockCredential names the process that holds it and is freed by its death", toyBends{sticky: true}),
		bend("writes before the end", "a process killed inside an Update leaves nothing", toyBends{writesFirst: true}),
		bend("asks for the key once", "a header change by another process is seen", toyBends{keyOnce: true}),
		bend("asks for the key once per handle", "a header change is seen by a handle that was open", toyBends{keyOnce: true}),
		bend("seals for any place", "what its Sealer seals is as good as what it stores", toyBends{sealsBare: true}),
		bend("keeps its Sealer", "what its Sealer seals is as good as what it stores", toyBends{keyOnce: true}),
		bend("stores in plain", "nothing at rest shows a payload", toyBends{inPlain: true}),
	}
}

// toyFile is the store as it lies on the disk.
type toyFile struct {
	Header  keystore.Header
	Keys    []keystore.RecordKey
	Records [][]byte
}

func (a *toy) View(ctx context.Context, fn func(keystore.Reader) error) error {
	defer a.begin()()
	if err := a.check(ctx); err != nil {
		return err
	}
	m, err := a.load()
	if err != nil {
		return err
	}
	return m.View(ctx, func(r keystore.Reader) error { return fn(toyReader{r, a.box(r.Header())}) })
}

// toyReader shows records as they could lie in the file.
type toyReader struct {
	keystore.Reader
	box box
}

func (r toyReader) Sealed(k keystore.RecordKey) ([]byte, error) {
	payload, err := r.Get(k)
	if err != nil {
		return nil, err
	}
	return r.box.seal(k, payload), nil
}

// Sealer implements keystore.SealingAdapter.
func (a *toy) Sealer(ctx context.Context) (id keystore.StoreID, sealer keystore.Sealer, err error) {
	err = a.View(ctx, func(r keystore.Reader) error {
		if r.Header().IsZero() {
			return keystore.ErrNotFound
		}
		id, sealer = r.Header().StoreID, toySealer{a.box(r.Header()), a.bends.sealsBare}
		return nil
	})
	return id, sealer, err
}

type toySealer struct {
	box  box
	bare bool
}

func (s toySealer) place(k keystore.RecordKey) keystore.RecordKey {
	if s.bare {
		return keystore.RecordKey{}
	}
	return k
}

func (s toySealer) Seal(_ context.Context, k keystore.RecordKey, payload []byte) ([]byte, error) {
	return s.box.seal(s.place(k), payload), nil
}

func (s toySealer) Open(_ context.Context, k keystore.RecordKey, sealed []byte) ([]byte, error) {
	return s.box.open(s.place(k), sealed)
}

func (a *toy) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	defer a.begin()()
	if err := a.check(ctx); err != nil {
		return err
	}
	unlock, err := a.lock(ctx, "store")
	if err != nil {
		return err
	}
	defer unlock()
	m, err := a.load()
	if err != nil {
		return err
	}
	err = m.Update(ctx, func(w keystore.Writer) error {
		if a.bends.writesFirst {
			w = hastyWriter{w, a}
		}
		return fn(w)
	})
	if err != nil {
		return err
	}
	return m.View(context.WithoutCancel(ctx), a.save)
}

func (a *toy) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	defer a.begin()()
	if err := a.check(ctx); err != nil {
		return nil, err
	}
	if err := k.Check(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(k.String()))
	return a.lock(ctx, hex.EncodeToString(sum[:]))
}

func (a *toy) Close() error {
	select {
	case <-a.closed:
		return nil
	default:
		close(a.closed)
	}
	for range cap(a.calls) { // calls under way end first
		a.calls <- struct{}{}
	}
	return nil
}

func (a *toy) begin() (end func()) {
	select {
	case a.calls <- struct{}{}:
		return func() { <-a.calls }
	case <-a.closed:
		return func() {}
	}
}

func (a *toy) check(ctx context.Context) error {
	select {
	case <-a.closed:
		return keystore.ErrUnavailable
	default:
		return keystore.Ended(ctx)
	}
}

func (a *toy) lock(ctx context.Context, name string) (func() error, error) {
	path := filepath.Join(a.dir, name+".lock")
	switch {
	case a.bends.noLock:
		return func() error { return nil }, nil
	case !a.bends.sticky || name == "store":
		return lockfile.Lock(ctx, path)
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprint(f, os.Getpid())
			return func() error { return os.Remove(path) }, f.Close()
		}
		holder, _ := os.ReadFile(path)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: process %s: %w", keystore.ErrBusy, holder, keystore.Ended(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

// load returns the file's content in memory.
func (a *toy) load() (*memory.Adapter, error) {
	data, err := os.ReadFile(filepath.Join(a.dir, "store"))
	var file toyFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m := memory.NewEmpty()
	if file.Header.IsZero() {
		return m, nil
	}
	return m, m.Update(context.Background(), func(w keystore.Writer) error {
		if err := w.SetHeader(file.Header); err != nil {
			return err
		}
		box := a.box(file.Header)
		for i, k := range file.Keys {
			payload, err := box.open(k, file.Records[i])
			if err == nil {
				err = w.Put(k, payload)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *toy) save(r keystore.Reader) error {
	file := toyFile{Header: r.Header()}
	box := a.box(file.Header)
	keys, err := allKeys(r)
	if err != nil {
		return err
	}
	for _, k := range keys {
		payload, err := r.Get(k)
		if err != nil {
			return err
		}
		file.Keys = append(file.Keys, k)
		file.Records = append(file.Records, box.seal(k, payload))
	}
	data, err := json.Marshal(file)
	if err != nil {
		return err
	}
	temp := filepath.Join(a.dir, "store."+rand.Text())
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(a.dir, "store"))
}

// hastyWriter saves at each Delete, the last thing that disturb does.
type hastyWriter struct {
	keystore.Writer
	a *toy
}

func (w hastyWriter) Delete(k keystore.RecordKey) error {
	return errors.Join(w.Writer.Delete(k), w.a.save(w))
}

// box seals the records of one key.
type box struct {
	aead  cipher.AEAD
	plain bool
}

func (a *toy) box(h keystore.Header) box {
	if a.bends.keyOnce && a.header == nil && !h.IsZero() {
		a.header = &h
	}
	if a.bends.keyOnce && a.header != nil {
		h = *a.header
	}
	key := sha256.Sum256(fmt.Append(nil, h))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return box{aead, a.bends.inPlain}
}

func (b box) seal(k keystore.RecordKey, payload []byte) []byte {
	if b.plain {
		return payload
	}
	return b.aead.Seal(nil, nil, payload, []byte(k.String()))
}

func (b box) open(k keystore.RecordKey, sealed []byte) ([]byte, error) {
	if b.plain {
		return sealed, nil
	}
	payload, err := b.aead.Open(nil, nil, sealed, []byte(k.String()))
	if err != nil {
		return nil, &keystore.Error{Key: k, Err: keystore.ErrTampered, Detail: strings.TrimPrefix(err.Error(), "cipher: ")}
	}
	return payload, nil
}
